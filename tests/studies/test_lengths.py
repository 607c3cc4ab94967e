"""Where trainings of studies are measured on the way: within their length, which is asked of the data once."""

from typing import Any

import pandas as pd
import pytest

from experiments.studies.morphs import Morphs
from experiments.studies.shared import lengths
from experiments.studies.shared.children import children
from experiments.studies.shared.searches import start
from experiments.studying.study import Finished
from orchestrator.search.protocol import SearchState
from tests.orchestrator.tiny import tiny_config
from workers.data import check_detection_data
from workers.data.interface import DataReport
from workers.settings import DetectionDataSettings


def started(seed: int, **training: Any) -> Finished:
    """A start on 24 images."""
    config = tiny_config(training={"batch_size": 8, **training})
    return Finished(run=start("shapes", seed), config=config, state=SearchState(), trials=pd.DataFrame())


@pytest.mark.parametrize(
    ("training", "measured"),
    [
        ({"epochs": 2}, [0, 5]),
        ({"epochs": 27}, [0, 5, 10, 20, 40, 80]),
        ({"iterations": 10, "epochs": None}, [0, 5, 10]),
    ],
)
def test_morphs_are_measured_at_the_steps_that_the_recipe_has(training: dict[str, Any], measured: list[int]) -> None:
    first = started(0, **training)
    _, run = Morphs().runs([0], {first.run.name: first})
    assert run.changes["training.evaluate_at"] == measured


@pytest.mark.parametrize(("training", "measured"), [({"epochs": 3}, [3, 6]), ({"iterations": 10, "epochs": None}, [])])
def test_children_are_measured_after_each_epoch_but_the_last(training: dict[str, Any], measured: list[int]) -> None:
    assert children(0, started(0, **training)).changes["training.evaluate_at"] == measured


def test_a_data_set_is_opened_once_for_all_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[DetectionDataSettings] = []

    def opening(data: DetectionDataSettings) -> DataReport:
        opened.append(data)
        return check_detection_data(data)

    monkeypatch.setattr(lengths, "check_detection_data", opening)
    lengths._num_images.cache_clear()
    for seed in range(3):
        children(seed, started(seed, epochs=2))
    assert len(opened) == 1
