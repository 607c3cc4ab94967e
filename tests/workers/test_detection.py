"""Training a detector: the same task gives the same bits, and a child starts where its parent stood."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torchvision.models.detection import FasterRCNN

from models.architecture import Architecture, NetworkSpec
from models.blob import pack, unpack
from models.morphism import Assemble, Expand, Morph, NewStage, Swap, apply_all
from workers.classification import pretrain
from workers.data import open_classification_data
from workers.data.interface import DetectionData, Image, Target
from workers.detection import evaluate_detector, prepare_detector, train_detector
from workers.metrics.average_precision import Detections
from workers.settings import DetectorSettings, ShapesClassification
from workers.task import CandidateFailure, Progress, Task, TrainingResult, TrainingStopped

MAX_STAGES = 4
MakeTask = Callable[..., Task]


def bits(blob: bytes) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in unpack(blob)[0].items()}


@pytest.fixture(scope="module")
def parent(make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings) -> TrainingResult:
    return train_detector(make_task("BB(11,d1,d1)"), data=shapes, detector=detector, max_stages=MAX_STAGES)


def child_task(make_task: MakeTask, parent: TrainingResult, *morphs: Morph, **changes: object) -> Task:
    spec = NetworkSpec.from_dict(json.loads(unpack(parent.weights)[1]["spec"]))
    return make_task(spec=apply_all(spec, morphs), morphs=morphs, **changes)


def outputs(model: FasterRCNN, data: DetectionData) -> list[torch.Tensor]:
    model.eval()
    with torch.inference_mode():
        found = model([torch.from_numpy(data.val.image(index)) / 255 for index in range(4)])
    return [value for detected in found for value in detected.values()]


def test_the_same_task_gives_the_same_bits(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    task = child_task(make_task, parent, Swap(1), Expand(3), seed=(0, 1, 7))
    one, other = (
        train_detector(task, data=shapes, detector=detector, max_stages=MAX_STAGES, parent=parent.weights)
        for _ in range(2)
    )
    assert bits(one.weights) == bits(other.weights)
    assert one.metrics == other.metrics
    assert one.notes == other.notes
    reseeded = train_detector(
        child_task(make_task, parent, Swap(1), Expand(3), seed=(0, 1, 8)),
        data=shapes,
        detector=detector,
        max_stages=MAX_STAGES,
        parent=parent.weights,
    )
    assert bits(one.weights) != bits(reseeded.weights)


def test_weights_say_what_they_are(parent: TrainingResult, shapes: DetectionData) -> None:
    state, metadata = unpack(parent.weights)
    spec = NetworkSpec.from_dict(json.loads(metadata["spec"]))
    assert spec == NetworkSpec.fresh(Architecture.parse("BB(11,d1,d1)"), "deep", 8)
    assert metadata["kind"] == "train_detector"
    assert json.loads(metadata["classes"]) == list(shapes.class_names)
    assert all(name.startswith(("backbone.", "rpn.", "roi_heads.")) for name in state)
    assert parent.peak_memory_bytes > 0 and parent.notes == ()
    assert {"AP", "AP50", "AP75"} <= parent.metrics.keys()


@pytest.mark.parametrize(
    "morphs", [(), (Expand(0), Expand(4)), (NewStage(),), (Assemble((1, 0, 2)),)], ids=lambda ms: "+".join(map(str, ms))
)
def test_a_child_starts_from_its_parents_function(
    morphs: tuple[Morph, ...],
    make_task: MakeTask,
    shapes: DetectionData,
    detector: DetectorSettings,
    parent: TrainingResult,
) -> None:
    model, notes = prepare_detector(
        child_task(make_task, parent, *morphs),
        data=shapes,
        detector=detector,
        max_stages=MAX_STAGES,
        parent=parent.weights,
    )
    assert notes == ()
    metrics = evaluate_detector(model, shapes.val, shapes.class_names, batch_size=8)
    assert metrics == parent.metrics
    unmorphed, _ = prepare_detector(
        child_task(make_task, parent), data=shapes, detector=detector, max_stages=MAX_STAGES, parent=parent.weights
    )
    expected = outputs(unmorphed, shapes)
    assert sum(len(value) for value in expected) > 0
    assert all(map(torch.equal, outputs(model, shapes), expected))


def test_what_is_found_in_an_image_does_not_depend_on_those_it_is_evaluated_with(
    make_task: MakeTask,
    shapes: DetectionData,
    detector: DetectorSettings,
    parent: TrainingResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Cropped:
        """The images, every other one of them without its lower half."""

        def __len__(self) -> int:
            return len(shapes.val)

        def size(self, index: int) -> tuple[int, int]:
            return (64, 64) if index % 2 else (40 - index, 64)

        def image(self, index: int) -> Image:
            return shapes.val.image(index)[:, : self.size(index)[0]]

        def target(self, index: int) -> Target:
            return shapes.val.target(index)

    found: list[list[Detections]] = []

    def note(family: str, targets: list[Target], detections: list[Detections], names: list[str]) -> dict[str, float]:
        found.append(detections)
        return {}

    monkeypatch.setattr("workers.detection.measure", note)
    model, _ = prepare_detector(
        child_task(make_task, parent), data=shapes, detector=detector, max_stages=MAX_STAGES, parent=parent.weights
    )
    done: list[int] = []
    for batch_size in (8, 1):
        evaluate_detector(model, Cropped(), shapes.class_names, batch_size=batch_size, on_images=done.append)
    assert done == [0, 4, 12, 16, *range(17)]
    for together, by_itself in zip(*found, strict=True):
        np.testing.assert_allclose(together.boxes, by_itself.boxes, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(together.scores, by_itself.scores, rtol=1e-4, atol=1e-5)


def test_the_parents_buffer_is_left_alone(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    buffer = np.frombuffer(parent.weights, dtype=np.uint8)  # read-only, as from an object store
    task = child_task(make_task, parent, Expand(0))
    before = bits(parent.weights)
    result = train_detector(task, data=shapes, detector=detector, max_stages=MAX_STAGES, parent=buffer)
    assert bits(parent.weights) == before != bits(result.weights)


def test_a_doubling_that_moves_to_another_stage_has_its_lateral_refitted(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    model, notes = prepare_detector(
        child_task(make_task, parent, Swap(2)),
        data=shapes,
        detector=detector,
        max_stages=MAX_STAGES,
        parent=parent.weights,
    )
    (note,) = notes
    assert note.startswith("backbone.fpn.inner_blocks.0 is refitted, R2 0.")
    assert float(note.split()[-1]) > 0.5
    assert model.backbone.fpn.inner_blocks[0][0].in_channels == 16


def test_a_refresh_keeps_neck_and_heads_and_refits_every_lateral(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    crops = open_classification_data(ShapesClassification(format="shapes", num_train=32, num_val=8))
    task = child_task(make_task, parent, kind="refresh")
    backbone = pretrain(task, data=crops)
    model, notes = prepare_detector(
        task,
        data=shapes,
        detector=detector,
        max_stages=MAX_STAGES,
        parent=parent.weights,
        backbone=backbone.weights,
    )
    assert [note.split(",")[0] for note in notes] == [
        f"backbone.fpn.inner_blocks.{level} is refitted" for level in range(MAX_STAGES)
    ]
    state, old, body = model.state_dict(), unpack(parent.weights)[0], unpack(backbone.weights)[0]
    for name, tensor in state.items():
        if name.startswith("backbone.body."):
            assert torch.equal(tensor, body[name.removeprefix("backbone.body.")])
        elif ".inner_blocks." not in name:
            assert torch.equal(tensor, old[name])


def test_a_backbone_alone_gets_a_fresh_neck(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    state = {
        name.removeprefix("backbone.body."): tensor
        for name, tensor in unpack(parent.weights)[0].items()
        if name.startswith("backbone.body.")
    }
    model, notes = prepare_detector(
        child_task(make_task, parent),
        data=shapes,
        detector=detector,
        max_stages=MAX_STAGES,
        backbone=pack(state, {}),
    )
    assert notes == ("neck and heads are fresh",)
    assert all(torch.equal(model.backbone.body.state_dict()[name], tensor) for name, tensor in state.items())


def test_other_classes_get_fresh_predictors_and_a_note(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, parent: TrainingResult
) -> None:
    state, metadata = unpack(parent.weights)
    for name in ("cls_score", "bbox_pred"):
        for kind in ("weight", "bias"):
            key = f"roi_heads.box_predictor.{name}.{kind}"
            state[key] = torch.cat((state[key], state[key]))
    _, notes = prepare_detector(
        child_task(make_task, parent),
        data=shapes,
        detector=detector,
        max_stages=MAX_STAGES,
        parent=pack(state, metadata),
    )
    assert notes and all("box_predictor" in note and note.endswith("is fresh") for note in notes)


def test_a_loss_that_is_not_finite_is_the_candidates_failure(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings
) -> None:
    task = make_task()
    task = make_task(training=task.training.merged({"lr": 1e12, "clip_norm": None}))
    with pytest.raises(CandidateFailure, match=r"loss became (nan|inf) at epoch 1, step \d"):
        train_detector(task, data=shapes, detector=detector, max_stages=MAX_STAGES)


def test_progress_is_told_and_stopping_is_heard(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.loop.SECONDS_PER_REPORT", math.inf)
    told: list[Progress] = []
    task = make_task()
    task = make_task(training=task.training.merged({"epochs": 2}))
    with pytest.raises(TrainingStopped, match="epoch 2, step 1"):
        train_detector(
            task,
            data=shapes,
            detector=detector,
            max_stages=MAX_STAGES,
            on_progress=told.append,
            should_stop=lambda: told[-1].phase == "training",
        )
    preparing, progress = told
    assert (preparing.phase, preparing.step, preparing.num_steps) == ("preparing", 0, 18)
    assert (progress.epoch, progress.step, progress.num_epochs, progress.num_steps) == (1, 9, 2, 18)
    assert progress.images_per_second > 0 and np.isfinite(progress.loss)


@pytest.mark.parametrize("normalization", ["sync", "frozen", "group"])
def test_every_normalization_trains(
    normalization: str, make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings
) -> None:
    training = make_task().training.merged({"normalization": normalization, "batch_size": 36})
    result = train_detector(make_task(training=training), data=shapes, detector=detector, max_stages=MAX_STAGES)
    assert 0 <= result.metrics["AP"] <= 1
