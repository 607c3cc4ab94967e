"""Objects' pixels between the stored and the resized image."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as run_lengths

from models.roi_heads import mask_targets
from tests.models.strategies import REPEATABLE
from workers.data import open_detection_data
from workers.data.interface import Mask, Target
from workers.masks import encoded, resized_masks, stored_masks
from workers.metrics.average_precision import Detections, average_precision
from workers.settings import ShapesData

EPSILON = 1e-4  # corners are float32


def target_of(*masks: Mask, scale: tuple[float, float] = (1.0, 1.0), ignore: tuple[int, ...] = ()) -> Target:
    return Target(
        image_id=3,
        boxes=np.zeros((len(masks), 4), dtype=np.float32),
        labels=np.ones(len(masks), dtype=np.int64),
        ignore=np.isin(np.arange(len(masks)), ignore),
        scale=scale,
        masks=masks,
    )


def rectangle(height: int, width: int, box: tuple[int, int, int, int]) -> Mask:
    pixels = np.zeros((height, width), dtype=np.bool_)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = True
    return encoded(pixels)


@settings(REPEATABLE, max_examples=25)
@given(st.integers(1, 9), st.integers(1, 9), st.randoms(use_true_random=False))
def test_a_mask_at_its_own_size_is_itself(height: int, width: int, random: "np.random.Generator") -> None:
    pixels = np.array([[random.random() < 0.5 for _ in range(width)] for _ in range(height)])
    (found,) = resized_masks(target_of(encoded(pixels)), height, width)
    np.testing.assert_array_equal(found, pixels)


def test_a_mask_grows_and_shrinks_with_its_image() -> None:
    mask = rectangle(10, 20, (4, 2, 12, 6))
    (larger,) = resized_masks(target_of(mask, scale=(2.0, 1.5)), 20, 30)
    np.testing.assert_array_equal(larger, run_lengths.decode(rectangle(20, 30, (6, 4, 18, 12))))
    (smaller,) = resized_masks(target_of(mask, scale=(0.5, 0.5)), 5, 10)
    np.testing.assert_array_equal(smaller, run_lengths.decode(rectangle(5, 10, (2, 1, 6, 3))))


def test_nothing_is_where_an_image_was_padded_and_ignored_objects_are_left_out() -> None:
    whole = rectangle(4, 6, (0, 0, 6, 4))
    found = resized_masks(target_of(whole, whole, ignore=(0,)), 6, 9)
    assert found.shape == (1, 6, 9)
    np.testing.assert_array_equal(found[0], run_lengths.decode(rectangle(6, 9, (0, 0, 6, 4))))
    assert resized_masks(target_of(), 6, 9).shape == (0, 6, 9)


def test_data_without_masks_are_refused_in_one_line() -> None:
    target = Target(
        image_id=3, boxes=np.zeros((0, 4)), labels=np.zeros(0, int), ignore=np.zeros(0, bool), scale=(1.0, 1.0)
    )
    with pytest.raises(ValueError, match=r"^detector\.mask: image 3 of the data set has no masks; set .* to false"):
        resized_masks(target, 6, 9)


@settings(REPEATABLE, max_examples=50)
@given(st.tuples(*[st.floats(-4, 24)] * 4))
def test_a_full_mask_fills_its_box(corners: tuple[float, ...]) -> None:
    (left, right), (top, bottom) = sorted(corners[:2]), sorted(corners[2:])
    box = torch.tensor([[left, top, right, bottom]])
    (found,) = stored_masks(target_of(), (15, 20), box, torch.ones(1, 1, 28, 28))
    left, top, right, bottom = box[0].tolist()
    rows, columns = np.arange(15) + 0.5, np.arange(20) + 0.5

    def within(margin: float) -> np.ndarray:
        """Pixels whose centres lie so far from the edges, in sides of the mask's own pixels."""
        down, across = (margin * side / 28 + math.copysign(EPSILON, margin) for side in (bottom - top, right - left))
        return np.outer(
            (rows >= top + down) & (rows <= bottom - down), (columns >= left + across) & (columns <= right - across)
        )

    pixels = run_lengths.decode(found).astype(bool)
    assert not (pixels & ~within(-0.01)).any()
    assert not (within(0.5) & ~pixels).any()  # half a pixel from its edges a mask begins to fall


@pytest.mark.parametrize("has_objects", [True, False])
def test_detected_masks_come_back_in_the_stored_image(has_objects: bool) -> None:
    # stored in 15 x 20, seen in 30 x 60
    objects = (rectangle(15, 20, (0, 0, 2, 2)),) if has_objects else ()
    target = target_of(*objects, scale=(2.0, 3.0))
    boxes = torch.tensor([[12.0, 8.0, 36.0, 24.0], [30.0, 4.0, 54.0, 20.0]])
    found = stored_masks(target, (30, 60), boxes, torch.ones(2, 1, 28, 28))
    assert [mask["size"] for mask in found] == [[15, 20]] * 2
    for mask, expected in zip(found, ((4, 4, 12, 12), (10, 2, 18, 10)), strict=True):
        np.testing.assert_array_equal(run_lengths.decode(mask), run_lengths.decode(rectangle(15, 20, expected)))
    assert stored_masks(target, (30, 60), boxes[:0], torch.ones(0, 1, 28, 28)) == ()


def test_the_masks_of_shapes_fill_their_boxes() -> None:
    data = ShapesData(format="shapes", num_train=30, num_val=1)
    split = open_detection_data(data).train
    for index in range(30):
        target = split.target(index)
        assert target.masks is not None
        frames = run_lengths.toBbox(list(target.masks))
        frames[:, 2:] += frames[:, :2]
        np.testing.assert_allclose(frames, target.boxes, atol=1.5)
        sides = target.boxes[:, 2:] - target.boxes[:, :2]
        shares = run_lengths.area(list(target.masks)) / sides.prod(1)
        assert (shares > 0.35).all() and (shares <= 1.1).all()


def test_the_masks_that_a_perfect_head_would_give_score_high_and_flipped_ones_do_not() -> None:
    data = open_detection_data(ShapesData(format="shapes", num_train=1, num_val=8))
    targets = [data.val.target(index) for index in range(8)]

    def score(flipped: bool) -> dict[str, float]:
        found = []
        for target in targets:
            boxes, pixels = torch.from_numpy(target.boxes), torch.from_numpy(resized_masks(target, 96, 96))
            taught = mask_targets(pixels, boxes, torch.arange(len(boxes)), 28)[:, None]
            masks = stored_masks(target, (96, 96), boxes, taught.flip(2) if flipped else taught)
            scores = np.ones(len(boxes), dtype=np.float32)
            found.append(Detections(boxes=target.boxes, labels=target.labels, scores=scores, masks=masks))
        return average_precision(targets, found, data.class_names)

    assert score(flipped=False)["AP"] == 1
    assert score(flipped=False)["masks/AP"] > 0.9
    assert score(flipped=True)["masks/AP/triangle"] < 0.5
