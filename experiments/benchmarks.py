"""What the orchestrator costs, as ratios measured in one run: ``make bench``.

- *overhead*: one worker trains the same candidates twice, called bare in an actor and through the whole orchestrator
  (decisions, journal, weights stored and checked, object store). What is compared is the time per candidate that is
  not training. Asked for: at most 5 ms + 1 % of the training.
- *busy workers*: the share of time that two workers train, from the first candidate's start to the last one's, under
  ``pace: steady``. Asked for: at least 95 %.
- *inheritance*: a ResNet-50 detector's weights unpacked, morphed and loaded, against a plain ``load_state_dict``; the
  lateral refit is shown apart. Asked for: at most 1.5.

With ``loading``, it is how fast images are read instead; see `experiments.loading_benchmark`.

Absolute times are of this machine at this moment; only the ratios mean something.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import ray
import torch
from rich.console import Console
from rich.table import Table

from experiments.loading_benchmark import bench_loading
from models import Architecture, NetworkSpec, build_detector
from models.blob import pack, unpack
from models.inheritance import inherit, load_weights
from models.morphism import Expand, Swap, apply_all
from models.refit import refit_laterals
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.driver import Driver
from orchestrator.errors import UserError
from orchestrator.fleet import connect
from orchestrator.history import History
from orchestrator.live.telling import Teller
from orchestrator.runs import open_run
from workers.data import open_detection_data
from workers.detection import train_detector
from workers.settings import DetectionDataSettings, DetectorSettings
from workers.storage import LocalFolder
from workers.task import Task

RECIPE = Path(__file__).parent / "shapes.yaml"
SMALL = (
    "data.num_train=160",
    "data.num_val=40",
    "training.epochs=1",
    "start.training={}",
    "serial.acceptance=paper",
    "serial.in_flight=4",
    "serial.n_stuck=1000",
    "serial.max_candidates=null",
    "parallel=null",
    "final=null",
)
NUM_CANDIDATES = 24
REPEATS = 5


class BareTrainer:
    """An actor that does nothing but train."""

    def __init__(self, data: DetectionDataSettings, detector: DetectorSettings, max_stages: int) -> None:
        """Open the data."""
        self._data = open_detection_data(data)
        self._detector = detector
        self._max_stages = max_stages

    def train(self, task: Task, parent: Any) -> float:
        """Train one candidate; returns the seconds it took."""
        begun = time.perf_counter()
        train_detector(task, data=self._data, detector=self._detector, max_stages=self._max_stages, parent=parent)
        return time.perf_counter() - begun


def small_search(folder: Path, num_workers: int, *changes: str) -> tuple[RunConfig, History, pd.DataFrame]:
    """Run a short steady search through the whole orchestrator; returns its candidates with their times."""
    overrides = (*SMALL, f"fleet.num_workers={num_workers}", f"budget.max_candidates={NUM_CANDIDATES}", *changes)
    config = load_config(RECIPE, overrides)
    run, _ = open_run(config, LocalFolder(folder))
    driver = Driver(config, run, Teller(config))
    driver.run()
    trials = pd.read_parquet(folder / "trials.parquet")
    candidates = trials[(trials["role"] == "candidate") & (trials["status"] == "completed")].copy()
    candidates["finished"] = candidates["finished_at"].astype("int64") / 1e6
    candidates["started"] = candidates["finished"] - candidates["seconds"]
    return config, driver.history, candidates.sort_values("started")


def bench_overhead(folder: Path) -> tuple[str, str, str]:
    """Time per candidate that is not training: orchestrated minus bare."""
    # All are decided before the first is told, so the start, whose weights are kept, is the parent of all.
    config, history, candidates = small_search(folder, 1, f"serial.in_flight={NUM_CANDIDATES}")
    gaps = candidates["started"].to_numpy()[1:] - candidates["finished"].to_numpy()[:-1]
    orchestrated = float(np.median(gaps))

    trainer_type: Any = ray.remote(BareTrainer)
    trainer = trainer_type.options(num_cpus=1).remote(config.data, config.detector, config.serial.max_stages)
    start = folder / "weights" / history.weights[0].name
    parent = ray.put(np.frombuffer(start.read_bytes(), dtype=np.uint8))
    state, bare, seconds = history.state, [], []
    for index in candidates["index"]:
        job = state.population[int(index)].job
        assert job.parent == 0
        task = Task(
            index=job.index,
            attempt=0,
            kind=job.kind,
            spec=job.spec,
            morphs=job.morphs,
            training=config.recipe(job.recipe),
            seed=job.seed,
        )
        begun = time.perf_counter()
        seconds.append(ray.get(trainer.train.remote(task, parent)))
        bare.append(time.perf_counter() - begun - seconds[-1])
    ray.kill(trainer)
    cost, allowed = orchestrated - statistics.median(bare), 0.005 + 0.01 * statistics.median(seconds)
    return (
        "orchestrator's cost per candidate",
        f"{1e3 * cost:.1f} ms beside {1e3 * statistics.median(seconds):.0f} ms of training, "
        f"{cost / allowed:.2f} of what is allowed",
        "at most 1",
    )


def bench_busy(folder: Path) -> tuple[str, str, str]:
    """Share of time that two workers train in the serial phase."""
    _, _, candidates = small_search(folder, 2, "data.num_train=480")
    begin, end = candidates["started"].min(), candidates["started"].max()
    trained = candidates["finished"].clip(upper=end) - candidates["started"]
    share = float(trained.sum() / (2 * (end - begin)))
    return "both workers busy", f"{100 * share:.1f} %", "at least 95 %"


def bench_inheritance() -> list[tuple[str, str, str]]:
    """Unpack, morph and load a parent's weights against a plain load; and the refit beside them."""
    spec = NetworkSpec.fresh(Architecture.parse("BNB(111,d111,d11111,d11)"))
    morphs = (Expand(2), Expand(8), Swap(15))
    child_spec = apply_all(spec, morphs)
    parent, child = (build_detector(s, 20, max_stages=5) for s in (spec, child_spec))
    blob = np.frombuffer(pack(parent.state_dict(), {}), dtype=np.uint8)
    state = {key: tensor.clone() for key, tensor in child.state_dict().items()}

    def inherited() -> None:
        load_weights(child, inherit(unpack(blob)[0], spec, morphs))

    def plain() -> None:
        child.load_state_dict(state)

    ratios = [_seconds(inherited) / _seconds(plain) for _ in range(1 + 4 * REPEATS)][1:]
    images = list(torch.rand(8, 3, 256, 256))
    refits = [_seconds(lambda: refit_laterals(parent, child, images, levels=[2])) / _seconds(plain) for _ in range(3)]
    return [
        ("inherit and load / load_state_dict", f"{statistics.median(ratios):.2f} ({_spread(ratios)})", "at most 1.5"),
        ("refit of 1 lateral, 8 images / load_state_dict", f"{statistics.median(refits):.0f}", "shown apart"),
    ]


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _spread(values: list[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def main() -> None:
    """Run the benchmarks of a kind and print a table."""
    parser = argparse.ArgumentParser(prog="python -m experiments.benchmarks", description="Ratios measured in one run.")
    parser.add_argument("kind", nargs="?", choices=("orchestrator", "loading"), default="orchestrator")
    parser.add_argument("--data", type=Path, help="loading: a folder with JPEG files; without, some are made")
    parser.add_argument(
        "--loaders", type=int, default=len(os.sched_getaffinity(0)), help="loading: how many; one per CPU"
    )
    asked = parser.parse_args()
    if asked.loaders < 1:
        parser.error(f"--loaders: {asked.loaders} can't be compared with a DataLoader's workers; give 1 or more")
    torch.set_num_threads(1)
    table = Table("what", "measured", "asked for")
    try:
        rows = bench_loading(asked.data, asked.loaders) if asked.kind == "loading" else bench_orchestrator()
    except UserError as error:
        parser.error(str(error))
    for row in rows:
        table.add_row(*row)
    Console(width=None).print(table)


def bench_orchestrator() -> list[tuple[str, str, str]]:
    """All that concerns the orchestrator."""
    rows = bench_inheritance()
    with tempfile.TemporaryDirectory() as scratch:
        connect(load_config(RECIPE, ("fleet.num_workers=2",)).fleet)
        rows += [bench_overhead(Path(scratch) / "overhead"), bench_busy(Path(scratch) / "busy")]
        ray.shutdown()
    return rows


if __name__ == "__main__":
    main()
