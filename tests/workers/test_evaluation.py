"""Evaluating a detector as a task of its own."""

import itertools
import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from models.blob import pack, unpack
from workers.data.interface import DetectionData
from workers.detection import prepare_detector, train_detector
from workers.evaluation import NUM_IMAGES, evaluate, measure_speed
from workers.metric_names import IMAGES_PER_SECOND, LATENCY_MS
from workers.settings import DetectorSettings
from workers.task import CandidateFailure, Task, TrainingResult, TrainingStopped
from workers.world import World, alone

MakeTask = Callable[..., Task]


@pytest.fixture(scope="module")
def trained(make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings) -> TrainingResult:
    return train_detector(make_task(), data=shapes, detector=detector, max_stages=3)


def evaluated(task: Task, shapes: DetectionData, detector: DetectorSettings, weights: bytes) -> TrainingResult:
    return evaluate(task, data=shapes, detector=detector, max_stages=3, parent=weights)


def test_it_gives_the_trainings_metrics_and_the_speed_and_no_weights(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, trained: TrainingResult
) -> None:
    result = evaluated(make_task(kind="evaluate", seed=(9, 9, 9)), shapes, detector, trained.weights)
    speed = {name: result.metrics.pop(name) for name in (IMAGES_PER_SECOND, LATENCY_MS)}
    assert result.metrics == trained.metrics
    assert all(value > 0 for value in speed.values())
    assert result.weights == b""
    assert result.notes == (
        "speed: the last 8 of 16 images (the split has no more), one at a time, on CPU with 1 threads in float32",
    )


def test_weights_of_other_classes_or_another_pyramid_are_refused(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, trained: TrainingResult
) -> None:
    state, metadata = unpack(trained.weights)
    reordered = pack(state, metadata | {"classes": json.dumps(shapes.class_names[::-1])})
    with pytest.raises(CandidateFailure, match="roi_heads.box_predictor is fresh"):
        evaluated(make_task(kind="evaluate"), shapes, detector, reordered)
    with pytest.raises(CandidateFailure, match="serial.max_stages"):
        evaluate(make_task(kind="evaluate"), data=shapes, detector=detector, max_stages=4, parent=trained.weights)


def test_as_many_other_classes_get_fresh_predictors_and_a_note(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, trained: TrainingResult
) -> None:
    others = replace(shapes, class_names=("a", "b", "c", "d"))
    _, notes = prepare_detector(make_task(), data=others, detector=detector, max_stages=3, parent=trained.weights)
    assert notes == ("roi_heads.box_predictor is fresh",)


def test_the_last_half_of_the_images_is_timed(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, trained: TrainingResult
) -> None:
    model, _ = prepare_detector(make_task(), data=shapes, detector=detector, max_stages=3, parent=trained.weights)
    # The clock is read once for each of the first eight images, and twice for each of the others.
    ticks = itertools.chain(range(8), itertools.count(8, 0.25))
    done: list[int] = []
    speed = measure_speed(model, shapes.val, on_images=done.append, clock=lambda: float(next(ticks)))
    assert speed is not None
    assert speed.metrics == {IMAGES_PER_SECOND: 4.0, LATENCY_MS: 250.0}
    assert (len(speed.seconds), speed.num_images) == (8, 16)
    assert done == [0, 10, 16]
    assert "no more" in str(speed) and "no more" not in str(replace(speed, num_images=NUM_IMAGES))


def test_a_rank_that_is_not_the_first_times_nothing(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, trained: TrainingResult
) -> None:
    model, _ = prepare_detector(make_task(), data=shapes, detector=detector, max_stages=3, parent=trained.weights)
    waits = itertools.count()

    class Second(World):
        def wait(self) -> None:
            next(waits)

    assert measure_speed(model, shapes.val, world=Second(1, 2, alone().device)) is None
    assert next(waits) == 2  # in step with the first: after images 0 and 10


def test_it_stops_when_it_is_asked_to(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, trained: TrainingResult
) -> None:
    with pytest.raises(TrainingStopped):
        evaluate(
            make_task(kind="evaluate"),
            data=shapes,
            detector=detector,
            max_stages=3,
            parent=trained.weights,
            should_stop=lambda: True,
        )
