"""COCO's metrics against cases worked out by hand."""

from collections.abc import Sequence

import numpy as np
import pytest

from workers.data.interface import Target
from workers.metrics.average_precision import Detections, average_precision

Row = tuple[float, float, float, float, int]
NAMES = ("cat", "dog")


def target(rows: Sequence[Row], *, image_id: int = 1, ignore: Sequence[bool] = (), scale: float = 1.0) -> Target:
    return Target(
        image_id=image_id,
        boxes=np.array([row[:4] for row in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([row[4] for row in rows], dtype=np.int64),
        ignore=np.array(ignore or [False] * len(rows), dtype=np.bool_),
        scale=(scale, scale),
    )


def detections(rows: Sequence[Row], scores: Sequence[float] = ()) -> Detections:
    return Detections(
        boxes=np.array([row[:4] for row in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([row[4] for row in rows], dtype=np.int64),
        scores=np.array(scores or [0.9] * len(rows), dtype=np.float32),
    )


CAT: Row = (10, 10, 50, 50, 1)
DOG: Row = (100, 100, 110, 110, 2)


def test_perfect_detections_give_one_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    metrics = average_precision([target([CAT, DOG])], [detections([CAT, DOG])], NAMES)
    assert metrics == {
        name: pytest.approx(1.0) for name in ("AP", "AP50", "AP75", "APs", "APm", "AR100", "AP/cat", "AP/dog")
    }
    assert capsys.readouterr().out == ""


def test_nothing_found_gives_zero() -> None:
    metrics = average_precision([target([CAT, DOG])], [detections([])], NAMES)
    assert set(metrics.values()) == {0.0}
    assert {"AP", "AP50", "AR100", "AP/cat"} <= metrics.keys()


def test_a_class_that_does_not_occur_has_no_metric() -> None:
    assert "AP/dog" not in average_precision([target([CAT])], [detections([CAT])], NAMES)


def test_a_shifted_box_counts_up_to_its_overlap() -> None:
    shifted: Row = (10, 10, 50, 40, 1)  # overlap 0.75: right at the six thresholds from 0.5 to 0.75
    metrics = average_precision([target([CAT])], [detections([shifted])], NAMES)
    assert metrics["AP50"] == pytest.approx(1.0) and metrics["AP75"] == pytest.approx(1.0)
    assert metrics["AP"] == pytest.approx(0.6)


def test_a_false_alarm_above_the_only_object_halves_the_precision() -> None:
    other: Row = (100, 100, 140, 140, 1)
    metrics = average_precision([target([CAT])], [detections([other, CAT], [0.9, 0.8])], NAMES)
    assert metrics["AP50"] == pytest.approx(0.5)


def test_the_wrong_class_and_a_second_hit_are_wrong() -> None:
    as_dog: Row = (*CAT[:4], 2)
    metrics = average_precision([target([CAT, DOG])], [detections([as_dog, CAT, CAT], [0.9, 0.8, 0.7])], NAMES)
    assert metrics["AP/cat"] == pytest.approx(1.0)
    assert metrics["AP/dog"] == 0.0


def test_ignored_objects_count_neither_way() -> None:
    hard = target([CAT, (100, 100, 140, 140, 1)], ignore=[False, True])
    for found in ([CAT], [CAT, (100, 100, 140, 140, 1)]):
        assert average_precision([hard], [detections(found)], NAMES)["AP"] == pytest.approx(1.0)


def test_sizes_are_those_of_the_stored_image() -> None:
    small: Row = (10, 10, 30, 30, 1)  # 20 pixels of the resized image, 80 of the stored one
    metrics = average_precision([target([small], scale=0.25)], [detections([small])], NAMES)
    assert metrics["APm"] == pytest.approx(1.0)
    assert "APs" not in metrics


def test_images_are_matched_in_order() -> None:
    targets = [target([CAT], image_id=1), target([DOG], image_id=2)]
    right = average_precision(targets, [detections([CAT]), detections([DOG])], NAMES)
    crossed = average_precision(targets, [detections([DOG]), detections([CAT])], NAMES)
    assert right["AP"] == pytest.approx(1.0) and crossed["AP"] == 0.0
