"""The table of what was tried and what came of it.

Invariant: a scenario counts as disturbed in nothing only where no check said anything.
"""

from collections.abc import Sequence

from rich.table import Table

from experiments.chaos.harness import Outcome

COLUMNS = ("fault", "scenarios", "same history", "jobs repeated", "jobs lost", "left over", "longest")


def as_table(outcomes: Sequence[Outcome]) -> Table:
    """For a terminal."""
    table = Table(*COLUMNS)
    for row in _rows(outcomes):
        table.add_row(*row)
    return table


def as_markdown(outcomes: Sequence[Outcome], date: str, command: str) -> str:
    """For the docs, with its date and command."""
    lines = [f"`{command}`, {date}:", "", "| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(outcomes)]
    return "\n".join(lines) + "\n"


def _rows(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    titles = [_title(outcome) for outcome in outcomes]
    kinds = list(dict.fromkeys(sorted(titles, key=lambda title: title.startswith("real"))))
    rows = [_row(kind, [outcome for outcome in outcomes if _title(outcome) == kind]) for kind in kinds]
    return [*rows, _row("all", outcomes)]


def _title(outcome: Outcome) -> str:
    kind = outcome.scenario.kind
    return f"real training: {kind}" if outcome.scenario.search == "real" else kind


def _row(title: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    found = [outcome.findings for outcome in outcomes]
    return (
        title,
        str(len(outcomes)),
        str(sum(not (findings.history or findings.other) for findings in found)),
        str(sum(len(findings.repeated) for findings in found)),
        str(sum(len(findings.lost) for findings in found)),
        str(sum(len(findings.left_over) for findings in found)),
        f"{max(outcome.seconds for outcome in outcomes):.1f} s",
    )
