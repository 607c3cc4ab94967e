"""Ranks as real processes: what ends them, what they leave behind, and what their node worker is told."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from experiments.chaos.processes import is_alive
from models.architecture import Architecture, NetworkSpec
from tests.waiting import wait_until
from tests.workers.rank_trainers import CHILDREN
from workers.ranks import Ranks
from workers.run_folder import RunFolder
from workers.settings import DetectorSettings, ShapesData, TrainingSettings
from workers.task import AttemptLost, CandidateFailure, Gang, NodeSettings, Progress, Task, TrainingStopped

SIGNALS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGTERM]


def settings_of(folder: Path, trainer: str = "tests.workers.rank_trainers:ObedientTrainer") -> NodeSettings:
    return NodeSettings(
        folder=str(folder),
        data=ShapesData(format="shapes"),
        reignition_data=None,
        detector=DetectorSettings(),
        max_stages=4,
        trainer=trainer,
    )


def task_of(kind: str, **values: object) -> Task:
    spec = NetworkSpec.fresh(Architecture.parse("BB(1,1)"), "deep", 4)
    defaults = {"index": 3, "attempt": 0, "spec": spec, "morphs": (), "training": TrainingSettings(), "seed": (0, 0, 0)}
    return Task(kind=kind, **defaults | values)  # type: ignore[arg-type]


def ignore(progress: Progress) -> None:
    pass


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[Ranks]:
    ranks = Ranks(settings_of(tmp_path))
    yield ranks
    ranks.kill()


def family(folder: Path) -> list[int]:
    """Every process that a trainer has noted: ranks, their children and grandchildren."""
    return [int(pid) for pid in (folder / CHILDREN).read_text().split()]


def are_gone(pids: list[int]) -> bool:
    return not any(map(is_alive, pids))


def test_one_rank_trains_task_after_task_with_the_blobs_it_is_given(ranks: Ranks, tmp_path: Path) -> None:
    first, second = np.arange(256, dtype=np.uint8), np.full(1 << 20, 7, dtype=np.uint8)
    second.setflags(write=False)  # as the object store gives them
    seen: list[Progress] = []
    results = [ranks.train(task_of("add", attempt=number), first, second, seen.append) for number in range(2)]
    for number, result in enumerate(results):
        assert result.metrics["parent"] == first.sum(dtype=np.int64)
        assert result.metrics["backbone"] == second.sum(dtype=np.int64)
        assert result.weights.name == f"000003-{number}-0.safetensors"
        assert RunFolder(tmp_path).read_weights(result.weights) == b"w" * 99
        assert result.seconds >= 0
    assert results[0].metrics["rank"] == results[1].metrics["rank"]
    assert [progress.step for progress in seen] == [1, 1]


def test_a_parent_is_copied_once_for_all_its_children_that_follow_one_another(
    ranks: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[IO[bytes]] = []

    def nameless_file() -> IO[bytes]:
        opened.append(tempfile.TemporaryFile())
        return opened[-1]

    monkeypatch.setattr("workers.ranks._nameless_file", nameless_file)
    parents = [np.full(1000, value, dtype=np.uint8) for value in (1, 2)]
    backbone = np.ones(10, dtype=np.uint8)
    for blob in (*parents, backbone):
        blob.setflags(write=False)
    for parent, num_opened in ((parents[0], 2), (parents[0], 2), (parents[1], 3), (parents[0], 4)):
        assert ranks.train(task_of("add"), parent, backbone, ignore).metrics["parent"] == parent.sum()
        assert len(opened) == num_opened and sum(not file.closed for file in opened) == 2
    ranks.kill()
    assert all(file.closed for file in opened)


def test_a_later_attempt_finds_the_checkpoint_of_an_earlier_one_but_of_no_other(ranks: Ranks) -> None:
    counts = [
        ranks.train(task_of("checkpoint", **values), None, None, ignore).metrics["count"]
        for values in (
            {"attempt": 0},
            {"attempt": 1, "epoch": 1, "earlier": ("000003-0-0",)},
            {"attempt": 2, "epoch": 1, "earlier": ("000003-1-1", "000003-0-0")},
            {"attempt": 0, "epoch": 2},  # a superseded driver's
        )
    ]
    assert counts == [1, 2, 3, 1]


def test_each_node_of_a_gang_has_a_rank_that_tells_of_its_progress(ranks: Ranks) -> None:
    """Its node worker would take it for hung otherwise."""
    gang = Gang(node_rank=1, num_nodes=2, address="127.0.0.1:29400")
    with pytest.raises(TrainingStopped):
        ranks.train(task_of("wait", gang=gang, stall_s=60), None, None, lambda progress: ranks.request_stop())


def test_a_rank_that_aborts_beside_others_may_have_lost_one_of_them(ranks: Ranks) -> None:
    gang = Gang(node_rank=0, num_nodes=2, address="127.0.0.1:29400")
    with pytest.raises(AttemptLost, match="SIGABRT") as lost:
        ranks.train(task_of(f"signal {signal.SIGABRT.value}", gang=gang), None, None, ignore)
    assert lost.value.fault == "infrastructure"


@pytest.mark.parametrize(
    ("kind", "reason"), [("fail", "loss became nan at epoch 1, step 1"), ("raise", "ValueError: no such thing")]
)
def test_what_a_training_raises_is_the_candidates_fault(ranks: Ranks, kind: str, reason: str) -> None:
    with pytest.raises(CandidateFailure) as caught:
        ranks.train(task_of(kind), None, None, ignore)
    assert caught.value.reason == reason


def test_failing_storage_is_the_infrastructures_fault(ranks: Ranks) -> None:
    with pytest.raises(AttemptLost, match="No space left on device") as caught:
        ranks.train(task_of("storage"), None, None, ignore)
    assert caught.value.fault == "infrastructure"


@pytest.mark.parametrize("number", SIGNALS)
def test_a_rank_that_a_signal_ends_is_reported_with_its_name(ranks: Ranks, number: signal.Signals) -> None:
    with pytest.raises(AttemptLost, match=number.name) as caught:
        ranks.train(task_of(f"signal {int(number)}"), None, None, ignore)
    assert caught.value.fault in ("unclear", "infrastructure")


def test_a_rank_that_exits_is_reported_with_its_code(ranks: Ranks) -> None:
    with pytest.raises(AttemptLost, match="exit code 7") as caught:
        ranks.train(task_of("exit 7"), None, None, ignore)
    assert caught.value.fault == "unclear"


@pytest.mark.parametrize("kind", ["sleep", "deadlock", "freeze"])
def test_a_rank_that_hangs_is_noticed_and_killed_with_all_its_children(ranks: Ranks, tmp_path: Path, kind: str) -> None:
    ranks.train(task_of("checkpoint"), None, None, ignore)  # which leaves children, too, however slow this machine is
    with pytest.raises(AttemptLost, match="no sign of life for 1.5 s") as caught:
        ranks.train(task_of(kind, stall_s=1.5), None, None, ignore)
    assert caught.value.fault == "unclear"
    ranks.kill()
    assert len(family(tmp_path)) >= 3
    wait_until(lambda: are_gone(family(tmp_path)))


def test_a_training_past_its_deadline_is_lost_even_if_it_goes_on_reporting(ranks: Ranks) -> None:
    with pytest.raises(AttemptLost, match="deadline"):
        ranks.train(task_of("chatter", deadline_s=1.0), None, None, ignore)


def test_a_rank_stops_when_asked_to_and_takes_the_next_task(ranks: Ranks) -> None:
    def stop(progress: Progress) -> None:
        ranks.request_stop()

    with pytest.raises(TrainingStopped):
        ranks.train(task_of("wait"), None, None, stop)
    assert ranks.train(task_of("checkpoint"), None, None, ignore).metrics["count"] == 1


def test_a_rank_that_cannot_start_says_so(tmp_path: Path) -> None:
    ranks = Ranks(settings_of(tmp_path, trainer="tests.workers.no_such_module:Trainer"))
    with pytest.raises(AttemptLost, match="exit code 1") as caught:
        ranks.train(task_of("add"), None, None, ignore)
    assert caught.value.fault == "infrastructure"  # twice of it must not be charged to whoever came
    ranks.kill()


def test_a_rank_that_hangs_up_but_does_not_end_is_not_waited_for(ranks: Ranks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.ranks.END_S", 0.1)
    with pytest.raises(AttemptLost, match="did not end") as caught:
        ranks.train(task_of("hang up"), None, None, ignore)
    assert caught.value.fault == "unclear"


OWNER = """
import sys
from tests.workers.test_ranks import settings_of, task_of, ignore
from workers.ranks import Ranks
ranks = Ranks(settings_of(sys.argv[1]))
ranks.train(task_of(sys.argv[2]), None, None, ignore)
"""


@pytest.mark.parametrize("kind", ["wait", "deadlock", "freeze"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_outlives_the_process_that_owns_the_rank(tmp_path: Path, kind: str, number: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path), kind], start_new_session=True)
    wait_until(lambda: (tmp_path / CHILDREN).exists() and len(family(tmp_path)) == 3)
    os.kill(owner.pid, number)
    owner.wait()
    wait_until(lambda: are_gone(family(tmp_path)))


def test_a_killed_rank_leaves_neither_guard_nor_shared_memory(tmp_path: Path) -> None:
    def has_guard(rank: int) -> bool:
        lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        return any(line.endswith(f"guard.py {rank}") for line in map(str.strip, lines.splitlines()))

    def shared(blob: bytes) -> list[str]:
        found = []
        for path in Path("/dev/shm").iterdir():
            with contextlib.suppress(OSError):  # others come and go
                if path.is_file() and path.stat().st_size <= 2 * len(blob) and blob in path.read_bytes():
                    found.append(path.name)
        return found

    ranks = Ranks(settings_of(tmp_path))
    blob = np.random.default_rng().integers(256, size=1 << 20, dtype=np.uint8)
    trained = ranks.train(task_of("add"), blob, blob, ignore)
    rank = int(trained.metrics["rank"])
    wait_until(lambda: has_guard(rank))
    ranks.kill()
    wait_until(lambda: not has_guard(rank))
    assert shared(blob.tobytes()) == []


def test_how_long_a_training_took_does_not_hang_on_the_clock_on_the_wall(ranks: Ranks) -> None:
    begun = time.monotonic()
    result = ranks.train(task_of("checkpoint"), None, None, ignore)
    assert 0 <= result.seconds <= time.monotonic() - begun


def test_a_task_given_to_a_rank_that_is_gone_is_lost_with_what_ended_it(ranks: Ranks, tmp_path: Path) -> None:
    pid = int(ranks.train(task_of("add"), *[np.zeros(8, dtype=np.uint8)] * 2, ignore).metrics["rank"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not ranks.are_alive)
    with pytest.raises(AttemptLost, match="SIGKILL"):
        ranks.train(task_of("checkpoint"), None, None, ignore)
