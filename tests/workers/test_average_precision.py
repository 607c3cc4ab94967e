"""COCO's metrics against cases worked out by hand."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from pycocotools.mask import encode

from workers.data.interface import Mask, Target
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
    precisions = ("AP", "AP50", "AP75", "APs", "APm", "AP/cat", "AP/dog")
    recalls = ("AR1", "AR10", "AR100", "ARs", "ARm")
    assert metrics == {name: pytest.approx(1.0) for name in (*precisions, *recalls)}
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


def test_a_crowd_takes_any_number_of_detections_by_their_share_in_it() -> None:
    crowd: Row = (100, 100, 200, 200, 1)
    parts: list[Row] = [(100, 100, 120, 120, 1), (150, 150, 170, 170, 1), (195, 100, 215, 120, 1)]
    metrics = average_precision(
        [target([CAT, crowd], ignore=[False, True])], [detections([*parts[:2], CAT], [0.9, 0.8, 0.7])], NAMES
    )
    assert metrics["AP"] == pytest.approx(1.0)
    beside = average_precision(  # a quarter of the third lies in the crowd: a false alarm
        [target([CAT, crowd], ignore=[False, True])], [detections([parts[2], CAT], [0.9, 0.8])], NAMES
    )
    assert beside["AP50"] == pytest.approx(0.5)


def test_the_recall_at_few_detections_counts_the_best_of_them_in_each_image() -> None:
    rows: list[Row] = [(40 * step, 0, 40 * step + 20, 20, 1) for step in range(4)]
    metrics = average_precision([target(rows)], [detections(rows, [0.9, 0.8, 0.7, 0.6])], NAMES)
    assert metrics["AR1"] == pytest.approx(0.25)
    assert metrics["AR10"] == metrics["AR100"] == metrics["ARs"] == pytest.approx(1.0)


def test_an_area_of_the_segmentation_decides_on_the_size() -> None:
    slim = replace(target([CAT]), area=np.array([100.0]))  # a box of 1600 pixels
    assert {"APs", "ARs"} <= average_precision([slim], [detections([CAT])], NAMES).keys()
    assert "APm" not in average_precision([slim], [detections([CAT])], NAMES)


def test_a_region_of_no_class_is_ignored_for_every_class() -> None:
    region: Row = (100, 100, 200, 200, 0)
    inside: list[Row] = [(110, 110, 130, 130, 1), (150, 150, 160, 160, 2)]
    metrics = average_precision(
        [target([CAT, DOG, region], ignore=[False, False, True])],
        [detections([*inside, CAT, DOG], [0.9, 0.9, 0.5, 0.5])],
        NAMES,
    )
    assert metrics["AP/cat"] == metrics["AP/dog"] == pytest.approx(1.0)


def mask(rows: slice, columns: slice) -> Mask:
    pixels = np.zeros((200, 200), dtype=np.uint8, order="F")
    pixels[rows, columns] = 1
    encoded: Mask = encode(pixels)
    return encoded


def test_masks_are_judged_by_their_own_overlap() -> None:
    whole, half = mask(slice(10, 50), slice(10, 50)), mask(slice(10, 30), slice(10, 50))
    truth = replace(target([CAT]), masks=(whole,))
    right = average_precision([truth], [replace(detections([CAT]), masks=(whole,))], NAMES)
    assert right["masks/AP"] == right["masks/AP/cat"] == right["AP"] == pytest.approx(1.0)
    halved = average_precision([truth], [replace(detections([CAT]), masks=(half,))], NAMES)
    assert halved["AP"] == pytest.approx(1.0)
    assert halved["masks/AP"] == pytest.approx(0.1)  # an overlap of 0.5: right at the first of ten thresholds
    assert "masks/AP" not in average_precision([truth], [detections([CAT])], NAMES)


def test_no_images_give_no_metrics() -> None:
    assert average_precision([], [], NAMES) == {}
