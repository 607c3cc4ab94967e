"""The searches that studies have in common, by name: what sets one apart from the paper's is a key or two.

All of a data set begin with the same start, trained by itself for long, as the paper's begin with ImageNet's weights;
only what has fresh weights can't. Every search ends with the same full training of what it has found, on from the
search's weights, with a seed of its own: so no search is judged by the luck of its best draw.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.studying.study import Run

START_EPOCHS = 30
"""Of a start; afterwards three more gain it little."""

_RULE = {"serial.acceptance": "paper", "serial.pace": None}
# One round of the serial level, whatever the config has beside it: only so do searches that differ in one thing cost
# about the same.
_PAPER = {**_RULE, "serial.num_rounds": 1, "serial.reignite": False, "parallel": None}
_PAIRED = {**_PAPER, "serial.acceptance": "paired"}

ARMS: Mapping[str, Mapping[str, Any]] = {
    "paper": _PAPER,
    "control": {**_PAPER, "serial.num_morphs": 0},
    "fresh": {**_PAPER, "serial.inherit": False, "start.weights": None},
    "paired": _PAIRED,
    "paired-unconfirmed": {**_PAIRED, "serial.confirmations": 0},
    "paired-thrice": {**_PAIRED, "serial.confirmations": 3},
    "in-flight-1": {**_PAPER, "serial.in_flight": 1},
    "in-flight-16": {**_PAPER, "serial.in_flight": 16},
    "reignited": {**_RULE, "serial.reignite": True},
    "not-reignited": {**_RULE, "serial.reignite": False},
}
"""What a search has other than its data set's config, by its name."""

SHARES = {"paired": 0.6, "paired-unconfirmed": 0.75, "paired-thrice": 0.45}
"""Of the config's candidates: controls and confirmations cost trainings, too, so that all come to about as many."""

CONFIGS = {"reignited": "{data}-phases", "not-reignited": "{data}-phases"}
"""Configs of arms that have one beside their data set's."""


def start(data: str, seed: int) -> Run:
    """The start network, trained by itself."""
    changes = {"final.epochs": START_EPOCHS}
    return Run(data=data, config=data, arm="start", seed=seed, command="train", changes=changes)


def search(data: str, arm: str, seed: int) -> Run:
    """A search of `ARMS`."""
    # The weights are small, and what begins where a search once stood needs them.
    changes = {"keep_weights": "all", **ARMS[arm]}
    origin = None if arm == "fresh" else (start(data, seed).name, None)
    return Run(
        data=data,
        config=CONFIGS.get(arm, "{data}").format(data=data),
        arm=arm,
        seed=seed,
        changes=changes,
        candidates=SHARES.get(arm, 1.0),
        origin=origin,
    )


def searches(data: str, arms: Sequence[str], seeds: Sequence[int]) -> list[Run]:
    """Starts, and searches of these arms with these seeds; arm after arm within a seed, so that a part says most."""
    return [run for seed in seeds for run in (start(data, seed), *(search(data, arm, seed) for arm in arms))]


def trials(
    data: str,
    arm: str,
    seed: int,
    entries: Sequence[Mapping[str, Any]],
    origin: tuple[str, int | None] | None = None,
    **changes: Any,
) -> Run:
    """A list of networks, each trained by itself; `changes` have ``__`` for the dots of their keys."""
    dotted = {key.replace("__", "."): value for key, value in changes.items()}
    return Run(
        data=data,
        config=data,
        arm=arm,
        seed=seed,
        command="trials",
        changes={"trials": list(entries), "keep_weights": "all", **dotted},
        origin=origin,
    )


def full_training(data: str, arm: str, seed: int, after: Run) -> Run:
    """The full training that searches end with, of the best of another run."""
    return Run(data=data, config=data, arm=arm, seed=seed, command="train", origin=(after.name, None))
