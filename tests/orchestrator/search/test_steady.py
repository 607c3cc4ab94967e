"""The paper's rule at the steady pace."""

from models.architecture import NetworkSpec
from models.morphism import apply_all
from orchestrator.search.protocol import Job, live_weights
from tests.orchestrator.search.fake_driver import FAILED, FakeDriver, Score, constant, search_settings


def steady(in_flight: int = 3, n_stuck: int = 20, mode: str = "max", max_failures_in_a_row: int = 5) -> FakeDriver:
    """A search whose start has been told, 0.5; its baseline is job 0, and candidates from 1 on are pending."""
    serial = {"in_flight": in_flight, "n_stuck": n_stuck, "reignite": False, "num_rounds": 1}
    given = search_settings(mode=mode, serial=serial, max_failures_in_a_row=max_failures_in_a_row)
    driver = FakeDriver(given, judge=constant)
    driver.finish(0.5)
    return driver


def test_the_start_sets_the_baseline() -> None:
    driver = FakeDriver(search_settings())
    (start,) = driver.jobs
    assert (start.kind, start.role, start.recipe, start.parent, start.morphs) == (
        "train_detector",
        "start",
        "start",
        None,
        (),
    )
    assert start.spec == driver.settings.start
    driver.finish(0.5)
    assert (driver.baseline.index, driver.baseline.score, driver.baseline.spec) == (0, 0.5, start.spec)
    assert driver.best_overall == driver.baseline


def test_a_pretrained_start_grows_from_the_pretrained_backbone() -> None:
    driver = FakeDriver(search_settings(pretrain_start=True))
    driver.finish(0.9)
    pretrain, start = driver.jobs
    assert (pretrain.kind, pretrain.recipe, pretrain.spec) == ("pretrain", "reignition", driver.settings.start)
    assert (start.role, start.parent, start.backbone) == ("start", None, 0)
    driver.finish(0.5)
    assert (driver.baseline.index, driver.baseline.score) == (1, 0.5)


def test_a_candidate_is_the_baseline_with_num_morphs_morphs() -> None:
    driver = steady()
    for job in driver.with_role("candidate"):
        assert job.parent == 0
        assert len(job.morphs) == 3
        assert apply_all(driver.settings.start, job.morphs) == job.spec
        assert (job.kind, job.phase, job.recipe, job.barrier) == ("train_detector", "serial", "serial", False)


def test_a_better_child_is_the_new_baseline_and_resets_the_counter() -> None:
    driver = steady()
    driver.finish(0.4, 0.4)
    assert driver.state.counter == 2
    (child,) = driver.finish(0.6)
    assert driver.state.counter == 0
    assert (driver.baseline.index, driver.baseline.score, driver.baseline.spec) == (3, 0.6, driver.jobs[3].spec)
    assert driver.best_overall == driver.baseline
    assert child.parent == 3


def test_an_equal_child_is_not_better() -> None:
    driver = steady()
    driver.finish(0.5)
    assert (driver.baseline.index, driver.state.counter) == (0, 1)


def test_a_minimised_objective_takes_the_lower_score() -> None:
    driver = steady(mode="min")
    driver.finish(0.6)
    assert (driver.baseline.index, driver.state.counter) == (0, 1)
    driver.finish(0.4)
    assert (driver.baseline.index, driver.best_overall.index, driver.state.counter) == (2, 2, 0)


def test_a_late_child_of_an_older_baseline_that_is_not_better_adds_nothing() -> None:
    driver = steady()
    driver.finish(0.6)  # job 1; 2 and 3 are children of job 0
    assert [driver.jobs[index].parent for index in (1, 2, 3, 4)] == [0, 0, 0, 1]
    driver.finish(0.55, 0.55)
    assert (driver.baseline.index, driver.state.counter) == (1, 0)
    driver.finish(0.55)
    assert (driver.baseline.index, driver.state.counter) == (1, 1)


def test_a_late_child_of_an_older_baseline_that_is_better_is_the_new_baseline() -> None:
    driver = steady()
    driver.finish(0.6)
    (child,) = driver.finish(0.7)
    late = driver.jobs[2]
    assert late.parent == 0
    assert (driver.baseline.index, driver.baseline.spec, driver.state.counter) == (2, late.spec, 0)
    assert (child.parent, child.spec) == (2, apply_all(late.spec, child.morphs))


def test_a_requeued_job_keeps_its_parent_though_that_is_no_longer_the_best() -> None:
    # Job 1 is lost on its worker and runs again; jobs 2 to 4 wait for it in the buffer. What was decided stays: its
    # parent's weights are kept for it, and it is judged when its turn comes.
    driver = steady(in_flight=4)
    driver.finish(0.6, 0.7)
    requeued = driver.next_job
    assert (requeued.index, requeued.parent, driver.baseline.index) == (3, 0, 2)
    assert {0, 2, 3} <= live_weights(driver.state)
    driver.finish(0.65)
    assert (driver.baseline.index, driver.state.counter) == (2, 0)


def test_failed_candidates_are_charged_to_no_counter() -> None:
    driver = steady()
    driver.finish(0.4, FAILED, FAILED, 0.4)
    assert driver.state.counter == 2
    assert [member.outcome.status for member in driver.members()][1:] == ["completed", "failed", "failed", "completed"]


def test_pending_jobs_are_told_first_when_the_search_is_stuck() -> None:
    driver = steady(in_flight=4, n_stuck=2)
    driver.finish(0.4)
    assert driver.finish(0.4) == []
    assert driver.state.counter == 2
    assert len(driver.state.pending) == 3
    driver.finish(0.4, 0.4)
    assert not driver.done
    driver.finish(0.4)
    assert driver.done
    assert driver.state.counter == 5


def test_an_improvement_among_the_pending_jobs_resets_the_counter_and_the_search_goes_on() -> None:
    driver = steady(in_flight=4, n_stuck=2)
    driver.finish(0.4, 0.4)
    decided = driver.finish(0.6)
    assert driver.state.counter == 0
    assert [job.parent for job in decided] == [3, 3]  # two late children of job 0 are still pending
    driver.finish(0.4, 0.4)
    assert driver.state.counter == 0
    assert not driver.done


def test_children_of_one_parent_share_one_training_seed() -> None:
    def judge(job: Job) -> Score:
        return 0.5 + 0.01 * (job.index // 6)

    given = search_settings(seed=7, serial={"in_flight": 3, "n_stuck": 10, "reignite": False, "num_rounds": 1})
    driver = FakeDriver(given, judge=judge, num_workers=3).run(lambda driver: len(driver.told) > 40)
    candidates = driver.with_role("candidate")
    assert len({job.parent for job in candidates}) > 5
    assert all(job.seed == (7, job.parent, 0) for job in candidates)


def test_the_level_ends_after_max_candidates() -> None:
    serial = {"in_flight": 3, "max_candidates": 7, "reignite": False, "num_rounds": 2}
    driver = FakeDriver(search_settings(serial=serial), judge=lambda job: 0.1 * job.index).run()
    assert [job.round for job in driver.with_role("candidate")] == [1] * 7 + [2] * 7


def without_morphs(**serial: object) -> FakeDriver:
    chosen = {"num_morphs": 0, "in_flight": 3, "reignite": False, "num_rounds": 1} | serial
    return FakeDriver(search_settings(serial=chosen), judge=constant)


def test_without_morphs_candidates_are_the_baseline_trained_on_with_seeds_of_their_own() -> None:
    driver = without_morphs()
    driver.finish(0.5, 0.4, 0.4)
    for job in driver.with_role("candidate"):
        assert (job.parent, job.morphs, job.spec) == (0, (), driver.settings.start)
    assert [job.seed for job in driver.with_role("candidate")] == [(0, 0, replicate) for replicate in range(5)]
    driver.finish(0.6)
    assert (driver.jobs[-1].parent, driver.jobs[-1].seed) == (3, (0, 3, 0))


def test_without_morphs_the_search_ends_when_it_is_stuck_or_at_max_candidates() -> None:
    stuck = without_morphs(n_stuck=7, in_flight=1).run()
    assert (len(stuck.with_role("candidate")), stuck.state.counter) == (7, 7)
    assert len(without_morphs(max_candidates=5).run().with_role("candidate")) == 5


def test_without_inheritance_candidates_are_built_anew_and_counted_as_children_of_their_baseline() -> None:
    serial = {"inherit": False, "in_flight": 3, "reignite": False, "num_rounds": 1}
    driver = FakeDriver(search_settings(serial=serial, parallel={"n_stuck": 2}), judge=constant)
    driver.finish(0.5, 0.6)
    for job in driver.with_role("candidate"):
        assert (job.parent, job.morphs) == (None, ())
        assert job.spec == NetworkSpec.fresh(job.spec.architecture, "deep", 4)
        assert job.spec != driver.settings.start
    assert [job.seed for job in driver.with_role("candidate")] == [(0, 0, 0)] * 3 + [(0, 1, 0)]
    driver.finish(0.4, 0.4)  # late children of the start
    assert (driver.baseline.index, driver.state.counter) == (1, 0)
    driver.finish(0.4)
    assert driver.state.counter == 1
    driver.run()
    below = [job for job in driver.jobs if job.phase == "parallel"]
    assert len(below) > 2 and any(sum(job.spec.architecture.subnets) for job in below)
    assert all((job.parent, job.morphs) == (None, ()) for job in below)
