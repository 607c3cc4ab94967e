"""Weights on their way: into the object store, to a worker, and into a child.

The weights are those of a real ResNet-50 detector, packed as a candidate's are.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from experiments.benchmarks.stub_jobs import by_our_driver, stub_config
from experiments.benchmarks.turns import Finding, by_turns, ratios, seconds_of, spread
from models import Architecture, NetworkSpec, build_detector
from models.blob import pack, unpack
from models.inheritance import inherit, load_weights
from models.morphism import Expand, Swap, apply_all
from models.refit import refit_laterals
from orchestrator.fleet import connect
from orchestrator.journal import Journal
from orchestrator.node_settings import node_settings
from workers.node import NodeActor
from workers.storage import LocalFolder
from workers.task import Task

NETWORK = "BNB(111,d111,d11111,d11)"
BIG_BYTES = 500_000_000
REPEATS = 9
FREED_AFTER_S = 1.5
"""Ray frees what nobody has any more once a second; in a search minutes go by between two parents."""

NUM_JOBS = 40


def bench_weights() -> list[Finding]:
    """All of it."""
    torch.set_num_threads(1)
    findings = inheriting()
    connect(stub_config(1, 0, 2).fleet)
    try:
        return [*findings, putting(), *having(), counting()]
    finally:
        ray.shutdown()


def packed() -> NDArray[np.uint8]:
    """A detector's weights as one buffer."""
    model = build_detector(NETWORK, 20, max_stages=5)
    return np.frombuffer(pack(model.state_dict(), {}), dtype=np.uint8)


def putting() -> Finding:
    """The speed of `ray.put` over that of copying in memory."""
    blob = packed()
    room = np.empty_like(blob)

    def put() -> float:
        kept: list[Any] = []
        seconds = seconds_of(lambda: kept.append(ray.put(blob)))
        del kept[:]  # so that the next one finds the same room, which is memory that the system has given already
        time.sleep(FREED_AFTER_S)
        return seconds

    figures = by_turns({"copy": lambda: seconds_of(lambda: np.copyto(room, blob)), "put": put}, REPEATS, warm_up=2)
    speed = blob.nbytes / 1e9 / statistics.median(figures["put"])
    return Finding(
        f"copying {blob.nbytes / 1e6:.0f} MB / ray.put of it, a detector's weights",
        f"{spread(ratios(figures['copy'], figures['put']))}; {speed:.1f} GB/s",
        "at least 0.9",
    )


class _Receiver:
    def receive(self, blob: NDArray[np.uint8]) -> int:
        return int(blob[0]) + int(blob[-1])


def having() -> list[Finding]:
    """How long a warm worker waits for half a gigabyte: a Ray actor, and our node worker's training process."""
    big, small = ray.put(np.ones(BIG_BYTES, dtype=np.uint8)), ray.put(np.ones(1000, dtype=np.uint8))
    receiver_type: Any = ray.remote(num_cpus=1)(_Receiver)
    receiver = receiver_type.remote()
    received = by_turns(
        {
            "big": lambda: seconds_of(lambda: ray.get(receiver.receive.remote(big))),
            "small": lambda: seconds_of(lambda: ray.get(receiver.receive.remote(small))),
        },
        REPEATS,
    )
    ray.kill(receiver)
    config = stub_config(1, 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        settings = node_settings(config, scratch, "experiments.benchmarks.stub_jobs:Waiting")
        worker = NodeActor.remote("worker", settings)
        ray.get(worker.ready.remote())
        count = iter(range(1000))

        def trained(blob: Any) -> Callable[[], float]:
            return lambda: seconds_of(lambda: ray.get(worker.run.remote(_task(next(count)), blob, None)))

        def _task(index: int) -> Task:
            spec = config.search.start_network
            training = config.recipe("serial")
            return Task(
                index=index, attempt=0, kind="train_detector", spec=spec, morphs=(), training=training, seed=(0, 0, 0)
            )

        trainings = by_turns(
            {
                "big": trained(big),
                "big again": trained(big),
                "small": trained(small),
                "small again": trained(small),
            },
            REPEATS,
        )
        ray.kill(worker)
    return [
        Finding("a warm actor's call with 0.5 GB more than with 1 kB", _more(received, ""), "under 10 ms"),
        Finding(
            "a training that does nothing, with its last one's 0.5 GB more than with 1 kB",
            _more(trainings, " again"),
            "under 10 ms",
        ),
        Finding("the same, with another parent's than its last one", _more(trainings, ""), "a copy"),
    ]


def _more(figures: dict[str, list[float]], which: str) -> str:
    pairs = zip(figures[f"big{which}"], figures[f"small{which}"], strict=True)
    return spread([1e3 * (big - small) for big, small in pairs], " ms", 1)


def inheriting() -> list[Finding]:
    """A parent's weights unpacked, morphed and loaded against a plain `load_state_dict`; and the refit beside them."""
    spec = NetworkSpec.fresh(Architecture.parse(NETWORK))
    morphs = (Expand(2), Expand(8), Swap(15))
    parent, child = (build_detector(each, 20, max_stages=5) for each in (spec, apply_all(spec, morphs)))
    blob = np.frombuffer(pack(parent.state_dict(), {}), dtype=np.uint8)
    state = {key: tensor.clone() for key, tensor in child.state_dict().items()}
    figures = by_turns(
        {
            "inherited": lambda: seconds_of(lambda: load_weights(child, inherit(unpack(blob)[0], spec, morphs))),
            "plain": lambda: seconds_of(lambda: child.load_state_dict(state)),
        },
        4 * REPEATS,
        warm_up=2,
    )
    images = list(torch.rand(8, 3, 256, 256))
    refit = seconds_of(lambda: refit_laterals(parent, child, images, levels=[2]))
    return [
        Finding(
            "parent's weights + morphs + load / load_state_dict",
            spread(ratios(figures["inherited"], figures["plain"])),
            "at most 1.2",
        ),
        Finding(
            "refit of 1 lateral, 8 images / load_state_dict",
            f"{refit / statistics.median(figures['plain']):.0f}",
            "shown apart",
        ),
    ]


def counting() -> Finding:
    """How often weights are put while a whole search runs, and how many parents its jobs have."""
    puts = 0
    put = ray.put

    def counted(value: object, **options: Any) -> Any:
        nonlocal puts
        puts += 1
        return put(value, **options)

    with tempfile.TemporaryDirectory() as scratch:
        ray.put = counted
        try:
            by_our_driver(Path(scratch) / "run", NUM_JOBS, 0, 2)
        finally:
            ray.put = put
        records = Journal(LocalFolder(Path(scratch) / "run")).read()
    parents = {record["job"]["parent"] for record in records if record["type"] == "decided"} - {None}
    return Finding(f"puts of {NUM_JOBS} candidates of {len(parents)} parents", str(puts), str(len(parents)))
