"""Checkpoints inside a training, and going on from one.

A checkpoint is a blob of `models.blob` (weights, momentum, the epoch's order, torch's generators) whose metadata hold
the rest as JSON, with a checksum over all of it; nothing is pickled.

Invariant: on CPU, a training that goes on from a checkpoint ends with the very bits of one that was never interrupted,
and writing checkpoints changes nothing. What is damaged, of another training or of another form is never used: the
training begins anew then.
"""

import hashlib
import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.blob import pack, unpack
from models.wording import brief
from workers.optimization import parameters_of
from workers.task import Task

FORMAT = 1
SHARE_OF_TIME = 1 / 20
"""The most of a training's time that writing its checkpoints may take."""

PRESUMED_WRITE_S = 0.05
"""What the first write is taken to need, before one was measured: a training of a second is not worth one."""

_MODEL = "model/"
_MOMENTUM = "momentum/"

_log = logging.getLogger(__name__)


class CheckpointStore(Protocol):
    """Where the checkpoints of one job are."""

    def read(self) -> bytes | None:
        """The newest whole one of this attempt or of an earlier one at the same job; None where there is none."""
        ...

    def write(self, data: bytes) -> None:
        """Keep this one, whole or not at all, in place of those before; OSError where that fails."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Generators:
    """The states of all that draws in a training.

    Attributes:
        torch_cpu: of torch's generator on CPU.
        torch_cuda: of torch's generator on the CUDA device, if there is one.
        others: JSON with those of numpy's global generator, python's, and the training's own.
    """

    torch_cpu: Tensor
    torch_cuda: Tensor | None
    others: str

    @classmethod
    def now(cls, draws: np.random.Generator) -> "Generators":
        """As they stand."""
        legacy = np.random.get_state(legacy=False)
        assert isinstance(legacy, dict)
        key = legacy["state"]["key"].tolist()
        states = {
            "numpy": {**legacy, "state": {**legacy["state"], "key": key}},
            "python": random.getstate(),
            "draws": draws.bit_generator.state,
        }
        return cls(
            torch_cpu=torch.get_rng_state(),
            torch_cuda=torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
            others=json.dumps(states),
        )

    def restore(self, draws: np.random.Generator) -> None:
        """Let all of them, `draws` too, go on from here."""
        states = json.loads(self.others)
        version, words, gauss = states["python"]
        random.setstate((version, tuple(words), gauss))
        np.random.set_state(states["numpy"])
        draws.bit_generator.state = states["draws"]
        torch.set_rng_state(self.torch_cpu.clone())
        if self.torch_cuda is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(self.torch_cuda.clone())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """A training between two steps.

    Attributes:
        fingerprint: whose it is; see `fingerprint`.
        step: steps done, over all epochs.
        order: the images' order in the epoch of the last step.
        model: the state dict.
        momentum: of the optimizer, by the parameter's number in its groups.
        generators: of all that draws.
        notes: what preparing the model had to say.
        measured: metrics of the steps before; see `workers.probing`.
    """

    fingerprint: str
    step: int
    order: NDArray[np.int64]
    model: Mapping[str, Tensor]
    momentum: Mapping[int, Tensor]
    generators: Generators
    notes: tuple[str, ...]
    measured: Mapping[str, float] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """One buffer in safetensors' format."""
        tensors = {_MODEL + name: tensor for name, tensor in self.model.items()}
        tensors |= {f"{_MOMENTUM}{number}": tensor for number, tensor in self.momentum.items()}
        tensors |= {"order": torch.from_numpy(self.order), "torch_cpu": self.generators.torch_cpu}
        if self.generators.torch_cuda is not None:
            tensors["torch_cuda"] = self.generators.torch_cuda
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        told = {
            "format": FORMAT,
            "fingerprint": self.fingerprint,
            "step": self.step,
            "generators": self.generators.others,
            "notes": self.notes,
            "measured": self.measured,
        }
        text = json.dumps(told)
        return pack(tensors, {"checkpoint": text, "sha256": _checksum(tensors, text)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Open what `to_bytes` made; the tensors are views of the buffer.

        Raises:
            ValueError: if it is damaged, no checkpoint at all, or of another format.
        """
        tensors, metadata = unpack(data)
        text = metadata.get("checkpoint", "")
        if metadata.get("sha256") != _checksum(tensors, text):
            raise ValueError("checkpoint: its checksum is not that of its content; it is damaged")
        try:
            told = json.loads(text)
            if told["format"] != FORMAT:
                raise ValueError(f"checkpoint: it has format {brief(told['format'])}, this version reads {FORMAT}")
            return cls(
                fingerprint=told["fingerprint"],
                step=told["step"],
                order=tensors["order"].numpy(),
                model=_under(_MODEL, tensors),
                momentum={int(number): tensor for number, tensor in _under(_MOMENTUM, tensors).items()},
                generators=Generators(
                    torch_cpu=tensors["torch_cpu"], torch_cuda=tensors.get("torch_cuda"), others=told["generators"]
                ),
                notes=tuple(told["notes"]),
                measured=dict(told.get("measured", {})),  # an older version's has none
            )
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"checkpoint: its fields are not those of a checkpoint ({brief(error)})") from None


def fingerprint(task: Task, **settings: object) -> str:
    """What a checkpoint must share with a training that goes on from it.

    Args:
        task: all of it but the attempt.
        settings: what else the training depends on, as JSON takes it.
    """
    training = task.training.model_dump(mode="json")
    if not task.training.evaluate_at:
        del training["evaluate_at"]  # checkpoints are older than the setting
    whole = {
        "index": task.index,
        "kind": task.kind,
        "spec": task.spec.to_dict(),
        "morphs": [str(morph) for morph in task.morphs],
        "training": training,
        "seed": task.seed,
        "start_weights": task.start_weights,
        **settings,
    }
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


class Continuation:
    """What one training goes on from, and what it leaves behind for one that goes on from it.

    A checkpoint is due at an epoch's end, and within an epoch when the last is `every_s` seconds old, but not as long
    as that would let writing take more than `SHARE_OF_TIME`. A training that is asked to stop writes one in any case.

    Attributes:
        measured: metrics of the steps so far, kept in the checkpoints; whoever measures adds to them.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        *,
        fingerprint: str,
        every_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Nothing is read yet.

        Args:
            store: where checkpoints are; None neither reads nor writes any.
            fingerprint: of the training.
            every_s: 0 writes one after every step, whatever that takes.
            clock: gives seconds that only rise.
        """
        self._store = store
        self._fingerprint = fingerprint
        self._every_s = every_s
        self._clock = clock
        self._checkpoint: Checkpoint | None = None
        self._notes: tuple[str, ...] = ()
        self.measured: dict[str, float] = {}
        self._kept_step = 0
        self._started = self._last_end = clock()
        self._last_write_s = PRESUMED_WRITE_S
        self._all_writes_s = 0.0

    def load_weights(self, model: nn.Module) -> tuple[str, ...] | None:
        """Put the newest checkpoint's weights into a model.

        Returns:
            The notes on how the training began; or None, and the model is as it was, where it has to begin anew.

        Raises:
            OSError: if the store can't be read; there may be a checkpoint, so this is no reason to begin anew.
        """
        data = None if self._store is None else self._store.read()
        if data is None:
            return None
        try:
            checkpoint = Checkpoint.from_bytes(data)
            self._check(checkpoint, model)
        except ValueError as error:
            _log.warning("the training begins anew: %s", error)
            return None
        model.load_state_dict(checkpoint.model)
        self._checkpoint = checkpoint
        return checkpoint.notes

    def begin(
        self, optimizer: torch.optim.Optimizer, draws: np.random.Generator, notes: tuple[str, ...]
    ) -> tuple[int, NDArray[np.int64]]:
        """Restore the optimizer and all that draws, if `load_weights` found a checkpoint.

        Args:
            optimizer: fresh, over the model's parameters.
            draws: the training's own generator.
            notes: kept in the checkpoints to come.

        Returns:
            The steps done and the order of the images in the last one's epoch.
        """
        self._notes = notes
        if self._checkpoint is None:
            return 0, np.empty(0, dtype=np.int64)
        checkpoint, self._checkpoint = self._checkpoint, None
        parameters = parameters_of(optimizer)
        for number, saved in checkpoint.momentum.items():
            momentum = torch.empty_like(parameters[number], requires_grad=False)
            optimizer.state[parameters[number]]["momentum_buffer"] = momentum.copy_(saved)
        checkpoint.generators.restore(draws)
        self._kept_step = checkpoint.step
        self.measured = dict(checkpoint.measured)
        return checkpoint.step, checkpoint.order

    def after_step(
        self,
        step: int,
        order: NDArray[np.int64],
        *,
        is_epochs_end: bool,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        draws: np.random.Generator,
    ) -> None:
        """Write a checkpoint if one is due.

        A store that fails costs the training nothing but the checkpoint.

        Args:
            step: steps done.
            order: the images' order in this epoch.
            is_epochs_end: whether this was the epoch's last step.
            model: as it is after the step, with `optimizer` and `draws`.
            optimizer: the one that `begin` was given.
            draws: the training's own generator.
        """
        if self._store is not None and self._is_due(self._clock(), is_epochs_end):
            self._write(self._store, step, order, model, optimizer, draws)

    def before_stop(
        self,
        step: int,
        order: NDArray[np.int64],
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        draws: np.random.Generator,
    ) -> None:
        """Write a checkpoint of what was reached, unless the last one holds it; the arguments are `after_step`'s."""
        if self._store is not None and step > self._kept_step:
            self._write(self._store, step, order, model, optimizer, draws)

    def _write(
        self,
        store: CheckpointStore,
        step: int,
        order: NDArray[np.int64],
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        draws: np.random.Generator,
    ) -> None:
        began = self._clock()
        buffers = (optimizer.state.get(parameter, {}).get("momentum_buffer") for parameter in parameters_of(optimizer))
        checkpoint = Checkpoint(
            fingerprint=self._fingerprint,
            step=step,
            order=order,
            model=model.state_dict(),
            momentum={number: buffer for number, buffer in enumerate(buffers) if buffer is not None},
            generators=Generators.now(draws),
            notes=self._notes,
            measured=self.measured,
        )
        try:
            store.write(checkpoint.to_bytes())
            self._kept_step = step
        except OSError as error:
            _log.warning("the checkpoint of step %d could not be written: %s", step, error)
        self._last_end = self._clock()
        self._last_write_s = self._last_end - began
        self._all_writes_s += self._last_write_s

    def _is_due(self, now: float, is_epochs_end: bool) -> bool:
        if self._every_s == 0:
            return True
        if not is_epochs_end and now - self._last_end < self._every_s:
            return False
        return self._all_writes_s + self._last_write_s <= SHARE_OF_TIME * (now - self._started)

    def _check(self, checkpoint: Checkpoint, model: nn.Module) -> None:
        """Raise ValueError if this training can't go on from there."""
        if checkpoint.fingerprint != self._fingerprint:
            raise ValueError("checkpoint: it is of another training")
        if _forms(checkpoint.model) != _forms(model.state_dict()):
            raise ValueError("checkpoint: its weights are not of this network")
        if checkpoint.generators.torch_cpu.shape != torch.get_rng_state().shape:
            raise ValueError("checkpoint: its generator is of another version of torch")


def _forms(state: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in state.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _checksum(tensors: Mapping[str, Tensor], text: str) -> str:
    """Over names, forms and bytes of tensors on CPU, and the text."""
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        if tensor.numel():  # one without elements has strides that forbid a view
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
