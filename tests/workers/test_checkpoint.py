"""Whatever cuts a training off, what goes on from its checkpoint ends as if nothing had happened."""

import json
import logging
import math
import os
import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from models.architecture import Architecture, NetworkSpec
from models.blob import unpack
from models.morphism import Expand, Swap, apply_all
from workers.checkpoint import SHARE_OF_TIME, Checkpoint, Continuation, Generators, fingerprint
from workers.classification import pretrain
from workers.data import open_classification_data
from workers.data.interface import ClassificationData, DetectionData
from workers.detection import train_detector
from workers.optimization import build_optimizer
from workers.settings import DetectorSettings, ShapesClassification, TrainingSettings
from workers.task import Progress, Task, TrainingResult, TrainingStopped

MAX_STAGES = 4
STEPS_PER_EPOCH = 9
NUM_STEPS = 2 * STEPS_PER_EPOCH
NUM_TIMED = 3000
MakeTask = Callable[..., Task]


@dataclass
class MemoryStore:
    """Keeps what was written last."""

    data: bytes | None = None
    num_writes: int = 0

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data
        self.num_writes += 1


@dataclass
class BrokenStore(MemoryStore):
    """Neither reads nor writes, as it is told."""

    reads: bool = True
    writes: bool = True

    def read(self) -> bytes | None:
        if not self.reads:
            raise OSError(5, "Input/output error")
        return super().read()

    def write(self, data: bytes) -> None:
        if not self.writes:
            raise OSError(28, "No space left on device")
        super().write(data)


@dataclass
class Clock:
    """Stands still unless it is moved."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class SlowStore(MemoryStore):
    """Moves a clock when it is written to."""

    clock: Clock = field(default_factory=Clock)
    seconds: float = 0.0

    def write(self, data: bytes) -> None:
        self.clock.now += self.seconds
        super().write(data)


@dataclass
class Interruption:
    """An `on_progress` and a `should_stop` that end a training after so many steps, counting what they see."""

    after_steps: int | None = None
    in_evaluation: bool = False
    raising: bool = False
    told: list[Progress] = field(default_factory=list)
    num_asked: int = 0

    def on_progress(self, progress: Progress) -> None:
        self.told.append(progress)
        if self.raising and progress.phase == "training" and self._is_reached(progress.step):
            raise ConnectionResetError("whoever listened is gone")

    def should_stop(self) -> bool:
        if self.told[-1].phase == "evaluating":
            return self.in_evaluation
        self.num_asked += 1  # once before each step
        return not self.raising and self._is_reached(self.num_asked - 1)

    def _is_reached(self, num_steps: int) -> bool:
        return self.after_steps is not None and num_steps >= self.after_steps


@dataclass
class Training:
    """One training of a test, ready to be run; `inputs` are its parents' weights."""

    task: Task
    run: Callable[..., TrainingResult]
    inputs: dict[str, bytes]
    undisturbed: TrainingResult

    def __call__(
        self, store: MemoryStore | None, watcher: Interruption | None = None, **inputs: bytes
    ) -> TrainingResult:
        watcher = watcher or Interruption()
        return self.run(
            self.task,
            checkpoints=store,
            on_progress=watcher.on_progress,
            should_stop=watcher.should_stop,
            **{**self.inputs, **inputs},
        )

    def check(self, result: TrainingResult) -> None:
        assert result.weights == self.undisturbed.weights
        assert result.metrics == self.undisturbed.metrics
        assert result.notes == self.undisturbed.notes


@dataclass
class FileStore:
    """A file; it kills its process after so many writes."""

    path: Path
    num_writes: int

    def read(self) -> bytes | None:
        return None

    def write(self, data: bytes) -> None:
        self.path.write_bytes(data)
        self.num_writes -= 1
        if self.num_writes == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def open_crops() -> ClassificationData:
    return open_classification_data(ShapesClassification(format="shapes", num_train=72, num_val=24))


def pretrain_until_killed(task: Task, path: Path, num_writes: int) -> None:
    pretrain(task, data=open_crops(), checkpoints=FileStore(path, num_writes))


@pytest.fixture(scope="module")
def trainings(make_task: MakeTask, shapes: DetectionData, detector: DetectorSettings) -> Callable[[str], Training]:
    """Trainings by name, each with its undisturbed result; checkpoints are written after every step."""
    crops = open_crops()
    settings = make_task().training.merged({"epochs": 2})

    def detect(task: Task, **given: Any) -> TrainingResult:
        return train_detector(task, data=shapes, detector=detector, max_stages=MAX_STAGES, **given)

    def classify(task: Task, **given: Any) -> TrainingResult:
        return pretrain(task, data=crops, **given)

    def make(name: str) -> Training:
        inputs = {}
        if name == "pretrain":
            task, run = make_task(kind="pretrain", training=settings, checkpoint_s=0), classify
        elif name == "fresh detector":
            task, run = make_task(training=settings, checkpoint_s=0), detect
        else:
            parent = make_task("BB(11,d1,d1)")
            morphs = (Swap(2), Expand(0))
            inputs["parent"] = detect(parent).weights
            task = make_task(
                spec=apply_all(parent.spec, morphs), morphs=morphs, training=settings, seed=(0, 1, 7), checkpoint_s=0
            )
            run = detect
        return Training(task=task, run=run, inputs=inputs, undisturbed=run(task, **inputs))

    made: dict[str, Training] = {}

    def get(name: str) -> Training:
        if name not in made:
            made[name] = make(name)
        return made[name]

    return get


@pytest.fixture(params=["pretrain", "fresh detector", "refitted child"])
def training(request: pytest.FixtureRequest, trainings: Callable[[str], Training]) -> Training:
    return trainings(request.param)


@pytest.fixture
def pretraining(trainings: Callable[[str], Training]) -> Training:
    return trainings("pretrain")


@pytest.mark.parametrize("after_steps", [1, 4, STEPS_PER_EPOCH, 13, NUM_STEPS - 1])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(training: Training, after_steps: int) -> None:
    store, stopped, going_on = MemoryStore(), Interruption(after_steps=after_steps), Interruption()
    with pytest.raises(TrainingStopped):
        training(store, stopped)
    assert store.num_writes == after_steps
    training.check(training(store, going_on))
    assert going_on.num_asked == NUM_STEPS - after_steps  # nothing is trained twice


def test_an_evaluation_that_was_cut_off_does_not_cost_the_training(training: Training) -> None:
    store, going_on = MemoryStore(), Interruption()
    with pytest.raises(TrainingStopped, match="in evaluation"):
        training(store, Interruption(in_evaluation=True))
    training.check(training(store, going_on))
    assert going_on.num_asked == 0
    assert {progress.phase for progress in going_on.told} == {"preparing", "evaluating"}


def test_a_training_that_is_cut_off_again_and_again_still_ends_the_same(training: Training) -> None:
    store = MemoryStore()
    for _ in range(4):
        with pytest.raises(TrainingStopped):
            training(store, Interruption(after_steps=4))
    training.check(training(store))


def test_a_training_that_an_exception_ended_goes_on_from_the_last_checkpoint(training: Training) -> None:
    store, going_on = MemoryStore(), Interruption()
    with pytest.raises(ConnectionResetError):
        training(store, Interruption(after_steps=STEPS_PER_EPOCH, raising=True))
    training.check(training(store, going_on))
    assert going_on.num_asked == NUM_STEPS - STEPS_PER_EPOCH + 1  # it was raised before the step's checkpoint


def test_a_training_whose_process_was_killed_goes_on_in_another(pretraining: Training, tmp_path: Path) -> None:
    path, going_on = tmp_path / "checkpoint", Interruption()
    process = get_context("spawn").Process(target=pretrain_until_killed, args=(pretraining.task, path, 5))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process.close()
    pretraining.check(pretraining(MemoryStore(path.read_bytes()), going_on))
    assert going_on.num_asked == NUM_STEPS - 5


def test_writing_checkpoints_changes_nothing(training: Training) -> None:
    store = MemoryStore()
    training.check(training(store))
    assert store.num_writes == NUM_STEPS


def test_what_goes_on_needs_neither_its_parent_nor_a_refit(trainings: Callable[[str], Training]) -> None:
    training, store = trainings("refitted child"), MemoryStore()
    assert any("is refitted" in note for note in training.undisturbed.notes)
    with pytest.raises(TrainingStopped):
        training(store, Interruption(after_steps=1))
    training.check(training(store, parent=b"no blob at all"))


def flipped(data: bytes, position: int) -> bytes:
    position %= len(data)
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: flipped(data, -1),
        lambda data: flipped(data, len(data) // 2),
        lambda data: b"\0" * len(data),
    ],
    ids=["empty", "half", "a byte short", "last bit", "middle bit", "zeros"],
)
def test_a_damaged_checkpoint_is_ignored(
    damage: Callable[[bytes], bytes], pretraining: Training, caplog: pytest.LogCaptureFixture
) -> None:
    store, again = MemoryStore(), Interruption()
    with pytest.raises(TrainingStopped):
        pretraining(store, Interruption(after_steps=4))
    assert store.data is not None
    store.data = damage(store.data)
    with caplog.at_level(logging.WARNING):
        pretraining.check(pretraining(store, again))
    assert again.num_asked == NUM_STEPS
    assert "the training begins anew" in caplog.text


def test_a_checkpoint_of_another_job_is_ignored(trainings: Callable[[str], Training], make_task: MakeTask) -> None:
    store, again = MemoryStore(), Interruption()
    training = trainings("fresh detector")
    other = make_task(training=training.task.training, seed=(5, 6), checkpoint_s=0)
    with pytest.raises(TrainingStopped):
        Training(task=other, run=training.run, inputs={}, undisturbed=training.undisturbed)(
            store, Interruption(after_steps=4)
        )
    training.check(training(store, again))
    assert again.num_asked == NUM_STEPS


def test_a_fingerprint_is_that_of_all_that_makes_a_training(make_task: MakeTask) -> None:
    task = make_task()
    others = [
        make_task(index=2),
        make_task(kind="pretrain"),
        make_task("BB(1,d1,1)"),
        make_task(spec=NetworkSpec.fresh(Architecture.parse("BB(1,d1,d1)"), "deep", 4)),
        make_task(morphs=(Swap(0),)),
        make_task(training=task.training.merged({"lr": 0.5})),
        make_task(training=task.training.merged({"evaluate_at": (0,)})),
        make_task(seed=(0, 2, 1)),
        make_task(start_weights="torchvision:resnet18"),
    ]
    settings = {"detector": {"anchor_size": 8}, "classes": ("circle",)}
    found = [fingerprint(one, **settings) for one in (task, *others)]
    found += [fingerprint(task, **{**settings, "classes": ("square",)}), fingerprint(task)]
    assert len(set(found)) == len(found)
    assert fingerprint(make_task(attempt=3), **settings) == found[0]


def test_a_store_that_cannot_be_written_costs_only_the_checkpoints(
    pretraining: Training, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        pretraining.check(pretraining(BrokenStore(writes=False)))
    assert "the checkpoint of step 1 could not be written" in caplog.text


def test_a_store_that_cannot_be_read_is_no_reason_to_begin_anew(pretraining: Training) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        pretraining(BrokenStore(reads=False))


def test_every_phase_is_reported(training: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.loop.SECONDS_PER_REPORT", math.inf)
    watcher = Interruption()
    training(None, watcher)
    phases = [progress.phase for progress in watcher.told]
    num_batches = 2 if training.task.kind == "train_detector" else 3
    assert phases[0] == "preparing" and phases[-num_batches:] == ["evaluating"] * num_batches
    assert phases.count("training") == 2 and {*phases} == {"preparing", "training", "evaluating"}
    assert all(0 <= one.step <= one.num_steps == NUM_STEPS and 1 <= one.epoch <= 2 for one in watcher.told)
    assert all(one.images_per_second > 0 for one in watcher.told if one.phase == "training")


def test_slow_steps_are_each_reported(pretraining: Training, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.loop.SECONDS_PER_REPORT", 0.0)
    watcher = Interruption()
    pretraining(None, watcher)
    assert [one.step for one in watcher.told if one.phase == "training"] == list(range(1, NUM_STEPS + 1))


class Steps:
    """A network of two numbers whose steps take what they are told to, on a clock of their own."""

    def __init__(self, store: MemoryStore, clock: Clock, *, every_s: float, fingerprint: str = "mine") -> None:
        self.clock = clock
        self.model = nn.Linear(1, 1)
        self.draws = np.random.default_rng(0)
        self.optimizer = build_optimizer(self.model, TrainingSettings(), fused=False)
        self.continuation = Continuation(store, fingerprint=fingerprint, every_s=every_s, clock=clock)
        self.notes = self.continuation.load_weights(self.model)
        self.step, self.order = self.continuation.begin(self.optimizer, self.draws, self.notes or ("a note",))

    def take(self, num_steps: int, seconds: float, *, epoch: int = 10**9) -> None:
        for _ in range(num_steps):
            self.model(torch.ones(1)).sum().backward()
            self.optimizer.step()
            self.step += 1
            self.clock.now += seconds
            self.continuation.after_step(
                self.step,
                np.arange(3),
                is_epochs_end=self.step % epoch == 0,
                model=self.model,
                optimizer=self.optimizer,
                draws=self.draws,
            )

    def stop(self) -> None:
        self.continuation.before_stop(
            self.step, np.arange(3), model=self.model, optimizer=self.optimizer, draws=self.draws
        )


def test_checkpoints_come_at_each_epochs_end_and_every_so_many_seconds_within() -> None:
    clock = Clock()
    store = SlowStore(clock=clock)
    steps = Steps(store, clock, every_s=60)
    written = []
    for _ in range(300):
        before = store.num_writes
        steps.take(1, 1.0, epoch=150)
        if store.num_writes > before:
            written.append(steps.step)
    assert written == [60, 120, 150, 210, 270, 300]


@pytest.mark.parametrize("write_s", [0.001, 0.5, 7.0, 400.0])
@pytest.mark.parametrize("epoch", [1, 50])
def test_writing_never_takes_more_than_a_twentieth_of_the_time(write_s: float, epoch: int) -> None:
    clock = Clock()
    store = SlowStore(clock=clock, seconds=write_s)
    steps = Steps(store, clock, every_s=5)
    for _ in range(NUM_TIMED):
        before = store.num_writes
        steps.take(1, 1.0, epoch=epoch)
        if 0 < before < store.num_writes:  # nobody knew what the first would take; the others make that good
            assert store.num_writes * write_s <= SHARE_OF_TIME * clock.now
    assert store.num_writes >= min(NUM_TIMED / 5, SHARE_OF_TIME * NUM_TIMED / write_s) // 2


def test_a_training_of_a_moment_writes_none() -> None:
    clock, store = Clock(), MemoryStore()
    Steps(store, clock, every_s=300).take(9, 0.1, epoch=3)
    assert store.num_writes == 0


def test_a_training_that_stops_keeps_what_it_has_reached_once() -> None:
    clock, store = Clock(), MemoryStore()
    steps = Steps(store, clock, every_s=300)
    steps.stop()
    assert store.num_writes == 0  # nothing was reached yet
    steps.take(2, 0.1)
    assert store.num_writes == 0  # none was due
    steps.stop()
    steps.stop()
    assert store.num_writes == 1
    going_on = Steps(store, clock, every_s=300)
    assert going_on.step == 2
    going_on.stop()
    assert store.num_writes == 1


def test_a_checkpoint_whose_weights_are_of_another_network_is_ignored() -> None:
    store = MemoryStore()
    Steps(store, Clock(), every_s=0).take(1, 1.0)
    assert Steps(store, Clock(), every_s=0).notes == ("a note",)
    assert Steps(store, Clock(), every_s=0, fingerprint="another's").notes is None
    model = nn.Linear(2, 1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert Continuation(store, fingerprint="mine", every_s=0).load_weights(model) is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.fixture
def generators_kept() -> Iterator[None]:
    """What a test draws does not shift what others draw."""
    draws = np.random.default_rng(0)
    states = Generators.now(draws)
    yield
    states.restore(draws)


@pytest.mark.usefixtures("generators_kept")
def test_all_that_draws_goes_on_where_it_was() -> None:
    draws = np.random.default_rng(3)
    random.gauss()  # it and numpy keep every other number for later
    np.random.standard_normal()
    draws.integers(0, 3, dtype=np.int32)

    def draw() -> list[float]:
        uniform = [torch.rand(()).item(), random.random(), np.random.rand(), draws.random()]
        return [*uniform, random.gauss(), np.random.standard_normal(), float(draws.integers(0, 9, dtype=np.int32))]

    states = Generators.now(draws)
    first, second = draw(), draw()
    states.restore(draws)
    assert [draw(), draw()] == [first, second]
    assert first != second


DTYPES = st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.bool])
TENSORS = st.builds(
    lambda dtype, shape, seed: torch.from_numpy(np.random.default_rng(seed).integers(-9, 9, shape, dtype=np.int64)).to(
        dtype
    ),
    DTYPES,
    st.lists(st.integers(0, 3), max_size=4),
    st.integers(0, 99),
)
BYTES = st.binary(min_size=1, max_size=20).map(lambda data: torch.tensor(list(data), dtype=torch.uint8))
CHECKPOINTS = st.builds(
    Checkpoint,
    fingerprint=st.text(),
    step=st.integers(0, 10**9),
    order=st.lists(st.integers(0, 2**62), max_size=5).map(lambda order: np.array(order, dtype=np.int64)),
    model=st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.]*", fullmatch=True), TENSORS, max_size=4),
    momentum=st.dictionaries(st.integers(0, 999), TENSORS, max_size=4),
    generators=st.builds(Generators, torch_cpu=BYTES, torch_cuda=st.none() | BYTES, others=st.text()),
    notes=st.lists(st.text(), max_size=3).map(tuple),
    measured=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
)


def content(checkpoint: Checkpoint) -> object:
    def bits(tensor: Tensor | None) -> object:
        return None if tensor is None else (tensor.dtype, tensor.shape, tensor.reshape(-1).tolist())

    return (
        (checkpoint.fingerprint, checkpoint.step, checkpoint.order.tolist(), checkpoint.notes, checkpoint.measured),
        {name: bits(tensor) for name, tensor in checkpoint.model.items()},
        {number: bits(tensor) for number, tensor in checkpoint.momentum.items()},
        bits(checkpoint.generators.torch_cpu),
        bits(checkpoint.generators.torch_cuda),
        checkpoint.generators.others,
    )


@given(CHECKPOINTS)
def test_a_checkpoint_comes_back_from_its_bytes(checkpoint: Checkpoint) -> None:
    data = checkpoint.to_bytes()
    again = Checkpoint.from_bytes(data)
    assert content(again) == content(checkpoint)
    assert again.to_bytes() == data


@given(CHECKPOINTS, st.integers(0, 10**6), st.integers(0, 255), st.booleans())
def test_damage_is_an_error_wherever_it_is(checkpoint: Checkpoint, position: int, byte: int, is_cut: bool) -> None:
    data = checkpoint.to_bytes()
    position %= len(data)
    damaged = data[:position] if is_cut else data[:position] + bytes([byte]) + data[position + 1 :]
    try:
        found = Checkpoint.from_bytes(damaged)
    except ValueError:
        return
    assert content(found) == content(checkpoint)  # white space in the header


@given(st.binary(max_size=300))
def test_anything_else_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        Checkpoint.from_bytes(data)


def test_a_newer_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    with monkeypatch.context() as patched:
        patched.setattr("workers.checkpoint.FORMAT", 2)
        Steps(store, Clock(), every_s=0).take(1, 1.0)
    assert store.data is not None
    with pytest.raises(ValueError, match="it has format 2, this version reads 1"):
        Checkpoint.from_bytes(store.data)
    assert json.loads(unpack(store.data)[1]["checkpoint"])["format"] == 2
