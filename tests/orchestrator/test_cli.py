"""The command line as its user meets it: answers, one-line errors, exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.s3_server import S3Server
from orchestrator.runs import RunLock, open_run
from tests.orchestrator.live.terminal import Command
from tests.orchestrator.tiny import TINY, tiny_config, write_config
from tests.small_data import ecp_object, write_json
from workers.storage import open_storage


def spnas(*arguments: str | Path, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)


def unpadded(text: str) -> str:
    """The lines without what fills them up."""
    return "\n".join(line.rstrip() for line in text.splitlines()).strip()


def refused(tmp_path: Path, *overrides: str, config: Path | None = None) -> str:
    """The line that a search is refused with; no run's folder may come of it."""
    config = config or write_config(tmp_path / "tiny.yaml")
    answer = spnas("search", config, "--run", tmp_path / "run", *overrides)
    assert answer.returncode == 2, answer.stderr
    assert answer.stdout == ""
    assert not (tmp_path / "run").exists()
    lines = answer.stderr.strip().splitlines()
    assert len(lines) == 1, answer.stderr
    return lines[0]


def test_a_reader_that_goes_away_ends_a_command_quietly(tmp_path: Path) -> None:
    frame = ecp_object("frame", (0, 0, 0, 0), children=[ecp_object("pedestrian", (4, 4, 12, 60))])
    write_json(tmp_path / "a.json", frame)
    write_json(tmp_path / "found.json", {**frame, "children": []})
    reader, writer = os.pipe()
    os.close(reader)
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", "score", "ecp", tmp_path / "a.json", tmp_path / "found.json"],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    os.close(writer)
    assert (answer.returncode, answer.stderr) == (1, b"")


def test_a_misspelt_key_is_named_with_the_right_one(tmp_path: Path) -> None:
    assert "serial.n_stuk: unknown key; did you mean n_stuck?" in refused(tmp_path, "serial.n_stuk=3")


def test_a_wrong_type_is_named_with_the_value(tmp_path: Path) -> None:
    line = refused(tmp_path, "training.epochs=many")
    assert "training.epochs: 'many'" in line and "integer" in line


def test_a_malformed_encoding_is_named_with_the_position(tmp_path: Path) -> None:
    assert "start.architecture: architecture 'BB(1,x)', position 5: " in refused(tmp_path, "start.architecture=BB(1,x)")


def test_a_missing_data_folder_is_named_with_its_key(tmp_path: Path) -> None:
    values = TINY | {"data": {"format": "voc", "root": str(tmp_path / "nowhere")}}
    (tmp_path / "voc.yaml").write_text(yaml.safe_dump(values))
    line = refused(tmp_path, config=tmp_path / "voc.yaml")
    assert "data.root" in line and str(tmp_path / "nowhere") in line


def test_more_workers_than_the_machine_has_are_refused_with_both_numbers(tmp_path: Path) -> None:
    line = refused(tmp_path, "fleet.num_workers=1000")
    assert "fleet.num_workers: 1000 workers" in line and f"has {len(os.sched_getaffinity(0))}" in line


def test_a_missing_config_a_broken_one_and_a_list_are_each_one_line(tmp_path: Path) -> None:
    assert "no.yaml: can't be read" in refused(tmp_path, config=tmp_path / "no.yaml")
    (tmp_path / "broken.yaml").write_text("serial: {n_stuck: 3\n")
    assert "broken.yaml: line 2, column 1" in refused(tmp_path, config=tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    assert "a mapping of keys" in refused(tmp_path, config=tmp_path / "list.yaml")


def test_a_batch_that_is_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    assert "training.batch_size: 64 is more than the 24 training images" in refused(tmp_path, "training.batch_size=64")


def test_a_recipe_of_its_own_batch_size_is_checked_too(tmp_path: Path) -> None:
    line = refused(tmp_path, "parallel.training.batch_size=64")
    assert "parallel.training.batch_size: 64 is more than the 24 training images" in line


def test_a_step_beyond_the_last_of_a_recipe_is_refused(tmp_path: Path) -> None:
    line = refused(tmp_path, "training.evaluate_at=[0,4]", "training.epochs=1", "training.batch_size=8")
    assert "training.evaluate_at: 4 is more than the 3 steps of the serial recipe; use at most that" in line


def test_more_gpus_than_the_machine_has_are_refused(tmp_path: Path) -> None:
    assert "fleet.gpus_per_worker: 1000 workers with 1 GPU" in refused(
        tmp_path, "fleet.num_workers=1000", "fleet.gpus_per_worker=1"
    )


def test_weights_that_could_not_be_handed_on_are_refused(tmp_path: Path) -> None:
    line = refused(tmp_path, "parallel.training.normalization=group")
    assert "training.normalization: group goes with no other kind" in line and "parallel has group" in line


def test_a_metric_of_no_class_and_a_wrong_mode_are_refused(tmp_path: Path) -> None:
    assert "objective.metric: 'AP/hexagon' names none of the classes" in refused(
        tmp_path, "objective.metric=AP/hexagon"
    )
    assert "objective.mode: 'min'" in refused(tmp_path, "objective.mode=min")


def test_an_impossible_date_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "budget.deadline=2026-13-45" in refused(tmp_path, "budget.deadline=2026-13-45")


def test_a_missing_reignition_folder_matters_only_where_something_is_pretrained(tmp_path: Path) -> None:
    folder = f"reignition.data={{format: imagefolder, root: {tmp_path / 'nowhere'}}}"
    assert "reignition.data.root" in refused(tmp_path, folder)
    line = refused(tmp_path, folder, "serial.reignite=false", "objective.metric=AP/hexagon")
    assert "objective.metric" in line  # the folder is not what is wrong


@pytest.mark.parametrize("run", ["gs://bucket/run", "s3://", "s3://key:secret@bucket/run", ""])
def test_an_address_that_is_none_is_refused_in_one_line_by_every_command(run: str, tmp_path: Path) -> None:
    for command in (["search", write_config(tmp_path / "tiny.yaml"), "--run", run], ["status", run], ["stop", run]):
        answer = spnas(*command, cwd=tmp_path)
        assert (answer.returncode, answer.stdout, answer.stderr.count("\n")) == (2, "", 1)
        assert answer.stderr.startswith(f"run {run}: ")
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_bucket_that_does_not_exist_is_refused_in_one_line(s3_server: S3Server, tmp_path: Path) -> None:
    run = s3_server.address("no-such-bucket/run")
    answer = spnas("search", write_config(tmp_path / "tiny.yaml"), "--run", run)
    assert (answer.returncode, answer.stderr.count("\n")) == (2, 1)
    assert "can't be written" in answer.stderr and "NO_SUCH_BUCKET" in answer.stderr


def test_status_and_stop_find_a_run_in_any_storage(address: str) -> None:
    storage = open_storage(address)
    lock = RunLock(storage)
    assert lock.acquire()
    folder, _ = open_run(tiny_config(), storage)
    status, stop = spnas("status", address), spnas("stop", address)
    assert (status.returncode, stop.returncode) == (0, 0), status.stderr + stop.stderr
    assert f"{address}: running; serial 1, 0 jobs finished" in status.stdout
    assert stop.stdout == f"{address}: will end after what is pending\n"
    assert folder.stop_requested()
    lock.release()
    folder.clear_stop()
    status, stop = spnas("status", address), spnas("stop", address)
    assert "not running (its driver is gone; the same command goes on)" in status.stdout
    assert "nothing to stop" in stop.stdout
    assert not folder.stop_requested()


def test_a_second_driver_is_refused_with_what_can_be_done(address: str, tmp_path: Path) -> None:
    lock = RunLock(open_storage(address))
    assert lock.acquire()
    answer = spnas("search", write_config(tmp_path / "tiny.yaml"), "--run", address)
    lock.release()
    assert answer.returncode == 2
    expected = f"another driver works on it; see `spnas status {address}`, or end it: `spnas stop {address}`"
    assert answer.stderr == f"run {address}: {expected}\n"


def test_an_override_without_a_value_is_refused(tmp_path: Path) -> None:
    assert "override 'seed': is not of the form key.path=value" in refused(tmp_path, "seed")


def test_arch_shows_stages_strides_channels_and_costs() -> None:
    answer = spnas("arch", "BNB(111,d111,d11111,d11)+(0,0,1,0)", "--stem", "resnet")
    assert answer.returncode == 0
    rows = {line.split()[0]: line.split() for line in answer.stdout.splitlines() if line.strip()}
    assert rows["total"][-1] == f"{25_557_032 - 2_049_000 + 7_623_168:,}"  # ResNet-50 without its head, and the subnet
    assert "2048" in answer.stdout and "+ 1 subnet " in answer.stdout


def test_arch_refuses_a_malformed_encoding_in_one_line() -> None:
    answer = spnas("arch", "BNB(111,d111")
    assert answer.returncode == 2
    assert answer.stderr == "architecture 'BNB(111,d111', position 12: expected '1', 'd', ',' or ')', the text ends\n"


def test_arch_shows_a_named_network_with_its_stem() -> None:
    named, encoded = spnas("arch", "resnet50"), spnas("arch", "BNB(111,d111,d11111,d11)", "--stem", "resnet")
    assert named.returncode == 0
    assert named.stdout == encoded.stdout
    assert "stem deep" in spnas("arch", "ResNet50", "--stem", "deep").stdout


def test_arch_lists_the_names() -> None:
    listed = spnas("arch")
    assert listed.returncode == 0
    assert listed.stdout == spnas("arch", "--list").stdout
    assert all(name in listed.stdout for name in ("resnet18", "resnext101-32x4d", "spnet-coco-xb"))


def test_arch_refuses_an_unknown_name_with_the_nearest() -> None:
    answer = spnas("arch", "spnet-foc")
    assert answer.returncode == 2
    assert answer.stderr.startswith("architecture 'spnet-foc': ") and answer.stderr.count("\n") == 1
    assert "the nearest is spnet-voc" in answer.stderr


@pytest.mark.parametrize("command", ["status", "stop"])
def test_a_folder_that_is_no_run_is_refused(command: str, tmp_path: Path) -> None:
    answer = spnas(command, tmp_path)
    assert answer.returncode == 2
    assert answer.stderr.count("\n") == 1 and "is not a run's folder" in answer.stderr


@pytest.mark.ray
@pytest.mark.slow
def test_a_search_prints_its_progress_and_a_table_and_status_prints_them_again(address: str, tmp_path: Path) -> None:
    is_local = open_storage(address).is_local  # once on a terminal, once in a log
    # On a terminal the start takes long enough to be seen at work.
    config = write_config(tmp_path / "tiny.yaml", **({"start": {"training": {"epochs": 60}}} if is_local else {}))
    if is_local:
        command = Command("search", config, "--run", address, columns=160, lines=40)
        shown = command.wait_until(lambda lines: any("#0 start" in line and "worker-" in line for line in lines))
        assert any(line.startswith("jobs") and "1 pending" in line for line in shown)
        assert command.end() == 0
        printed = "\n".join(command.picture.scrolled)
        assert "images/s" not in printed, "the picture is gone"
    else:
        answer = spnas("search", config, "--run", address)
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr == "" and "\x1b" not in answer.stdout
        printed = answer.stdout
    assert "progress.json" not in open_storage(address).entries()
    for expected in ("a new search from BB(1,1,1)", "candidate", "pretrain", "the search is complete", "GFLOPs"):
        assert expected in printed
    summary = unpadded(printed.split("the search is complete")[1])
    assert all(name in summary for name in ("start", "serial 1", "parallel", "full training", "best"))

    status = spnas("status", address)
    assert status.returncode == 0
    assert summary in unpadded(status.stdout)
    assert "not running (the search is complete)" in status.stdout
    assert spnas("status", address, "--watch").stdout == status.stdout

    stop = spnas("stop", address)
    assert stop.returncode == 0 and "nothing to stop" in stop.stdout

    again = spnas("search", config, "--run", address)
    assert again.returncode == 0 and summary in unpadded(again.stdout)
