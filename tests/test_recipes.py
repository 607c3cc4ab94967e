"""The recipes in experiments/: the paper's for one step on small data of their formats, a whole one on real data."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from models.msnas_encoding import MultiScaleSpec
from models.msnas_zoo import MULTI_SCALE_ZOO, SPACES
from orchestrator.config import RunConfig
from orchestrator.config_files import differences, load_config
from orchestrator.environment import check_environment
from tests.orchestrator.search.fake_driver import FakeDriver, noise
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
from workers.settings import TrainingSettings
from workers.supernet import Paths
from workers.task import Task

REPOSITORY = Path(__file__).parent.parent
SHORT = (
    "training.epochs=1",
    "start.training={epochs: 1}",
    "reignition.epochs=1",
    "reignition.data.image_size=32",
    "data.short_side=64",
    "data.long_side=96",
    "serial.confirmations=0",
    "serial.in_flight=2",
    "serial.n_stuck=1",
    "serial.max_candidates=1",
    "parallel.in_flight=2",
    "parallel.n_stuck=1",
    "parallel.max_candidates=1",
    "parallel.training.epochs=1",
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


EXPERIMENTS = REPOSITORY / "experiments"
TABLE_1 = {
    "msnas_coco_r18": ("msnas-r18", 153, 145.45),
    "msnas_coco_r34": ("msnas-r34", 184, 182.20),
    "msnas_coco_r50": ("msnas-r50", 205, 197.33),
}
ABLATIONS = {
    "fpn_style": {"evolution.utilization": ("constrained", "fpn")},
    "unconstrained": {"evolution.utilization": ("constrained", "free")},
    "no_fine_tuning": {"evolution.fine_tune": (True, False)},
    "no_random_children": {"evolution.num_random": (10, 0)},
    "random_networks": {
        "algorithm": ("msnas", "random"),
        "evolution.population": (50, 10),
        "evolution.generations": (20, 0),
        "evolution.top_k": (5, 10),
    },
}


@pytest.mark.parametrize("name", TABLE_1)
def test_the_recipes_of_table_1_have_the_papers_values(name: str) -> None:
    config = load_config(EXPERIMENTS / f"{name}.yaml")
    space, target, published = TABLE_1[name]
    start, evolution = config.start.spec, config.evolution
    assert isinstance(start, MultiScaleSpec) and start.architecture in SPACES[space]
    assert evolution.target_gflops == target and target / published == pytest.approx(1.03, abs=0.03)
    assert (evolution.population, evolution.generations, evolution.num_children, evolution.num_random) == (
        50,
        20,
        50,
        10,
    )
    assert (evolution.flops_window, evolution.image_size, evolution.top_k) == (0.01, (832, 1280), 5)
    assert (evolution.utilization, evolution.fine_tune) == ("constrained", True)
    assert (config.image_size, config.detector.head_convolutions) == ((800, 1333), 2)
    for recipe in (config.recipe("supernet"), config.recipe("final")):
        assert (recipe.epochs, recipe.batch_size, _rate(recipe), recipe.normalization) == (48, 32, 0.04, "sync")
        assert [round(48 * share, 3) for share in recipe.lr_drops] == [42, 47] and recipe.lr_schedule == "step"
        assert (recipe.lr_drop_factor, recipe.weight_decay, recipe.momentum) == (0.1, 1e-4, 0.9)
    sample = config.recipe("sample")
    assert (sample.iterations, sample.batch_size, _rate(sample), sample.lr_drops) == (100, 32, 0.004, ())
    assert sample.lr_schedule == "step" and sample.warmup_steps == 0
    assert config.num_nodes("supernet") * config.fleet.num_ranks == 16


def _rate(recipe: TrainingSettings) -> float:
    assert recipe.lr_batch_size is not None
    return recipe.lr * recipe.batch_size / recipe.lr_batch_size


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_is_the_papers_search_but_for_what_it_is_about(name: str) -> None:
    changed = differences(
        load_config(EXPERIMENTS / "msnas_coco_r18.yaml"), load_config(EXPERIMENTS / "msnas_ablations" / f"{name}.yaml")
    )
    assert changed == ABLATIONS[name]


def test_there_are_no_other_ablations() -> None:
    assert {path.stem for path in (EXPERIMENTS / "msnas_ablations").iterdir()} == set(ABLATIONS)


@pytest.mark.parametrize(("name", "masks"), [("msnas_coco_6x", False), ("msnas_coco_6x_mask", True)])
def test_the_rows_of_table_6_are_trained_for_6x(name: str, masks: bool) -> None:
    config = load_config(EXPERIMENTS / f"{name}.yaml", changes={"algorithm": "train"})
    recipe = config.recipe("final")
    assert (recipe.epochs, recipe.batch_size, _rate(recipe), recipe.normalization) == (72, 32, 0.04, "sync")
    assert [round(72 * share, 3) for share in recipe.lr_drops] == [66, 71]
    assert config.start.spec == MULTI_SCALE_ZOO["msnas-r50-3"].spec
    assert (config.detector.mask, config.data.has_masks) == (masks, masks)


def test_the_multi_scale_recipes_take_a_step_on_small_data(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    coco(tmp_path)
    changes = (
        f"data.root={tmp_path}",
        "data.short_side=64",
        "data.long_side=96",
        "start.architecture='MS(BNB,4;1,2,1,0.5,2,2;4,8,8,16,16)'",
        "evolution.target_gflops=null",
        "training.batch_size=2",
        "training.epochs=1",
        "sample.iterations=1",
        "detector.pyramid_channels=16",
        "detector.head_convolution_channels=8",
        "detector.head_channels=16",
        "detector.rpn_post_nms_train=30",
        "detector.rpn_post_nms_test=30",
        "fleet={num_workers: 1}",
    )
    config = load_config(EXPERIMENTS / "msnas_coco_r50.yaml", changes)
    check_environment(config)
    data, weights = open_detection_data(config.data), None
    for kind, name in (("train_supernet", "supernet"), ("train_detector", "sample"), ("train_full", "final")):
        task = Task(
            index=0,
            attempt=0,
            kind=kind,
            spec=config.start.spec,
            morphs=(),
            training=config.recipe(name),
            seed=(0, 0, 0),
        )
        found = train_detector(
            task,
            data=data,
            detector=config.detector,
            max_stages=config.serial.max_stages,
            parent=weights if kind == "train_detector" else None,
            paths=Paths.of(task, config.evolution.utilization),
        )
        weights = found.weights
        assert 0 <= found.metrics[config.objective.metric] <= 1


def test_random_networks_for_shapes_are_the_first_of_the_evolutions_population() -> None:
    first = []
    for name in ("msnas_shapes", "msnas_shapes_random"):
        config = load_config(EXPERIMENTS / f"{name}.yaml")
        driver = FakeDriver(
            config.search,
            algorithm_of=lambda _, config=config: config.build_algorithm(),
            judge=lambda job: noise(job.spec.architecture, job.kind),
            num_workers=2,
        )
        samples = driver.run().with_role("candidate")
        first.append([str(job.spec.architecture) for job in samples if job.round == 0])
        assert len(driver.with_role("final")) == config.evolution.top_k
    assert first[1] == first[0][: len(first[1])]
