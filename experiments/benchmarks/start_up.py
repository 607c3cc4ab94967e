"""How long a user waits: for the command line, for the status of a long run, for a search's first job.

Commands are whole processes, as a shell starts them. Their time of CPU is shown beside the time on the wall, which
other work on the machine prolongs.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import ray

from experiments.benchmarks.made_up import MadeUpRun, long_config
from experiments.benchmarks.stub_jobs import stub_config
from experiments.benchmarks.turns import Finding, spread
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.driver import Driver
from orchestrator.fleet import connect
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.live.telling import Teller
from orchestrator.runs import open_run
from workers.storage import LocalFolder
from workers.task import NETWORK_TRAINER

RECIPE = Path(__file__).parent.parent / "shapes.yaml"
NUM_CANDIDATES = 10_000
REPEATS = 5
LIGHT_TRAINER = "experiments.chaos.stub:QuickStub"


def bench_start_up() -> list[Finding]:
    """Seconds."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "long"
        write_long_run(folder, NUM_CANDIDATES)
        findings = [
            *command("spnas arch", ("arch", "BNB(111,d111,d11111,d11)"), "under 0.5 s"),
            *command(f"spnas status, {NUM_CANDIDATES:,} candidates", ("status", str(folder)), "under 1 s"),
        ]
        connect(stub_config(1, 0, 2).fleet)
        try:
            for ranks, trainer, config in (
                ("ranks without torch", LIGHT_TRAINER, stub_config(1, 0, 2)),
                ("ranks that import torch and torchvision", NETWORK_TRAINER, small_config()),
            ):
                waits = [first_job_s(config, trainer, Path(tempfile.mkdtemp(dir=scratch))) for _ in range(REPEATS)]
                what = f"the first job is sent off, Ray being up, {ranks}"
                findings.append(Finding(what, spread(waits, " s"), "at most 2 s"))
        finally:
            ray.shutdown()
    return findings


def small_config() -> RunConfig:
    """A search of real trainings, the smallest."""
    return load_config(
        RECIPE,
        (
            *(
                "data.num_train=16",
                "data.num_val=8",
                "training.epochs=1",
                "start.training={}",
                "serial.acceptance=paper",
            ),
            *("parallel=null", "final=null", "budget.max_candidates=1"),
        ),
    )


def write_long_run(folder: Path, num_candidates: int) -> None:
    """A run with as many candidates."""
    config = long_config()
    files, _ = open_run(config, LocalFolder(folder))
    journal = Journal(files.storage)
    run = MadeUpRun(History.fold(config, journal))
    journal.open_epoch()
    for turn in run.turns(num_candidates, 1000):
        journal.append(turn)
    run.history.trials.write(files)
    journal.close()


def command(what: str, arguments: Sequence[str], asked: str) -> list[Finding]:
    """How long a command takes."""
    wall, cpu = [], []
    for _ in range(1 + REPEATS):
        before, begun = os.times(), time.perf_counter()
        subprocess.run([sys.executable, "-m", "experiments.commands", *arguments], check=True, capture_output=True)
        wall.append(time.perf_counter() - begun)
        after = os.times()
        cpu.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return [Finding(what, spread(wall[1:], " s"), asked), Finding(f"{what}: of CPU", spread(cpu[1:], " s"))]


def first_job_s(config: RunConfig, trainer: str, folder: Path) -> float:
    """From opening a new run to the record that its first job is sent off."""
    begun = time.time()
    files, _ = open_run(config, LocalFolder(folder))
    Driver(config, files, Teller(config), trainer=trainer).run()
    records = Journal(files.storage).read()
    return float(next(record["time"] for record in records if record["type"] == "dispatched")) - begun
