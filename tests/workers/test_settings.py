"""What a user may write, and how a mistake is answered."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from models.detectors import DetectorShape
from workers.settings import (
    ClassificationDataSettings,
    DetectionDataSettings,
    DetectorSettings,
    ReignitionSettings,
    ShapesData,
    TrainingSettings,
    VocData,
)


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ValidationError, match="epoch\n.*Extra inputs"):
        TrainingSettings.model_validate({"epoch": 3})


@pytest.mark.parametrize(
    "values",
    [{"epochs": 0}, {"lr": -1}, {"momentum": 1}, {"normalization": "layer"}, {"lr": 0.1, "final_lr": 0.2}],
)
def test_values_out_of_bounds_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate(values)


def test_merging_replaces_some_keys_and_checks_again() -> None:
    training = TrainingSettings(epochs=5)
    assert training.merged({"batch_size": 8}) == TrainingSettings(epochs=5, batch_size=8)
    with pytest.raises(ValidationError):
        training.merged({"batch_size": 0})


def test_the_format_picks_the_data_settings() -> None:
    detection = TypeAdapter(DetectionDataSettings)
    assert isinstance(detection.validate_python({"format": "voc", "root": "x"}), VocData)
    assert isinstance(detection.validate_python({"format": "shapes"}), ShapesData)
    with pytest.raises(ValidationError, match="'voc', 'shapes'"):
        detection.validate_python({"format": "voq"})
    with pytest.raises(ValidationError, match="'imagefolder', 'shapes'"):
        TypeAdapter(ClassificationDataSettings).validate_python({"format": "voc"})


def test_sizes_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="long_side: 300 is less than short_side, 600"):
        VocData(format="voc", root="x", long_side=300)
    with pytest.raises(ValidationError, match="max_radius: 60.0 is more than half of image_size, 96"):
        ShapesData(format="shapes", max_radius=60)
    with pytest.raises(ValidationError, match="classes: a name is listed twice in a, a"):
        VocData(format="voc", root="x", classes=("a", "a"))


def test_detector_settings_are_those_of_the_models_with_the_same_defaults() -> None:
    ours = DetectorSettings().model_dump(exclude={"kind"})
    theirs = DetectorShape()
    means = {"image_mean", "image_std"}  # these belong to the data
    assert {name: getattr(theirs, name) for name in theirs.__slots__ if name not in means} == ours


def test_reignition_splits_into_data_and_training() -> None:
    settings = ReignitionSettings.model_validate({"data": {"format": "shapes"}, "epochs": 2})
    assert settings.training.epochs == 2
    assert settings.training.lr_batch_size is None


def test_data_are_checked_without_torch() -> None:
    code = "import sys, workers.data, workers.start_names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
