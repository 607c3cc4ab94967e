"""Pascal VOC's AP50 against cases worked out by hand."""

from collections.abc import Sequence
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.metrics.pascal import Found, Objects, PascalScores, mean_scores, pascal_scores

Row = tuple[int, float, float, float, float]  # image, xmin, ymin, xmax, ymax


def objects(rows: Sequence[Row], difficult: Sequence[bool] = ()) -> Objects:
    return Objects(
        images=np.array([row[0] for row in rows], dtype=np.int64),
        boxes=np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4),
        difficult=np.array(difficult or [False] * len(rows), dtype=np.bool_),
    )


def found(rows: Sequence[Row], scores: Sequence[float]) -> Found:
    return Found(
        images=np.array([row[0] for row in rows], dtype=np.int64),
        boxes=np.array([row[1:] for row in rows], dtype=np.float64).reshape(-1, 4),
        scores=np.array(scores, dtype=np.float64),
    )


ONE: Row = (0, 1, 1, 10, 10)
TWO: Row = (1, 1, 1, 10, 10)
FAR: Row = (0, 100, 100, 110, 110)


def scores(truth: Objects, detected: Found) -> tuple[float, float]:
    judged = pascal_scores(truth, detected)
    assert judged is not None
    return judged.eleven_point, judged.area


def test_all_found_is_one_and_nothing_found_zero() -> None:
    assert scores(objects([ONE, TWO]), found([ONE, TWO], [0.2, 0.9])) == pytest.approx((1, 1))
    assert scores(objects([ONE, TWO]), found([], [])) == (0, 0)


def test_half_found_is_six_of_eleven_recalls_and_half_the_area() -> None:
    assert scores(objects([ONE, TWO]), found([ONE], [0.9])) == pytest.approx((6 / 11, 0.5))


def test_a_false_alarm_between_two_hits_costs_a_third_from_there_on() -> None:
    eleven_point, area = scores(objects([ONE, TWO]), found([ONE, FAR, TWO], [0.9, 0.8, 0.7]))
    assert eleven_point == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_corners_are_included_and_an_overlap_of_just_one_half_is_enough() -> None:
    half: Row = (0, 1, 1, 10, 5)  # 50 of 100 pixels; 9 x 4 of 9 x 9 if the far corners were not included
    assert scores(objects([ONE]), found([half], [0.9])) == pytest.approx((1, 1))
    less: Row = (0, 1, 1, 10, 4)
    assert scores(objects([ONE]), found([less], [0.9])) == (0, 0)


def test_a_second_hit_is_wrong_even_where_another_object_is_free() -> None:
    beside: Row = (0, 1, 1, 10, 13)  # overlaps the detections by 100 / 130, less than the first object does
    eleven_point, area = scores(objects([ONE, beside]), found([ONE, ONE], [0.9, 0.8]))
    assert (eleven_point, area) == pytest.approx((6 / 11, 0.5))


def test_difficult_objects_count_neither_way_however_often_they_are_found() -> None:
    truth = objects([ONE, FAR], [False, True])
    assert scores(truth, found([FAR, FAR, ONE], [0.9, 0.8, 0.7])) == pytest.approx((1, 1))
    assert scores(truth, found([FAR], [0.9])) == (0, 0)


def test_a_recall_of_three_in_five_falls_short_of_the_seventh_recall() -> None:
    rows = [(image, *ONE[1:]) for image in range(5)]
    eleven_point, _ = scores(objects(rows), found(rows[:3], [0.9, 0.8, 0.7]))
    assert eleven_point == pytest.approx(6 / 11)  # 6 * 0.1 is 0.6000000000000001


def test_without_an_object_that_counts_there_is_no_score() -> None:
    assert pascal_scores(objects([]), found([ONE], [0.9])) is None
    assert pascal_scores(objects([ONE], [True]), found([ONE], [0.9])) is None


def test_the_mean_is_over_the_classes_with_a_score() -> None:
    half, whole = PascalScores(eleven_point=0.4, area=0.5), PascalScores(eleven_point=0.8, area=0.9)
    mean = mean_scores([half, None, whole])
    assert mean is not None and (mean.eleven_point, mean.area) == pytest.approx((0.6, 0.7))
    assert mean_scores([None]) is None


boxes = st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 9), st.integers(10, 20), st.integers(10, 20))
rows_of_boxes = st.lists(boxes, max_size=8)


@settings(max_examples=25, derandomize=True, deadline=None)
@given(rows_of_boxes, rows_of_boxes, st.randoms(use_true_random=False), st.data())
def test_neither_the_order_of_detections_nor_a_lower_double_raises_a_score(
    truth: list[Row], detected: list[Row], random: Random, data: st.DataObject
) -> None:
    difficult = data.draw(st.lists(st.booleans(), min_size=len(truth), max_size=len(truth)))
    values = [0.9 - 0.05 * place for place in range(len(detected))]
    judged = pascal_scores(objects(truth, difficult), found(detected, values))
    order = list(range(len(detected)))
    random.shuffle(order)
    shuffled = found([detected[place] for place in order], [values[place] for place in order])
    assert pascal_scores(objects(truth, difficult), shuffled) == judged
    doubled = pascal_scores(objects(truth, difficult), found([*detected, *detected], [*values, *(0.1 for _ in values)]))
    if judged is None:
        assert doubled is None
    else:
        assert doubled is not None
        assert 0 <= judged.eleven_point <= 1 + 1e-12 and 0 <= judged.area <= 1 + 1e-12
        assert doubled.area <= judged.area + 1e-12 and doubled.eleven_point <= judged.eleven_point + 1e-12
