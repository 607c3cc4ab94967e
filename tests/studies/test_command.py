"""`spnas study`, as its user has it: real searches, side by side, cut off and gone on with."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.studies.catalogue import STUDIES
from experiments.studies.shared import searches
from experiments.studying.command import carry_out_studies, chosen
from experiments.studying.records import read_record
from experiments.studying.side_by_side import Place
from orchestrator.errors import UserError
from tests.orchestrator.tiny import write_config
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
SEARCH = {
    "objective": {"metric": "AP", "mode": "max"},
    "serial": {"acceptance": "paper", "max_candidates": 2, "n_stuck": 2, "reignite": False},
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
