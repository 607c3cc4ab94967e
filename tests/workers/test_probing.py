"""A training that is measured on its way is the training that it would have been."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from models.msnas_encoding import MultiScaleSpec
from tests.workers.test_checkpoint import MemoryStore
from tests.workers.test_supernet import START
from tests.workers.test_world import settings_of
from workers.checkpoint import Checkpoint
from workers.data import open_detection_data
from workers.data.interface import DetectionData
from workers.detection import train_detector
from workers.metric_names import is_metric, split_step
from workers.rank import Session
from workers.ranks import Ranks
from workers.run_folder import RunFolder
from workers.settings import DetectorSettings, TrainingSettings
from workers.supernet import KIND, Paths
from workers.task import Progress, Task, TrainingResult, TrainingStopped
from workers.training import NetworkTrainer

MakeTask = Callable[..., Task]
Train = Callable[..., TrainingResult]

STEPS = (0, 3, 5)
PLAIN = TrainingSettings(iterations=5, batch_size=8, warmup_steps=2)
PROBED = PLAIN.merged({"evaluate_at": STEPS})


@pytest.fixture(scope="module")
def train(make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings) -> Train:
    def run(training: TrainingSettings, supernet: bool = False, **more: object) -> TrainingResult:
        changes = {"kind": KIND, "spec": MultiScaleSpec(START)} if supernet else {}
        task = make_task(training=training, checkpoint_s=3600, **changes)
        paths = Paths.of(task, "constrained")
        return train_detector(task, data=shapes, detector=detector, max_stages=4, paths=paths, **more)

    return run


@pytest.fixture(scope="module")
def measured(train: Train) -> TrainingResult:
    return train(PROBED)


@dataclass
class Cut:
    """Asks a training to stop once it has told of this phase and step."""

    phase: str
    step: int
    told: list[Progress] = field(default_factory=list)

    def should_stop(self) -> bool:
        return any((one.phase, one.step) == (self.phase, self.step) for one in self.told)


@pytest.mark.parametrize("supernet", [False, True])
def test_what_is_measured_on_the_way_changes_nothing(train: Train, measured: TrainingResult, supernet: bool) -> None:
    plain = train(PLAIN, supernet)
    probed = train(PROBED, supernet) if supernet else measured
    assert probed.weights == plain.weights
    on_the_way = {name: value for name, value in probed.metrics.items() if split_step(name)}
    assert {name: value for name, value in probed.metrics.items() if name not in on_the_way} == plain.metrics
    assert sorted(on_the_way) == sorted(f"step {step}/{name}" for step in STEPS for name in ("AP", "AP50", "loss"))


def test_the_last_measurement_is_that_of_the_result_and_the_loss_falls(measured: TrainingResult) -> None:
    metrics = measured.metrics
    assert (metrics["step 5/AP"], metrics["step 5/AP50"]) == (metrics["AP"], metrics["AP50"])
    assert 0 < metrics["step 5/loss"] < metrics["step 0/loss"]


def test_a_child_is_measured_before_it_has_learned_anything(train: Train, measured: TrainingResult) -> None:
    child = train(PROBED, parent=measured.weights)
    assert {name: child.metrics[f"step 0/{name}"] for name in ("AP", "AP50", "loss")} == {
        name: measured.metrics[f"step 5/{name}"] for name in ("AP", "AP50", "loss")
    }


@pytest.mark.parametrize(("phase", "step"), [("training", 4), ("evaluating", 3), ("evaluating", 5)])
def test_what_was_measured_before_an_interruption_is_in_the_result(
    train: Train, measured: TrainingResult, monkeypatch: pytest.MonkeyPatch, phase: str, step: int
) -> None:
    monkeypatch.setattr("workers.loop.SECONDS_PER_REPORT", 0.0)
    monkeypatch.setattr("workers.loop.STEPS_PER_REPORT", 1)
    store, cut, again = MemoryStore(), Cut(phase, step), Cut("never", 0)
    with pytest.raises(TrainingStopped):
        train(PROBED, checkpoints=store, on_progress=cut.told.append, should_stop=cut.should_stop)
    ended = train(PROBED, checkpoints=store, on_progress=again.told.append, should_stop=again.should_stop)
    assert ended.weights == measured.weights
    assert ended.metrics == measured.metrics
    assert store.num_writes == 1  # of a training so short no checkpoint is written but where it is asked to stop
    assert not any(one.phase == "evaluating" and one.step == 0 for one in again.told)


def test_a_progress_says_where_in_the_training_an_evaluation_is(train: Train) -> None:
    told: list[Progress] = []
    train(PROBED, on_progress=told.append)
    evaluations = [(one.step, one.num_steps) for one in told if one.phase == "evaluating"]
    assert list(dict.fromkeys(evaluations)) == [(0, 5), (3, 5), (5, 5)]


def test_steps_rise_and_their_metrics_are_no_objective() -> None:
    with pytest.raises(ValueError, match=r"\[3, 0\] do not rise; give the steps in order, each once"):
        PLAIN.merged({"evaluate_at": (3, 0)})
    assert not any(is_metric(f"step 3/{name}", "ecp") for name in ("AP", "LAMR", "loss", "AP/car"))
    assert split_step("step 30/AP") == (30, "AP")
    assert split_step("AP/step 3/x") is None and split_step("step x/AP") is None


@pytest.mark.slow
def test_ranks_measure_together_what_one_does(make_task: MakeTask, detector: DetectorSettings, tmp_path: Path) -> None:
    training = TrainingSettings(iterations=2, batch_size=16, normalization="sync", evaluate_at=(0, 2))
    settings, task = settings_of(tmp_path, detector, 2), make_task(training=training)
    data = open_detection_data(settings.data)
    alone = train_detector(task, data=data, detector=detector, max_stages=settings.max_stages)
    ranks = Ranks(settings)
    try:
        together = ranks.train(task, None, None, lambda progress: None)
    finally:
        ranks.kill()
    assert together is not None and together.metrics.keys() == alone.metrics.keys()
    assert together.metrics["step 0/AP"] == pytest.approx(alone.metrics["step 0/AP"])
    # RoIs that an image lacks weigh a little less in a mean over other batches.
    assert together.metrics["step 0/loss"] == pytest.approx(alone.metrics["step 0/loss"], rel=0.02)


class SecondStops(NetworkTrainer):
    """Only the second rank is asked to stop, and that amid the measurement at step 2."""

    def train(self, task: Task, session: Session) -> TrainingResult:
        assert session.place is not None
        cut = Cut("evaluating" if session.place.rank == 1 else "never", 2)

        def tell(progress: Progress) -> None:
            cut.told.append(progress)
            session.on_progress(progress)

        return super().train(task, replace(session, on_progress=tell, should_stop=cut.should_stop))


@pytest.mark.slow
def test_ranks_stop_together_in_a_measurement_and_leave_a_checkpoint(
    make_task: MakeTask, detector: DetectorSettings, tmp_path: Path
) -> None:
    training = TrainingSettings(iterations=3, batch_size=16, normalization="sync", evaluate_at=(0, 2))
    settings, task = settings_of(tmp_path, detector, 2), make_task(training=training, checkpoint_s=3600)
    ranks = Ranks(replace(settings, trainer=f"{__name__}:{SecondStops.__name__}"))
    try:
        with pytest.raises(TrainingStopped):
            ranks.train(task, None, None, lambda progress: None)
    finally:
        ranks.kill()
    data = RunFolder(settings.folder).read_checkpoint(task.name)
    assert data is not None
    checkpoint = Checkpoint.from_bytes(data)
    assert checkpoint.step == 2 and {split_step(name) for name in checkpoint.measured} == {
        (0, name) for name in ("AP", "AP50", "loss")
    }
