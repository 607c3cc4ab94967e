"""What training after training leaves behind in a worker's memory.

The jobs are those of a rank: a detector is built, inherits, is trained, evaluated and packed, of several networks.
"""

import resource
import tempfile
from pathlib import Path

import numpy as np

from experiments.benchmarks.turns import Finding, spread
from models.architecture import Architecture, NetworkSpec
from models.morphism import Expand, Morph, Swap, apply_all
from orchestrator.config_files import load_config
from orchestrator.node_settings import node_settings
from workers.rank import Checkpoints, Session
from workers.run_folder import RunFolder
from workers.task import NETWORK_TRAINER, Task, ignore_progress, never_stop
from workers.training import NetworkTrainer

RECIPE = Path(__file__).parent.parent / "shapes.yaml"
SMALL = ("data.num_train=32", "data.num_val=16", "training.epochs=1")
NUM_JOBS = 20
CHILDREN: tuple[tuple[Morph, ...], ...] = ((Expand(1), Expand(3)), (Swap(3), Expand(0)), (Expand(4),), (Swap(1),))


def bench_memory() -> list[Finding]:
    """Resident memory after each job against that after the first."""
    config = load_config(RECIPE, SMALL)
    spec = NetworkSpec.fresh(Architecture.parse("BB(1,dd1,d,1)"), base_channels=4)
    resident = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = RunFolder(Path(scratch))
        trainer = NetworkTrainer(node_settings(config, folder.address, NETWORK_TRAINER))
        parent = None
        for index in range(1 + NUM_JOBS):
            morphs = CHILDREN[index % len(CHILDREN)] if index else ()
            task = Task(
                index=index,
                attempt=0,
                kind="train_detector",
                spec=apply_all(spec, morphs),
                morphs=morphs,
                training=config.recipe("serial"),
                seed=(0, 0, index),
            )
            session = Session(
                place=None,
                parent=parent,
                backbone=None,
                checkpoints=Checkpoints(folder, task),
                on_progress=ignore_progress,
                should_stop=never_stop,
            )
            weights = trainer.train(task, session).weights
            parent = np.frombuffer(weights, dtype=np.uint8) if parent is None else parent
            del weights
            resident.append(resident_bytes())
    base = resident[1]  # the first child's: by then all that is kept is there
    shares = [100 * each / base for each in resident[1:]]
    return [
        Finding(
            f"resident memory after each of {NUM_JOBS} jobs / after the first", spread(shares, " %", 1), "at most 105 %"
        ),
        Finding("after the last / after the first", f"{shares[-1]:.1f} % of {base / 2**20:.0f} MiB", "at most 105 %"),
    ]


def resident_bytes() -> int:
    """Of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
