"""The recipes in experiments/: the paper's for one step on small data of their formats, a whole one on real data."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.environment import check_environment
from tests.orchestrator.test_cli import spnas
from tests.small_data import (
    NEEDS_REAL,
    REAL,
    bdd_label,
    ecp_object,
    write_bdd,
    write_coco,
    write_ecp,
    write_image,
    write_voc,
)
from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.detection import train_detector
from workers.task import Task

REPOSITORY = Path(__file__).parent.parent
SHORT = (
    "training.epochs=1",
    "start.training={epochs: 1}",
    "reignition.epochs=1",
    "reignition.data.image_size=48",
    "data.short_side=96",
    "data.long_side=128",
    "serial.confirmations=0",
    "serial.in_flight=2",
    "serial.n_stuck=1",
    "serial.max_candidates=1",
    "parallel.in_flight=2",
    "parallel.n_stuck=1",
    "parallel.max_candidates=1",
)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason=NEEDS_REAL)
def test_the_blood_cells_go_through_all_phases(tmp_path: Path) -> None:
    answer = spnas("search", "experiments/bccd.yaml", "--run", tmp_path / "run", *SHORT, cwd=REPOSITORY)
    assert answer.returncode == 0, answer.stderr
    assert "Platelets" in answer.stdout and "RBC" in answer.stdout and "WBC" in answer.stdout
    assert "data: left out: 2 x box without area" in answer.stdout  # the two boxes without area
    trials = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert set(trials["status"]) == {"completed"}
    assert {"start", "control", "candidate", "pretrain", "refresh"} <= set(trials["role"])
    assert set(trials["phase"]) == {"serial", "parallel"}


def voc(root: Path) -> None:
    write_voc(root, "trainval", {"a": [("cat", 5, 5, 20, 25)]}, folder="VOC2007")
    write_voc(root, "trainval", {"b": [("dog", 1, 1, 30, 25)]}, folder="VOC2012")
    write_voc(root, "test", {"c": [("cat", 5, 5, 20, 25)]}, folder="VOC2007")


def coco(root: Path) -> None:
    cat, dog = ("cat", (4, 4, 30, 25)), ("dog", (0, 0, 40, 30))
    write_coco(root, "train2017", {"a.jpg": [cat], "b.jpg": [cat, dog]})
    write_coco(root, "val2017", {"c.jpg": [cat]})


def ecp(root: Path) -> None:
    walker, rider = ecp_object("pedestrian", (4, 4, 24, 60)), ecp_object("rider", (30, 4, 60, 60), "occluded>10")
    write_ecp(root, "day/train", {"rome/a": [walker], "rome/b": [walker, rider]}, (96, 64))
    write_ecp(root, "day/val", {"rome/c": [walker]}, (96, 64))


def bdd(root: Path) -> None:
    car = bdd_label("car", (4, 4, 30, 25))
    write_bdd(root, "train", {"a.jpg": [car], "b.jpg": [car, bdd_label("bike", (0, 0, 60, 30))]})
    write_bdd(root, "val", {"c.jpg": [car]})


PAPER = {"voc": voc, "coco": coco, "coco_xb": coco, "ecp": ecp, "bdd": bdd}


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_have_the_papers_values(name: str) -> None:
    config = load_config(REPOSITORY / "experiments" / f"{name}.yaml")
    networks = {"voc": "BB(11,d1,d1,d1)", "coco_xb": f"XB(111,d111,d{'1' * 22},d11)"}
    sizes = {"voc": (600, 1333), "ecp": (1024, 1920), "bdd": (1080, 1920)}
    assert config.start.architecture == networks.get(name, "BNB(111,d111,d11111,d11)")
    assert config.image_size == sizes.get(name, (800, 1333))
    serial, parallel, fast, final = config.serial, config.parallel, config.recipe("serial"), config.recipe("final")
    assert (serial.acceptance, serial.num_morphs, serial.n_stuck, serial.num_rounds) == ("paper", 3, 20, 2)
    assert parallel is not None and (parallel.max_subnets, parallel.n_stuck, parallel.inverse_flops_power) == (3, 20, 1)
    assert (fast.epochs, fast.batch_size, fast.lr_schedule, fast.lr, fast.final_lr) == (3, 16, "cosine", 0.02, 1e-4)
    assert (fast.momentum, fast.weight_decay, fast.flip, config.recipe("parallel").batch_size) == (0.9, 1e-4, True, 8)
    assert (final.epochs, final.batch_size, final.lr_schedule, final.lr) == (24, 8, "step", 0.02)
    assert (final.lr_drop_factor, len(final.lr_drops), final.momentum, final.flip) == (0.1, 2, 0.9, True)
    assert (final.scales, fast.scales) == ((0.8, 1.2) if "coco" in name else None, None)
    assert (config.fleet.num_workers, config.fleet.gpus_per_worker) == (4, 8)


@pytest.fixture
def small(tmp_path: Path) -> Callable[[str], RunConfig]:
    """A recipe with the same encoding, parts and schedules, but small in every size."""

    def make(name: str) -> RunConfig:
        PAPER[name](tmp_path / "data")
        for split in ("train", "val"):
            for class_name in ("apple", "pear"):
                write_image(tmp_path / "imagenet" / split / class_name / "0.JPEG", (64, 64))
        changes = (
            f"data.root={tmp_path / 'data'}",
            "data.short_side=64",
            "data.long_side=96",
            "training.batch_size=2",
            "training.epochs=1",
            "parallel.training={batch_size: 2}",
            "final.batch_size=2",
            "final.epochs=1",
            f"reignition.data.root={tmp_path / 'imagenet'}",
            "reignition.data.image_size=32",
            "reignition.batch_size=2",
            "reignition.epochs=1",
            "start.weights=null",
            "start.base_channels=16",
            "detector.pyramid_channels=32",
            "detector.head_channels=64",
            "detector.rpn_post_nms_train=30",
            "detector.rpn_post_nms_test=30",
            "detector.roi_batch=16",
            "fleet={num_workers: 1}",
        )
        return load_config(REPOSITORY / "experiments" / f"{name}.yaml", changes)

    return make


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_recipes_take_a_step_on_small_data(name: str, small: Callable[[str], RunConfig]) -> None:
    torch.set_num_threads(1)
    config = small(name)
    assert [report.num_train for report in check_environment(config)] == [2, 2]
    task = Task(
        index=0,
        attempt=0,
        kind="train_detector",
        spec=config.start.spec,
        morphs=(),
        training=config.recipe("final"),
        seed=(0, 0, 0),
    )
    found = train_detector(
        task, data=open_detection_data(config.data), detector=config.detector, max_stages=config.serial.max_stages
    )
    assert config.objective.metric in found.metrics
    assert all(0 <= value <= 1 for value in found.metrics.values())


def test_the_papers_reignition_takes_a_step_on_small_data(small: Callable[[str], RunConfig]) -> None:
    torch.set_num_threads(1)
    config = small("voc")
    assert config.reignition is not None
    task = Task(
        index=0,
        attempt=0,
        kind="pretrain",
        spec=config.start.spec,
        morphs=(),
        training=config.recipe("reignition"),
        seed=(0, 0, 0),
    )
    assert "top1" in pretrain(task, data=open_classification_data(config.reignition.data)).metrics
