"""Disturb searches in every way we know and check that nothing comes of it: ``make chaos``.

Exit code 1 if anything did.
"""

import os

# Ray reads these as it is imported; one thread each, as training is exact with a fixed number.
os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("RAY_ADDRESS", None)

import secrets
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from experiments.chaos.harness import Harness, Outcome
from experiments.chaos.report import as_markdown, as_table
from experiments.chaos.scenario import KINDS, chosen, draw

NUM_LINES = 12


def chaos(
    seed: Annotated[int | None, typer.Option(help="The same seed, the same scenarios; null draws one.")] = None,
    scenarios: Annotated[int, typer.Option(min=0, help="How many, with stub training.")] = 200,
    real: Annotated[int, typer.Option(min=0, help="How many beside them with real training.")] = 10,
    only: Annotated[str, typer.Option(help="Those whose kind has these words in it.")] = "",
    number: Annotated[int | None, typer.Option(help="The one with this number.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="A file for the table.")] = None,
) -> None:
    """Run the scenarios of a seed and print what came of them."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    console = Console(highlight=False, markup=False, soft_wrap=True, width=None if sys.stdout.isatty() else 140)
    command = f"python -m experiments.chaos --seed {seed} --scenarios {scenarios} --real {real}"
    console.print(command + (f" --only {shlex.quote(only)}" if only else ""))
    picked = [
        (index, kind, search)
        for index, kind, search in chosen(scenarios, real)
        if only in kind and number in (None, index)
    ]
    if not picked:
        console.print(f"no scenario is picked; the kinds are {', '.join(KINDS)}")
        sys.exit(2)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="spnas-chaos-", ignore_cleanup_errors=True) as scratch:
        harness = Harness(Path(scratch))
        try:
            for index, kind, search in picked:
                scenario = draw(seed, index, kind, search, harness.shape(search))
                outcome = harness.run(scenario)
                outcomes.append(outcome)
                state = "FAILED" if outcome.failed else "ok"
                console.print(f"{index:4d} {state} {outcome.seconds:5.1f} s  {kind} ({search}): {scenario.moment}")
                if outcome.failed:
                    for line in outcome.findings.all():
                        console.print(f"       {line}")
                    console.print(f"       alone: {command} --number {index}")
                    console.print("".join(f"       | {line}\n" for line in outcome.printed.splitlines()[-NUM_LINES:]))
        finally:
            harness.close()
    console.print(as_table(outcomes))
    if markdown is not None:
        markdown.write_text(as_markdown(outcomes, f"{datetime.now(UTC):%Y-%m-%d}", command))
    sys.exit(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    typer.run(chaos)
