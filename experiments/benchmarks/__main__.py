"""Run benchmarks by name and print a table: ``python -m experiments.benchmarks [NAME...]``; without a name, all."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.turns import Finding
from orchestrator.errors import UserError

LONG_RUN_CANDIDATES = 10_000
LARGE_FLEET_CANDIDATES = 100_000


def _overhead(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.overhead import bench_overhead

    return bench_overhead()


def _busy(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.busy import bench_busy

    return bench_busy()


def _proposals(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.proposals import bench_proposals

    return bench_proposals()


def _weights(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.weights import bench_weights

    return bench_weights()


def _training(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.training import bench_training

    return bench_training()


def _start_up(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.start_up import bench_start_up

    return bench_start_up()


def _memory(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.memory import bench_memory

    return bench_memory()


def _loading(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.loading import bench_loading

    return bench_loading(asked.data, asked.loaders)


def _schedule(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.schedule import bench_schedule

    return bench_schedule()


def _large_fleet(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.large_fleet import bench_large_fleet

    return bench_large_fleet(asked.nodes, asked.candidates or LARGE_FLEET_CANDIDATES)


def _long_run(asked: argparse.Namespace) -> list[Finding]:
    from experiments.benchmarks.long_run import bench_long_run

    return bench_long_run(asked.candidates or LONG_RUN_CANDIDATES)


# Each is imported when it is its turn: torch and Ray are not for all, and threads of one would disturb another.
BENCHMARKS: dict[str, Callable[[argparse.Namespace], list[Finding]]] = {
    "overhead": _overhead,
    "busy": _busy,
    "schedule": _schedule,
    "proposals": _proposals,
    "weights": _weights,
    "training": _training,
    "start-up": _start_up,
    "memory": _memory,
    "loading": _loading,
    "long-run": _long_run,
    "large-fleet": _large_fleet,
}


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description="Ratios measured in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; without, all")
    parser.add_argument("--data", type=Path, help="loading: a folder with JPEG files; without, some are made")
    parser.add_argument(
        "--loaders", type=int, default=len(os.sched_getaffinity(0)), help="loading: how many; one per CPU"
    )
    parser.add_argument("--candidates", type=int, help="long-run, large-fleet: how many")
    parser.add_argument("--nodes", type=int, default=1000, help="large-fleet: how many")
    asked = parser.parse_args()
    for name in asked.names:
        if name not in BENCHMARKS:
            parser.error(f"NAME: {name!r} is none of {', '.join(BENCHMARKS)}")
    if asked.loaders < 1:
        parser.error(f"--loaders: {asked.loaders} can't be compared with a DataLoader's workers; give 1 or more")
    if asked.nodes < 1:
        parser.error(f"--nodes: {asked.nodes} can train nothing; give 1 or more")
    if asked.candidates is not None and asked.candidates < 100:
        parser.error(f"--candidates: {asked.candidates} are too few to compare halves of a run; give 100 or more")
    console = Console(width=None)
    for name in asked.names or BENCHMARKS:
        table = Table("what", "measured", "asked for", title=name)
        try:
            findings = BENCHMARKS[name](asked)
        except UserError as error:
            parser.error(str(error))
        for finding in findings:
            table.add_row(finding.what, finding.measured, finding.asked)
        console.print(table)


if __name__ == "__main__":
    main()
