"""The benchmarks' own arithmetic and command line; what they measure is measured by them alone."""

import sys
from itertools import count

import pytest

from experiments.benchmarks.__main__ import BENCHMARKS, main
from experiments.benchmarks.made_up import IN_FLIGHT, MadeUpRun, long_config, propose
from experiments.benchmarks.turns import by_turns, ratios, spread
from orchestrator.history import History
from orchestrator.journal import Journal
from tests.conftest import REPOSITORY
from workers.storage import open_storage


def test_figures_are_taken_in_turn_and_the_first_turns_do_not_count() -> None:
    clock = count()
    figures = by_turns({"one": lambda: next(clock), "other": lambda: next(clock)}, repeats=2, warm_up=1)
    assert figures == {"one": [2, 4], "other": [3, 5]}
    assert ratios(figures["other"], figures["one"]) == [1.5, 1.25]


def test_a_spread_is_the_median_and_the_ends() -> None:
    assert spread([3.0, 1.0, 2.0], " ms", 1) == "2.0 ms (1.0 to 3.0)"
    assert spread([3.0]) == "3.00"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["wieghts"], "NAME: 'wieghts' is none of overhead, busy, schedule"),
        (["loading", "--loaders", "0"], "--loaders: 0 can't be compared"),
        (["long-run", "--candidates", "7"], "--candidates: 7 are too few"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert line in capsys.readouterr().err


def test_every_benchmark_is_named_on_the_docs_page_of_performance() -> None:
    page = (REPOSITORY / "docs" / "performance.md").read_text()
    assert all(f"`{name}`" in page for name in BENCHMARKS)


def test_a_made_up_run_goes_on_as_long_as_one_likes() -> None:
    run = MadeUpRun(History.fold(long_config(), Journal(open_storage("unused"))))
    turns = list(run.turns(50, 8))
    assert [sum(record["type"] == "told" for record in turn) for turn in turns] == [8] * 6 + [2]
    state = run.history.state
    assert len(state.population) == 50 and state.baseline is not None and state.baseline.index == 0
    assert len(state.pending) == IN_FLIGHT - 1
    algorithm = long_config().build_algorithm()
    alone = algorithm.initial()
    propose(algorithm, alone, 50)
    assert alone == state
