"""What a candidate costs beside its training: our driver, a bare `ActorPool`, and Ray Tune on jobs that do nothing.

Ours decides each candidate, makes every step durable and stores weights and results; the pool keeps nothing at all.
"""

import tempfile
from pathlib import Path

import ray

from experiments.benchmarks.stub_jobs import by_actor_pool, by_our_driver, by_tune, seconds_per_job, stub_config
from experiments.benchmarks.turns import Finding, by_turns, ratios, spread
from orchestrator.fleet import connect

NUM_WORKERS = 2
NUM_JOBS = 200
NUM_TRIALS = 50
"""Of Tune, whose trials take so long."""

REPEATS = 3


def bench_overhead() -> list[Finding]:
    """Milliseconds per job, and how many times less than Tune's."""
    with tempfile.TemporaryDirectory() as scratch:
        folder, count = Path(scratch), iter(range(1000))
        connect(stub_config(NUM_JOBS, 0, NUM_WORKERS).fleet)
        try:
            figures = by_turns(
                {
                    "ours": lambda: seconds_per_job(by_our_driver(folder / f"{next(count)}", NUM_JOBS, 0, NUM_WORKERS)),
                    "pool": lambda: seconds_per_job(by_actor_pool(NUM_JOBS, 0, NUM_WORKERS)),
                    "tune": lambda: seconds_per_job(
                        by_tune(folder / f"{next(count)}", NUM_TRIALS, 0, reuse_actors=True)
                    ),
                },
                REPEATS,
                warm_up=0,
            )
        finally:
            ray.shutdown()
    more = [1e3 * (ours - pool) for ours, pool in zip(figures["ours"], figures["pool"], strict=True)]
    return [
        Finding("a candidate over an ActorPool's job", spread(more, " ms"), "at most 5 ms"),
        Finding(
            "Ray Tune's trial (reuse_actors) / a candidate",
            spread(ratios(figures["tune"], figures["ours"]), digits=1),
            "at least 15",
        ),
        *(
            Finding(f"a job, {name}", spread([1e3 * each for each in values], " ms"))
            for name, values in figures.items()
        ),
    ]
