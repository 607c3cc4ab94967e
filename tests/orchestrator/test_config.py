"""What a user writes: defaults, recipes, overrides, and how a mistake is answered."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.config import FleetConfig, RunConfig
from orchestrator.config_files import differences, load_config, may_change, parse_config, read_config
from orchestrator.errors import UserError
from tests.orchestrator.tiny import tiny_config
from workers.settings import TrainingSettings

RECIPES = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
SMALLEST: dict[str, Any] = {
    "start": {"architecture": "BB(11,d1,d1,d1)"},
    "data": {"format": "shapes"},
    "reignition": {"data": {"format": "shapes"}},
}


def with_changes(changes: dict[str, Any]) -> dict[str, Any]:
    """The smallest config with some keys set; a key set to `...` is left out."""
    values = deepcopy(SMALLEST)
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner = values
        for key in parents:
            inner = inner.setdefault(key, {})
        if value is ...:
            del inner[last]
        else:
            inner[last] = value
    return values


def config(changes: dict[str, Any] | None = None) -> RunConfig:
    return parse_config(with_changes(changes or {}), "test.yaml")


def mistake(changes: dict[str, Any]) -> str:
    """The one line that answers a config."""
    with pytest.raises(UserError) as caught:
        config(changes)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("config test.yaml: ")
    return line.removeprefix("config test.yaml: ")


def test_everything_but_start_and_data_has_a_default() -> None:
    small = config()
    assert (small.serial.n_stuck, small.serial.num_rounds, small.serial.num_morphs) == (20, 2, 3)
    assert (small.serial.min_blocks, small.serial.max_blocks) == (8, 60)
    assert (small.serial.min_stages, small.serial.max_stages) == (4, 6)
    assert small.serial.confirmations == 1
    assert small.parallel is not None
    assert (small.parallel.max_subnets, small.parallel.inverse_flops_power) == (3, 1)
    assert (small.training.epochs, small.training.lr, small.training.final_lr) == (3, 0.02, 0.0001)
    assert small.final is None


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"serial.n_stuk": 3}, "serial.n_stuk: unknown key; did you mean n_stuck?"),
        ({"seriel": {"n_stuck": 3}}, "seriel: unknown key; did you mean serial?"),
        ({"training.bach_size": 1}, "training.bach_size: unknown key; did you mean batch_size?"),
        ({"data.imagesize": 64}, "data.imagesize: unknown key; did you mean image_size?"),
        ({"data": {"format": "voc", "root": "x", "rot": "y"}}, "data.rot: unknown key; did you mean root?"),
        ({"reignition.epoch": 3}, "reignition.epoch: unknown key; did you mean epochs?"),
        ({"reignition.data.imag_size": 3}, "reignition.data.imag_size: unknown key; did you mean image_size?"),
        ({"parallel.training": {"batch_siz": 4}}, "parallel.training.batch_siz: unknown key; did you mean batch_size?"),
        ({"start.training": {"epoch": 4}}, "start.training.epoch: unknown key; did you mean epochs?"),
        ({"final": {"epoch": 24}}, "final.epoch: unknown key; did you mean epochs?"),
        (
            {"budget.zzz": 1},
            "budget.zzz: unknown key; use one of max_candidates, max_gpu_hours, deadline",
        ),
    ],
)
def test_an_unknown_key_is_answered_with_a_known_one(changes: dict[str, Any], line: str) -> None:
    assert mistake(changes) == line


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"serial.n_stuck": "many"}, "serial.n_stuck: 'many': input should be a valid integer, unable to parse"),
        ({"serial.n_stuck": 0}, "serial.n_stuck: 0: input should be greater than or equal to 1"),
        ({"serial.n_stuck": {"a": 1}}, "serial.n_stuck: {'a': 1}: input should be a valid integer"),
        ({"serial": 5}, "serial: 5 is no mapping; give keys with values below it"),
        ({"parallel.training": 4}, "parallel.training: 4 is no mapping; give keys with values below it"),
        ({"training.lr": "fast"}, "training.lr: 'fast': input should be a valid number"),
        ({"training.normalization": "layer"}, "training.normalization: 'layer': input should be 'batch', 'sync', "),
        ({"parallel.training": {"batch_size": 0}}, "parallel.training.batch_size: 0: input should be greater than or"),
        ({"final": {"epochs": "x"}}, "final.epochs: 'x': input should be a valid integer"),
        ({"detector.anchor_ratios": [1, -1]}, "detector.anchor_ratios.1: -1: input should be greater than 0"),
        ({"budget.deadline": "soon"}, "budget.deadline: 'soon': input should be a valid datetime"),
        ({"data.format": "voq"}, "data.format: 'voq' is unknown; use one of bdd, coco, ecp, shapes, voc"),
        ({"data": {"root": "x"}}, "data.format: missing; use one of bdd, coco, ecp, shapes, voc"),
        (
            {"algorithm": "spans"},
            "algorithm: 'spans': input should be 'spnas', 'msnas', 'random', 'train', 'evaluate', 'pretrain' or 'tri",
        ),
    ],
)
def test_a_wrong_value_is_answered_with_the_key_the_value_and_what_would_be_right(
    changes: dict[str, Any], line: str
) -> None:
    assert mistake(changes).startswith(line)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"start": ...}, "start: missing; this key has no default"),
        ({"data": {"format": "voc"}}, "data.root: missing; this key has no default"),
        ({"reignition": ...}, "reignition: missing, but serial.reignite is true; give reignition.data, or set that"),
        (
            {"reignition": ..., "serial.reignite": False, "start.weights": "pretrain"},
            "reignition: missing, but start.weights is pretrain; give reignition.data, or set that otherwise",
        ),
    ],
)
def test_a_missing_key_is_named(changes: dict[str, Any], line: str) -> None:
    assert mistake(changes).startswith(line)


@pytest.mark.parametrize(
    ("encoding", "position", "reason"),
    [
        ("BX(11,d1)", 0, "expected a type of block, one of BB, BNB, XB"),
        ("BB(11,x1)", 6, "expected a block, '1' or 'd' (every stage has at least one), found 'x'"),
        ("BB(11,d1", 8, "expected '1', 'd', ',' or ')', the text ends"),
        ("BB(11,d1)+(0)", 12, "2 stages need 2 numbers of subnets, found 1"),
    ],
)
def test_a_malformed_encoding_is_answered_with_its_position(encoding: str, position: int, reason: str) -> None:
    line = mistake({"start.architecture": encoding})
    assert line == f"start.architecture: architecture '{encoding}', position {position}: {reason}"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"start.architecture": "BB(11,d1,d1)"},
            "start.architecture: BB(11,d1,d1) has 6 blocks; serial.min_blocks and serial.max_blocks ask for 8 to 60",
        ),
        (
            {"start.architecture": "BB(11,d1,d1,d1,1,1,1)"},
            "start.architecture: BB(11,d1,d1,d1,1,1,1) has 7 stages; serial.min_stages and serial.max_stages ask for ",
        ),
        (
            {"start.architecture": "BB(11,d1,d1,d1)+(0,0,0,1)"},
            "start.architecture: BB(11,d1,d1,d1)+(0,0,0,1) has subnets; a search starts from a serial network",
        ),
        (
            {"serial.max_gflops": 0.01},
            "start.architecture: BB(11,d1,d1,d1) has 0.3366 GFLOPs and 11205824 parameters, more than serial.max_",
        ),
        (
            {"parallel.max_parameters": 5},
            "start.architecture: BB(11,d1,d1,d1) has 0.3366 GFLOPs and 11205824 parameters, more than parallel.max_par",
        ),
        (
            {"start.architecture": "XB(11,d1,d1,d1)", "start.base_channels": 20},
            "start: base_channels: 20 is not a multiple of 16, which XB's 32 groups need",
        ),
    ],
)
def test_a_start_outside_the_limits_is_refused(changes: dict[str, Any], line: str) -> None:
    assert mistake(changes).startswith(line)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"serial.pace": "generation"}, "serial: pace 'generation' does not go with acceptance 'paper'; use 'steady'"),
        (
            {"serial.num_morphs": 0, "serial.acceptance": "paired"},
            "serial: num_morphs 0 goes with acceptance 'paper'; 'paired' has a control without morphs itself",
        ),
        ({"serial.inherit": False}, "serial: reignite true has a use only for weights that are inherited; set inherit"),
        (
            {"serial.inherit": False, "serial.reignite": False, "start.weights": "torchvision:resnet18"},
            "serial.inherit: false, but the start has the weights of 'torchvision:resnet18'; leave them out",
        ),
        ({"serial.min_blocks": 70}, "serial: min_blocks 70 is more than max_blocks 60; it may be at most that"),
        ({"training.lr": 1e-5}, "training: final_lr: 0.0001 is more than lr, 1e-05; the rate only falls"),
        (
            {"data": {"format": "voc", "root": "x", "long_side": 300}},
            "data: long_side: 300 is less than short_side, 600",
        ),
        (
            {"parallel.training": {"batch_size": 1}},
            "training.normalization: 'batch' does not work with the parallel recipe's batch_size 1; use frozen or",
        ),
        ({"objective.metric": "AP60"}, "objective.metric: 'AP60' is none of AP, AP50, AP75, "),
        ({"objective.metric": "LAMR"}, "objective.metric: 'LAMR' is none of AP, AP50, AP75, "),
        ({"objective.metric": "masks/AP"}, "objective.metric: 'masks/AP' is none of AP, AP50, AP75, "),
        (
            {"data": {"format": "voc", "root": "x"}, "detector.mask": True},
            "detector.mask: true, but the data (voc) have no masks; COCO's have, with data.masks: true",
        ),
        (
            {"data": {"format": "ecp", "root": "x"}, "objective.metric": "LAMR"},
            "objective.mode: 'max' is not what LAMR is good for; use min",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_answered(changes: dict[str, Any], line: str) -> None:
    assert mistake(changes).startswith(line)


def test_every_mistake_has_a_line_of_its_own() -> None:
    with pytest.raises(UserError) as caught:
        config({"serial.n_stuck": 0, "fleet.num_worker": 2})
    assert len(str(caught.value).splitlines()) == 2


def test_a_recipe_is_training_with_what_differs() -> None:
    changes = {
        "training": {"epochs": 5, "normalization": "frozen"},
        "start.training": {"epochs": 7},
        "parallel.training": {"batch_size": 1},
        "final": {"epochs": 24, "lr": 0.01},
        "reignition.epochs": 2,
    }
    given = config(changes)
    base = TrainingSettings(epochs=5, normalization="frozen")
    assert given.recipe("serial") == base
    assert given.recipe("start") == base.merged({"epochs": 7})
    assert given.recipe("parallel") == base.merged({"batch_size": 1})
    assert given.recipe("final") == base.merged({"epochs": 24, "lr": 0.01})
    reignition = given.recipe("reignition")
    assert (reignition.epochs, reignition.batch_size, reignition.normalization) == (2, 1024, "frozen")


def test_the_search_knows_what_the_config_says() -> None:
    given = config(
        {
            "seed": 7,
            "start.weights": "pretrain",
            "parallel": None,
            "final": {},
            "data": {"format": "voc", "root": "x", "short_side": 100, "long_side": 200},
            "fleet.max_failures_in_a_row": 2,
        }
    )
    search = given.search
    assert (search.seed, search.pretrain_start, search.parallel, search.train_full) == (7, True, None, True)
    assert (search.image_size, search.max_failures_in_a_row) == ((100, 200), 2)
    assert search.start == given.start.spec
    assert search.serial == given.serial


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_overrides_are_yaml_values_at_their_keys(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump(SMALLEST))
    overrides = ["serial.n_stuck=3", "parallel=null", "training.lr=1e-3", "objective.metric=AP/disc", "final.epochs=4"]
    loaded = load_config(path, [*overrides, "data.mean=[0.1, 0.2, 0.3]", "start.weights="])
    assert loaded.serial.n_stuck == 3
    assert loaded.parallel is None
    assert loaded.training.lr == 0.001
    assert loaded.objective.metric == "AP/disc"
    assert loaded.recipe("final").epochs == 4
    assert loaded.data.mean == (0.1, 0.2, 0.3)
    assert loaded.start.weights is None


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("serial.n_stuck", "override 'serial.n_stuck': is not of the form key.path=value"),
        ("serial..n_stuck=3", "override 'serial..n_stuck=3': is not of the form key.path=value"),
        ("=3", "override '=3': is not of the form key.path=value"),
        (
            "seed=[1",
            "override 'seed=[1': '[1' is no YAML value (line 1, column 3: no YAML (expected ',' or ']', but got "
            "'<stream end>'))",
        ),
        ("data.format.x=1", "override 'data.format.x=1': format holds 'shapes', which has no keys below it"),
        ("serial.n_stuk=3", "serial.n_stuk: unknown key; did you mean n_stuck?"),
    ],
)
def test_a_wrong_override_is_answered(tmp_path: Path, override: str, line: str) -> None:
    path = write(tmp_path, yaml.safe_dump(SMALLEST))
    with pytest.raises(UserError) as caught:
        load_config(path, [override])
    assert str(caught.value).removeprefix(f"config {path}: ") == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("seed: [1,\nstart", "line 2, column 6: no YAML (expected ',' or ']', but got '<stream end>')"),
        ("- seed\n", "holds list; a mapping of keys to values is needed"),
        ("", "holds NoneType; a mapping of keys to values is needed"),
        ("seed: !!python/object:os.system {}", "line 1, column 7: no YAML (found a tag (!); write the"),
    ],
)
def test_a_file_that_is_no_config_is_answered_with_the_place(tmp_path: Path, text: str, line: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        load_config(path)
    assert str(caught.value).removeprefix(f"config {path}: ").startswith(line)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="none.yaml: can't be read .No such file or directory.; give the path of a YAML"
    ):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="picture.yaml: is not text; give the path of a YAML file"):
        load_config(tmp_path / "picture.yaml")


def test_a_file_has_only_what_differs_from_its_base(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    base = write(tmp_path, yaml.safe_dump({**SMALLEST, "training": {"epochs": 7, "lr": 0.5}, "final": {"epochs": 9}}))
    middle, path = tmp_path / "recipes" / "middle.yaml", tmp_path / "recipes" / "leaf.yaml"
    middle.write_text(f"base: ../{base.name}\ntraining: {{lr: 0.25}}\nfinal: null\n")
    path.write_text("base: middle.yaml\nseed: 3\n")
    found = load_config(path, ["training.flip=false"])
    assert (found.training.epochs, found.training.lr, found.training.flip) == (7, 0.25, False)
    assert (found.seed, found.final, load_config(base).seed) == (3, None, 0)
    assert read_config(found.to_yaml(), "stored") == found


@pytest.mark.parametrize(
    ("base", "line"),
    [
        (
            "none.yaml",
            r"config .*/none\.yaml \(the base of 'leaf.yaml'\): can't be read \(No such file or directory\); ",
        ),
        ("'a\\0b'", r"config .*: can't be read \("),
        ('"a\\0b"', r"config .* \(the base of 'leaf.yaml'\): can't be read \(embedded null byte\); give the path"),
        (".", r"config .* \(the base of 'leaf.yaml'\): is no file; give the path of a YAML file"),
        ("5", r"config .*/leaf\.yaml: base: 5 is no path; give that of a YAML file, seen from here"),
        ("leaf.yaml", r"config .*: base: 'leaf\.yaml'; 8 files build on this one, is it a circle\?"),
    ],
)
def test_a_base_that_is_none_is_answered(tmp_path: Path, base: str, line: str) -> None:
    path = tmp_path / "leaf.yaml"
    path.write_text(f"base: {base}\n")
    with pytest.raises(UserError, match=line) as caught:
        load_config(path)
    assert "\n" not in str(caught.value)


def test_a_resolved_config_is_the_same_config(tmp_path: Path) -> None:
    changes = {
        "final": {"epochs": 24},
        "parallel.training": {"batch_size": 8},
        "budget.deadline": "2026-12-24T18:00:00Z",
    }
    given = config(changes)
    loaded = load_config(write(tmp_path, given.to_yaml()))
    assert loaded == given
    assert differences(loaded, given) == {}


def test_loaders_take_the_cpus_that_the_trainings_leave() -> None:
    assert FleetConfig(gpus_per_worker=8, cpus_per_worker=64).num_loaders == 7
    assert FleetConfig(gpus_per_worker=8, cpus_per_worker=4).num_loaders == FleetConfig().num_loaders == 0
    assert FleetConfig(loaders_per_rank=3).num_loaders == 3


def test_differences_name_the_keys_with_both_values() -> None:
    old = config({"final": {"epochs": 24}})
    new = config({"serial.n_stuck": 5, "fleet.num_workers": 3, "final": None, "parallel.training": {"batch_size": 8}})
    assert differences(old, new) == {
        "fleet.num_workers": (1, 3),
        "final.epochs": (24, None),
        "final.num_nodes": (1, None),
        "final.start": ("search", None),
        "parallel.training.batch_size": (None, 8),
        "serial.n_stuck": (20, 5),
    }


@pytest.mark.parametrize(
    "key",
    [
        "fleet.num_workers",
        "fleet.max_attempts",
        "training.batch_size",
        "parallel.training.batch_size",
        "reignition.batch_size",
        "data.root",
        "reignition.data.root",
        "data.cache_bytes",
        "budget.max_candidates",
        "budget.deadline",
    ],
)
def test_what_could_repair_a_run_may_change(key: str) -> None:
    assert may_change(key)


@pytest.mark.parametrize(
    "key",
    ["seed", "serial.n_stuck", "serial.in_flight", "training.lr", "start.architecture", "fleet.gpus_per_worker"],
)
def test_what_the_history_depends_on_may_not_change(key: str) -> None:
    assert not may_change(key)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_of_the_repository_loads(path: Path) -> None:
    load_config(path)


def test_a_named_start_brings_its_stem_unless_one_is_given() -> None:
    def start(**values: Any) -> tuple[str, str]:
        config = tiny_config(start={"architecture": "resnet18", **values}, serial={"max_blocks": 60})
        return config.start.architecture, config.start.stem

    assert start() == ("BB(11,d1,d1,d1)", "resnet")
    assert start(stem="deep") == ("BB(11,d1,d1,d1)", "deep")


def test_a_start_of_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(UserError, match="start.architecture: architecture 'resnet17': .* the nearest is resnet18"):
        tiny_config(start={"architecture": "resnet17"})
