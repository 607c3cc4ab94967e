"""A selection of the scenarios of ``make chaos``, one of each group."""

import signal
import subprocess
from collections.abc import Iterator

import pytest

from experiments.chaos.faults import Fault
from experiments.chaos.harness import Harness
from experiments.chaos.scenario import KINDS, REAL_KINDS, Scenario, Shape, chosen, draw

SHAPE = Shape(num_jobs=16, failing=2, num_steps=4)
SELECTION = (
    "rank deadlocks in C",
    "rank dies, leaves a child",
    "rank's disk full",
    "actor killed",
    "actor's answer lost",
    "node killed",
    "driver killed amid an append",
    "journal's tail torn",
    "zombie driver",
    "object store: driver killed",
    "candidate fails",
    "storm",
)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with pytest.MonkeyPatch.context() as environment:
        harness = Harness(tmp_path_factory.mktemp("chaos"), environment.setenv)
        yield harness
        harness.close()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("kind", SELECTION)
def test_a_disturbed_run_ends_with_the_history_of_the_undisturbed_one(harness: Harness, kind: str) -> None:
    search = ("steady", "paired")[SELECTION.index(kind) % 2]
    outcome = harness.run(draw(0, SELECTION.index(kind), kind, search, harness.shape(search)))
    assert outcome.findings.all() == [], outcome.printed


@pytest.mark.ray
@pytest.mark.slow
def test_another_history_and_what_is_left_over_are_found(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.chaos.harness.VANISH_S", 2.0)  # it does not vanish
    failing = harness.shape("paired").failing
    fails = Fault(event="begin", action="nan", job=failing, times=0)
    never = Fault(event="begin", action="nan", job=10_000)
    with subprocess.Popen(["sleep", "10000"]) as left_over:
        outcome = harness.run(Scenario(kind="undisturbed", search="paired", faults=(fails, never)))
    findings = outcome.findings
    assert left_over.returncode == -signal.SIGKILL
    assert "another history" in findings.history[0]
    assert f"process {left_over.pid}: sleep 10000" in findings.left_over
    assert findings.other == [f"did not strike: {never}"]


def test_the_same_seed_and_number_give_the_same_scenario() -> None:
    for number, kind, search in chosen(len(KINDS), 0):
        assert draw(3, number, kind, search, SHAPE) == draw(3, number, kind, search, SHAPE)
    drawn = {draw(seed, 0, "rank killed", "steady", SHAPE).moment for seed in range(20)}
    assert len(drawn) > 10


def test_scenarios_are_of_all_kinds_evenly_in_both_searches() -> None:
    picked = chosen(4 * len(KINDS), len(REAL_KINDS))
    assert [number for number, _, _ in picked] == list(range(len(picked)))
    for kind in KINDS:
        searches = [search for _, of, search in picked if of == kind and search != "real"]
        assert sorted(searches) == ["paired", "paired", "steady", "steady"]
    assert [kind for _, kind, search in picked if search == "real"] == list(REAL_KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_every_scenario_is_struck_where_its_run_comes_by(kind: str) -> None:
    for number in range(20):
        scenario = draw(0, number, kind, "steady", SHAPE)
        assert scenario.faults
        for fault in scenario.faults:
            assert fault.job < SHAPE.num_jobs
            assert (fault.event == "step") == (1 <= fault.step <= SHAPE.num_steps)
        assert scenario.num_lives <= 1 + len(scenario.faults)
