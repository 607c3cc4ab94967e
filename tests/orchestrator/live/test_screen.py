"""What a person sees of a run that goes by."""

import io
import re

import pytest
from hypothesis import given
from hypothesis.strategies import integers
from rich.console import Console

from orchestrator.live.screen import LogView, TerminalView, make_view, picture, report
from tests.orchestrator.live.seen import LONG, idle, snapshot, worker
from tests.orchestrator.live.terminal import UNWANTED, Terminal

COLOR = re.compile(rb"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-7])[0-9;]*m")


def drawn(width: int, height: int, **changes: object) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    console.print(picture(snapshot(**changes), width, height))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in UNWANTED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    return Terminal(80, 24)


def view_on(terminal: Terminal) -> tuple[TerminalView, Console]:
    console = Console(file=terminal, width=80, height=24, highlight=False, markup=False)
    return TerminalView(console, every_s=0.0), console


def test_a_picture_tells_place_best_gain_counters_budget_time_left_and_every_job() -> None:
    text = "\n".join(drawn(80, 24))
    for expected in (
        "serial 1 of 2, up 1 h 6 min: search from BB(11,d1,d1,d1)",
        "AP 40.20, +4.20 against the start, job 17",
        "23 candidates told, 2 failed, 4 pending, stuck 5 of 20",
        "23 of 100 candidates, 3.21 of 10 GPU-hours",
        "about 2 h 10 min until budget.max_candidates",
        "about 25 min until serial 1 ends, unless something better comes",
    ):
        assert expected in text
    rows = [line.split() for line in drawn(80, 24) if line.startswith("worker-")]
    assert rows[0] == ["worker-0", "#40", "candidate", "2/3", "1234/3000", "0.512", "33", "12", "min"]
    assert rows[1] == ["worker-1", "#41", "candidate", "evaluating", "33"]
    assert rows[2] == ["worker-2", "idle"]


@given(width=integers(1, 200), height=integers(1, 60))
def test_a_picture_fits_every_terminal(width: int, height: int) -> None:
    workers = (*(worker(number) for number in range(7)), idle(7))
    lines = drawn(width, height, workers=workers)
    assert len(lines) <= height and all(len(line) <= width for line in lines)


def test_narrow_terminals_are_told_the_least_that_matters() -> None:
    assert "images/s" in drawn(80, 24)[9]
    assert drawn(60, 24)[9].split() == ["worker", "job", "epoch", "loss", "left"]
    assert drawn(30, 24)[9].split() == ["worker", "job"]


def test_wide_terminals_show_the_networks() -> None:
    assert LONG in drawn(200, 24)[10]
    assert "BNB(111" in drawn(110, 24)[10] and LONG not in drawn(110, 24)[10]


def test_of_many_workers_those_at_work_are_shown_and_the_others_counted() -> None:
    workers = (*(idle(number) for number in range(60)), *(worker(number) for number in range(60, 64)))
    lines = drawn(80, 24, workers=workers)
    assert [line.split()[0] for line in lines if line.startswith("worker-")][:4] == [
        "worker-60",
        "worker-61",
        "worker-62",
        "worker-63",
    ]
    assert lines[-1].endswith("4 at work, 60 idle")


def test_what_nobody_knows_is_left_out() -> None:
    text = "\n".join(
        drawn(80, 24, start=None, best=None, limits=(), budget_left_s=None, round_left_s=None, n_stuck=None, workers=())
    )
    assert "None" not in text and "nan" not in text and "left" not in text and "best" not in text


def test_lines_scroll_above_the_picture_and_nothing_stale_stays(terminal: Terminal) -> None:
    view, console = view_on(terminal)
    for number in range(40):
        view.say(f"line {number}")
        view.show(snapshot(num_pending=number))
    shown = terminal.picture.shown
    assert sum("pending" in line for line in shown) == 1 and "39 pending" in "\n".join(shown)
    assert [line for line in terminal.picture.scrolled if line.startswith("line ")] == [f"line {n}" for n in range(40)]
    view.close()
    assert not [line for line in terminal.picture.shown if line and not line.startswith("line ")]
    assert terminal.picture.raw.rfind(b"\x1b[?25h") > terminal.picture.raw.rfind(b"\x1b[?25l")  # the cursor is back


def test_after_a_change_of_size_there_is_one_picture_and_the_last_lines(terminal: Terminal) -> None:
    view, console = view_on(terminal)
    for number in range(20):
        view.say(f"line {number}")
    view.show(snapshot())
    for width, height in ((60, 20), (130, 30), (40, 12)):
        terminal.picture.resize(width, height)
        console.size = (width, height)  # type: ignore[assignment]
        view.show(snapshot())
        shown = terminal.picture.shown
        assert sum("up 1 h 6 min" in line for line in shown) == 1
        head = next(number for number, line in enumerate(shown) if "up 1 h" in line)
        assert shown.index("line 19") < head
    view.close()


def test_long_lines_are_cut_between_words_and_the_rest_is_indented(terminal: Terminal) -> None:
    view, console = view_on(terminal)
    view.say(f"serial 1  #4    candidate    AP 33.26   1062 s  stuck 0    {LONG[:70]}")
    assert terminal.picture.shown[1] == f"    {LONG[:70]}"


def test_a_notice_stands_out(terminal: Terminal) -> None:
    view, console = view_on(terminal)
    view.show(snapshot(), "no driver works on it")
    assert "no driver works on it" in terminal.picture.shown
    view.close()


def test_no_color_means_none(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    view, console = view_on(terminal)
    view.show(snapshot(), "a notice")
    view.close()
    assert "AP 40.20" in terminal.picture.raw.decode() and not COLOR.search(terminal.picture.raw)


def test_terminals_with_colors_get_some(terminal: Terminal) -> None:
    view, console = view_on(terminal)
    view.show(snapshot())
    view.close()
    assert terminal.picture.shown and COLOR.search(terminal.picture.raw)


@pytest.mark.parametrize("kind", ["dumb", "unknown"])
def test_a_terminal_that_can_not_draw_gets_plain_lines(
    kind: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", kind)
    console = Console(file=terminal, highlight=False, markup=False)
    view = make_view(console)
    assert isinstance(view, LogView)
    view.say("a new search")
    assert terminal.picture.shown[0] == "a new search" and b"\x1b" not in terminal.picture.raw


def test_a_file_gets_plain_lines_even_where_colors_are_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert isinstance(make_view(Console(file=io.StringIO())), LogView)


def test_a_log_tells_how_a_run_stands_in_a_few_lines_however_many_workers_there_are() -> None:
    lines = report(snapshot(workers=(*(worker(number) for number in range(30)), idle(30))))
    assert len(lines) == 6
    assert "stuck 5 of 20, best AP 40.20" in lines[0]
    assert lines[1] == "    worker-0: #40 candidate epoch 2/3  loss 0.512  41 %  33 images/s  12 min left"
    assert lines[-1] == "    and 26 more at work, 1 idle"


def test_a_log_is_told_at_a_pace_and_a_notice_once() -> None:
    out = io.StringIO()
    view = LogView(Console(file=out, width=160), every_s=0.0, rarely_s=3600.0)
    for _ in range(50):
        view.show(snapshot(workers=()), "a notice")
    assert out.getvalue().count("serial 1 of 2") == 10 and out.getvalue().count("a notice") == 1
