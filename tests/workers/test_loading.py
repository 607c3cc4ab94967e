"""Who reads the images, and how far ahead, changes nothing of what is trained."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workers.conftest import WriteVoc
from tests.workers.test_checkpoint import Interruption, MemoryStore
from workers.batches import Pick
from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.data.interface import DetectionData, DetectionSet, Image, Target
from workers.data.loading import READ_AHEAD, Loaders
from workers.detection import train_detector
from workers.examples import example_of, rescaled
from workers.settings import DetectorSettings, ShapesClassification, VocData
from workers.task import Task, TrainingResult, TrainingStopped

CPU = torch.device("cpu")


@pytest.fixture
def loaders() -> Iterator[Loaders]:
    loaders = Loaders(3)
    yield loaders
    loaders.close()


@dataclass(frozen=True)
class WideAndTall:
    """Every third picture without its right part, the others without their lower one."""

    split: DetectionSet

    def __len__(self) -> int:
        return 40

    def size(self, index: int) -> tuple[int, int]:
        return (64, 48) if index % 3 == 0 else (48, 64)

    def image(self, index: int) -> Image:
        height, width = self.size(index)
        return np.ascontiguousarray(self.split.image(index)[:, :height, :width])

    def target(self, index: int) -> Target:
        target = self.split.target(index)
        height, width = self.size(index)
        boxes = np.minimum(target.boxes, np.array([width, height, width, height], dtype=np.float32) - (1, 1, 0, 0))
        return replace(target, boxes=boxes.astype(np.float32))


@pytest.mark.parametrize("num_loaders", [0, 1, 3])
def test_items_come_in_their_order_whoever_is_done_first(num_loaders: int) -> None:
    loaders, first_waits = Loaders(num_loaders), threading.Event()

    def make(item: int) -> int:
        if num_loaders == 3 and item == 0:
            assert first_waits.wait(60)  # until later ones are made
        if item == 2:
            first_waits.set()
        return item * item

    assert list(loaders.map(make, range(20), batch_size=4)) == [item * item for item in range(20)]
    loaders.close()


@pytest.mark.parametrize("num_loaders", [0, 1, 3])
def test_an_error_is_raised_when_its_item_has_its_turn(num_loaders: int) -> None:
    def make(item: int) -> int:
        if item == 5:
            raise ValueError("x.jpg: can't be read as an image")
        return item

    loaders, given = Loaders(num_loaders), []
    with pytest.raises(ValueError, match="x.jpg"):
        given.extend(iter(loaders.map(make, range(9), batch_size=4)))
    assert given == [0, 1, 2, 3, 4]
    assert list(loaders.map(make, range(5))) == [0, 1, 2, 3, 4]  # the threads live on
    loaders.close()


def test_no_more_is_read_ahead_than_a_batch_and_a_few(loaders: Loaders) -> None:
    asked = []
    endless = (asked.append(item) or item for item in count())
    items = loaders.map(lambda item: item, endless, batch_size=4)
    assert list(islice(items, 10)) == list(range(10))
    assert len(asked) == 10 + 4 + READ_AHEAD * 3
    items.close()


def test_what_still_waits_is_not_read_once_nobody_wants_it(loaders: Loaders) -> None:
    go_on, made = threading.Event(), []

    def make(item: int) -> int:
        if item > 0:
            assert go_on.wait(60)
        made.append(item)
        return item

    items = loaders.map(make, range(100), batch_size=20)
    assert next(items) == 0
    items.close()
    go_on.set()
    loaders.close()
    assert len(made) <= 1 + 3


def test_a_broken_image_is_named_when_its_batch_is_wanted(
    write_voc: WriteVoc, make_task: Callable[..., Task], detector: DetectorSettings, loaders: Loaders
) -> None:
    root = write_voc("train", {f"{number:02d}": [("cat", 1, 1, 30, 25)] for number in range(8)})
    (root / "ImageSets/Main/val.txt").write_text("00\n")
    settings = VocData(format="voc", root=str(root), short_side=48, long_side=64)
    data = open_detection_data(settings)
    broken = root / "JPEGImages" / "05.jpg"
    broken.write_bytes(broken.read_bytes()[:-200])
    with pytest.raises(ValueError, match="05.jpg: can't be read as an image"):
        train_detector(make_task(), data=data, detector=detector, max_stages=4, loaders=loaders)


def test_a_data_set_reads_from_its_cache_on_disk_what_it_decoded(write_voc: WriteVoc, tmp_path: Path) -> None:
    root = write_voc("train", {"a": [("cat", 1, 1, 30, 25)]})
    (root / "ImageSets/Main/val.txt").write_text("a\n")
    settings = VocData(format="voc", root=str(root), short_side=48, cache_bytes=0, cache_dir=str(tmp_path / "cache"))
    first = open_detection_data(settings).train.image(0)
    (kept,) = (path for path in (tmp_path / "cache").rglob("*") if path.is_file())
    assert kept.stat().st_size > first.nbytes
    assert (open_detection_data(settings).val.image(0) == first).all()
    assert (open_detection_data(settings.model_copy(update={"cache_dir": None})).train.image(0) == first).all()


@pytest.fixture(scope="module")
def oblong(shapes: DetectionData) -> DetectionData:
    return replace(shapes, train=WideAndTall(shapes.train))


def test_loaders_groups_and_scales_give_the_same_bits_however_often_a_training_is_cut_off(
    make_task: Callable[..., Task], oblong: DetectionData, detector: DetectorSettings, loaders: Loaders
) -> None:
    training = make_task().training.merged({"epochs": 2, "scales": (0.8, 1.2), "aspect_groups": 2})
    task = make_task("BB(1,1)", training=training, checkpoint_s=0)

    def run(watcher: Interruption, store: MemoryStore | None = None, by: Loaders | None = None) -> TrainingResult:
        return train_detector(
            task,
            data=oblong,
            detector=detector,
            max_stages=4,
            checkpoints=store,
            on_progress=watcher.on_progress,
            should_stop=watcher.should_stop,
            loaders=by,
        )

    inline, store = run(Interruption()), MemoryStore()
    for after_steps in (3, 4):  # the third and the seventh of 10, in the midst of both epochs
        with pytest.raises(TrainingStopped):
            run(Interruption(after_steps=after_steps), store, loaders)
    resumed = run(Interruption(), store, loaders)
    assert resumed.weights == inline.weights
    assert resumed.metrics == inline.metrics


def test_pretraining_gives_the_same_bits_with_loaders(make_task: Callable[..., Task], loaders: Loaders) -> None:
    data = open_classification_data(ShapesClassification(format="shapes", num_train=48, num_val=24, cache_bytes=0))
    task = make_task("BB(1,1)", kind="pretrain")
    inline, ahead = pretrain(task, data=data), pretrain(task, data=data, loaders=loaders)
    assert (ahead.weights, ahead.metrics) == (inline.weights, inline.metrics)


def test_a_scale_is_drawn_for_each_image_from_its_own_seed(shapes: DetectionData) -> None:
    def side(seed: int) -> int:
        pick = Pick(index=0, flip=True, seed=seed)
        example = example_of(shapes.train, pick, CPU, scales=(0.8, 1.2), masks=True)
        assert example.target["masks"].shape[1:] == example.image.shape[1:]
        return example.image.shape[1]

    sides = [side(seed) for seed in range(100)]
    assert sides == [side(seed) for seed in range(100)]
    assert min(sides) >= round(0.8 * 64) and max(sides) <= round(1.2 * 64)
    assert np.mean(sides) == pytest.approx(64, abs=4 * 64 * 0.4 / 12**0.5 / 100**0.5)


def test_boxes_and_masks_lie_where_their_objects_are_at_any_scale_and_flipped(shapes: DetectionData) -> None:
    for scale in (0.5, 1.0, 1.5):
        for flip in (False, True):
            example = example_of(shapes.train, Pick(index=3, flip=flip), CPU, scales=(scale, scale), masks=True)
            assert example.image.shape == (3, round(64 * scale), round(64 * scale))
            for box, mask in zip(example.target["boxes"], example.target["masks"], strict=True):
                rows, columns = mask.nonzero().unbind(1)
                found = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert (found - box).abs().max() <= 1 + scale


def test_an_image_that_keeps_its_size_keeps_its_pixels(shapes: DetectionData) -> None:
    image, target = shapes.train.image(0), shapes.train.target(0)
    assert rescaled(image, target, 1.0) == (image, target)
