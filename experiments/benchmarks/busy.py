"""How busy two workers are with jobs of one second: our driver, a bare `ActorPool`, and Ray Tune."""

import tempfile
from pathlib import Path

import ray

from experiments.benchmarks.stub_jobs import busy_share, by_actor_pool, by_our_driver, by_tune, stub_config
from experiments.benchmarks.turns import Finding, by_turns, spread
from orchestrator.fleet import connect

NUM_WORKERS = 2
NUM_JOBS = 20
JOB_S = 1
REPEATS = 3


def bench_busy() -> list[Finding]:
    """Percent of the workers' time."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, count = Path(scratch), iter(range(1000))
        connect(stub_config(NUM_JOBS, JOB_S, NUM_WORKERS).fleet)

        def tuned(reuse_actors: bool) -> float:
            jobs = by_tune(folder / f"{next(count)}", NUM_JOBS, JOB_S, reuse_actors=reuse_actors)
            return 100 * busy_share(jobs, NUM_WORKERS)

        try:
            figures = by_turns(
                {
                    "our driver": lambda: (
                        100
                        * busy_share(
                            by_our_driver(folder / f"{next(count)}", NUM_JOBS, JOB_S, NUM_WORKERS), NUM_WORKERS
                        )
                    ),
                    "ActorPool": lambda: 100 * busy_share(by_actor_pool(NUM_JOBS, JOB_S, NUM_WORKERS), NUM_WORKERS),
                    "Ray Tune, reuse_actors": lambda: tuned(True),
                    "Ray Tune": lambda: tuned(False),
                },
                REPEATS,
                warm_up=0,
            )
        finally:
            ray.shutdown()
    return [
        Finding(
            f"{NUM_WORKERS} workers busy with {NUM_JOBS} jobs of {JOB_S} s, {name}",
            spread(values, " %", digits=1),
            "at least 95 %" if name == "our driver" else "",
        )
        for name, values in figures.items()
    ]
