"""A training in little: as large as the whole one's batches, and over ranks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.msnas_encoding import MultiScale, MultiScaleSpec, SearchSpace
from tests.workers.test_ranks import ignore, settings_of, task_of
from workers.data import open_detection_data
from workers.data.interface import Target
from workers.examination import space, versions
from workers.ranks import Ranks
from workers.rehearsal import NUM_SAMPLES, FinestPath, OneBatch, full_size
from workers.settings import ShapesData
from workers.task import ALL_REDUCE, REHEARSAL_TRAINER


def target(num_boxes: int) -> Target:
    boxes = np.tile(np.array([2, 2, 20, 20], dtype=np.float32), (num_boxes, 1))
    labels = np.ones(num_boxes, dtype=np.int64)
    return Target(image_id=9, boxes=boxes, labels=labels, ignore=np.zeros(num_boxes, dtype=np.bool_), scale=(1.0, 1.0))


def test_images_are_padded_as_in_a_batch_of_the_largest_and_those_with_most_boxes_come_first() -> None:
    images = [np.full((3, height, width), 7, dtype=np.uint8) for height, width in ((30, 80), (60, 30), (20, 20))]
    split = OneBatch(images=images, targets=[target(1), target(3), target(2)], num_images=3)
    batch = full_size(split, 5)
    assert len(batch) == 5
    assert {batch.image(index).shape for index in range(5)} == {(3, 60, 80)}
    assert [len(batch.target(index).boxes) for index in range(5)] == [3, 2, 1, 3, 2]
    assert [batch.target(index).image_id for index in range(5)] == [1, 2, 3, 4, 5]
    assert batch.image(0).sum() == images[1].sum()


def test_a_sample_tells_the_size_of_a_large_split() -> None:
    split = open_detection_data(ShapesData(format="shapes", num_train=3 * NUM_SAMPLES, num_val=1)).train
    batch = full_size(split, 2)
    assert len(batch.images) == 2
    np.testing.assert_array_equal(batch.image(0), batch.image(2))


@pytest.mark.parametrize(
    ("utilization", "num_blocks"), [("constrained", 2), ("constrained", 5), ("free", 4), ("fpn", 5), ("fpn", 6)]
)
def test_a_super_net_is_rehearsed_along_the_path_with_the_finest_features(utilization: str, num_blocks: int) -> None:
    space = SearchSpace(block="BB", channels=4, num_blocks=num_blocks, utilization=utilization)
    task = replace(task_of("train_supernet"), spec=MultiScaleSpec(space.at(0)))
    paths = FinestPath.of(task, utilization)
    assert paths is not None and paths.space == space
    finest = paths.at(0)
    assert finest in space and paths.at(7) == finest

    def num_places(network: MultiScale) -> tuple[float, float]:
        return sum(step**-2 for step in network.feature_strides), sum(step**-2 for step in network.heads)

    assert num_places(finest) == max(map(num_places, space))


@pytest.mark.slow
def test_two_ranks_rehearse_a_step_and_measure_their_link(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, REHEARSAL_TRAINER)
    small = settings.detector.model_copy(update={"pyramid_channels": 8, "head_channels": 16, "roi_size": 3})
    data = ShapesData(format="shapes", image_size=64, num_train=4, num_val=2)
    ranks = Ranks(replace(settings, num_ranks=2, detector=small, data=data))
    try:
        link = ranks.train(task_of(ALL_REDUCE, stall_s=200.0), None, None, ignore)
        assert link is not None and link.metrics["bytes_per_second"] > 0
        task = task_of("train_detector", stall_s=200.0)
        training = task.training.merged({"epochs": 2, "batch_size": 2, "normalization": "sync"})
        step = ranks.train(replace(task, training=training), None, None, ignore)
        assert step is not None and step.peak_memory_bytes > 2**20
        assert step.weights is None
        path = MultiScaleSpec(MultiScale.parse("MS(BB,4;1,2,0.5;4,4,8,8,8)"))
        supernet = task_of("train_supernet", stall_s=200.0)
        step = ranks.train(replace(supernet, spec=path, training=training), None, None, ignore)
        assert step is not None and step.weights is None
    finally:
        ranks.kill()


def test_a_place_that_is_not_there_yet_has_the_room_of_where_it_will_be(tmp_path: Path) -> None:
    assert space(tmp_path / "not" / "yet").total_bytes == space(tmp_path).total_bytes


def test_versions_tell_what_decides_a_training() -> None:
    assert versions().keys() >= {"python", "ray", "torch", "torchvision", "spnas", "code"}
    assert versions() == versions()
