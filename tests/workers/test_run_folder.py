"""A run's files in each kind of storage: found again, or told to be lost, damaged, or of newer code."""

import json
from dataclasses import replace

import pytest

from workers.run_folder import Result, RunFolder, WeightsFile
from workers.task import attempt_name

NAME = attempt_name(7, 0, 1)
RESULT = Result(
    index=7,
    attempt=0,
    epoch=1,
    name=NAME,
    status="completed",
    worker="worker-1",
    started_at=1e9,
    finished_at=1e9 - 3600,  # the clock was set back meanwhile
    seconds=12.5,
    metrics={"AP50": 0.1 + 0.2},
    peak_memory_bytes=2**40,
    notes=("a fresh predictor", "clipped"),
    weights=WeightsFile(name=f"{NAME}.safetensors", sha256="ab", size_bytes=3),
)
FIRST_FORMAT = {
    "schema_version": 1,
    "index": 7,
    "attempt": 2,
    "status": "failed",
    "worker": "worker-0",
    "started_at": 100.0,
    "finished_at": 107.5,
    "metrics": {},
    "error": "loss is NaN",
    "peak_memory_bytes": 5,
    "notes": ["one"],
    "weights": {"name": "000007-2.safetensors", "sha256": "ab", "size_bytes": 3},
}


@pytest.fixture
def run(address: str) -> RunFolder:
    return RunFolder(address)


def test_a_run_is_where_a_config_is(run: RunFolder) -> None:
    assert not run.has_config()
    with pytest.raises(FileNotFoundError):
        run.read_config()
    run.write_config("seed: é\n")
    assert run.has_config()
    assert RunFolder(run.address).read_config() == "seed: é\n"


def test_weights_are_read_as_they_were_written(run: RunFolder) -> None:
    file = run.write_weights(NAME, b"weights")
    assert (file.name, file.attempt, file.size_bytes) == ("000007-0-1.safetensors", NAME, 7)
    assert RunFolder(run.address).read_weights(file) == b"weights"


@pytest.mark.parametrize("data", [b"", b"weight", b"weights ", b"wEights"])
def test_truncated_or_corrupt_weights_are_told_with_their_file(run: RunFolder, data: bytes) -> None:
    file = run.write_weights(NAME, b"weights")
    run.storage.write(f"weights/{file.name}", data)
    with pytest.raises(ValueError, match=f"weights/{file.name}: the bytes are not those that were written"):
        run.read_weights(file)


def test_lost_weights_are_told_with_their_file(run: RunFolder) -> None:
    file = run.write_weights(NAME, b"weights")
    run.delete_weights(NAME)
    run.delete_weights(NAME)
    with pytest.raises(FileNotFoundError, match=file.name):
        run.read_weights(file)


def test_weights_outside_the_run_are_not_read(run: RunFolder) -> None:
    run.write_config("seed: 0\n")
    with pytest.raises(ValueError, match="can't be the name of a run's file"):
        run.read_weights(WeightsFile(name="../config.yaml", sha256="", size_bytes=8))


def test_a_result_is_read_as_it_was_written(run: RunFolder) -> None:
    assert run.read_result(NAME) is None
    failed = replace(RESULT, name=attempt_name(7, 1, 1), attempt=1, status="failed", error="é\n", weights=None)
    run.write_result(RESULT)
    run.write_result(failed)
    assert RunFolder(run.address).read_result(NAME) == RESULT
    assert run.read_result(failed.name) == failed


def test_a_result_of_the_first_format_is_read(run: RunFolder) -> None:
    run.storage.write("results/000007-2.json", json.dumps(FIRST_FORMAT).encode())
    result = run.read_result("000007-2")
    assert result is not None
    assert (result.name, result.epoch, result.attempt, result.seconds) == ("000007-2", 0, 2, 7.5)
    assert (result.error, result.notes) == ("loss is NaN", ("one",))
    assert result.weights is not None and result.weights.attempt == "000007-2"


def test_a_clock_that_was_set_back_gives_no_negative_time(run: RunFolder) -> None:
    run.storage.write("results/000007-2.json", json.dumps(FIRST_FORMAT | {"finished_at": 1.0}).encode())
    result = run.read_result("000007-2")
    assert result is not None and result.seconds == 0


def test_a_newer_result_is_refused_with_that_reason(run: RunFolder) -> None:
    run.write_result(RESULT)
    newer = json.loads(run.storage.read(f"results/{NAME}.json")) | {"schema_version": 3}
    run.storage.write(f"results/{NAME}.json", json.dumps(newer).encode())
    with pytest.raises(ValueError, match=f"{NAME}.json: has format 3, this version reads up to 2; use a newer spnas"):
        run.read_result(NAME)


def test_a_result_truncated_at_any_byte_is_told_with_its_file(run: RunFolder) -> None:
    run.write_result(RESULT)
    whole = run.storage.read(f"results/{NAME}.json")
    for length in range(0, len(whole), 7):
        run.storage.write(f"results/{NAME}.json", whole[:length])
        with pytest.raises(ValueError, match=f"results/{NAME}.json: is damaged"):
            run.read_result(NAME)


def test_a_result_of_another_attempt_is_damage(run: RunFolder) -> None:
    run.write_result(RESULT)
    other = attempt_name(7, 0, 2)
    run.storage.write(f"results/{other}.json", run.storage.read(f"results/{NAME}.json"))
    with pytest.raises(ValueError, match="is damaged"):
        run.read_result(other)


def test_a_checkpoint_is_replaced_by_the_next(run: RunFolder) -> None:
    assert run.read_checkpoint(NAME) is None
    run.write_checkpoint(NAME, b"one")
    run.write_checkpoint(NAME, b"two")
    assert run.read_checkpoint(NAME) == b"two"
    run.delete_checkpoint(NAME)
    assert run.read_checkpoint(NAME) is None


def test_sweeping_keeps_what_is_named_and_what_is_no_attempts(run: RunFolder) -> None:
    names = [attempt_name(index, 0, 1) for index in range(3)] + ["000003-0"]
    for name in names:
        run.write_weights(name, b"w")
        run.write_checkpoint(name, b"c")
        run.write_result(replace(RESULT, name=name))
    run.storage.write("weights/README", b"")
    run.write_weights(attempt_name(1, 0, 2), b"of a driver that has taken the run")
    run.sweep(keep_weights={names[0], names[3]}, keep_checkpoints={names[1]}, up_to_epoch=1)
    later = f"{attempt_name(1, 0, 2)}.safetensors"
    assert run.storage.names("weights") == [f"{names[0]}.safetensors", later, "000003-0.safetensors", "README"]
    assert run.storage.names("checkpoints") == [f"{names[1]}.safetensors"]
    assert len(run.storage.names("results")) == 4


def test_a_stop_is_asked_for_until_it_is_cleared(run: RunFolder) -> None:
    run.clear_stop()
    assert not run.stop_requested()
    run.request_stop()
    assert RunFolder(run.address).stop_requested()
    run.clear_stop()
    assert not run.stop_requested()


def test_the_trials_table_is_replaced(run: RunFolder) -> None:
    with pytest.raises(FileNotFoundError):
        run.read_trials()
    run.write_trials(b"one")
    run.write_trials(b"two")
    assert run.read_trials() == b"two"
