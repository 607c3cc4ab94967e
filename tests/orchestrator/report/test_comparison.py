from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import pytest

from orchestrator.errors import UserError
from orchestrator.report.comparison import Band, Comparison, Curve, compare
from orchestrator.report.reading import read_story
from orchestrator.report.story import Story
from tests.orchestrator.made_up_runs import made_up_run, multi_scale_config, search_config

SERIAL = {"n_stuck": 8, "num_rounds": 1, "in_flight": 4, "max_candidates": 24}


def story(path: Path, acceptance: str, seed: int, *lives: int, **fleet: int) -> Story:
    serial = SERIAL | {"acceptance": acceptance}
    workers = {"fleet": {"num_workers": 4, "gpus_per_worker": 1} | fleet}
    made_up_run(path, search_config(seed=seed, serial=serial, parallel=None, final=None, **workers), lives or (10**6,))
    return read_story(str(path))


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> list[Story]:
    """Three seeds of one search, the last stopped; two of another, on fleets of different sizes."""
    path = tmp_path_factory.mktemp("runs")
    return [
        story(path / "paper-0", "paper", 0),
        story(path / "paired-5", "paired", 5, num_workers=2),
        story(path / "paper-1", "paper", 1),
        story(path / "paired-3", "paired", 3),
        story(path / "stopped", "paper", 2, 10),
    ]


@pytest.fixture(scope="module")
def comparison(stories: list[Story]) -> Comparison:
    return compare(stories)


def test_runs_that_differ_in_their_seeds_and_fleets_are_a_group(comparison: Comparison) -> None:
    assert [group.curves for group in comparison.groups] == [(0, 2, 4), (3, 1)]
    assert [group.name for group in comparison.groups] == ["serial.acceptance=paper", "serial.acceptance=paired"]
    assert [curve.name for curve in comparison.curves] == ["paper-0", "paired-5", "paper-1", "paired-3", "stopped"]
    assert [curve.is_complete for curve in comparison.curves] == [True, True, True, True, False]


def test_a_curve_is_the_best_so_far(stories: list[Story], comparison: Comparison) -> None:
    for story, curve in zip(stories, comparison.curves, strict=True):
        told = [trial for trial in story.trials if trial.is_told]
        for trial in told:
            candidates = sum(other.role == "candidate" for other in told if other.index <= trial.index)
            known = [point for point in curve.points if point.hours <= (trial.hours or 0.0)]
            assert known[-1].score == trial.best_score
            assert known[-1].candidates <= candidates
        assert curve.points[-1].hours == story.facts.hours


def test_a_band_is_mean_and_deviation_where_all_runs_are(comparison: Comparison) -> None:
    for group in comparison.groups:
        curves = [comparison.curves[index] for index in group.curves]
        for axis, band in (("candidates", group.by_candidates), ("hours", group.by_hours)):
            assert band.x and list(band.x) == sorted(set(band.x))
            for x, mean, deviation in zip(band.x, band.mean, band.deviation, strict=True):
                scores = [[p.score for p in curve.points if getattr(p, axis) <= x][-1] for curve in curves]
                assert (mean, deviation) == (fmean(scores), stdev(scores))


def test_a_band_ends_where_the_first_unfinished_run_has_come(comparison: Comparison) -> None:
    paper, paired = comparison.groups
    assert paper.by_candidates.x[-1] == comparison.curves[4].points[-1].candidates
    assert paired.by_hours.x[-1] == max(comparison.curves[index].points[-1].hours for index in paired.curves)


def test_a_single_run_is_its_own_mean(stories: list[Story]) -> None:
    (group,) = compare(stories[:1]).groups
    assert group.name == "spnas" and set(group.by_candidates.deviation) == {0.0}


def test_a_run_without_a_score_leaves_its_group_without_a_band(stories: list[Story]) -> None:
    nothing = replace(stories[0], trials=tuple(replace(trial, best_score=None) for trial in stories[0].trials))
    nothing = replace(nothing, facts=replace(nothing.facts, address="elsewhere"))
    (group,) = compare([stories[2], nothing]).groups
    assert group.by_hours == Band(x=(), mean=(), deviation=())


def test_other_algorithms_are_groups_by_their_names(stories: list[Story], tmp_path: Path) -> None:
    made_up_run(tmp_path / "ms", multi_scale_config(), (30,))
    told = read_story(str(tmp_path / "ms"))
    assert [group.name for group in compare([stories[0], told]).groups] == ["spnas", "msnas"]
    assert [group.name for group in compare([*stories[:2], told]).groups] == [
        "spnas serial.acceptance=paper",
        "spnas serial.acceptance=paired",
        "msnas",
    ]


def test_full_trainings_are_told_apart_from_the_curve(tmp_path: Path) -> None:
    serial = SERIAL | {"max_candidates": 4}
    made_up_run(tmp_path / "run", search_config(serial=serial, parallel=None, final={"epochs": 24}))
    told = read_story(str(tmp_path / "run"))
    curve: Curve = compare([told]).curves[0]
    assert told.trials[-1].role == "final" and curve.full_score == told.trials[-1].score
    assert curve.full_score is not None and curve.full_score > max(point.score for point in curve.points)


def test_runs_of_one_name_are_called_by_more_of_their_address(stories: list[Story]) -> None:
    renamed = [
        replace(story, facts=replace(story.facts, name="run", address=f"/{place}/run"))
        for place, story in zip(("a/x", "b/y"), stories, strict=False)
    ]
    assert [curve.name for curve in compare(renamed).curves] == ["x/run", "y/run"]


def test_runs_with_other_objectives_are_refused(stories: list[Story]) -> None:
    other = replace(stories[2], facts=replace(stories[2].facts, metric="AP50"))
    with pytest.raises(UserError, match="its objective is most AP50, that of .* is most AP;"):
        compare([stories[0], other])


def test_hours_of_gpus_and_cpus_are_not_compared(stories: list[Story]) -> None:
    other = replace(stories[2], facts=replace(stories[2].facts, hour_name="CPU-hours"))
    with pytest.raises(UserError, match="counts in CPU-hours, that of .* in GPU-hours"):
        compare([stories[0], other])


def test_a_run_given_twice_is_refused(stories: list[Story]) -> None:
    with pytest.raises(UserError, match="is given twice"):
        compare([stories[0], stories[0]])
