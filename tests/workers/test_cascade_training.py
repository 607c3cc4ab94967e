"""A cascade with masks is trained, cut off, inherited and evaluated as any detector is."""

import json
from collections.abc import Callable

import pytest

from models.architecture import NetworkSpec
from models.blob import unpack
from models.morphism import Assemble, Expand, NewStage, apply_all
from tests.workers.test_checkpoint import Interruption, MemoryStore
from workers.data.interface import DetectionData
from workers.detection import evaluate_detector, prepare_detector, train_detector
from workers.settings import DetectorSettings
from workers.task import Task, TrainingResult, TrainingStopped

MAX_STAGES = 4
MakeTask = Callable[..., Task]


@pytest.fixture(scope="module")
def cascade(detector: DetectorSettings) -> DetectorSettings:
    changes = {"kind": "cascade_rcnn", "mask": True, "mask_channels": 4, "mask_roi_size": 4}
    return DetectorSettings.model_validate({**detector.model_dump(), **changes})


@pytest.fixture(scope="module")
def parent(make_task: MakeTask, shapes: DetectionData, cascade: DetectorSettings) -> TrainingResult:
    return train_detector(make_task(checkpoint_s=0), data=shapes, detector=cascade, max_stages=MAX_STAGES)


def test_it_is_judged_by_its_boxes_and_its_masks(parent: TrainingResult, shapes: DetectionData) -> None:
    names = {"AP", "AP50", "AP75", *(f"AP/{name}" for name in shapes.class_names)}
    assert names | {f"masks/{name}" for name in names} <= parent.metrics.keys()
    assert all(0 <= value <= 1 for value in parent.metrics.values())


def test_a_cut_off_training_ends_with_the_same_bits(
    make_task: MakeTask, shapes: DetectionData, cascade: DetectorSettings, parent: TrainingResult
) -> None:
    store, watcher = MemoryStore(), Interruption(after_steps=5)
    with pytest.raises(TrainingStopped):
        train_detector(
            make_task(checkpoint_s=0),
            data=shapes,
            detector=cascade,
            max_stages=MAX_STAGES,
            checkpoints=store,
            on_progress=watcher.on_progress,
            should_stop=watcher.should_stop,
        )
    again = train_detector(
        make_task(checkpoint_s=0), data=shapes, detector=cascade, max_stages=MAX_STAGES, checkpoints=store
    )
    assert again.weights == parent.weights and again.metrics == parent.metrics


def test_a_child_starts_from_its_parents_function(
    make_task: MakeTask, shapes: DetectionData, cascade: DetectorSettings, parent: TrainingResult
) -> None:
    spec = NetworkSpec.from_dict(json.loads(unpack(parent.weights)[1]["spec"]))
    morphs = (Expand(1), NewStage(), Assemble((1, 0, 0, 1)))
    model, notes = prepare_detector(
        make_task(spec=apply_all(spec, morphs), morphs=morphs),
        data=shapes,
        detector=cascade,
        max_stages=MAX_STAGES,
        parent=parent.weights,
    )
    assert notes == ()
    assert evaluate_detector(model, shapes.val, shapes.class_names, batch_size=8) == parent.metrics


def test_heads_of_another_kind_are_fresh_and_said_to_be(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    _, notes = prepare_detector(
        make_task(), data=shapes, detector=detector, max_stages=MAX_STAGES, parent=parent.weights
    )
    left_out = [f"roi_heads.stages.{k}.{part}" for k in range(3) for part in ("box_head", "mask_predictor")]
    assert {"roi_heads.box_head is fresh", "roi_heads.box_predictor is fresh"} <= set(notes)
    assert {f"{name} is left out" for name in left_out} <= set(notes)
    assert all(note.startswith("roi_heads.") for note in notes)
