"""The doctor at work: a healthy config passes, and each kind of trouble fails at its own line with what to do."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.config_files import parse_config
from orchestrator.diagnosis import Row, Silence
from orchestrator.doctor import examine
from orchestrator.examiners import Examiners
from tests.orchestrator.tiny import TINY, tiny_config, write_config
from tests.workers.test_ranks import settings_of, task_of

CHEAP = "tests.orchestrator.doctor_trainers:CheapTrainer"
LARGE = "tests.orchestrator.doctor_trainers:LargeTrainer"
VOC = {"format": "voc", "root": "/no/such/folder"}


@pytest.fixture(scope="module")
def small_ray() -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,  # fake ones, which torch does not see
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=80 * 2**20,
    )
    yield
    ray.shutdown()


def rows_of(run: str | None, trainer: str = CHEAP, **changes: Any) -> dict[str, Row]:
    """The doctor's rows by name."""
    config = parse_config(TINY | changes, "tiny")
    return {row.name: row for row in examine(config, run, trainer=trainer)}


def failed(rows: dict[str, Row]) -> dict[str, Row]:
    """Those that failed, each of which says what to do."""
    found = {name: row for name, row in rows.items() if row.status == "fail"}
    assert all(row.remedy for row in found.values())
    return found


def doctor(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "orchestrator.cli", "doctor", *map(str, arguments)]
    everywhere = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | environment
    return subprocess.run(command, capture_output=True, text=True, env=everywhere)


@pytest.mark.ray
@pytest.mark.slow
def test_a_healthy_config_passes_every_check_and_leaves_nothing_in_the_run(tmp_path: Path) -> None:
    config = write_config(
        tmp_path / "tiny.yaml",
        training={"batch_size": 8, "normalization": "sync"},
        reignition=TINY["reignition"] | {"num_nodes": "all"},
    )
    answer = doctor(config, "--run", tmp_path / "run", "parallel.training.batch_size=2")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    statuses = [line.split()[0] for line in answer.stdout.splitlines() if line.startswith((" pass", " fail", " not"))]
    assert statuses == ["pass"] * 11, answer.stdout
    assert "all-reduce, 2 workers" in answer.stdout and "GB/s" in answer.stdout
    assert "peak memory" in answer.stdout
    assert list((tmp_path / "run").iterdir()) == []


def test_a_cluster_that_does_not_answer_fails_and_the_rest_is_not_run(tmp_path: Path) -> None:
    answer = doctor(write_config(tmp_path / "tiny.yaml"), RAY_ADDRESS="127.0.0.1:1")
    assert answer.returncode == 1 and answer.stderr == ""
    assert "does not answer" in answer.stdout and "to do:" in answer.stdout
    assert answer.stdout.count("not run") >= 6


def test_a_bad_config_or_address_has_exit_code_2(tmp_path: Path) -> None:
    config = write_config(tmp_path / "tiny.yaml")
    for arguments in ([tmp_path / "none.yaml"], [config, "seed=x"], [config, "--run", "ftp://x/y"]):
        answer = doctor(*arguments)
        assert answer.returncode == 2 and answer.stdout == "", answer.stdout
        assert len(answer.stderr.splitlines()) == 1


@pytest.mark.ray
def test_fewer_nodes_than_asked_fail_and_those_there_are_examined(small_ray: None, tmp_path: Path) -> None:
    rows = rows_of(str(tmp_path), fleet={"num_workers": 3})
    assert failed(rows).keys() == {"this machine", "nodes and GPUs"}  # a local Ray would not do, either
    assert rows["nodes and GPUs"].found.startswith("2 of 3 workers could be placed")
    assert "fleet.num_workers to 2" in rows["nodes and GPUs"].remedy
    assert rows["versions"].status == rows["storage"].status == "pass"


@pytest.mark.ray
def test_a_gang_larger_than_the_cluster_is_not_run(small_ray: None) -> None:
    together = {"num_nodes": 3, "batch_size": 9, "normalization": "sync"}
    rows = rows_of(None, fleet={"num_workers": 3}, reignition=TINY["reignition"] | together)
    assert (rows["all-reduce, 3 workers"].status, rows["all-reduce, 3 workers"].found) == (
        "not run",
        "there are 2 workers",
    )


@pytest.mark.ray
def test_gpus_that_torch_does_not_see_fail(small_ray: None) -> None:
    rows = rows_of(None, fleet={"num_workers": 1, "gpus_per_worker": 1})
    assert "torch sees 0 CUDA devices, 1 are asked for" in rows["training step, serial"].found
    assert "CUDA" in rows["training step, serial"].remedy


@pytest.mark.ray
def test_data_that_is_missing_fails_and_no_training_is_tried(small_ray: None) -> None:
    rows = rows_of(None, data=VOC)
    assert failed(rows).keys() == {"this machine", "data"}
    assert rows["data"].found.count("/no/such/folder") == 2 and "worker-1" in rows["data"].found
    assert rows["training step, serial"].status == "not run"
    assert rows["storage"].status == "not run" and "--run" in rows["storage"].found


@pytest.mark.ray
def test_storage_that_can_not_be_written_fails(small_ray: None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    rows = rows_of(str(tmp_path / "file" / "run"))
    assert failed(rows).keys() == {"storage"}
    assert rows["storage"].found.count("can't write") == 3  # the driver and both workers
    assert "all nodes share" in rows["storage"].remedy


@pytest.mark.ray
def test_a_network_that_does_not_fit_fails_with_the_batch_size_to_lower(small_ray: None) -> None:
    rows = rows_of(None, LARGE, parallel=TINY["parallel"] | {"training": {"batch_size": 12}})
    assert failed(rows).keys() == {"training step, parallel", "training step, reignition"}
    assert "out of memory" in rows["training step, parallel"].found
    assert "lower parallel.training.batch_size, which gives 12 images" in rows["training step, parallel"].remedy


@pytest.mark.ray
def test_a_search_of_paths_has_its_super_net_rehearsed_and_what_is_sampled_with_more_images(small_ray: None) -> None:
    changes = {
        "algorithm": "msnas",
        "start": {"architecture": "MS(BB,4;1,2,0.5;4,4,8,8,8)"},
        "evolution": {"flops_window": 1.0},
        "training": {"batch_size": 4, "normalization": "sync"},
        "final": {"batch_size": 8},
    }
    rows = rows_of(None, LARGE, **changes)
    steps = {name: row for name, row in rows.items() if name.startswith("training step")}
    assert steps.keys() == {"training step, supernet", "training step, final"}
    assert steps["training step, supernet"].looked_at.startswith("the finest path of the super-net of MS(BB,4;1,2,0.5;")
    assert "lower final.batch_size" in steps["training step, final"].remedy
    assert "super-net's weights" in rows["object store"].looked_at and rows["object store"].status == "pass"


@pytest.mark.ray
def test_who_does_not_answer_in_time_is_ended_and_not_asked_again(small_ray: None, tmp_path: Path) -> None:
    examiners = Examiners(tiny_config(fleet={"num_workers": 1}).fleet, settings_of(tmp_path), 1, 60)
    late = examiners.ask("train", 0.5, {"worker-0": (task_of("sleep"),)})["worker-0"]
    assert isinstance(late, Silence) and "no answer within" in late.reason
    assert examiners.names == []
    never = examiners.ask("versions", 60, {"worker-0": ()})["worker-0"]
    assert isinstance(never, Silence) and "before" in never.reason
    examiners.close()


@pytest.mark.ray
def test_a_crash_of_a_rank_is_an_answer_and_the_next_task_has_another_rank(small_ray: None, tmp_path: Path) -> None:
    examiners = Examiners(tiny_config(fleet={"num_workers": 1}).fleet, settings_of(tmp_path), 1, 60)
    crashed = examiners.ask("train", 60, {"worker-0": (task_of("exit 3"),)})["worker-0"]
    assert isinstance(crashed, Silence) and "exit code 3" in crashed.reason and not crashed.is_lasting
    failed = examiners.ask("train", 60, {"worker-0": (task_of("fail"),)})["worker-0"]
    assert isinstance(failed, Silence) and failed.reason.startswith("loss became nan")
    examiners.close()
