"""`spnas study`, as its user has it: real searches, side by side, cut off and gone on with."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from experiments.chaos.processes import descendants, is_alive
from experiments.studies.catalogue import STUDIES
from experiments.studies.shared import searches
from experiments.studying.command import carry_out_studies, chosen
from experiments.studying.records import read_record
from experiments.studying.side_by_side import Place, carry_out_all
from experiments.studying.study import Run
from orchestrator.errors import RunStopped, UserError
from orchestrator.journal import Journal
from orchestrator.live.snapshot import Snapshot
from tests.orchestrator.tiny import write_config
from tests.waiting import wait_until
from workers.checkpoint import Checkpoint
from workers.run_folder import RunFolder
from workers.storage import open_storage

REPOSITORY = Path(__file__).parents[2]
SEARCH = {
    "objective": {"metric": "AP", "mode": "max"},
    "serial": {"acceptance": "paper", "max_candidates": 1, "n_stuck": 1, "reignite": False},
    "parallel": None,
    "final": {"epochs": 1},
    "fleet": {"num_workers": 1},
}


@pytest.mark.timeout(300)
def test_a_study_that_is_killed_goes_on_and_begins_nothing_again_that_has_ended(tmp_path: Path) -> None:
    root, out = tmp_path / "runs", tmp_path / "results"
    write_config(tmp_path / "small.yaml", **SEARCH)
    # Every path is seen from the folder that the command is given in.
    command = [sys.executable, "-m", "experiments.commands", "study", "control", "--seeds", "1", "--root", "runs"]
    command += ["--out", "results", "--config", "shapes=small.yaml"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True) as first:
        try:
            wait_until(lambda: any(root.glob("shapes-paper-s0/results/*")) or first.poll() is not None)
            assert first.returncode is None, "it has ended by itself"
        finally:
            os.killpg(first.pid, signal.SIGKILL)
    start = root / "shapes-start-s0"
    journal = {path: path.read_bytes() for path in (start / "journal").rglob("*") if path.is_file()}

    second = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)

    assert second.returncode == 0, second.stderr
    assert STUDIES["control"].question in second.stdout
    assert {path: path.read_bytes() for path in journal} == journal
    results, provenance = read_record(out / "control.parquet")
    assert set(results["arm"]) == {"start", "paper", "paired", "control"}
    assert (results["status"] == "completed").all()
    assert provenance.seeds == (0,)
    assert {path.name for path in out.iterdir()} == {"control.parquet", "control.svg", "control.md", "index.md"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_study_that_is_interrupted_leaves_a_checkpoint_that_the_same_command_goes_on_from(tmp_path: Path) -> None:
    # However long it takes to be seen, the training under way does not end before.
    write_config(tmp_path / "small.yaml", **{**SEARCH, "data": {"num_train": 4000}})
    # As Ctrl-C at a terminal, which all processes get, and as `ray job stop`.
    step = interrupted(tmp_path, lambda pid: os.killpg(pid, signal.SIGINT), from_step=0)
    assert interrupted(tmp_path, lambda pid: os.kill(pid, signal.SIGTERM), from_step=step) > step > 0


def interrupted(place: Path, interrupt: Callable[[int], None], from_step: int) -> int:
    """Let a study go on from a step of its first training, interrupt it, and give the step that it has left."""
    folder = RunFolder(open_storage(place / "runs" / "shapes-start-s0"))
    command = [sys.executable, "-m", "experiments.commands", "study", "control", "--seeds", "1", "--root", "runs"]
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(REPOSITORY)}
    command += ["--config", "shapes=small.yaml"]
    seen: list[int] = []
    with (place / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=place, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(lambda: bool(seen.extend(steps_done(folder)) or seen) or process.poll() is not None)
            family = [pid for pid, _ in descendants(process.pid)]
            interrupt(process.pid)
            process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    said = (place / "log").read_text()
    assert process.returncode == 130, said
    assert "asked to end: 1 run under way stops at a checkpoint" in said and "Traceback" not in said
    assert said.endswith("interrupted. Nothing finished is lost; the same command goes on.\n")
    assert Journal(folder.storage).read()[-1]["reason"] == "asked to end"
    checkpoints = [folder.storage.read(f"checkpoints/{name}") for name in folder.storage.names("checkpoints")]
    step = max(Checkpoint.from_bytes(data).step for data in checkpoints)
    assert from_step < seen[0] <= step
    wait_until(lambda: not any(map(is_alive, family)))
    return step


def steps_done(folder: RunFolder) -> list[int]:
    """Of the trainings under way, as far as their driver has told."""
    snapshot = Snapshot.from_json(folder.read_progress() or b"")
    workers = snapshot.workers if snapshot else ()
    return [worker.step for worker in workers if worker.phase == "training" and worker.step]


@pytest.fixture
def no_ray_afterwards() -> Iterator[None]:
    """What the study has started of Ray is gone after the test."""
    yield
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_that_is_stopped_is_told_and_recorded_and_does_not_count_as_ended(
    no_ray_afterwards: None, tmp_path: Path
) -> None:
    changes = {"serial": {"acceptance": "paper", "max_candidates": 1000, "n_stuck": 1000, "reignite": False}}
    config = write_config(tmp_path / "small.yaml", **{**SEARCH, **changes, "recorders": {"tensorboard": {}}})
    place = Place(str(tmp_path / "runs"), {"shapes": config})
    run = replace(searches.search("shapes", "paper", seed=0), origin=None)
    orphan = replace(searches.search("shapes", "control", seed=0), origin=("shapes-start-s0", None))
    folder, told = place.folder(run.name), []

    def stop() -> None:
        wait_until(lambda: bool(folder.storage.names("results")))
        folder.request_stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    unfinished = carry_out_all(place, [orphan, run], told.append)
    stopper.join()

    assert unfinished.keys() == {run.name, orphan.name} and unfinished[run.name] == "stopped as asked"
    assert unfinished[orphan.name].startswith("can't start from shapes-start-s0: ")
    assert told[0].startswith("1 of 2  shapes-control-s0: stopped: can't start from shapes-start-s0: ")
    assert told[1:] == ["2 of 2  shapes-paper-s0: stopped: stopped as asked"]
    assert place.finished(run) is None
    assert folder.storage.names("tensorboard")


def test_studies_whose_runs_were_stopped_are_not_written_and_the_reason_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    told: list[str] = []

    def stop_all(place: Place, runs: Sequence[Run], tell: Callable[[str], None]) -> dict[str, str]:
        asked.append([run.name for run in runs])
        return {run.name: "stopped as asked" for run in runs}

    monkeypatch.setattr("experiments.studying.command.carry_out_all", stop_all)
    with pytest.raises(RunStopped, match=r"^shapes-start-s0: stopped as asked; shapes-start-s1: stopped as asked$"):
        carry_out_studies(["control", "halving"], [0, 1], str(tmp_path), tmp_path / "out", [], told.append)
    assert asked == [["shapes-start-s0", "shapes-start-s1"]]  # once: what was stopped is not begun again at once
    assert told[-1] == "not written, as runs that are needed have not come to their ends: control, halving"
    assert not (tmp_path / "out").exists()


def test_names_of_no_study_are_told_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"study 'contrl': there is none of that name; there are control, .*, and all"):
        chosen(["control", "contrl"])


def test_all_is_every_study_in_its_order() -> None:
    assert [study.name for study in chosen(["luck", "all"])] == list(STUDIES)


@pytest.mark.parametrize("text", ["shapes", "nothing=a.yaml", "=a.yaml"])
def test_a_config_of_no_data_set_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not of the form DATA=FILE, DATA being one of bccd, shapes, shapes-phases"):
        carry_out_studies(["control"], [0], str(tmp_path), tmp_path / "out", [text], print)


@pytest.mark.parametrize("recipe", ["coco", "voc"])
@pytest.mark.parametrize("arm", searches.ARMS)
def test_at_full_size_searches_that_are_compared_differ_in_their_arm_alone(
    arm: str, recipe: str, tmp_path: Path
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(f"base: {REPOSITORY / 'experiments' / recipe}.yaml\nserial: {{max_candidates: 500}}\n")
    place = Place(str(tmp_path), {"shapes": config})
    made = place.config(replace(searches.search("shapes", arm, seed=3), origin=None))
    has_phases = "reignited" in arm
    assert (made.parallel is not None, made.serial.num_rounds) == ((True, 2) if has_phases else (False, 1))
    assert made.serial.reignite == (arm == "reignited")
    assert made.serial.max_candidates == round(500 * searches.SHARES.get(arm, 1.0))


def test_a_share_of_no_number_of_candidates_is_refused(tmp_path: Path) -> None:
    place = Place(str(tmp_path), {"shapes": REPOSITORY / "experiments" / "coco.yaml"})
    with pytest.raises(UserError, match="serial.max_candidates: null, but paired has a share of them"):
        place.config(replace(searches.search("shapes", "paired", seed=0), origin=None))


@pytest.mark.parametrize("arm", [arm for arm in searches.ARMS if arm == "fresh" or "reignited" in arm])
def test_an_arm_is_a_change_of_its_config(arm: str, tmp_path: Path) -> None:
    run = replace(searches.search("shapes", arm, seed=3), origin=None)
    config = Place(str(tmp_path)).config(run)
    assert (config.seed, config.serial.reignite, config.serial.inherit) == (3, arm == "reignited", arm != "fresh")
    assert (config.parallel is None) == (arm == "fresh")
