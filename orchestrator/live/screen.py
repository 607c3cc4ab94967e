"""A run on a terminal, in place and calm, or in a log as plain lines.

Invariants:
- What is drawn fits the terminal, whatever its size; after a change of size nothing stale stays on it.
- Where nothing can be drawn in place (a file, a pipe, ``TERM=dumb``) there is not one control character.
"""

import textwrap
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.table import Table
from rich.text import Text

from orchestrator.live.snapshot import Snapshot, WorkerLine
from orchestrator.live.wording import duration, percent, place

DRAW_EVERY_S = 1.0
PLAIN_EVERY_S = 60.0
PLAIN_RARELY_S = 600.0
PLAIN_OFTEN = 10
"""So many reports come every minute, later ones every ten."""

PLAIN_WORKERS = 4
MOST_SAID = 200
GAP = 2
"""Columns between two of a table's."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the workers' table.

    Attributes:
        name: its heading.
        least: its width at least, so that it stays where it is whatever the cells hold.
        rank: where there is no room, columns of the lowest rank are left out first.
        cell: what it says of a worker.
        is_number: whether that is one.
    """

    name: str
    least: int
    rank: int
    cell: Callable[[WorkerLine], str]
    is_number: bool = False


NETWORK = _Column("network", 20, 0, lambda worker: worker.architecture)


def make_view(console: Console) -> "TerminalView | LogView":
    """What fits where a command prints."""
    in_place = console.is_terminal and not console.is_dumb_terminal and console.file.isatty()
    return TerminalView(console) if in_place else LogView(console)


class TerminalView:
    """Lines that scroll by, and below them how the run stands."""

    def __init__(self, console: Console, every_s: float = DRAW_EVERY_S) -> None:
        """Draw on this terminal, at most so often."""
        self._console = console
        self._every_s = every_s
        self._due = 0.0
        self._live: Live | None = None
        self._size = console.size
        self._said: deque[str] = deque(maxlen=MOST_SAID)

    def say(self, text: str) -> None:
        """See `View`."""
        self._said.append(text)
        self._print(text)

    def show(self, snapshot: Snapshot, notice: str = "") -> None:
        """See `View`; a notice stands above all else."""
        has_changed = self._live is not None and self._console.size != self._size
        if time.monotonic() < self._due and not has_changed:
            return
        self._due = time.monotonic() + self._every_s
        size = self._console.size
        drawn = picture(snapshot, size.width, size.height - 1, notice)
        if has_changed:
            self._wipe(len(self._console.render_lines(drawn)))
        if self._live is None:
            self._live = Live(drawn, console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        self._size = size
        self._live.update(drawn, refresh=True)

    def close(self, leave: bool = False) -> None:
        """Take the picture away, or leave its last state; the lines stay."""
        if self._live is not None:
            self._live.transient = not leave
            self._live.stop()
            self._live = None

    def _print(self, text: str) -> None:
        for line in _folded(text, self._console.width):
            self._console.print(Text(line), soft_wrap=True)

    def _wipe(self, num_drawn: int) -> None:
        """Clear the terminal, where lines have been wrapped anew nobody knows how, and say the last ones again."""
        self.close()
        self._console.control(Control(ControlType.CLEAR, ControlType.HOME))
        width, height = self._console.size
        lines = [line for text in self._said for line in _folded(text, width)]
        for line in lines[len(lines) - min(len(lines), max(0, height - num_drawn - 1)) :]:
            self._console.print(Text(line), soft_wrap=True)


class LogView:
    """Plain lines, the fewer the longer a run goes on."""

    def __init__(self, console: Console, every_s: float = PLAIN_EVERY_S, rarely_s: float = PLAIN_RARELY_S) -> None:
        """Print reports of how the run stands at this pace, after some of them at the slower one."""
        self._console = console
        self._every_s = every_s
        self._rarely_s = rarely_s
        self._num_reports = 0
        self._due = time.monotonic() + every_s
        self._notice = ""

    def say(self, text: str) -> None:
        """See `View`."""
        self._console.print(Text(text), soft_wrap=True)

    def show(self, snapshot: Snapshot, notice: str = "") -> None:
        """See `View`; a notice is printed once."""
        if notice != self._notice:
            self._notice = notice
            if notice:
                self.say(notice)
        if time.monotonic() < self._due:
            return
        self._num_reports += 1
        self._due = time.monotonic() + (self._every_s if self._num_reports < PLAIN_OFTEN else self._rarely_s)
        for line in report(snapshot):
            self.say(line)

    def close(self, leave: bool = False) -> None:
        """See `View`; what is printed stays."""


def _folded(text: str, width: int) -> list[str]:
    """A line in pieces that fit, cut between words; an encoding is one word."""
    return textwrap.wrap(text, max(width, 20), subsequent_indent="    ", break_on_hyphens=False) or [""]


def report(snapshot: Snapshot) -> list[str]:
    """How a run stands as a few plain lines, however many workers it has."""
    best = f", best {snapshot.metric} {percent(snapshot.best.score)}" if snapshot.best else ""
    lines = [f"  {_where(snapshot)}; {_counts(snapshot)}{best}"]
    busy = [worker for worker in snapshot.workers if worker.job is not None]
    for worker in busy[:PLAIN_WORKERS]:
        lines.append(f"    {worker.name}: #{worker.job} {worker.role} {_doing(worker)}")
    if len(busy) > PLAIN_WORKERS:
        lines.append(f"    and {len(busy) - PLAIN_WORKERS} more at work, {len(snapshot.workers) - len(busy)} idle")
    return lines


def picture(snapshot: Snapshot, width: int, height: int, notice: str = "") -> RenderableType:
    """How a run stands, in at most so many columns and lines."""
    parts: list[RenderableType] = [_line(""), _line(_where(snapshot), "bold")]
    if notice:
        parts.insert(1, _line(notice, "bold red"))
    facts = _facts(snapshot)
    room = height - len(parts)
    parts.append(_fact_table(facts[: max(0, room)], width))
    room -= len(facts) + 1
    if snapshot.workers and room >= 3:
        parts += [_line(""), *_worker_parts(snapshot.workers, width, room)]
    return Group(*parts[: max(1, height)])


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _where(snapshot: Snapshot) -> str:
    where = place(snapshot.phase, snapshot.round)
    if snapshot.num_rounds is not None and snapshot.round:
        where += f" of {snapshot.num_rounds}"
    if snapshot.elapsed_s is not None:
        where += f", up {duration(snapshot.elapsed_s)}"
    return f"{where}: {snapshot.title}"  # a title may be cut off


def _counts(snapshot: Snapshot) -> str:
    told = f"{snapshot.num_candidates} candidates told" if snapshot.round else f"{snapshot.num_told} jobs finished"
    parts = [told]
    if snapshot.num_failed:
        parts.append(f"{snapshot.num_failed} failed")
    parts.append(f"{snapshot.num_pending} pending")
    if snapshot.n_stuck is not None:
        parts.append(f"stuck {snapshot.counter} of {snapshot.n_stuck}")
    return ", ".join(parts)


def _facts(snapshot: Snapshot) -> list[tuple[str, str, str]]:
    """(name, value, style) by importance."""
    facts = []
    if best := snapshot.best:
        gain = ""
        if snapshot.start is not None and snapshot.start.index != best.index:
            gain = f", {100 * (best.score - snapshot.start.score):+.2f} against the start"
        facts.append(("best", f"{snapshot.metric} {percent(best.score)}{gain}, job {best.index}", "green"))
        facts.append(("", f"{best.architecture}  {best.gflops:.4g} GFLOPs", ""))
    facts.append(("jobs", _counts(snapshot), ""))
    if snapshot.limits:
        used = ", ".join(f"{round(limit.used, 2):g} of {limit.most:g} {limit.what}" for limit in snapshot.limits)
        facts.append(("budget", used, ""))
    left = []
    if snapshot.budget_left_s is not None:
        left.append(f"about {duration(snapshot.budget_left_s)} until {snapshot.budget_left_of}")
    if snapshot.round_left_s is not None:
        where = place(snapshot.phase, snapshot.round)
        left.append(f"about {duration(snapshot.round_left_s)} until {where} ends, unless something better comes")
    facts += [("left" if number == 0 else "", text, "") for number, text in enumerate(left)]
    return facts


def _fact_table(facts: Sequence[tuple[str, str, str]], width: int) -> Table:
    table = Table.grid(padding=(0, GAP))
    table.add_column(style="dim", no_wrap=True, width=6)
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(1, width - 6 - GAP))
    for name, value, style in facts:
        table.add_row(name, Text(value, style=style))
    return table


def _worker_parts(workers: Sequence[WorkerLine], width: int, height: int) -> list[RenderableType]:
    """The workers in at most so many lines, those at work first where not all fit."""
    shown = list(workers)
    if len(shown) > height - 1:
        shown = sorted(shown, key=lambda worker: worker.job is None)[: height - 2]
    table = Table.grid(padding=(0, GAP))
    columns = _fitting(workers, width)
    for column, least in columns.items():
        justify: JustifyMethod = "right" if column.is_number else "left"
        table.add_column(no_wrap=True, overflow="ellipsis", justify=justify, width=least)
    table.add_row(*(Text(column.name, style="dim") for column in columns))
    for worker in shown:
        style = "" if worker.job is not None else "dim"
        table.add_row(*(Text(column.cell(worker), style=style) for column in columns))
    parts: list[RenderableType] = [table]
    if (num_hidden := len(workers) - len(shown)) > 0:
        num_idle = sum(worker.job is None for worker in workers)
        parts.append(_line(f"and {num_hidden} more; {len(workers) - num_idle} at work, {num_idle} idle", "dim"))
    return parts


def _fitting(workers: Sequence[WorkerLine], width: int) -> dict[_Column, int]:
    """The columns that there is room for, with their widths."""
    wanted = {column: _width(column, workers) for column in _columns(workers)}
    while sum(wanted.values()) + GAP * (len(wanted) - 1) > width and len(wanted) > 1:
        del wanted[min(wanted, key=lambda column: column.rank)]
    room = width - sum(wanted.values()) - GAP * len(wanted)
    if room >= NETWORK.least:
        wanted[NETWORK] = min(room, _width(NETWORK, workers))
    return wanted


def _width(column: _Column, workers: Sequence[WorkerLine]) -> int:
    return max(column.least, *(cell_len(column.cell(worker)) for worker in workers))


def _columns(workers: Sequence[WorkerLine]) -> list[_Column]:
    """Those that are wanted; the network comes last, if there is room."""
    columns = [
        _Column("worker", 8, 9, lambda worker: worker.name),
        _Column("job", 14, 8, lambda worker: "idle" if worker.job is None else f"#{worker.job} {worker.role}"),
        _Column("epoch", 13, 7, _epoch),
        _Column("step", 9, 4, _step, is_number=True),
        _Column("loss", 6, 5, lambda worker: "" if worker.loss is None else f"{worker.loss:.3f}", is_number=True),
        _Column("images/s", 8, 3, lambda worker: _rate(worker.images_per_second), is_number=True),
        _Column("left", 8, 6, lambda worker: "" if worker.seconds_left is None else duration(worker.seconds_left)),
    ]
    if any(worker.top1 is not None for worker in workers):
        columns.insert(5, _Column("top-1", 5, 2, lambda worker: percent(worker.top1), is_number=True))
    return columns


def _step(worker: WorkerLine) -> str:
    return _of(worker.step, worker.num_steps) if worker.phase == "training" else ""


def _epoch(worker: WorkerLine) -> str:
    if worker.phase == "training":
        return _of(worker.epoch, worker.num_epochs)
    return worker.phase


def _of(value: int | None, most: int | None) -> str:
    return "" if value is None else f"{value}/{most}"


def _rate(per_second: float | None) -> str:
    if not per_second:
        return ""
    return f"{per_second:.0f}" if per_second >= 10 else f"{per_second:.1f}"


def _doing(worker: WorkerLine) -> str:
    """What a worker does, in words."""
    if worker.phase != "training":
        speed = f"  {_rate(worker.images_per_second)} images/s" if worker.images_per_second else ""
        return worker.phase + speed
    parts = [f"epoch {_of(worker.epoch, worker.num_epochs)}"]
    if worker.loss is not None:
        parts.append(f"loss {worker.loss:.3f}")
    parts.append(f"{100 * (worker.step or 0) / max(1, worker.num_steps or 0):.0f} %")
    if worker.images_per_second:
        parts.append(f"{_rate(worker.images_per_second)} images/s")
    if worker.top1 is not None:
        parts.append(f"top-1 {percent(worker.top1)}")
    if worker.seconds_left is not None:
        parts.append(f"{duration(worker.seconds_left)} left")
    return "  ".join(parts)
