"""`spnas export`, and what other programs get: from runs, files and names, or one line that says why not."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from click.testing import Result
from safetensors import safe_open
from typer.testing import CliRunner

import spnas
from models.detector_card import DetectorCard
from models.detector_shape import DetectorShape
from models.detectors import build_detector
from models.portable import Portable
from orchestrator.cli import app
from orchestrator.given import changes_of
from orchestrator.sources import best_of_run
from tests.conftest import REPOSITORY
from tests.orchestrator.finished_runs import CLASSES
from tests.orchestrator.search.fake_driver import FakeDriver, noise
from tests.orchestrator.search.test_folding import Recorder, journal_of
from tests.orchestrator.tiny import tiny_config
from workers.run_folder import RunFolder
from workers.storage import open_storage

PATH = "MS(BB,4;1,2,0.5;4,4,8,8,8)"
STORED = REPOSITORY / "tests" / "assets" / "run-format-2"  # a run of the tiny search; it has weights of jobs 0 and 4


def export(source: object, to: str, *options: object) -> Result:
    return CliRunner().invoke(app, ["export", str(source), "--to", to, *map(str, options)])


def refused(source: object, to: str, *options: object) -> str:
    answer = export(source, to, *options)
    assert (answer.exit_code, answer.stdout) == (2, ""), answer.output
    assert answer.stderr.count("\n") == 1
    return answer.stderr


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_best_of_a_run_becomes_a_file_that_is_named_after_it_and_builds_it_again(here: Path) -> None:
    answer = export(STORED, "safetensors")
    assert answer.exit_code == 0, answer.output
    path = here / "run-format-2-detector.safetensors"
    assert answer.stdout.startswith(f"{path}: detector BB(1,1,1), ")
    with safe_open(path, "pt") as file:
        told = {name: json.loads(text) for name, text in file.metadata().items() if name != "kind"}
    assert told["classes"] == ["disc", "square", "triangle", "cross"]
    assert told["resize"] == {"height": 64, "width": 64}
    assert told["detector"]["pyramid_channels"] == 8
    again = spnas.detector_from(str(path)).eval()
    ours = spnas.detector_from(str(STORED)).eval()
    picture = torch.rand(3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(again([picture])[0]["boxes"], ours([picture])[0]["boxes"])


def test_a_backbone_of_any_job_that_has_weights_can_be_had(here: Path) -> None:
    for job in (0, 4):
        assert (
            export(STORED, "safetensors", "--part", "backbone", "--job", job, "--out", f"{job}.safetensors").exit_code
            == 0
        )
    start, later = (Portable.of_blob((here / f"{job}.safetensors").read_bytes()) for job in (0, 4))
    assert (start.part, start.notes["job"], later.notes["job"]) == ("backbone", "0", "4")
    assert str(start.spec.architecture) == "BB(1,1,1)"
    network = spnas.backbone_from("0.safetensors", normalization="frozen")
    assert list(network(torch.rand(1, 3, 32, 32))) == ["stage1", "stage2", "stage3"]


def test_a_file_is_exported_as_its_run_is(here: Path) -> None:
    assert export(STORED, "safetensors", "--out", "best.safetensors").exit_code == 0
    answer = export("best.safetensors", "torch-export", "--part", "backbone", "--height", 48, "--width", 80)
    assert answer.exit_code == 0, answer.output
    program = torch.export.load(here / "best-backbone.pt2").module()
    images = torch.rand(3, 3, 48, 80)
    with torch.inference_mode():
        expected = spnas.backbone_from(str(STORED)).eval()(images)
    assert all(torch.equal(feature, expected[name]) for name, feature in program(images).items())


def test_a_run_in_a_bucket_is_exported_too(address: str, here: Path) -> None:
    storage = open_storage(address)
    for path in STORED.rglob("*"):
        name = str(path.relative_to(STORED))
        if path.is_file() and not name.startswith("journal"):
            storage.write(name, path.read_bytes())
    with_journal = storage.open_log("journal/000001.jsonl")
    with_journal.append((STORED / "journal" / "000001.jsonl").read_bytes())
    with_journal.close()
    assert export(address, "safetensors", "--out", "best.safetensors").exit_code == 0
    assert spnas.network_from("best.safetensors").part == "detector"


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (3, "has no weights any more: a run keeps its best's and those that it may still need (see keep_weights)"),
        (999, "has never been"),
    ],
)
def test_a_job_without_weights_is_refused_with_those_that_have_some(job: int, reason: str, here: Path) -> None:
    assert refused(STORED, "onnx", "--job", job) == f"run {STORED}: job {job} {reason}; jobs with weights: 0, 4\n"
    assert not list(here.iterdir())


def test_what_is_no_run_and_no_file_of_ours_is_refused(here: Path) -> None:
    (here / "empty").mkdir()
    (here / "notes.safetensors").write_bytes(b"nothing of the kind")
    (here / "old.pth").write_bytes(b"")
    assert "is not a run's folder" in refused("empty", "onnx")
    assert "weights notes.safetensors: " in refused("notes.safetensors", "onnx")
    assert "only .safetensors files of ours say" in refused("old.pth", "onnx")
    assert "can't be read" in refused("nowhere.safetensors", "onnx")


def test_a_run_that_has_come_to_nothing_yet_is_refused(here: Path) -> None:
    RunFolder(str(here / "run")).write_config((STORED / "config.yaml").read_text())
    assert "none of its jobs has been completed" in refused("run", "onnx")


def test_a_super_net_without_a_completed_sample_is_no_detector(paths: tuple[RunFolder, str]) -> None:
    journal = Path(paths[0].address) / "journal" / "000001.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    told = next(number for number, line in enumerate(lines) if b'"told"' in line)
    journal.write_bytes(b"".join(lines[: told + 1]))
    assert "none of its super-net's samples has been completed" in refused("run", "onnx")


def test_options_that_mean_nothing_are_refused(here: Path) -> None:
    shutil.copy(next((STORED / "weights").iterdir()), here / "weights.safetensors")
    assert "which holds one network; leave it out" in refused("weights.safetensors", "onnx", "--job", 1)
    assert "don't say what their detector is" in refused("weights.safetensors", "onnx", "--part", "detector")
    assert "height and width: give both" in refused(STORED, "onnx", "--height", 64)
    assert "lies in no folder" in refused(STORED, "onnx", "--out", "nowhere/best.onnx")
    assert "is a folder" in refused(STORED, "onnx", "--out", ".")


def test_an_export_that_fails_leaves_what_was_there(here: Path) -> None:
    path = here / "best.onnx"
    path.write_bytes(b"dear")
    refused(STORED, "onnx", "--out", path, "--height", 64)
    assert path.read_bytes() == b"dear"


def supernet_blob() -> bytes:
    torch.manual_seed(0)
    shape = DetectorShape(**tiny_config().detector.model_dump())
    network = build_detector(PATH, len(CLASSES), supernet=True, **asdict(shape))
    card = DetectorCard(classes=CLASSES, max_stages=4, shape=shape)
    return Portable(spec=network.backbone.body.spec, state=network.state_dict(), card=card).to_blob()


@pytest.fixture
def paths(here: Path) -> tuple[RunFolder, str]:
    """A finished search among the paths of a super-net, whose samples were only scored; and its best."""
    config = tiny_config(
        algorithm="msnas",
        start={"architecture": PATH, "base_channels": 64},
        evolution={"flops_window": 1.0, "population": 3, "generations": 0, "fine_tune": False},
        training={"normalization": "sync"},
        final=None,
    )
    recorder = Recorder()
    driver = FakeDriver(
        config.search,
        algorithm_of=lambda settings: config.build_algorithm(),
        judge=lambda job: noise(job.spec.architecture, job.kind),
        on_change=recorder,
    ).run()
    folder = RunFolder(open_storage(here / "run"))
    folder.write_config(config.to_yaml())
    kept = asdict(folder.write_weights("000000-0-1", supernet_blob()))
    for record in recorder.records:
        if record["type"] == "told":
            record["result"]["weights"] = None if record["outcome"]["index"] else kept
    journal_of(here / "run", recorder.records)
    best = driver.state.best_overall
    assert best is not None
    return folder, str(best.spec.architecture)


def test_a_sample_that_was_only_scored_is_taken_home_as_its_path_of_the_super_net(paths: tuple[RunFolder, str]) -> None:
    folder, best = paths
    answer = export("run", "safetensors", "--out", "best.safetensors")
    assert answer.exit_code == 0, answer.output
    assert f": detector {best}, " in answer.stdout
    detector = spnas.detector_from("best.safetensors").eval()
    with torch.inference_mode():
        assert "boxes" in detector([torch.rand(3, 50, 70)])[0]
    assert f"detector {PATH}, " in export("run", "safetensors", "--job", 0).stdout
    assert "job 99 has never been; jobs with weights: 0" in refused("run", "safetensors", "--job", 99)
    given = changes_of(best_of_run("run"))
    assert (given["start.architecture"], given["start.stem"], given["start.shortcuts"]) == (best, "resnet", None)
    assert given["start.given"]["classes"] == list(CLASSES)
    assert "serial.max_stages" not in given["start.given"]["built_with"]


def test_a_multi_scale_encoder_is_what_a_backbone_is(here: Path) -> None:
    encoder = spnas.backbone_from(PATH)
    assert encoder.spec == spnas.MultiScaleSpec(spnas.MultiScale.parse(PATH))
    assert list(encoder(torch.rand(2, 3, 64, 64))) == ["0", "1", "2", "3", "4"]
    assert spnas.features_from(PATH, stem="deep").feature_info.reduction() == [4, 8]
    pyramid = spnas.pyramid_from(PATH)
    levels = pyramid(torch.rand(1, 3, 64, 64))
    assert pyramid.out_channels == 4 and [level.shape[-1] for level in levels.values()] == [16, 16, 8, 8, 8]
    for options in ({"channels": 8}, {"num_levels": 4}):
        with pytest.raises(ValueError, match="channels, num_levels: MS.* says itself how many it has"):
            spnas.pyramid_from(PATH, **options)
    with pytest.raises(ValueError, match="base channels: 8, but MS"):
        spnas.backbone_from(PATH, base_channels=8)
    with pytest.raises(ValueError, match="50 x 64 pixels are not multiples of 64; pad them"):
        encoder(torch.rand(1, 3, 50, 64))

    (here / "supernet.safetensors").write_bytes(supernet_blob())
    assert (
        export("supernet.safetensors", "safetensors", "--part", "backbone", "--out", "path.safetensors").exit_code == 0
    )
    stored = spnas.backbone_from("path.safetensors", normalization="frozen").eval()
    whole = spnas.detector_from("supernet.safetensors").eval().backbone.body
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(stored(images)["4"], whole(images)["4"])


def test_names_and_encodings_give_fresh_networks() -> None:
    assert spnas.backbone_from("resnet18", base_channels=4).spec.stem == "resnet"
    features = spnas.features_from("BB(1,d1,1)", base_channels=4, out_indices=(1, -1))
    assert features.feature_info.channels() == [8, 8] and features.feature_info.reduction() == [8, 16]
    pyramid = spnas.pyramid_from("BB(1,d1)", base_channels=4, channels=8, num_levels=3)
    assert [tuple(level.shape) for level in pyramid(torch.rand(1, 3, 64, 64)).values()] == [
        (1, 8, 16, 16),
        (1, 8, 8, 8),
        (1, 8, 4, 4),
    ]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("resnet19", "the nearest is resnet18"),
        ("BB(1,x)", "position 5"),
        ("MS(BB,4;1,2;4,4,8,8,16)", "position 20"),
        ("msnas-r18", "the nearest is msnas-r18-5"),
        ("runs/nowhere", "is not a run's folder"),
        ("nothing.safetensors", "can't be read"),
    ],
)
def test_what_is_no_network_is_refused_in_a_line(source: str, reason: str, here: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        spnas.backbone_from(source)


def test_torch_hub_gives_the_same() -> None:
    def load(name: str, source: str, **options: object) -> torch.nn.Module:
        return torch.hub.load(str(REPOSITORY), name, source, source="local", verbose=False, **options)

    fresh = load("backbone", "resnet18", base_channels=4)
    assert fresh.spec == spnas.backbone_from("resnet18", base_channels=4).spec
    assert load("features", str(STORED)).feature_info.reduction() == [4, 8, 16]
    assert load("pyramid", str(STORED), channels=8).out_channels == 8
    stored = spnas.detector_from(str(STORED)).state_dict()
    assert all(torch.equal(tensor, stored[key]) for key, tensor in load("detector", str(STORED)).state_dict().items())


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a program of a user's says, whose own folder is the first that Python looks in."""
    code = f"import sys; sys.path[:0] = [{str(folder)!r}]; sys.path.append({str(REPOSITORY)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["models/__init__.py", "workers/__init__.py", "orchestrator.py"])
def test_another_package_under_a_name_of_ours_is_named_in_a_line(name: str, here: Path) -> None:
    (here / name).parent.mkdir(exist_ok=True)
    (here / name).write_text("")
    answer = python("import spnas", here)
    last = answer.stderr.splitlines()[-1]
    where = here / name.removesuffix("/__init__.py")
    assert last.startswith("ImportError: spnas: its package ") and f"Python finds {where}; rename that" in last
    loaded = python(f"import {Path(name).parts[0].removesuffix('.py')}, spnas", here)
    assert "ImportError: spnas: its package " in loaded.stderr.splitlines()[-1]


def test_what_torch_hub_is_told_of_is_all_that_a_run_and_a_file_need(here: Path) -> None:
    assert export(STORED, "safetensors", "--out", "best.safetensors").exit_code == 0
    told = runpy.run_path(str(REPOSITORY / "hubconf.py"))["dependencies"]
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["dependencies"]
    modules = {"pillow": "PIL", "pyyaml": "yaml"}
    names = [re.split(r"\W", requirement)[0] for requirement in wanted]
    missing = sorted({modules.get(name, name) for name in names} - set(told))
    assert "ray" in missing
    code = f"""
sys.modules.update(dict.fromkeys({missing}))  # to import them is an error
import hubconf
for source in ({str(STORED)!r}, "best.safetensors"):
    for build in (hubconf.backbone, hubconf.features, hubconf.pyramid, hubconf.detector):
        build(source)
"""
    answer = python(code, here)
    assert answer.returncode == 0, answer.stderr


def test_a_pipe_is_refused_like_a_file_that_is_missing(here: Path) -> None:
    os.mkfifo(here / "pipe.safetensors")  # to read it would never end
    assert "can't be read" in refused("pipe.safetensors", "onnx")
