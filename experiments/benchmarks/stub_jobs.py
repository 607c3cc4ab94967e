"""The same jobs, which only wait, on the same workers three ways: our driver, Ray's `ActorPool`, and Ray Tune.

Invariant: each way does `work` as often, on as many workers with one CPU each, in the Ray that is up; when a job began
and ended is noted in the process that did it, so neither starting workers nor ending them counts.
"""

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from ray import tune
from ray.util import ActorPool

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.driver import Driver
from orchestrator.live.telling import Teller
from orchestrator.runs import open_run
from workers.rank import Session
from workers.storage import LocalFolder
from workers.task import NodeSettings, Task, TrainingResult

TRAINER = "experiments.benchmarks.stub_jobs:Waiting"
START_SCORE = 1.0
"""Which no candidate beats."""


@dataclass(frozen=True, slots=True)
class Interval:
    """When a job began and ended, in seconds since 1970."""

    began: float
    ended: float


def work(seconds: float) -> Interval:
    """Do one job."""
    began = time.time()
    if seconds:
        time.sleep(seconds)
    return Interval(began, time.time())


class Waiting:
    """A `workers.rank.Trainer` whose training is `work`, of as many seconds as the recipe's warm-up has steps."""

    def __init__(self, settings: NodeSettings) -> None:
        """Nothing is kept."""

    def train(self, task: Task, session: Session) -> TrainingResult:
        """Wait; of all only the start has a score."""
        done = work(task.training.warmup_steps if task.index else 0.0)
        score = START_SCORE if task.index == 0 else 0.0
        weights = f"{done.began} {done.ended}".encode()
        return TrainingResult(metrics={"AP50": score}, weights=weights, peak_memory_bytes=0)


def stub_config(num_jobs: int, seconds: int, num_workers: int) -> RunConfig:
    """A steady search of as many candidates whose trainings wait."""
    return parse_config(
        {
            "objective": {"metric": "AP50"},
            "start": {"architecture": "BNB(111,d111,d11111,d11)", "training": {}},
            "serial": {
                "acceptance": "paper",
                "n_stuck": 1_000_000,
                "num_morphs": 8,  # the default's three reach only some 400 encodings of this start
                "num_rounds": 1,
                "reignite": False,
                "in_flight": 4 * num_workers,
            },
            "parallel": None,
            "final": None,
            "budget": {"max_candidates": num_jobs},
            "data": {"format": "shapes"},
            "training": {"epochs": 1, "warmup_steps": seconds},
            "fleet": {"num_workers": num_workers},
        },
        "stub jobs",
    )


def by_our_driver(folder: Path, num_jobs: int, seconds: int, num_workers: int) -> list[Interval]:
    """A whole search: decided, journaled, weights and results stored."""
    config = stub_config(num_jobs, seconds, num_workers)
    run, _ = open_run(config, LocalFolder(folder))
    Driver(config, run, Teller(config), trainer=TRAINER).run()
    trials = pd.read_parquet(folder / "trials.parquet")
    candidates = trials[(trials["role"] == "candidate") & (trials["status"] == "completed")]
    ended = candidates["finished_at"].astype("int64") / 1e6
    return [Interval(end - spent, end) for end, spent in zip(ended, candidates["seconds"], strict=True)]


class _Worker:
    def work(self, seconds: float) -> Interval:
        return work(seconds)


def by_actor_pool(num_jobs: int, seconds: int, num_workers: int) -> list[Interval]:
    """Ray's own pool of actors, which keeps nothing."""
    worker_type: Any = ray.remote(num_cpus=1)(_Worker)
    workers = [worker_type.remote() for _ in range(num_workers)]
    ray.get([worker.work.remote(0) for worker in workers])
    pool: Any = ActorPool(workers)
    done = list(pool.map_unordered(lambda worker, wait: worker.work.remote(wait), [seconds] * num_jobs))
    for worker in workers:
        ray.kill(worker)
    return done


class _Trial(tune.Trainable):
    def setup(self, config: dict[str, Any]) -> None:
        self._seconds = config["seconds"]

    def step(self) -> dict[str, Any]:
        done = work(self._seconds)
        return {"began": done.began, "ended": done.ended, "done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._seconds = new_config["seconds"]
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing is worth keeping."""

    def load_checkpoint(self, checkpoint: object) -> None:
        """Nothing was kept."""


def by_tune(folder: Path, num_jobs: int, seconds: int, *, reuse_actors: bool) -> list[Interval]:
    """Trials of Ray Tune, as quiet as it can be told to be."""
    logging.getLogger("ray.tune").setLevel(logging.ERROR)
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the new output tells of every experiment, however quiet it is to be
    tuner: Any = tune.Tuner(
        tune.with_resources(_Trial, {"cpu": 1}),
        param_space={"seconds": seconds, "number": tune.grid_search(list(range(num_jobs)))},
        tune_config=tune.TuneConfig(reuse_actors=reuse_actors),  # as many at a time as there are CPUs
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    return [Interval(result.metrics["began"], result.metrics["ended"]) for result in tuner.fit()]


def seconds_per_job(jobs: list[Interval]) -> float:
    """From the first job's beginning to the last one's end."""
    return (max(job.ended for job in jobs) - min(job.began for job in jobs)) / len(jobs)


def busy_share(jobs: list[Interval], num_workers: int) -> float:
    """The share of the workers' time, from the first job's beginning to the last one's end, that jobs took."""
    return sum(job.ended - job.began for job in jobs) / (num_workers * len(jobs) * seconds_per_job(jobs))
