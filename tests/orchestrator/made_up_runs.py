"""Runs of any length that nobody trained: a real search algorithm, made-up scores, and a clock that is made up too.

``python -m tests.orchestrator.made_up_runs FOLDER [--kind msnas] [--jobs 10000]`` writes one for the report to show.
"""

import argparse
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.families import network_cost, network_parts
from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.history import decided_record, dispatched_record, told_record
from orchestrator.journal import Journal, Record
from orchestrator.search.protocol import Job, Outcome
from workers.run_folder import Result, RunFolder
from workers.storage import open_storage
from workers.task import attempt_name

BEGUN_AT = 1.8e9
CLASSES = ("car", "person", "rider", "truck", "bus", "train", "sign", "light", "bicycle", "motorcycle")
ERRORS = ("out of memory on the device", "the loss is not finite at step 12", "out of memory on the device")
VERSIONS = {"python": "3.11.7", "spnas": "0.1.0", "torch": "2.14.1", "code": "0123abcd"}


def luck(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but the parts, and hangs together with no other's."""
    return random.Random(repr(tuple(map(str, parts)))).random()


def search_config(acceptance: str = "paper", seed: int = 0, **changes: Any) -> RunConfig:
    """A search by morphs of two rounds and subnets, on a fleet of eight GPUs."""
    serial: dict[str, Any] = {
        "acceptance": acceptance,
        "n_stuck": 24,
        "num_rounds": 2,
        "in_flight": 8,
        "max_candidates": 150,
    }
    serial["max_gflops"] = 45
    values: dict[str, Any] = {
        "seed": seed,
        "objective": {"metric": "AP"},
        "start": {"architecture": "BNB(111,d11,d111,d11)", "training": {}},
        "serial": serial,
        "parallel": {"n_stuck": 16, "in_flight": 8, "max_candidates": 60, "max_gflops": 70},
        "final": {"epochs": 24},
        "data": {"format": "shapes", "image_size": 512},
        "reignition": {"data": {"format": "shapes"}},
        "fleet": {"num_workers": 8, "gpus_per_worker": 1},
    }
    return parse_config(values | changes, "made up")


def long_config(num_candidates: int, seed: int = 0) -> RunConfig:
    """A steady search whose rounds have so many candidates."""
    serial: dict[str, Any] = {"num_morphs": 8, "n_stuck": 10**6, "num_rounds": 1, "in_flight": 32, "max_blocks": 200}
    serial["max_candidates"] = num_candidates
    return search_config(seed=seed, serial=serial, parallel=None, final=None)


def multi_scale_config(seed: int = 0, **changes: Any) -> RunConfig:
    """A search of a super-net's paths, of six generations."""
    values: dict[str, Any] = {
        "algorithm": "msnas",
        "seed": seed,
        "objective": {"metric": "AP"},
        "start": {"architecture": "MS(BB,64;1,1,2,1,2,1,2,1,2,0.5,0.5,0.5,1,0.5,1;4,8,16,32,64)"},
        "evolution": {"population": 16, "generations": 6, "num_children": 12, "num_random": 4, "top_k": 3},
        "final": {"epochs": 24},
        "data": {"format": "shapes", "image_size": 512},
        "fleet": {"num_workers": 8, "gpus_per_worker": 1},
    }
    return parse_config(values | changes, "made up")


@dataclass
class MadeUpRun:
    """Drives a search as the driver does, on workers that only wait.

    Attributes:
        config: the search's.
        failures: the share of candidates that fail.
        losses: the share of attempts that are lost with their worker.
        records: of the driver that is at work.
        now: the clock.
    """

    config: RunConfig
    failures: float = 0.03
    losses: float = 0.02
    records: list[Record] = field(default_factory=list)
    now: float = BEGUN_AT
    epoch: int = 1

    def __post_init__(self) -> None:
        self.algorithm = self.config.build_algorithm()
        self.state = self.algorithm.initial()
        self.done = False
        self._random = random.Random(self.config.seed)
        self._ends: dict[str, tuple[float, Job, int, bool]] = {}
        self._attempts: dict[int, int] = {}
        self._trained: dict[int, int] = {}
        self._finished: dict[int, Result] = {}

    def live(self, folder: RunFolder, num_told: int, reason: str | None = "stopped as asked") -> None:
        """One driver's life: until so many jobs are told in all, or the search is done.

        Args:
            folder: where its journal goes.
            num_told: of all lives.
            reason: why it ended; None if it was killed, or still runs.
        """
        journal = Journal(folder.storage)
        journal.read()
        journal.open_epoch(time=self.now, versions=VERSIONS, changed={})
        self.epoch = journal.epoch
        self._ends.clear()
        self.now += 60
        self._decide()
        while not self.done and len(self.state.population) < num_told:
            self._send_off()
            self._next_end()
            while (index := min(self.state.pending, default=-1)) in self._finished:
                self._tell(self._finished.pop(index))
        if self.done or reason is not None:
            text = "the search is complete" if self.done else reason
            self.records.append({"type": "ended", "time": self.now, "reason": text})
        else:
            self._send_off()
        journal.append(self.records)
        self.records.clear()
        journal.close()
        self.now += 600

    def _decide(self) -> None:
        while isinstance(decision := self.algorithm.decide(self.state), Job):
            self.records.append(decided_record(decision, self.now))
        self.done = not self.state.pending

    def _send_off(self) -> None:
        at_work = {job.index for _, job, _, _ in self._ends.values()}
        waiting = [
            job for index, job in sorted(self.state.pending.items()) if index not in at_work | self._finished.keys()
        ]
        idle = [name for name in self._workers() if name not in self._ends]
        for worker, job in zip(idle, waiting, strict=False):
            attempt = self._attempts.get(job.index, 0)
            self._attempts[job.index] = attempt + 1
            self.records.append(dispatched_record(job.index, attempt, self.epoch, [worker], self.now))
            seconds = self._seconds(job)
            is_lost = self._random.random() < self.losses
            self._ends[worker] = (self.now + seconds * (self._random.random() if is_lost else 1), job, attempt, is_lost)

    def _next_end(self) -> None:
        worker = min(self._ends, key=lambda name: (self._ends[name][0], name))
        end, job, attempt, is_lost = self._ends.pop(worker)
        if is_lost:
            self.now = max(self.now, end + 30)
            return
        self.now = max(self.now, end + 1)
        seconds = self._seconds(job)
        failed = (
            not job.barrier
            and job.role == "candidate"
            and luck("failed", job.index, job.spec.architecture) < self.failures
        )
        self._finished[job.index] = Result(
            index=job.index,
            attempt=attempt,
            epoch=self.epoch,
            name=attempt_name(job.index, attempt, self.epoch),
            status="failed" if failed else "completed",
            worker=worker,
            started_at=end - seconds,
            finished_at=end,
            seconds=seconds,
            metrics={} if failed else self._metrics(job),
            error=ERRORS[job.index % len(ERRORS)] if failed else "",
            peak_memory_bytes=4 * 10**9 + job.index,
        )

    def _tell(self, result: Result) -> None:
        job = self.state.pending[result.index]
        score = result.metrics.get(self.config.objective.metric) if job.has_score else None
        outcome = Outcome(
            index=result.index, status=result.status, score=score, metrics=result.metrics, error=result.error
        )
        assert self.algorithm.objection(self.state, outcome) is None
        self.algorithm.tell(self.state, outcome)
        self.records.append(told_record(outcome, result, self.state, self.now))
        self._decide()

    def _workers(self) -> Sequence[str]:
        return [f"worker-{number}" for number in range(self.config.fleet.num_workers)]

    def _seconds(self, job: Job) -> float:
        gflops = network_cost(job.spec, *self.config.image_size).macs / 1e9
        long = {"final": 8.0, "supernet": 10.0, "pretrain": 4.0, "start": 2.0}
        return long.get(job.role, 1.0) * (120 + 30 * gflops) * (0.95 + 0.1 * luck("seconds", job.index))

    def _metrics(self, job: Job) -> dict[str, float]:
        """Networks are better up to some size, with more on the middle stages, and the longer they are trained."""
        if not job.has_score:
            return {"top1": 0.6 + 0.05 * luck("top1", job.index)} if job.kind == "pretrain" else {}
        trained = self._trained[job.index] = 1 + (0 if job.parent is None else self._trained.get(job.parent, 0))
        parts = network_parts(job.spec, *self.config.image_size)
        macs = [part.serial.macs + part.parallel.macs for part in parts]
        middle = sum(macs[2:4]) / sum(macs)
        gflops = sum(macs) / 1e9
        depth = 1 - math.exp(-gflops / 20) - gflops / 60 - job.spec.architecture.num_blocks / 150
        score = 0.28 + 0.12 * depth + 0.08 * middle + 0.05 * (1 - math.exp(-trained / 12))
        score += 0.02 * (luck(*job.seed, job.spec.architecture) - 0.5) + (0.04 if job.role == "final" else 0)
        classes = {f"AP/{name}": score * (0.7 + 0.6 * luck("class", name)) for name in CLASSES}
        return {"AP": score, "AP50": min(1.0, 1.55 * score), "AP75": score * 1.05, **classes}


def made_up_run(
    path: str | Path, config: RunConfig, lives: Sequence[int] = (10**9,), *, killed: bool = False, losses: float = 0.02
) -> RunFolder:
    """Write a run's config and journal.

    Args:
        path: its folder.
        config: the search's.
        lives: jobs told when each of its drivers ends.
        killed: whether the last of them has left no word.
        losses: the share of attempts that are lost with their worker.
    """
    folder = RunFolder(open_storage(path))
    folder.write_config(config.to_yaml())
    run = MadeUpRun(config, losses=losses)
    for number, num_told in enumerate(lives, start=1):
        if run.done:
            break
        run.live(folder, num_told, None if killed and number == len(lives) else "stopped as asked")
    return folder


def main() -> None:
    """Write one run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kind", choices=("paper", "paired", "msnas", "long"), default="paper")
    parser.add_argument(
        "--jobs", type=int, default=10_000, help="of a long run: its candidates; of others: told at most"
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.kind == "msnas":
        config = multi_scale_config(asked.seed)
    elif asked.kind == "long":
        config = long_config(asked.jobs, asked.seed)
    else:
        config = search_config(asked.kind, asked.seed)
    made_up_run(asked.folder, config, (asked.jobs // 3, asked.jobs + 1))


if __name__ == "__main__":
    main()
