"""Coloured shapes drawn on the fly."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from workers.data import open_classification_data, open_detection_data
from workers.data.shapes import CLASS_NAMES, MAX_TURN, _outline
from workers.settings import SHAPE_EXTENT, ShapesClassification, ShapesData

SETTINGS = ShapesData(format="shapes", num_train=60, num_val=60, cache_bytes=0)


def test_a_picture_depends_only_on_seed_split_and_index() -> None:
    one, other = open_detection_data(SETTINGS), open_detection_data(SETTINGS)
    other.train.image(3)
    np.testing.assert_array_equal(one.train.image(7), other.train.image(7))
    np.testing.assert_array_equal(one.train.target(7).boxes, other.train.target(7).boxes)
    longer = open_detection_data(SETTINGS.model_copy(update={"num_train": 90}))
    np.testing.assert_array_equal(one.train.image(7), longer.train.image(7))
    reseeded = open_detection_data(SETTINGS.model_copy(update={"seed": 1}))
    for different in (one.train.image(8), one.val.image(7), reseeded.train.image(7)):
        assert not np.array_equal(one.train.image(7), different)


def test_boxes_lie_within_the_picture_and_sizes_and_classes_vary() -> None:
    split = open_detection_data(SETTINGS).train
    targets = [split.target(index) for index in range(len(split))]
    boxes = np.concatenate([target.boxes for target in targets])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= SETTINGS.image_size).all()
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    assert sides.min() < 16 and sides.max() > 40
    assert set(np.concatenate([target.labels for target in targets])) == {1, 2, 3, 4}
    assert all(1 <= len(target.boxes) <= SETTINGS.max_objects for target in targets)


def test_boxes_frame_their_objects() -> None:
    clear = SETTINGS.model_copy(update={"noise": 0.0, "max_clutter": 0, "max_occluders": 0, "max_objects": 1})
    split = open_detection_data(clear).train
    for index in range(20):
        image = split.image(index).astype(int)
        coloured = np.argwhere(image.max(0) - image.min(0) > 30)
        (top, left), (bottom, right) = coloured.min(0), coloured.max(0) + 1
        np.testing.assert_allclose(split.target(index).boxes[0], [left, top, right, bottom], atol=1.5)


def test_most_hues_tell_the_class() -> None:
    clear = SETTINGS.model_copy(
        update={"noise": 0.0, "max_clutter": 0, "max_occluders": 0, "max_objects": 1, "hue_share": 1.0}
    )
    split = open_detection_data(clear).train
    for index in range(20):
        target, image = split.target(index), split.image(index).astype(int)
        x1, y1, x2, y2 = target.boxes[0]
        red, green, blue = image[:, int(y1 + y2) // 2, int(x1 + x2) // 2]
        hue = np.arctan2(np.sqrt(3) * (green - blue), 2 * red - green - blue) / (2 * np.pi) % 1
        assert int(hue * 4) == target.labels[0] - 1 or abs(hue * 4 - round(hue * 4)) < 0.05


def test_crops_hold_one_object_of_every_class() -> None:
    settings = ShapesClassification(format="shapes", num_train=40, num_val=8)
    data = open_classification_data(settings)
    assert data.train.image(0).shape == (3, 48, 48)
    assert {data.train.label(index) for index in range(40)} == set(range(len(CLASS_NAMES)))
    np.testing.assert_array_equal(data.val.image(5), open_classification_data(settings).val.image(5))


def test_the_extent_that_settings_allow_for_is_that_of_the_widest_object() -> None:
    turns = np.linspace(-MAX_TURN, MAX_TURN, 201)
    widest = max(np.ptp(_outline(label, 1.0, turn), 0).max() for label in range(len(CLASS_NAMES)) for turn in turns)
    assert SHAPE_EXTENT - 0.01 < widest <= SHAPE_EXTENT


@pytest.mark.parametrize("image_size", [32, 52, 61])
def test_the_largest_objects_that_are_allowed_fit_their_picture(image_size: int) -> None:
    largest = (image_size - 1) / SHAPE_EXTENT
    with pytest.raises(ValidationError, match="max_radius"):
        ShapesData(format="shapes", image_size=image_size, max_radius=largest * 1.001)
    radius = math.floor(largest * 1000) / 1000
    settings = ShapesData(format="shapes", image_size=image_size, min_radius=radius, max_radius=radius, num_train=60)
    split = open_detection_data(settings).train
    boxes = np.concatenate([split.target(index).boxes for index in range(60)])
    assert (boxes >= 0).all() and (boxes <= image_size).all()


def test_the_smallest_crops_hold_their_object() -> None:
    split = open_classification_data(ShapesClassification(format="shapes", image_size=20, num_train=300)).train
    assert {split.image(index).shape for index in range(300)} == {(3, 20, 20)}


def test_the_splits_of_a_data_set_share_one_limit_of_memory() -> None:
    size = 3 * SETTINGS.image_size**2
    data = open_detection_data(SETTINGS.model_copy(update={"cache_bytes": 3 * size}))
    kept = [split.image(index) is split.image(index) for index in range(2) for split in (data.train, data.val)]
    assert kept == [True, True, True, False]
