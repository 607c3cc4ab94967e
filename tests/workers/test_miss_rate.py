"""EuroCity Persons' log-average miss rate against cases worked out by hand."""

from collections.abc import Sequence
from math import exp, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.metrics.miss_rate import (
    COUNTS,
    IGNORED,
    REGION,
    SUBSETS,
    ImageOfClass,
    log_average_miss_rate,
    miss_rates,
)

Row = tuple[float, float, float, float]
REASONABLE = SUBSETS["reasonable"]
NOTHING_MISSED = 1e-10


def image(
    objects: Sequence[Row] = (),
    found: Sequence[Row] = (),
    scores: Sequence[float] = (),
    *,
    roles: Sequence[int] = (),
    occlusion: Sequence[float] = (),
    truncation: Sequence[float] = (),
) -> ImageOfClass:
    return ImageOfClass(
        objects=np.array(objects, dtype=np.float64).reshape(-1, 4),
        roles=np.array(roles or [COUNTS] * len(objects), dtype=np.int64),
        occlusion=np.array(occlusion or [0.0] * len(objects), dtype=np.float64),
        truncation=np.array(truncation or [0.0] * len(objects), dtype=np.float64),
        found=np.array(found, dtype=np.float64).reshape(-1, 4),
        scores=np.array(scores or [0.9] * len(found), dtype=np.float64),
    )


def rate(*images: ImageOfClass, subset: str = "reasonable") -> float:
    measured = log_average_miss_rate(images, SUBSETS[subset])
    assert measured is not None
    return measured


ONE: Row = (0, 0, 50, 100)
TWO: Row = (200, 0, 250, 100)
FAR: Row = (600, 0, 650, 100)


def test_all_found_misses_next_to_nothing_and_nothing_found_misses_all() -> None:
    assert rate(image([ONE, TWO], [ONE, TWO])) == pytest.approx(NOTHING_MISSED)
    assert rate(image([ONE, TWO])) == 1.0


def test_half_found_without_a_false_alarm_is_one_half() -> None:
    assert rate(image([ONE, TWO], [ONE])) == pytest.approx(0.5)


def test_a_false_alarm_that_comes_first_leaves_all_missed_up_to_its_rate() -> None:
    """One false alarm in ten images is a rate of 0.1: from the fifth of the nine points on the object is found."""
    others = [image() for _ in range(9)]
    measured = rate(image([ONE], [FAR, ONE], [0.9, 0.8]), *others)
    assert measured == pytest.approx(exp((4 * log(1.0) + 5 * log(1e-10)) / 9))
    late = rate(image([ONE, TWO], [ONE, FAR, TWO], [0.9, 0.8, 0.7]), *others)
    assert late == pytest.approx(exp((4 * log(0.5) + 5 * log(1e-10)) / 9))


def test_one_false_alarm_per_image_still_reaches_the_last_point() -> None:
    assert rate(image([ONE], [FAR, ONE], [0.9, 0.8])) == pytest.approx(exp(log(1e-10) / 9))


@pytest.mark.parametrize(
    ("subset", "height", "counts"),
    [
        ("reasonable", 40.0, True),
        ("reasonable", 39.9, False),
        ("small", 30.0, True),
        ("small", 60.0, True),
        ("small", 60.1, False),
        ("all", 20.0, True),
        ("all", 19.9, False),
    ],
)
def test_heights_at_the_bounds_count(subset: str, height: float, counts: bool) -> None:
    box: Row = (0, 0, 20, height)
    measured = rate(image([box], [box]), subset=subset)
    assert measured == pytest.approx(NOTHING_MISSED if counts else 1.0)  # an ignored one is as if it weren't there


@pytest.mark.parametrize(
    ("subset", "occlusion", "truncation", "counts"),
    [
        ("reasonable", 0.1, 0.1, True),
        ("reasonable", 0.4, 0.0, False),
        ("reasonable", 0.0, 0.4, False),
        ("occluded", 0.4, 0.0, True),
        ("occluded", 0.1, 0.4, False),
        ("occluded", 0.8, 0.0, False),
        ("all", 0.4, 0.4, True),
        ("all", 0.0, 0.8, False),
    ],
)
def test_tags_of_occlusion_and_truncation_decide_on_the_subset(
    subset: str, occlusion: float, truncation: float, counts: bool
) -> None:
    one = image([ONE], [ONE], occlusion=[occlusion], truncation=[truncation])
    assert rate(one, subset=subset) == pytest.approx(NOTHING_MISSED if counts else 1.0)


def test_an_overlap_of_one_half_is_enough_and_the_later_of_two_alike_is_taken() -> None:
    assert rate(image([ONE], [(0, 0, 50, 50)])) == pytest.approx(NOTHING_MISSED)
    assert rate(image([ONE], [(0, 0, 50, 49)])) == 1.0
    twins = image([ONE, ONE], [ONE, (0, 0, 50, 60)], [0.9, 0.8])
    assert rate(twins) == pytest.approx(NOTHING_MISSED)


def test_a_detection_goes_to_a_free_object_though_another_overlaps_it_more() -> None:
    near: Row = (0, 0, 50, 80)
    assert rate(image([ONE, near], [ONE, ONE], [0.9, 0.8])) == pytest.approx(NOTHING_MISSED)


def test_an_object_that_counts_is_taken_before_an_ignored_one_that_overlaps_more() -> None:
    near: Row = (0, 0, 50, 80)
    assert rate(image([ONE, near], [near], roles=[COUNTS, IGNORED])) == pytest.approx(NOTHING_MISSED)


def test_ignored_objects_and_regions_take_any_number() -> None:
    parts: list[Row] = [(600, 0, 650, 60), (650, 0, 690, 60)]
    region = image([ONE, (600, 0, 700, 100)], [*parts, ONE], [0.9, 0.8, 0.7], roles=[COUNTS, REGION])
    assert rate(region) == pytest.approx(NOTHING_MISSED)
    ignored = image([ONE, FAR], [FAR, FAR, ONE], [0.9, 0.8, 0.7], roles=[COUNTS, IGNORED])
    assert rate(ignored) == pytest.approx(NOTHING_MISSED)
    part_of_ignored = image([ONE, (600, 0, 700, 100)], [*parts, ONE], [0.9, 0.8, 0.7], roles=[COUNTS, IGNORED])
    assert rate(part_of_ignored) == 1.0  # two false alarms in one image, before the object is found


def test_detections_far_below_or_above_the_bounds_are_left_out() -> None:
    low, high = (600.0, 0.0, 650.0, 32.0), (600.0, 0.0, 650.0, 75.0)
    alarms = [image([ONE], [low, ONE], [0.9, 0.8])]
    assert log_average_miss_rate(alarms, REASONABLE) == pytest.approx(NOTHING_MISSED)  # 40 / 1.25 is 32
    small = (0.0, 0.0, 30.0, 50.0)
    alarms = [image([small], [high, small], [0.9, 0.8])]
    assert log_average_miss_rate(alarms, SUBSETS["small"]) == pytest.approx(NOTHING_MISSED)  # 60 * 1.25 is 75
    alarms = [image([small], [(600.0, 0.0, 650.0, 74.9), small], [0.9, 0.8])]
    assert log_average_miss_rate(alarms, SUBSETS["small"]) == pytest.approx(exp(log(1e-10) / 9))


def test_without_an_object_that_counts_there_is_no_rate_but_for_no_detections() -> None:
    assert log_average_miss_rate([image([], [FAR])], REASONABLE) is None
    assert log_average_miss_rate([image()], REASONABLE) == 1.0


def test_every_subset_is_measured() -> None:
    assert miss_rates([image([ONE])]) == dict.fromkeys(("reasonable", "small", "occluded", "all"), 1.0)


sides = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(20, 60), st.integers(20, 120))
some_boxes = st.lists(sides.map(lambda box: (box[0], box[1], box[0] + box[2], box[1] + box[3])), max_size=6)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(st.lists(st.tuples(some_boxes, some_boxes), min_size=1, max_size=4), st.data())
def test_the_order_of_detections_and_objects_changes_nothing_and_doubles_find_nothing(
    drawn: list[tuple[list[Row], list[Row]]], data: st.DataObject
) -> None:
    roles = [
        data.draw(st.lists(st.sampled_from([COUNTS, IGNORED, REGION]), min_size=len(objects), max_size=len(objects)))
        for objects, _ in drawn
    ]
    step = iter(range(10_000))
    scores = [[1 - 0.001 * next(step) for _ in found] for _, found in drawn]
    images = [
        image(objects, found, values, roles=kinds)
        for (objects, found), kinds, values in zip(drawn, roles, scores, strict=True)
    ]
    backwards = [
        image(objects, found[::-1], values[::-1], roles=kinds)
        for (objects, found), kinds, values in zip(drawn, roles, scores, strict=True)
    ]
    measured = miss_rates(images)
    assert miss_rates(backwards) == measured
    assert all(value is None or 0 < value <= 1 for value in measured.values())
    empty = [image(objects, roles=kinds) for (objects, _), kinds in zip(drawn, roles, strict=True)]
    assert set(miss_rates(empty).values()) == {1.0}
    perfect = [image(objects, objects, roles=[COUNTS] * len(objects)) for objects, _ in drawn]
    best = log_average_miss_rate(perfect, SUBSETS["all"])
    assert best == pytest.approx(NOTHING_MISSED) or not any(objects for objects, _ in drawn)
