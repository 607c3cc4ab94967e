"""What it costs that outcomes are told in order, where jobs take differently long: the real driver in virtual time.

The perfect scheduler is a bound that none can beat: all workers busy to the very end, or the longest job alone.
"""

from random import Random

from experiments.benchmarks.turns import Finding, spread
from orchestrator.simulation.makespan import makespan

NUM_WORKERS = (2, 4, 8, 16, 32, 64, 128, 256)
JOBS_PER_WORKER = 60
SLOWEST = 4.0
"""Times as long as the quickest job."""

IN_FLIGHT_PER_WORKER = 4
SEEDS = 3


def bench_schedule() -> list[Finding]:
    """Percent of what a perfect scheduler reaches, by the number of workers."""
    return [
        Finding(
            f"perfect scheduler's time / ours, {num_workers} workers, jobs of 1 to {SLOWEST:g} s",
            spread([100 * reached(num_workers, seed) for seed in range(SEEDS)], " %", digits=1),
            "at least 97 %",
        )
        for num_workers in NUM_WORKERS
    ]


def reached(num_workers: int, seed: int) -> float:
    """The perfect scheduler's time over ours, for jobs drawn from a seed."""
    rng = Random(seed)
    durations = [rng.uniform(1.0, SLOWEST) for _ in range(JOBS_PER_WORKER * num_workers)]
    perfect = max(sum(durations) / num_workers, max(durations))
    return perfect / makespan(durations, num_workers=num_workers, in_flight=IN_FLIGHT_PER_WORKER * num_workers)
