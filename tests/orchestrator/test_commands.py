"""What spnas train, evaluate and pretrain make of a config, of runs and of files; and how they refuse."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from models.detector_shape import DetectorShape
from models.msnas_zoo import MULTI_SCALE_ZOO
from orchestrator.cli import app
from orchestrator.commands import evaluation_config, run_config
from orchestrator.config import RunConfig
from orchestrator.environment import advice, check_environment
from orchestrator.errors import UserError
from orchestrator.given import given_file, put_given
from orchestrator.runs import open_run
from orchestrator.sources import best_of_run
from tests.orchestrator.finished_runs import CLASSES, blob, finished_run
from tests.orchestrator.tiny import tiny_config, write_config
from workers.run_folder import RunFolder
from workers.storage import open_storage

MULTI_SCALE = "MS(BB,4;1,2,0.5;4,4,8,8,8)"
SYNC = ["training.normalization=sync", "evolution.flops_window=1"]
SWAPPED = "BB(1,1,1)", "iss"  # a network with a shortcut that no fresh build has


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "tiny.yaml")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A finished training."""
    finished_run(tmp_path / "source", tiny_config(algorithm="train", budget={"deadline": "2020-01-01"}), blob())
    return tmp_path / "source"


def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(open_storage(tmp_path / "run"))


def training(tmp_path: Path, config: Path, *overrides: str, **more: Any) -> RunConfig:
    return run_config("train", folder(tmp_path), config, overrides, **more)


def refused(*arguments: str | Path) -> str:
    """The one line that a command is refused with."""
    answer: Result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert (answer.exit_code, answer.stdout) == (2, ""), answer.output
    assert answer.stderr.count("\n") == 1, answer.stderr
    return answer.stderr


# ---- where a run starts ----------------------------------------------------------------------------------------------


def test_a_training_takes_network_and_weights_of_a_runs_best(tmp_path: Path, config: Path, source: Path) -> None:
    settings = training(tmp_path, config, "final.epochs=24", "seed=7", source=str(source))
    assert (settings.algorithm, settings.seed, settings.recipe("final").epochs) == ("train", 7, 24)
    assert str(settings.start.spec.architecture) == "BB(1,1,1)"
    given = settings.start.given
    assert given is not None and settings.start.weights is None
    assert (given.source, given.kind, given.classes) == (str(source), "detector", CLASSES)
    assert given.sha256 == hashlib.sha256(blob()).hexdigest()
    run = folder(tmp_path)
    put_given(settings, run)
    file = given_file(settings)
    assert file is not None and run.read_weights(file) == blob()


def test_shortcuts_that_a_search_has_left_are_kept(tmp_path: Path, config: Path) -> None:
    encoding, shortcuts = SWAPPED
    settings = training(tmp_path, config, f"start.architecture={encoding}", f"start.shortcuts={shortcuts}")
    assert settings.start.spec.shortcuts == shortcuts
    fresh = training(tmp_path, config, f"start.shortcuts={shortcuts}", architecture=encoding)
    assert fresh.start.spec.shortcuts == shortcuts  # what is set last counts
    assert training(tmp_path, config, architecture=encoding).start.spec.shortcuts == "ipp"


def test_a_run_that_has_begun_goes_on_without_its_source(tmp_path: Path, config: Path, source: Path) -> None:
    settings = training(tmp_path, config, source=str(source))
    open_run(settings, folder(tmp_path).storage)
    put_given(settings, folder(tmp_path))
    shutil.rmtree(source)
    again = training(tmp_path, config, source=str(source))
    assert again == settings
    put_given(again, folder(tmp_path))
    with pytest.raises(UserError, match="is not a run's folder"):
        training(tmp_path, config, source=str(tmp_path / "other"))


def test_a_job_of_a_run_is_taken_in_place_of_its_best_and_its_run_goes_on_with_the_same_command(
    tmp_path: Path, config: Path, source: Path
) -> None:
    settings = training(tmp_path, config, source=str(source), job=0)
    assert settings.start.given is not None and settings.start.given.job == 0
    open_run(settings, folder(tmp_path).storage)
    put_given(settings, folder(tmp_path))
    shutil.rmtree(source)
    assert training(tmp_path, config, source=str(source), job=0) == settings
    with pytest.raises(UserError, match="is not a run's folder"):
        training(tmp_path, config, source=str(source))  # its best is asked for now


def test_a_job_that_can_not_be_had_is_refused_in_one_line(tmp_path: Path, config: Path, source: Path) -> None:
    (tmp_path / "one.safetensors").write_bytes(blob())
    begin = ("train", config, "--run", tmp_path / "run", "--job", "7")
    assert refused(*begin) == "--job 7: is a job of the run that --from names; name that, too\n"
    file = tmp_path / "one.safetensors"
    expected = f"--job 7: {file} is a file, which has no jobs; leave it out, or name a run\n"
    assert refused(*begin, "--from", file) == expected
    assert "job 7 has never been; jobs with weights: 0" in refused(*begin, "--from", source)
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_cut_off_before_it_was_given_its_weights_gets_those_or_none(
    tmp_path: Path, config: Path, source: Path
) -> None:
    settings = training(tmp_path, config, source=str(source))
    open_run(settings, folder(tmp_path).storage)
    shutil.rmtree(source)
    finished_run(source, tiny_config(algorithm="train"), blob(value=1.0))
    with pytest.raises(UserError, match="holds other weights by now"):
        put_given(training(tmp_path, config, source=str(source)), folder(tmp_path))


def test_files_are_told_apart_by_what_is_in_them(tmp_path: Path, config: Path) -> None:
    (tmp_path / "detector.safetensors").write_bytes(blob("BB(1,1)"))
    (tmp_path / "backbone.safetensors").write_bytes(blob("BB(1,1)", detector=False))
    torch.save({"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("detector", "backbone"):
        start = training(tmp_path, config, source=str(tmp_path / f"{name}.safetensors")).start
        assert start.given is not None and start.given.kind == name
        assert str(start.spec.architecture) == "BB(1,1)"
    start = training(tmp_path, config, source=str(tmp_path / "other.pth"), architecture="BB(11,1)").start
    assert (start.given, start.weights) == (None, str(tmp_path / "other.pth"))
    assert str(start.spec.architecture) == "BB(11,1)"


def test_a_name_stands_for_encoding_stem_and_width(tmp_path: Path, config: Path) -> None:
    start = training(tmp_path, config, architecture="resnet18").start
    assert (start.architecture, start.stem, start.base_channels) == ("BB(11,d1,d1,d1)", "resnet", 64)


def test_a_multi_scale_network_is_trained_whatever_family_the_config_is_of(tmp_path: Path, config: Path) -> None:
    start = training(tmp_path, config, architecture=MULTI_SCALE).start  # the config has base_channels 4
    assert (start.architecture, start.stem) == (MULTI_SCALE, "deep")  # and a stem of its own
    start = training(tmp_path, config, architecture="MSNAS_R18_5").start
    assert start.spec == MULTI_SCALE_ZOO["msnas-r18-5"].spec
    other = ["algorithm=msnas", f'start={{architecture: "{MULTI_SCALE}"}}', *SYNC]
    multi = tmp_path / "multi.yaml"
    multi.write_text(run_config(None, folder(tmp_path), config, other).to_yaml())
    start = training(tmp_path, multi, architecture="resnet18").start
    assert (start.architecture, start.stem) == ("BB(11,d1,d1,d1)", "resnet")


def test_what_a_multi_scale_network_can_not_do_is_refused(tmp_path: Path, config: Path) -> None:
    run, named = ("--run", tmp_path / "run"), ("--architecture", MULTI_SCALE)
    assert "is a multi-scale network; pretrain asks for one such as resnet50" in refused(
        "pretrain", config, *run, *named
    )
    line = refused("train", config, *run, *named, "start.weights=torchvision:resnet18")
    assert "start.weights: 'torchvision:resnet18' do not fit multi-scale networks; leave it out" in line
    assert "the nearest is msnas-r18-5" in refused("train", config, *run, "--architecture", "msnas-r18-6")
    line = refused("train", config, *run, "--architecture", "MS(BB,4;1,2;4,4,8,8,16)")
    assert line.startswith("--architecture: architecture 'MS(BB,4;1,2;4,4,8,8,16)', position 20: no block")
    (tmp_path / "other.pth").write_bytes(b"")
    assert "do not fit multi-scale networks" in refused("train", config, *run, *named, "--from", tmp_path / "other.pth")
    assert not (tmp_path / "run").exists()


def test_a_search_may_start_from_a_pretraining(tmp_path: Path, config: Path) -> None:
    source = tmp_path / "source"
    finished_run(source, tiny_config(algorithm="pretrain"), blob(detector=False))
    settings = run_config(None, folder(tmp_path), config, (), source=str(source))
    assert settings.start.given is not None and settings.start.given.kind == "backbone"
    assert settings.algorithm == "spnas"


def test_a_search_is_by_the_configs_own_algorithm_which_another_commands_can_not_be(
    tmp_path: Path, config: Path
) -> None:
    for algorithm, start in (("spnas", "BB(1,1)"), ("msnas", MULTI_SCALE), ("random", MULTI_SCALE)):
        overrides = [f"algorithm={algorithm}", f'start={{architecture: "{start}"}}', *SYNC]
        assert run_config(None, folder(tmp_path), config, overrides).algorithm == algorithm
    with pytest.raises(
        UserError, match="algorithm: 'train' is none of this command's, spnas, msnas, random; use spnas t"
    ):
        run_config(None, folder(tmp_path), config, ["algorithm=train"])
    with pytest.raises(UserError, match="algorithm: 'spnas' is none of this command's, train; use spnas search"):
        training(tmp_path, config, "algorithm=spnas")


def test_an_evaluation_takes_the_runs_own_config_but_neither_its_budget_nor_its_fleet(
    tmp_path: Path, source: Path
) -> None:
    settings = evaluation_config(folder(tmp_path), str(source), None, ["data.num_val=4"])
    assert settings.algorithm == "evaluate"
    assert settings.budget.deadline is None and settings.fleet.num_workers == 1
    assert settings.data.model_dump()["num_val"] == 4
    check_environment(settings)
    open_run(settings, folder(tmp_path).storage)
    shutil.rmtree(source)
    assert evaluation_config(folder(tmp_path), str(source), None, ["data.num_val=4"]) == settings


def test_workers_that_have_nothing_to_do_are_told(tmp_path: Path, config: Path) -> None:
    together = training(tmp_path, config, "final.num_nodes=all", "training.normalization=sync")
    assert advice(together) == []
    (note,) = advice(training(tmp_path, config))
    assert note.startswith("1 of fleet.num_workers 2 will work; final.num_nodes: all")


def test_the_full_training_of_a_search_is_its_best(tmp_path: Path) -> None:
    found = finished_run(tmp_path / "search", tiny_config(), blob())
    assert best_of_run(found.address).job == 0
    assert best_of_run(found.address).config == tiny_config()


# ---- how it is refused -----------------------------------------------------------------------------------------------


def test_what_is_missing_in_the_config_is_named(config: Path, tmp_path: Path) -> None:
    run = ("--run", tmp_path / "run")
    assert "final: missing" in refused("train", config, *run, "final=null")
    assert "reignition: missing, but it says how" in refused("pretrain", config, *run, "reignition=null")
    line = refused("train", config, *run, "--architecture", "BB(1,1,1,1,1)")
    assert "start.architecture: BB(1,1,1,1,1) has 5 stages" in line and "serial.max_stages" in line
    assert not (tmp_path / "run").exists()


def test_networks_that_are_none_or_two_are_refused(config: Path, tmp_path: Path, source: Path) -> None:
    run = ("--run", tmp_path / "run")
    assert "the nearest is resnet50" in refused("train", config, *run, "--architecture", "resnet5")
    assert "position 5" in refused("pretrain", config, *run, "--architecture", "BB(1,x)")
    line = refused("train", config, *run, "--architecture", "BB(1,1)", "--from", source)
    assert f"{source} holds BB(1,1,1); leave --architecture out" in line
    assert "stand beside those of --from" in refused("train", config, *run, "--from", source, "start.weights=x.pt")


def test_sources_without_weights_are_refused(config: Path, tmp_path: Path) -> None:
    run = ("--run", tmp_path / "run")
    open_run(tiny_config(), open_storage(tmp_path / "fresh"))
    assert "none of its jobs has been completed" in refused("train", config, *run, "--from", tmp_path / "fresh")
    assert "is not a run's folder" in refused("train", config, *run, "--from", tmp_path / "nowhere")
    assert "can't be read" in refused("train", config, *run, "--from", tmp_path / "no.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(blob()[:40])
    assert "cut off" in refused("train", config, *run, "--from", tmp_path / "cut.safetensors")
    finished_run(tmp_path / "damaged", tiny_config(algorithm="train"), blob())
    (weights,) = (tmp_path / "damaged" / "weights").iterdir()
    weights.write_bytes(blob(value=1.0))
    assert "the bytes are not those" in refused("train", config, *run, "--from", tmp_path / "damaged")


def test_what_can_not_be_evaluated_is_refused(config: Path, tmp_path: Path, source: Path) -> None:
    run = ("--run", tmp_path / "run")
    (tmp_path / "detector.safetensors").write_bytes(blob())
    assert "a file has no config; give one" in refused("evaluate", tmp_path / "detector.safetensors", *run)
    (tmp_path / "backbone.safetensors").write_bytes(blob(detector=False))
    line = refused("evaluate", tmp_path / "backbone.safetensors", config, *run)
    assert "are not those of a whole detector" in line
    (tmp_path / "birds.safetensors").write_bytes(blob(classes=("bird",)))
    line = refused("evaluate", tmp_path / "birds.safetensors", config, *run)
    assert "data: has the classes 'disc, square, triangle, cross'" in line and "'bird'" in line
    settings = evaluation_config(folder(tmp_path), str(source), None, [])
    given = settings.start.given
    assert given is not None
    finished_run(tmp_path / "evaluation", settings, b"")
    assert "an evaluation makes none" in refused("evaluate", tmp_path / "evaluation", *run)


def shape_of(config: RunConfig, **changes: Any) -> DetectorShape:
    """What a config's detectors are, but for some changes."""
    values = config.detector.model_dump() | {"image_mean": config.data.mean, "image_std": config.data.std}
    return DetectorShape(**(values | changes))


def test_weights_of_another_function_are_not_evaluated(config: Path, tmp_path: Path) -> None:
    file, run = tmp_path / "detector.safetensors", folder(tmp_path)
    free = {"score_threshold": 0.3, "nms_threshold": 0.7, "detections_per_image": 3, "rpn_batch": 7, "mask_channels": 5}
    file.write_bytes(blob(shape=shape_of(tiny_config(), **free)))
    evaluation_config(run, str(file), config, [])
    file.write_bytes(blob(shape=shape_of(tiny_config(), anchor_size=5, anchor_ratios=(0.5, 1.0))))
    line = refused("evaluate", file, config, "--run", tmp_path / "run")
    ours = tiny_config().detector
    assert f"detector.anchor_size: the weights have 5, the config {ours.anchor_size};" in line
    assert f"detector.anchor_ratios: the weights have [0.5, 1.0], the config {list(ours.anchor_ratios)}\n" in line
    with pytest.raises(UserError, match="serial.max_stages: the weights have 4, the config 5"):
        evaluation_config(run, str(file), config, ["serial.max_stages=5"])
    (note,) = [note for note in advice(training(tmp_path, config, source=str(file))) if "trained with" in note]
    assert f"detector.anchor_size 5 (here {ours.anchor_size})" in note


def test_other_data_are_evaluated_with_the_mean_and_deviation_of_the_weights(tmp_path: Path, source: Path) -> None:
    change = ["data={format: shapes, image_size: 64, mean: [0.1, 0.2, 0.3]}"]
    with pytest.raises(UserError, match=r"data.mean: the weights have \[0.5, 0.5, 0.5\], the config \[0.1, 0.2, 0.3\]"):
        evaluation_config(folder(tmp_path), str(source), None, change)  # an older version's weights say nothing
    finished_run(tmp_path / "new", tiny_config(algorithm="train"), blob(shape=shape_of(tiny_config())))
    with pytest.raises(UserError, match="data.mean: the weights have"):
        evaluation_config(folder(tmp_path), str(tmp_path / "new"), None, change)


def test_weights_of_another_normalisation_are_refused_at_once(config: Path, tmp_path: Path) -> None:
    run = ("--run", tmp_path / "run")
    file = tmp_path / "weights.safetensors"
    file.write_bytes(blob(vector="bn.weight"))
    line = refused("train", config, *run, "--from", file)
    assert "training.normalization: 'batch' does not fit the weights of" in line and "use group" in line
    training(tmp_path, config, "training.normalization=group", source=str(file))
    file.write_bytes(blob(vector="bn.running_mean"))
    assert "use batch, sync" in refused("train", config, *run, "--from", file, "training.normalization=group")
    training(tmp_path, config, source=str(file))


def test_an_evaluation_heeds_no_rule_of_training(tmp_path: Path, source: Path) -> None:
    alone = ["training.batch_size=1", "fleet.ranks_per_worker=2"]
    settings = evaluation_config(folder(tmp_path), str(source), None, alone)
    assert settings.recipe("serial").batch_size == 1


def test_a_run_of_another_kind_is_not_gone_on_with(config: Path, tmp_path: Path) -> None:
    open_run(tiny_config(), open_storage(tmp_path / "search"))
    line = refused("train", config, "--run", tmp_path / "search")
    assert "was begun with another config (algorithm was 'spnas', is 'train')" in line


def test_status_shows_what_a_finished_training_has_come_to(source: Path) -> None:
    answer = CliRunner().invoke(app, ["status", str(source)])
    assert answer.exit_code == 0
    assert "train, 1 jobs finished, 0 pending" in answer.stdout and "stuck" not in answer.stdout
    assert "50.00" in answer.stdout and "disc" in answer.stdout
    assert f"weights: {source}/weights/000000-0-1.safetensors" in answer.stdout
