from dataclasses import replace

from orchestrator.report import wording
from orchestrator.report.story import LineageStep, MorphStep, Story


def step(
    index: int, score: float | None, gain: float | None, architecture: str, role: str = "control", morph: str = ""
) -> LineageStep:
    return LineageStep(
        index=index,
        role=role,
        phase="serial",
        round=1,
        architecture=architecture,
        gflops=1.0,
        score=score,
        gain=gain,
        morphs=(MorphStep(morph=morph, words="", architecture=architecture, gflops=1.0),) if morph else (),
        told=None,
    )


def test_gains_of_changed_networks_and_of_training_alone_are_told_apart() -> None:
    changed = step(4, 0.37, 0.02, "b", "candidate", "expand(1)")
    gain = wording.gain_of((step(0, 0.3, None, "a", "start"), step(1, 0.35, 0.05, "a"), changed))
    assert gain is not None and gain.is_start
    assert (gain.num_changed, gain.num_trained) == (1, 1)
    assert (round(gain.total, 6), round(gain.changed, 6), round(gain.trained, 6)) == (0.07, 0.02, 0.05)


def test_the_parallel_levels_start_has_another_encoding_and_the_same_network() -> None:
    start = step(7, 0.35, 0.05, "a+(0,0)", "start", "assemble(0,0)")
    gain = wording.gain_of((step(0, 0.3, None, "a", "start"), start))
    assert gain is not None and (gain.num_changed, gain.num_trained, round(gain.trained, 6)) == (0, 1, 0.05)


def test_a_gain_counts_from_the_first_job_with_a_score() -> None:
    gain = wording.gain_of((step(0, None, None, "net"), step(3, 0.3, None, "path"), step(9, 0.4, 0.1, "path")))
    assert gain is not None and (gain.since, gain.is_start, gain.num_changed, gain.num_trained) == (3, False, 0, 1)


def test_one_scored_job_has_no_gain() -> None:
    assert wording.gain_of((step(0, 0.3, None, "a"),)) is None
    assert wording.gain_of((step(0, None, None, "a"), step(1, 0.3, None, "b"))) is None


def test_numbers_are_short_and_times_have_the_unit_that_people_use() -> None:
    assert [wording.duration(s) for s in (0, 45, 600, 3 * 3600, 4 * 86400)] == [
        "0 s",
        "45 s",
        "10 min",
        "3.0 h",
        "4.0 d",
    ]
    assert [wording.giga(v) for v in (0.00251, 4.0869, 31.04, 512.3)] == ["0.00251", "4.09", "31", "512"]
    assert [wording.count(v) for v in (0, 12345, 1.2e6)] == ["0", "12,345", "1.2 M"]
    assert [wording.points(v) for v in (0.0123, -0.004, None)] == ["+1.23", "−0.40", "–"]
    assert wording.percent(None) == "–" and wording.when(None) == "–" and wording.when(0) == "1970-01-01 00:00 UTC"


def test_the_guide_tells_the_best_reignitions_failures_and_what_training_alone_gained(paper_story: Story) -> None:
    text = " ".join(wording.reading_guide(paper_story))
    best = paper_story.best
    assert best is not None and f"job #{best.index}" in text
    assert "round 1 it was reignited by job" in text and "attempts were lost" in text and "changed the network" in text


def test_a_run_whose_driver_went_says_that_the_same_command_goes_on(paper_story: Story) -> None:
    assert "the same command goes on" in wording.state_in_words(replace(paper_story.facts, state="gone"))
