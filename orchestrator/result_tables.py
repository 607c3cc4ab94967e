"""A job's metrics as tables: over all classes, and of each.

Invariant: every metric stands in one of the tables or in the line on speed; fractions are in percent, losses are not.
"""

from collections.abc import Iterator, Mapping

from rich import box
from rich.table import Table
from rich.text import Text

from models.wording import one_line
from workers.metric_names import IMAGES_PER_SECOND, LATENCY_MS, LOSS, MASKS, class_of, split_step

Cells = dict[str, dict[str, float]]
"""Values by row and column."""


def result_parts(metrics: Mapping[str, float]) -> Iterator[Table | str]:
    """What is shown of a job's metrics.

    Args:
        metrics: as a worker names them.
    """
    overall: Cells = {}
    classes: Cells = {}
    steps: Cells = {}
    for name, value in metrics.items():
        if name in (IMAGES_PER_SECOND, LATENCY_MS):
            continue
        class_name = class_of(name)
        if at_step := split_step(name):
            step, plain = at_step
            steps.setdefault(str(step), {})[plain] = value
        elif class_name is None:
            column = "masks %" if name.startswith(MASKS) else "%"
            overall.setdefault(name.removeprefix(MASKS), {})[column] = value
        else:
            classes.setdefault(class_name, {})[_without_class(name, class_name)] = value
    found = ((overall, "metric"), (classes, "class"), (steps, "step"))
    yield from (_table(cells, first) for cells, first in found if cells)
    if IMAGES_PER_SECOND in metrics:
        latency = f", {metrics[LATENCY_MS]:.1f} ms for the median image" if LATENCY_MS in metrics else ""
        yield f"{metrics[IMAGES_PER_SECOND]:.1f} images/s{latency}"


def _without_class(name: str, class_name: str) -> str:
    """``AP`` of ``AP/car``, ``LAMR/small`` of ``LAMR/rider/small``."""
    if name.endswith(f"/{class_name}"):
        return name.removesuffix(f"/{class_name}")
    before, _, subset = name.rpartition("/")
    return f"{before.removesuffix(f'/{class_name}')}/{subset}"


def _table(cells: Cells, first: str) -> Table:
    columns = list(dict.fromkeys(column for row in cells.values() for column in row))
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(Text(column), justify="right", overflow="fold")
    for name, row in cells.items():
        shown = (f"{(1 if column == LOSS else 100) * row[column]:.2f}" if column in row else "" for column in columns)
        table.add_row(Text(one_line(name)), *shown)
    return table
