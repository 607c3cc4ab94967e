"""The values that pass between a search and its driver."""

import json

import numpy as np
import pytest

from models.architecture import Architecture, NetworkSpec
from models.morphism import Assemble, Expand, NewStage, Swap
from orchestrator.search.protocol import Job, Member, Outcome, SearchState, generator_of, pareto
from tests.orchestrator.search.fake_driver import FakeDriver, search_settings


def detector(index: int, score: float | None, status: str = "completed", kind: str = "train_detector") -> Member:
    job = Job(
        index=index,
        kind=kind,
        role="candidate",
        phase="serial",
        round=1,
        spec=NetworkSpec.fresh(Architecture.parse("BB(1,1)")),
        recipe="serial",
        seed=(0, 0, 0),
    )
    return Member(job, Outcome(index=index, status=status, score=score))


def test_every_job_of_a_search_survives_the_way_through_json() -> None:
    given = search_settings(
        serial={"acceptance": "paired", "n_stuck": 5}, parallel={}, train_full=True, max_failures_in_a_row=99
    )
    jobs = FakeDriver(given).run().jobs
    assert {job.role for job in jobs} == {
        "start",
        "control",
        "candidate",
        "confirmation",
        "pretrain",
        "refresh",
        "final",
    }
    for job in jobs:
        assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_every_kind_of_morph_survives_the_way_through_json() -> None:
    job = Job(
        index=3,
        kind="train_detector",
        role="candidate",
        phase="serial",
        round=1,
        spec=NetworkSpec.fresh(Architecture.parse("BB(1,1)+(0,2)"), "resnet", 8),
        recipe="serial",
        seed=(2**63, 1, 2),
        parent=1,
        backbone=2,
        morphs=(Swap(0), Expand(2), NewStage(), Assemble((0, 2))),
    )
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_what_a_job_draws_depends_on_seed_and_index_alone() -> None:
    expected = np.random.default_rng(np.random.SeedSequence(5, spawn_key=(7,))).random(4)
    assert (generator_of(5, 7).random(4) == expected).all()
    assert (generator_of(5, 8).random(4) != expected).all()
    assert (generator_of(6, 7).random(4) != expected).all()


@pytest.mark.parametrize(("mode", "sign"), [("max", 1), ("min", -1)])
def test_the_pareto_front_has_who_is_beaten_by_nobody_in_score_and_cost(mode: str, sign: int) -> None:
    members = [
        detector(0, sign * 0.5),
        detector(1, sign * 0.7),
        detector(2, sign * 0.6),  # as good as 4, but dearer
        detector(3, sign * 0.4),  # as cheap as 0, but worse
        detector(4, sign * 0.6),
        detector(5, None, status="failed"),
        detector(6, None, kind="pretrain"),
        detector(7, sign * 0.7),  # the same as 1, later
    ]
    costs = {0: 1.0, 1: 3.0, 2: 2.5, 3: 1.0, 4: 2.0, 5: 0.1, 6: 0.1, 7: 3.0}
    state = SearchState(population={member.job.index: member for member in members})
    assert pareto(state, costs, mode) == [0, 4, 1]
