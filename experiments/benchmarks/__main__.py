"""Run benchmarks by name and print a table: ``python -m experiments.benchmarks [NAME...]``; without a name, all."""

import argparse
import os
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.benchmarks.turns import Finding
from orchestrator.errors import UserError

# Each is imported when it is its turn: torch and Ray are not for all, and threads of one would disturb another.
BENCHMARKS: dict[str, tuple[str, ...]] = {
    "overhead": (),
    "busy": (),
    "schedule": (),
    "proposals": (),
    "weights": (),
    "training": (),
    "start-up": (),
    "memory": (),
    "loading": ("data", "loaders"),
    "long-run": ("candidates",),
    "large-fleet": ("nodes", "candidates"),
}
"""The options of each, which `bench_...` of the module of its name takes in this order, as far as they are given."""


def measure(name: str, asked: argparse.Namespace) -> list[Finding]:
    """Run one of them.

    Raises:
        UserError: if something that was asked for is not there.
    """
    module = name.replace("-", "_")
    bench = getattr(import_module(f"experiments.benchmarks.{module}"), f"bench_{module}")
    options = {option: value for option in BENCHMARKS[name] if (value := getattr(asked, option)) is not None}
    findings: list[Finding] = bench(**options)
    return findings


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description="Ratios measured in one run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; without, all")
    parser.add_argument("--data", type=Path, help="loading: a folder with JPEG files; without, some are made")
    parser.add_argument(
        "--loaders", type=int, default=len(os.sched_getaffinity(0)), help="loading: how many; one per CPU"
    )
    parser.add_argument("--candidates", type=int, help="long-run, large-fleet: how many")
    parser.add_argument("--nodes", type=int, help="large-fleet: how many")
    asked = parser.parse_args()
    for name in asked.names:
        if name not in BENCHMARKS:
            parser.error(f"NAME: {name!r} is none of {', '.join(BENCHMARKS)}")
    if asked.loaders < 1:
        parser.error(f"--loaders: {asked.loaders} can't be compared with a DataLoader's workers; give 1 or more")
    if asked.nodes is not None and asked.nodes < 1:
        parser.error(f"--nodes: {asked.nodes} can train nothing; give 1 or more")
    if asked.candidates is not None and asked.candidates < 100:
        parser.error(f"--candidates: {asked.candidates} are too few to compare halves of a run; give 100 or more")
    console = Console(width=None)
    for name in asked.names or BENCHMARKS:
        table = Table("what", "measured", "asked for", title=name)
        try:
            findings = measure(name, asked)
        except UserError as error:
            parser.error(str(error))
        for finding in findings:
            table.add_row(finding.what, finding.measured, finding.asked)
        console.print(table)


if __name__ == "__main__":
    main()
