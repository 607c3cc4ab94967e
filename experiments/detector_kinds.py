"""Is Cascade R-CNN worth it? The start network of a config, trained as each kind of detector, over some seeds.

    python -m experiments.detector_kinds experiments/shapes.yaml --seeds 3 [KEY=VALUE ...]

Both kinds get the same images in the same order with a seed. Trains on this machine, without Ray, one thread, and
prints AP, AP50 and AP75 of each training and their means.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from models.detector_shape import CASCADE_RCNN, FASTER_RCNN
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from workers.data import open_detection_data
from workers.data.interface import DetectionData
from workers.detection import train_detector
from workers.task import Task

KINDS = (FASTER_RCNN, CASCADE_RCNN)
METRICS = ("AP", "AP50", "AP75")


def trained(config: RunConfig, data: DetectionData, kind: str, seed: int) -> dict[str, float]:
    """The metrics of the start network as this kind of detector."""
    task = Task(
        index=0,
        attempt=0,
        kind="train_detector",
        spec=config.start.spec,
        morphs=(),
        training=config.recipe("start"),
        seed=(config.seed, 0, seed),
        start_weights=config.start.weights,
    )
    detector = config.detector.model_copy(update={"kind": kind})
    return train_detector(task, data=data, detector=detector, max_stages=config.serial.max_stages).metrics


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and print a line for each training."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a recipe, such as experiments/shapes.yaml")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes to it")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each kind")
    options = parser.parse_intermixed_args(arguments)
    config = load_config(options.config, options.overrides)
    data = open_detection_data(config.data)
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for seed in range(options.seeds):
        for kind in KINDS:
            began = time.monotonic()
            metrics = trained(config, data, kind, seed)
            found[kind].append(metrics)
            print(f"seed {seed}  {kind:<12}  {_line(metrics)}  {time.monotonic() - began:.0f} s", flush=True)
    for kind, all_metrics in found.items():
        means = {name: sum(metrics[name] for metrics in all_metrics) / len(all_metrics) for name in METRICS}
        print(f"mean    {kind:<12}  {_line(means)}")


def _line(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {100 * metrics[name]:5.2f}" for name in METRICS)


if __name__ == "__main__":
    main()
