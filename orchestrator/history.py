"""The search state and the trials table of a run, folded from its journal.

Invariant: folding decides nothing anew. Jobs are entered as they were decided and outcomes told as they were told, and
after every told record the state must be the one the record names.
"""

import time
from dataclasses import asdict, dataclass, field

from orchestrator.config import RunConfig
from orchestrator.errors import RunStopped, UserError
from orchestrator.journal import Journal, Record
from orchestrator.search.protocol import Algorithm, Job, Outcome, SearchState
from orchestrator.search.spnas import SpNas
from orchestrator.trials import Trials
from workers.storage import Result, RunFolder, WeightsFile


@dataclass
class History:
    """What a run has come to.

    Attributes:
        algorithm: what decides.
        state: what it remembers.
        trials: the table.
        attempts: the next attempt's number, by job.
        last_dispatched: the highest index that was ever sent to a worker, -1 before the first.
        rejected: attempts up to this one stopped the run and must not be used, by job.
        weights: where the told jobs' weights are.
        baselines: (job, score) of every baseline there has been, in order.
        candidates: indices of the candidates decided so far.
        worker_seconds: time that told jobs took on their workers.
        ended: why the last driver ended, "" while it has not.
    """

    algorithm: Algorithm
    state: SearchState
    trials: Trials
    attempts: dict[int, int] = field(default_factory=dict)
    last_dispatched: int = -1
    rejected: dict[int, int] = field(default_factory=dict)
    weights: dict[int, WeightsFile] = field(default_factory=dict)
    baselines: list[tuple[int, float]] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    worker_seconds: float = 0.0
    ended: str = ""

    @classmethod
    def fold(cls, config: RunConfig, journal: Journal) -> "History":
        """Fold a run's journal; an empty one gives the state before the first decision.

        Raises:
            UserError: if the journal is damaged, or gives another state than it says.
        """
        algorithm = SpNas(config.search)
        history = cls(algorithm, algorithm.initial(), Trials(config.image_size))
        for record in journal.read():
            if record["type"] == "decided":
                algorithm.enter(history.state, Job.from_dict(record["job"]))
            elif record["type"] == "told":
                algorithm.tell(history.state, Outcome(**record["outcome"]))
                if history.state.summary() != record["state"]:
                    raise UserError(
                        f"journal {journal.folder}: after job {record['outcome']['index']} the search comes to "
                        f"{history.state.summary()}, but {record['state']} was recorded; use the version of spnas "
                        "that wrote it"
                    )
            history.apply(record)
        return history

    def apply(self, record: Record) -> None:
        """Note what a record says beside the search's own state."""
        self.trials.apply(record)
        match record["type"]:
            case "opened":
                self.ended = ""
            case "decided":
                if record["job"]["role"] == "candidate":
                    self.candidates.append(record["job"]["index"])
            case "dispatched":
                self.attempts[record["index"]] = record["attempt"] + 1
                self.last_dispatched = max(self.last_dispatched, record["index"])
            case "rejected":
                self.rejected[record["index"]] = record["attempt"]
            case "told":
                index, result = record["outcome"]["index"], record["result"]
                self.worker_seconds += result["finished_at"] - result["started_at"]
                baseline = record["state"]["baseline"]
                if baseline and (not self.baselines or self.baselines[-1][0] != baseline["index"]):
                    self.baselines.append((baseline["index"], baseline["score"]))
                if result["weights"]:
                    self.weights[index] = WeightsFile(**result["weights"])
            case "ended":
                self.ended = record["reason"]

    def finished_attempt(self, folder: RunFolder, index: int) -> Result | None:
        """The first finished attempt at a pending job that may be used."""
        rejected = self.rejected.get(index, -1)
        try:
            results = folder.read_results(index)
        except (ValueError, KeyError, TypeError) as error:
            raise RunStopped(f"the results of job {index} in {folder.results} can't be read: {error}") from None
        return next((result for result in results if result.attempt > rejected), None)


def decided_record(job: Job) -> Record:
    """The record of a decision."""
    return {"type": "decided", "time": time.time(), "job": job.to_dict()}


def dispatched_record(index: int, attempt: int, worker: str) -> Record:
    """The record of an attempt that is about to begin."""
    return {"type": "dispatched", "time": time.time(), "index": index, "attempt": attempt, "worker": worker}


def told_record(outcome: Outcome, result: Result, state: SearchState) -> Record:
    """The record of an outcome and of what the state has become by it."""
    told = asdict(outcome)
    return {
        "type": "told",
        "time": time.time(),
        "outcome": told | {"metrics": dict(outcome.metrics)},
        "result": {key: value for key, value in asdict(result).items() if key not in ("metrics", "error", "status")},
        "state": state.summary(),
    }
