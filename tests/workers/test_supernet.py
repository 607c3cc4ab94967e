"""A super-net is trained one path a step, whoever trains it and however often it is cut off; samples start from it."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from models.blob import unpack
from models.detectors import choose_path
from models.msnas import inherit_path
from models.msnas_encoding import FPN_HEADS, MultiScale, MultiScaleSpec, meets_equation_7
from tests.workers.test_checkpoint import Interruption, MemoryStore
from tests.workers.test_detection import outputs
from workers.data.interface import DetectionData
from workers.detection import prepare_detector, train_detector
from workers.evaluation import SCORE, evaluate
from workers.settings import DetectorSettings, TrainingSettings
from workers.supernet import KIND, Paths
from workers.task import Task, TrainingResult, TrainingStopped

MakeTask = Callable[..., Task]
Train = Callable[..., TrainingResult]

START = MultiScale.parse("MS(BB,4;1,2,2,0.5,1,2;4,8,8,16,16)")
SAMPLE = MultiScale.parse("MS(BB,4;2,1,2,0.5,2,0.5;8,8,8,16,16)")
STEADY = TrainingSettings(iterations=2, batch_size=8, lr_schedule="step", lr_drops=(), warmup_steps=0)
"""A rate that does not depend on how many steps there are."""


@pytest.fixture(scope="module")
def train(make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings) -> Train:
    def run(task: Task | None = None, **more: Any) -> TrainingResult:
        task = task or make_task(kind=KIND, spec=MultiScaleSpec(START), training=STEADY)
        paths = Paths.of(task, "constrained")
        return train_detector(task, data=shapes, detector=detector, max_stages=4, paths=paths, **more)

    return run


@pytest.fixture(scope="module")
def supernet(train: Train) -> TrainingResult:
    return train()


def paths_of(make_task: MakeTask, utilization: str = "constrained", **changes: object) -> Paths:
    paths = Paths.of(make_task(**{"kind": KIND, "spec": MultiScaleSpec(START), **changes}), utilization)
    assert paths is not None
    return paths


def test_a_steps_path_depends_on_the_tasks_seed_and_the_step_alone(make_task: MakeTask) -> None:
    one, other = paths_of(make_task), paths_of(make_task, attempt=3, earlier=("x",), checkpoint_s=0)
    backwards = [other.at(step) for step in reversed(range(20))]
    assert [one.at(step) for step in range(20)] == backwards[::-1]
    assert len(set(backwards)) > 10
    assert [paths_of(make_task, seed=(9, 9, 9)).at(step) for step in range(20)] != backwards[::-1]


def test_paths_have_the_utilisations_that_the_search_samples(make_task: MakeTask) -> None:
    spec = MultiScaleSpec(MultiScale.parse("MS(BB,4;1,2,2,2,2,1;4,8,16,32,64)"))
    found = {kind: [paths_of(make_task, kind, spec=spec).at(step).heads for step in range(50)] for kind in KINDS}
    assert all(map(meets_equation_7, found["constrained"]))
    assert not all(map(meets_equation_7, found["free"]))
    assert set(found["fpn"]) == {FPN_HEADS}


KINDS = ("constrained", "free", "fpn")


def test_only_a_super_nets_task_has_paths(make_task: MakeTask) -> None:
    assert Paths.of(make_task(spec=MultiScaleSpec(START)), "constrained") is None


def test_a_step_leaves_what_its_path_does_not_use_as_it_is(
    make_task: MakeTask, train: Train, shapes: DetectionData, detector: DetectorSettings, supernet: TrainingResult
) -> None:
    task = make_task(kind=KIND, spec=MultiScaleSpec(START), training=STEADY.merged({"iterations": 1}))
    fresh, _ = prepare_detector(task, data=shapes, detector=detector, max_stages=4, supernet=True)
    states = [fresh.state_dict(), *(unpack(each.weights)[0] for each in (train(task), supernet))]
    paths = paths_of(make_task)
    used = [inherit_path(states[0], paths.at(step)).keys() for step in (0, 1)]
    assert used[0] - used[1], "the second step leaves out something that has momentum"
    for step in (0, 1):
        before, after = states[step], states[step + 1]
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed <= used[step]
        assert changed & {name for name in used[step] if ".blocks." in name}


def test_a_super_net_that_was_cut_off_again_and_again_ends_the_same(make_task: MakeTask, train: Train) -> None:
    training = STEADY.merged({"iterations": 11})  # it ends within the second epoch
    task = make_task(kind=KIND, spec=MultiScaleSpec(START), training=training, checkpoint_s=0)
    store, undisturbed = MemoryStore(), train(task)
    asked = []
    for after_steps in (1, 3, 5, None):
        watcher = Interruption(after_steps=after_steps)
        watch = {"checkpoints": store, "on_progress": watcher.on_progress, "should_stop": watcher.should_stop}
        with nullcontext() if after_steps is None else pytest.raises(TrainingStopped):
            result = train(task, **watch)
        asked.append(watcher.num_asked)
    assert asked == [2, 4, 6, 11 - 1 - 3 - 5]  # nothing is trained twice
    assert result.weights == undisturbed.weights and result.metrics == undisturbed.metrics


def test_a_sample_computes_what_the_super_net_does_along_its_path(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, supernet: TrainingResult
) -> None:
    given = {"data": shapes, "detector": detector, "max_stages": 4}
    whole, _ = prepare_detector(make_task(kind=KIND, spec=MultiScaleSpec(START)), supernet=True, **given)  # type: ignore[arg-type]
    whole.load_state_dict(unpack(supernet.weights)[0])
    choose_path(whole, SAMPLE)
    task = make_task(spec=MultiScaleSpec(SAMPLE))
    sample, notes = prepare_detector(task, parent=supernet.weights, **given)  # type: ignore[arg-type]
    assert notes == ()
    expected = outputs(whole, shapes)
    assert sum(len(value) for value in expected) > 0
    assert all(map(torch.equal, outputs(sample, shapes), expected))


def test_a_super_net_is_judged_as_the_start_and_a_score_times_nothing(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, supernet: TrainingResult
) -> None:
    task = make_task(kind=SCORE, spec=MultiScaleSpec(START))
    result = evaluate(task, data=shapes, detector=detector, max_stages=4, parent=supernet.weights)
    assert result.metrics == supernet.metrics
    assert (result.weights, result.notes) == (b"", ())
    assert json.loads(unpack(supernet.weights)[1]["spec"]) == MultiScaleSpec(START).to_dict()


def test_a_sample_is_fine_tuned_for_its_iterations_and_has_its_own_weights_alone(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, supernet: TrainingResult
) -> None:
    watcher = Interruption()
    tuned = train_detector(
        make_task(spec=MultiScaleSpec(SAMPLE), training=STEADY.merged({"iterations": 3})),
        data=shapes,
        detector=detector,
        max_stages=4,
        parent=supernet.weights,
        on_progress=watcher.on_progress,
    )
    state, old = unpack(tuned.weights)[0], inherit_path(unpack(supernet.weights)[0], SAMPLE)
    assert state.keys() == old.keys()
    assert not torch.equal(state["backbone.body.stem.conv.weight"], old["backbone.body.stem.conv.weight"])
    assert {(progress.num_epochs, progress.num_steps) for progress in watcher.told} == {(1, 3)}
    assert [progress.step for progress in watcher.told if progress.phase == "training"][-1] == 3


def test_weights_that_lack_the_path_are_refused(
    make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings, train: Train
) -> None:
    plain = train(make_task(spec=MultiScaleSpec(START), training=STEADY.merged({"iterations": 1})))
    with pytest.raises(ValueError, match=r"weights: they have nothing of .*blocks.*, which MS\(BB,4;2,1,2"):
        prepare_detector(
            make_task(spec=MultiScaleSpec(SAMPLE)),
            data=shapes,
            detector=detector,
            max_stages=4,
            parent=plain.weights,
        )
    with pytest.raises(ValueError, match=r"weights: they are of MS\(.*, which BB\(1,d1,d1\) can't take"):
        prepare_detector(make_task(), data=shapes, detector=detector, max_stages=4, parent=plain.weights)
