"""What a user may write, and how a mistake is answered."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from models.detector_shape import DetectorShape
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
    [{"epochs": 0}, {"lr": -1}, {"momentum": 1}, {"normalization": "layer"}, {"lr": 0.1, "final_lr": 0.2}]
    + [{"lr": float("inf")}, {"weight_decay": float("nan")}, {"epochs": 10**9}],
)
def test_values_out_of_bounds_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingSettings.model_validate(values)


def test_merging_replaces_some_keys_and_checks_again() -> None:
    training = TrainingSettings(epochs=5)
    assert training.merged({"batch_size": 8}) == TrainingSettings(epochs=5, batch_size=8)
    with pytest.raises(ValidationError):
        training.merged({"batch_size": 0})


def test_a_training_is_so_many_epochs_or_so_many_iterations() -> None:
    tuning = TrainingSettings(iterations=100)
    assert (tuning.epochs, tuning.iterations) == (None, 100)
    assert TrainingSettings.model_validate(tuning.model_dump()) == tuning
    assert TrainingSettings(epochs=5).merged({"iterations": 100}) == tuning
    assert tuning.merged({"epochs": 5}) == TrainingSettings(epochs=5)
    assert tuning.merged({"lr": 0.1}).iterations == 100
    assert ReignitionSettings.model_validate({"data": {"format": "shapes"}, "iterations": 7}).epochs is None
    for both in ({"epochs": 5, "iterations": 100}, {"epochs": None, "iterations": None}):
        with pytest.raises(ValidationError, match="give one of both"):
            TrainingSettings().merged(both)


def test_the_format_picks_the_data_settings() -> None:
    detection = TypeAdapter(DetectionDataSettings)
    assert isinstance(detection.validate_python({"format": "voc", "root": "x"}), VocData)
    assert isinstance(detection.validate_python({"format": "shapes"}), ShapesData)
    with pytest.raises(ValidationError, match="'voc', 'coco', 'ecp', 'bdd', 'shapes'"):
        detection.validate_python({"format": "voq"})
    with pytest.raises(ValidationError, match="'imagefolder', 'shapes'"):
        TypeAdapter(ClassificationDataSettings).validate_python({"format": "voc"})


def test_sizes_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="long_side: 300 is less than short_side, 600"):
        VocData(format="voc", root="x", long_side=300)
    with pytest.raises(ValidationError, match="max_radius: objects of 43.0 reach over 98.2 pixels.* at most 42.0"):
        ShapesData(format="shapes", max_radius=43)
    with pytest.raises(ValidationError, match="classes: a name is listed twice in a, a"):
        VocData(format="voc", root="x", classes=("a", "a"))


def test_groups_that_would_not_part_wide_from_tall_images_are_refused() -> None:
    assert [TrainingSettings(aspect_groups=number).aspect_groups for number in (1, 2, 4)] == [1, 2, 4]
    with pytest.raises(ValidationError, match="3 would not part wide from tall images; give 1 or an even number"):
        TrainingSettings(aspect_groups=3)


def test_detector_settings_are_those_of_the_models_with_the_same_defaults() -> None:
    ours = DetectorSettings().model_dump()
    theirs = DetectorShape()
    means = {"image_mean", "image_std"}  # these belong to the data
    assert {name: getattr(theirs, name) for name in theirs.__slots__ if name not in means} == ours


def test_reignition_splits_into_data_and_training() -> None:
    settings = ReignitionSettings.model_validate({"data": {"format": "shapes"}, "epochs": 2})
    training = settings.training_with("frozen")
    assert (training.epochs, training.lr_batch_size, training.normalization) == (2, None, "frozen")
    own = ReignitionSettings.model_validate({"data": {"format": "shapes"}, "normalization": "group"})
    assert own.training_with("frozen").normalization == "group"


@pytest.mark.parametrize("values", [{"std": (0.2, 0.0, 0.2)}, {"std": (0.2, 0.2, -1)}, {"mean": (123.7, 116.3, 103.5)}])
def test_means_and_deviations_count_pixels_from_0_to_1(values: dict[str, object]) -> None:
    for settings in ({"format": "voc", "root": "x"}, {"format": "shapes"}):
        with pytest.raises(ValidationError):
            TypeAdapter(DetectionDataSettings).validate_python({**settings, **values})


def test_data_are_checked_without_torch() -> None:
    code = "import sys, workers.data, workers.start_names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
