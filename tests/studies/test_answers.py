"""Whatever is missing, a study of searches has its tables, its answer and its figure."""

import pandas as pd
import pytest

from experiments.studies.acceptance import Acceptance
from experiments.studies.control import Control
from experiments.studies.efficiency import Efficiency
from experiments.studies.in_flight import InFlight
from experiments.studies.phases import Phases
from experiments.studying.figures import svg
from experiments.studying.pages import page
from experiments.studying.study import Study
from orchestrator.report.style import style
from tests.studies import test_acceptance, test_control, test_efficiency, test_in_flight, test_phases
from tests.studies.made_up_study import PROVENANCE

CASES: dict[str, tuple[Study, pd.DataFrame]] = {
    "control": (Control(), test_control.results(1.0)),
    "efficiency": (Efficiency(), test_efficiency.results(1.0)),
    "phases": (Phases(), test_phases.results(1.0)),
    "in-flight": (InFlight(), test_in_flight.results(1.0)),
    "acceptance": (Acceptance(), test_acceptance.results(1.0)),
}


def failed(results: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The same, with some jobs failed."""
    return results.assign(status=results["status"].mask(rows, "failed"), score=results["score"].mask(rows))


@pytest.mark.parametrize("name", CASES)
def test_one_seed_has_an_answer_without_chance(name: str) -> None:
    study, results = CASES[name]
    one = results[results["seed"] == 0]
    said = " ".join(study.findings(one))
    assert "from 1 seed" in said and "says nothing of chance" in said and "is better than" not in said
    assert "nan" not in page(study, one, PROVENANCE)


@pytest.mark.parametrize("name", CASES)
def test_any_arm_may_be_missing_or_have_failed(name: str) -> None:
    study, results = CASES[name]
    alone = results[results["arm"] == "control"]
    for left in (alone, results[results["arm"] != "control"], failed(results, results["seed"] == 0)):
        assert study.tables(left) and study.findings(left)
    assert "failed" in " ".join(study.findings(failed(results, results["index"] == 1)))
    with style():
        for drawn in (alone, results):
            assert svg(study.draw(drawn))
