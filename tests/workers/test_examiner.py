"""The doctor's hand on a node, without Ray."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.workers.test_ranks import are_gone, family, settings_of, task_of
from workers.examiner import Examiner
from workers.settings import VocData
from workers.task import AttemptLost, CandidateFailure


@pytest.fixture
def examiner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Examiner]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    examiner = Examiner(settings_of(tmp_path / "run"))
    yield examiner
    examiner.end()


def test_what_its_ranks_write_stays_out_of_the_run_and_is_gone_at_the_end(examiner: Examiner, tmp_path: Path) -> None:
    trained = examiner.train(task_of("checkpoint"))
    assert trained is not None and trained.metrics == {"count": 1}
    (scratch,) = tmp_path.glob("spnas-doctor-*")
    pids = family(scratch)
    examiner.end()
    assert list(tmp_path.iterdir()) == []
    wait_until(lambda: are_gone(pids))


@pytest.mark.parametrize(("kind", "error"), [("fail", CandidateFailure), ("exit 3", AttemptLost)])
def test_a_training_that_fails_leaves_nothing_and_the_next_has_fresh_ranks(
    kind: str, error: type[Exception], examiner: Examiner, tmp_path: Path
) -> None:
    with pytest.raises(error):
        examiner.train(task_of(kind))
    assert list(tmp_path.iterdir()) == []
    assert examiner.train(task_of("checkpoint")) is not None


def test_it_writes_reads_and_deletes_in_the_run(examiner: Examiner, tmp_path: Path) -> None:
    examiner.write("doctor-1", b"text")
    assert examiner.read("doctor-1") == b"text"
    examiner.delete("doctor-1")
    assert list((tmp_path / "run").iterdir()) == []


def test_it_looks_at_the_data_as_a_search_does(tmp_path: Path) -> None:
    assert [report.num_train for report in Examiner(settings_of(tmp_path)).data()] == [960]
    missing = replace(settings_of(tmp_path), data=VocData(format="voc", root=str(tmp_path / "none")))
    with pytest.raises(ValueError, match="data.root"):
        Examiner(missing).data()


def test_it_tells_the_room_of_the_runs_folder_if_it_is_one(tmp_path: Path) -> None:
    assert Examiner(settings_of(tmp_path / "run")).room(str(tmp_path)).run is not None
    assert Examiner(replace(settings_of(tmp_path), folder="")).room(str(tmp_path)).run is None
