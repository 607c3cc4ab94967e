import json
import shutil
import zlib
from dataclasses import asdict
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.report.page import report_page
from orchestrator.report.reading import read_story
from orchestrator.report.story import Story
from orchestrator.runs import RunLock, stored_config
from orchestrator.search.protocol import PHASES_IN_ROUNDS
from tests.orchestrator.made_up_runs import BEGUN_AT, made_up_run, search_config
from workers.run_folder import RunFolder

ASSETS = Path(__file__).parents[2] / "assets"
NOW = BEGUN_AT + 10**6


def short_run(path: str | Path, *lives: int, killed: bool = False) -> RunFolder:
    serial = {"acceptance": "paired", "n_stuck": 12, "in_flight": 4}
    return made_up_run(path, search_config(serial=serial, parallel=None, final=None), lives, killed=killed, losses=0.1)


def test_a_story_tells_what_the_trials_table_tells(tmp_path: Path) -> None:
    folder = short_run(tmp_path / "run", 30)
    story = read_story(str(tmp_path / "run"), NOW)
    rows = list(History.fold(stored_config(folder), Journal(folder.storage)).trials.rows.since(0))
    same = (
        "index",
        "role",
        "phase",
        "round",
        "architecture",
        "parent",
        "status",
        "score",
        "gflops",
        "is_best",
        "attempts",
    )
    assert [[getattr(trial, name) for name in same] for trial in story.trials] == [
        [row[name] for name in same] for row in rows
    ]
    assert [" ".join(trial.morphs) for trial in story.trials] == [row["morphs"] for row in rows]
    assert [json.dumps(trial.metrics) for trial in story.trials if trial.is_told] == [
        row["metrics"] for row in rows if row["metrics"]
    ]


def test_a_story_is_made_of_what_json_can_hold(paper_story: Story, msnas_story: Story) -> None:
    for story in (paper_story, msnas_story):
        text = json.dumps(asdict(story), allow_nan=False)
        assert json.loads(text)["facts"]["config_yaml"] == story.facts.config_yaml


def test_the_best_so_far_never_gets_worse_and_comes_to_the_best(paper_story: Story) -> None:
    scores = [trial.best_score for trial in paper_story.trials if trial.best_score is not None]
    assert scores == sorted(scores)
    assert scores[-1] == paper_story.lineage[-1].score
    assert paper_story.best is not None and paper_story.best.index == paper_story.lineage[-1].index


def test_hours_only_rise_and_are_what_the_jobs_took(paper_story: Story) -> None:
    told = [trial for trial in paper_story.trials if trial.is_told]
    hours = [trial.hours for trial in told if trial.hours is not None]
    assert hours == sorted(hours) and len(hours) == len(told)
    assert paper_story.facts.hours == hours[-1]
    assert hours[-1] == pytest.approx(sum(trial.seconds or 0.0 for trial in told) / 3600)


def test_nobody_beats_the_front_and_everybody_else_is_beaten(paper_story: Story, msnas_story: Story) -> None:
    for story in (paper_story, msnas_story):
        compared = [trial for trial in story.trials if trial.score is not None and trial.role != "final"]
        assert set(story.front) == {trial.index for trial in story.trials if trial.on_front}
        costs = [story.trials[index].gflops for index in story.front]
        assert costs == sorted(costs)
        for trial in compared:
            at_least = [
                other
                for other in compared
                if other.gflops <= trial.gflops and (other.score or 0) >= (trial.score or 0) and other is not trial
            ]
            better = [o for o in at_least if o.gflops < trial.gflops or (o.score or 0) > (trial.score or 0)]
            assert not (better and trial.on_front)
            assert at_least or trial.on_front


def test_phases_follow_each_other_without_gaps(paper_story: Story, msnas_story: Story) -> None:
    for story in (paper_story, msnas_story):
        assert story.phases[0].first == 0 and story.phases[-1].last == len(story.trials) - 1
        for before, after in zip(story.phases, story.phases[1:], strict=False):
            assert after.first == before.last + 1 and after.name != before.name
        for span in story.phases:
            inside = story.trials[span.first : span.last + 1]
            assert {trial.phase for trial in inside} == {span.phase}
            if span.phase in PHASES_IN_ROUNDS:
                assert {trial.round for trial in inside} == {span.round}


def test_a_reignition_is_told_with_what_it_did_to_the_score(paper_story: Story) -> None:
    (reignition,) = paper_story.reignitions
    assert paper_story.trials[reignition.pretrain].role == "pretrain"
    assert reignition.refresh == reignition.pretrain + 1
    assert reignition.score_after == paper_story.trials[reignition.refresh].score
    assert reignition.score_before == [b.score for b in paper_story.baselines if b.told < reignition.pretrain][-1]


def test_the_pretraining_of_a_start_is_no_reignition(tmp_path: Path) -> None:
    config = search_config(
        start={"architecture": "BB(1,1,1)", "weights": "pretrain", "training": {}}, parallel=None, final=None,
        serial={"n_stuck": 4, "num_rounds": 1, "in_flight": 2, "min_blocks": 1, "min_stages": 2},
    )  # fmt: skip
    made_up_run(tmp_path / "run", config)
    story = read_story(str(tmp_path / "run"), NOW)
    assert story.trials[0].role == "pretrain"
    assert [story.trials[each.pretrain].index > 1 for each in story.reignitions] == [True]
    assert story.networks[0].index == 1


def test_a_list_of_trials_has_a_page_with_the_best_of_them(tmp_path: Path) -> None:
    trials = [{"architecture": "BNB(1,1)", "pretrain": True}, {"architecture": "BNB(1,d1)"}, {}]
    made_up_run(tmp_path / "run", search_config(algorithm="trials", trials=trials, parallel=None))
    story = read_story(str(tmp_path / "run"), NOW)
    assert [trial.role for trial in story.trials] == ["pretrain", "trial", "trial", "trial"]
    assert [span.name for span in story.phases] == ["trials"] and not story.reignitions
    (network,) = story.networks
    best = next(trial for trial in story.trials if trial.is_best)
    assert (network.index, network.architecture) == (best.index, best.architecture)
    assert all(block.change == "" for block in network.blocks)
    assert [step.index for step in story.lineage] == [best.index]
    assert "spnas trials config.yaml" in report_page(story)


def test_a_best_that_inherited_nothing_has_no_ancestors_and_no_changed_blocks(tmp_path: Path) -> None:
    serial = {"inherit": False, "reignite": False, "num_rounds": 1, "n_stuck": 8, "in_flight": 4}
    made_up_run(tmp_path / "run", search_config(serial=serial, parallel=None, final=None))
    story = read_story(str(tmp_path / "run"), NOW)
    (step,) = story.lineage
    assert (step.role, step.morphs) == ("candidate", ())
    assert {block.change for network in story.networks for block in network.blocks} == {""}


def test_reading_changes_nothing(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ASSETS / "run-format-2", tmp_path / "run"))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    read_story(str(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("path", sorted(ASSETS.glob("run-format-*")), ids=lambda path: path.name)
def test_runs_of_every_format_have_a_story(path: Path) -> None:
    story = read_story(str(path))
    assert story.attempts and story.lives[0].ended_at >= story.lives[0].begun_at > 0
    assert story.facts.versions["torch"] and story.facts.reproduce == ("spnas search config.yaml --run again",)


def test_a_run_in_a_bucket_is_told_as_one_in_a_folder(address: str, tmp_path: Path) -> None:
    short_run(address, 12)
    short_run(tmp_path / "beside", 12)
    here, there = (asdict(read_story(run, NOW)) for run in (str(tmp_path / "beside"), address))
    for name in ("name", "address"):
        del here["facts"][name], there["facts"][name]
    assert here == there


def test_a_run_that_goes_on_is_told_until_now(tmp_path: Path) -> None:
    folder = short_run(tmp_path / "run", 20, killed=True)
    lock = RunLock(folder.storage)
    assert lock.acquire()
    try:
        story = read_story(str(tmp_path / "run"), NOW)
    finally:
        lock.release()
    assert story.facts.state == "running" and story.lives[-1].runs
    assert story.lives[-1].ended_at == NOW
    running = [attempt for attempt in story.attempts if attempt.outcome == "running"]
    assert running and {attempt.end for attempt in running} == {NOW}
    assert {attempt.job for attempt in running} <= {t.index for t in story.trials if t.status == "running"}


def test_a_run_whose_driver_was_killed_is_gone_and_its_attempts_are_lost(tmp_path: Path) -> None:
    short_run(tmp_path / "run", 20, killed=True)
    story = read_story(str(tmp_path / "run"), NOW)
    assert story.facts.state == "gone" and story.facts.ended_because == ""
    assert "running" not in {attempt.outcome for attempt in story.attempts}
    assert max(attempt.end for attempt in story.attempts) == story.lives[-1].ended_at < NOW


def test_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run's folder"):
        read_story(str(tmp_path))


def test_a_run_of_which_nothing_is_told_is_one_line(tmp_path: Path) -> None:
    folder = short_run(tmp_path / "run", 0)
    with pytest.raises(UserError, match="nothing of it is finished.*go on with it first"):
        read_story(str(tmp_path / "run"))
    lock = RunLock(folder.storage)
    assert lock.acquire()
    try:
        with pytest.raises(UserError, match="wait for its first job"):
            read_story(str(tmp_path / "run"))
    finally:
        lock.release()


def test_a_run_of_a_newer_format_is_one_line(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ASSETS / "run-format-1", tmp_path / "run"))
    log = folder / "journal" / "000001.jsonl"
    log.write_bytes(_resealed(log.read_bytes().replace(b'"schema_version":1', b'"schema_version":9', 1)))
    with pytest.raises(UserError, match="has format 9.*use a newer spnas"):
        read_story(str(folder))


def _resealed(data: bytes) -> bytes:
    """The first line alone, with its checksum right."""
    text = data.split(b"\n")[0].partition(b" ")[2]
    return b"%08x %s\n" % (zlib.crc32(text), text)
