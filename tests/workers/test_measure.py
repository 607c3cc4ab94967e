"""The metrics of a data set by its family: the same boxes, resized, as the benchmarks' own tools would judge them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.data.interface import Target
from workers.metric_names import class_of, is_loss, is_metric, names_of
from workers.metrics import measure
from workers.metrics.average_precision import Detections

NAMES = ("pedestrian", "rider")
Row = tuple[float, float, float, float, int]
WALKER: Row = (0, 0, 20, 50, 1)  # at half the size: 40 x 100 pixels
RIDER: Row = (100, 0, 120, 50, 2)


def target(*rows: Row, image_id: int = 1, ignore: tuple[bool, ...] = (), **more: object) -> Target:
    return Target(
        image_id=image_id,
        boxes=np.array([row[:4] for row in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([row[4] for row in rows], dtype=np.int64),
        ignore=np.array(ignore or [False] * len(rows), dtype=np.bool_),
        scale=(0.5, 0.5),
        **more,  # type: ignore[arg-type]
    )


def detections(*rows: Row, scores: tuple[float, ...] = ()) -> Detections:
    return Detections(
        boxes=np.array([row[:4] for row in rows], dtype=np.float32).reshape(-1, 4),
        labels=np.array([row[4] for row in rows], dtype=np.int64),
        scores=np.array(scores or [0.9] * len(rows), dtype=np.float32),
    )


def test_perfect_detections_are_perfect_in_every_family() -> None:
    arguments = [target(WALKER, RIDER)], [detections(WALKER, RIDER)], NAMES
    assert measure("coco", *arguments)["AP"] == pytest.approx(1.0)
    pascal = measure("voc", *arguments)
    assert pascal["AP50/11-point"] == pascal["AP50/area"] == pytest.approx(1.0)
    rates = measure("ecp", *arguments)
    assert rates["LAMR"] == rates["LAMR/pedestrian/reasonable"] == pytest.approx(1e-10)
    assert rates["LAMR/rider/all"] == pytest.approx(1e-10) and rates["AP"] == pytest.approx(1.0)


def test_heights_and_overlaps_are_those_of_the_stored_image() -> None:
    low: Row = (0, 0, 10, 19.5, 1)  # 39 pixels high as stored: not of the reasonable ones
    rates = measure("ecp", [target(low, WALKER)], [detections(WALKER)], NAMES)
    assert rates["LAMR"] == pytest.approx(1e-10)
    assert rates["LAMR/pedestrian/all"] == pytest.approx(0.5)


def test_tags_crowds_and_ignored_boxes_do_as_the_benchmark_says() -> None:
    hidden = target(WALKER, (200, 0, 220, 50, 1), occlusion=np.array([0, 0.4], dtype=np.float32))
    rates = measure("ecp", [hidden], [detections(WALKER)], NAMES)
    assert rates["LAMR"] == pytest.approx(1e-10) and rates["LAMR/pedestrian/occluded"] == 1.0
    group: Row = (200, 0, 300, 100, 1)
    inside: Row = (210, 10, 230, 60, 1)
    found = detections(inside, WALKER, scores=(0.9, 0.8))
    crowd = target(WALKER, group, ignore=(False, True), crowd=np.array([False, True]))
    assert measure("ecp", [crowd], [found], NAMES)["LAMR"] == pytest.approx(1e-10)
    ignored = target(WALKER, group, ignore=(False, True))  # one object by IoU, not a region
    assert measure("ecp", [ignored], [found], NAMES)["LAMR"] == pytest.approx(1e-10 ** (1 / 9))


def test_difficult_boxes_are_the_ignored_ones() -> None:
    truth = target(WALKER, (200, 0, 220, 50, 1), ignore=(False, True))
    metrics = measure("voc", [truth], [detections((200, 0, 220, 50, 1), WALKER, scores=(0.9, 0.8))], NAMES)
    assert metrics["AP50/area"] == pytest.approx(1.0)


def test_what_was_not_there_has_no_key() -> None:
    metrics = measure("ecp", [target(RIDER)], [detections(WALKER)], NAMES)
    assert "LAMR" not in metrics and metrics["LAMR/rider/all"] == 1.0
    assert "AP50/area" not in measure("voc", [target()], [detections()], NAMES)


def test_a_config_may_ask_for_the_metrics_that_its_data_have() -> None:
    for name in ("AP", "AP50", "ARl", "AP/rider"):
        assert all(is_metric(name, family) and not is_loss(name) for family in ("coco", "voc", "ecp"))
    assert is_metric("AP50/11-point", "voc") and not is_metric("AP50/11-point", "coco")
    for name in ("LAMR", "LAMR/rider/small"):
        assert is_metric(name, "ecp") and is_loss(name) and not is_metric(name, "voc")
    for name in ("AP60", "AP/", "LAMR/rider", "LAMR//all", "LAMR/rider/hard", "masks/LAMR", "masks/AP"):
        assert not is_metric(name, "ecp"), name
    assert is_metric("masks/AP50", "coco", masks=True) and is_metric("masks/AP/a b", "coco", masks=True)
    assert class_of("AP/a/b") == "a/b" and class_of("LAMR/rider/all") == "rider" and class_of("AP50/area") is None
    assert "LAMR" in names_of("ecp") and "AP50/area" in names_of("voc") and "these after masks/" not in names_of("coco")


rows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(45, 90), st.integers(45, 90), st.integers(1, 2)),
    max_size=5,
)


@settings(max_examples=15, derandomize=True, deadline=None)
@given(st.lists(st.tuples(rows, rows), min_size=1, max_size=3), st.sampled_from(["coco", "voc", "ecp"]))
def test_the_order_of_detections_in_an_image_changes_nothing(
    drawn: list[tuple[list[Row], list[Row]]], family: str
) -> None:
    step = iter(range(1000))
    scores = [tuple(0.9 - 0.01 * next(step) for _ in found) for _, found in drawn]
    targets = [target(*truth, image_id=number) for number, (truth, _) in enumerate(drawn, start=1)]
    forwards = [detections(*found, scores=values) for (_, found), values in zip(drawn, scores, strict=True)]
    backwards = [
        detections(*found[::-1], scores=values[::-1]) for (_, found), values in zip(drawn, scores, strict=True)
    ]
    measured = measure(family, targets, forwards, NAMES)  # type: ignore[arg-type]
    assert measure(family, targets, backwards, NAMES) == measured  # type: ignore[arg-type]
    assert all(0 <= value <= 1 + 1e-12 for value in measured.values())
