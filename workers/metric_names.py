"""The names of a detector's metrics, so that a config can ask for one; without numpy, so that it is checked at once.

Every family has COCO's; a metric of a class is ``AP/<class>``. Miss rates are the better the lower they are.
"""

from collections.abc import Sequence
from typing import Literal

MetricFamily = Literal["coco", "voc", "ecp"]
"""The metrics that a data set is judged by: COCO's alone (BDD100K, too), with Pascal VOC's, or with the miss rates of
EuroCity Persons."""

COCO = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
VOC = ("AP50/11-point", "AP50/area")
LAMR = "LAMR"
"""The log-average miss rate of the subset `reasonable`, of pedestrians or else of the first class."""

SUBSETS = ("reasonable", "small", "occluded", "all")
MASKS = "masks/"
IMAGES_PER_SECOND, LATENCY_MS = "images_per_second", "latency_ms"
"""What an evaluation measures beside a data set's metrics; see `workers.evaluation`."""

LOSS = "loss"
PROBED = ("AP", "AP50", LAMR)
"""What is kept of a data set's metrics, beside `LOSS`, at a step of a training; see `workers.probing`."""


def names_of(family: MetricFamily, *, masks: bool = False) -> tuple[str, ...]:
    """The metrics of no class, and patterns of the others, for a message."""
    names = (*COCO, "AP/CLASS", *(["these after " + MASKS] if masks else []))
    if family == "voc":
        return (*names, *VOC)
    if family == "ecp":
        return (*names, LAMR, f"{LAMR}/CLASS/{{{','.join(SUBSETS)}}}")
    return names


def is_metric(name: str, family: MetricFamily, *, masks: bool = False) -> bool:
    """Whether a data set of the family may have this metric, with or without masks; no class is looked up."""
    if name.split("/")[0] == LAMR:
        return family == "ecp" and (name == LAMR or class_of(name) is not None)
    plain = name.removeprefix(MASKS) if masks else name
    return plain in COCO or (family == "voc" and name in VOC) or class_of(plain) is not None


def class_of(name: str) -> str | None:
    """The class that a metric is of, if it is of one."""
    plain = name.removeprefix(MASKS)
    if plain.startswith("AP/"):
        return plain.removeprefix("AP/") or None
    if name.startswith(f"{LAMR}/"):
        class_name, _, subset = name.removeprefix(f"{LAMR}/").rpartition("/")
        return class_name if subset in SUBSETS and class_name else None
    return None


def at_step(step: int, name: str) -> str:
    """The name of what was measured before a step; no config can ask for it as its objective."""
    return f"step {step}/{name}"


def split_step(name: str) -> tuple[int, str] | None:
    """The step and the plain name of a metric that `at_step` named; None for any other."""
    step, slash, plain = name.removeprefix("step ").partition("/")
    return (int(step), plain) if slash and name.startswith("step ") and step.isdecimal() else None


def is_loss(name: str) -> bool:
    """Whether less of it is better."""
    return name.split("/")[0] == LAMR


def head_class(class_names: Sequence[str]) -> str:
    """The class whose miss rate is plain `LAMR`."""
    return "pedestrian" if "pedestrian" in class_names else class_names[0]
