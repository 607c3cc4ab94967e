"""A long search without workers: what the driver does with its history and journal, with outcomes that are made up.

Invariant: every `STEP`th candidate is better than all before, so that the search moves on, as one does that goes on for
long; jobs come as `orchestrator.search` decides.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.history import History, decided_record, dispatched_record, told_record
from orchestrator.journal import Record
from orchestrator.search.protocol import Algorithm, Job, Outcome, SearchState
from workers.run_folder import Result, WeightsFile
from workers.task import attempt_name

IN_FLIGHT = 16
STEP = 4500
"""Thus 1,000, 10,000 and 100,000 candidates are all a thousand after a step: what is known around a baseline grows."""
NOW = 1e9
"""Of all records, in seconds since 1970."""

METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large", "AR100")


def long_config() -> RunConfig:
    """A steady search whose space is large enough for any number of candidates."""
    return parse_config(
        {
            "start": {"architecture": "BNB(111,d111,d11111,d11)", "training": {}},
            "objective": {"metric": "AP"},
            "serial": {
                "acceptance": "paper",
                "n_stuck": 10**9,
                "num_morphs": 8,
                "num_rounds": 1,
                "reignite": False,
                "in_flight": IN_FLIGHT,
                "max_blocks": 200,
            },
            "parallel": None,
            "final": None,
            "data": {"format": "shapes"},
        },
        "long run",
    )


def result_of(index: int) -> Result:
    """What a job comes to: to one half and a little more with every step, or to less."""
    name = attempt_name(index, 0, 1)
    score = 0.4 * (index * 0.618034 % 1.0) if index % STEP else 0.5 + 1e-6 * index
    return Result(
        index=index,
        attempt=0,
        epoch=1,
        name=name,
        status="completed",
        worker=f"worker-{index % IN_FLIGHT}",
        started_at=1e9 + index,
        finished_at=1e9 + index + 100,
        seconds=100.0,
        metrics={metric: score for metric in METRICS},
        weights=WeightsFile(name=f"{name}.safetensors", sha256=f"{index:064x}", size_bytes=10**8),
    )


def outcome_of(result: Result) -> Outcome:
    """What a search is told of it."""
    return Outcome(index=result.index, status="completed", score=result.metrics["AP"], metrics=result.metrics)


def propose(algorithm: Algorithm, state: SearchState, count: int) -> None:
    """Decide and tell as many jobs, in memory alone."""
    for _ in range(count):
        while isinstance(algorithm.decide(state), Job):
            pass
        algorithm.tell(state, outcome_of(result_of(min(state.pending))))


@dataclass
class MadeUpRun:
    """A history that grows as under a driver, every job sent off at once."""

    history: History

    def turns(self, count: int, told_per_turn: int) -> Iterator[list[Record]]:
        """The records of each turn in which workers have finished so many jobs, until as many jobs are told."""
        history = self.history
        turn: list[Record] = []
        for number in range(count):
            while isinstance(job := history.algorithm.decide(history.state), Job):
                worker = f"worker-{job.index % IN_FLIGHT}"
                turn += [decided_record(job, NOW), dispatched_record(job.index, 0, 1, [worker], NOW)]
                for record in turn[-2:]:
                    history.apply(record)
            result = result_of(min(history.state.pending))
            outcome = outcome_of(result)
            history.algorithm.tell(history.state, outcome)
            turn.append(told_record(outcome, result, history.state, NOW))
            history.apply(turn[-1])
            if (number + 1) % told_per_turn == 0 or number + 1 == count:
                yield turn
                turn = []
