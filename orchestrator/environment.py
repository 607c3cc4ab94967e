"""Whether this machine and the data can bear a config, and what in it is hardly meant: asked before Ray starts.

Invariant: nothing is changed, written or started.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from models.architecture import NetworkSpec
from models.wording import brief
from orchestrator.config import RunConfig, recipe_key
from orchestrator.errors import UserError
from orchestrator.search.algorithms import SEARCHES, SUPER_NET_ALGORITHMS
from workers.data import check_classification_data, check_detection_data
from workers.data.interface import DataReport
from workers.metric_names import class_of
from workers.start_names import check_start_weights


def check_environment(config: RunConfig) -> list[DataReport]:
    """Check data sets, start weights and workers on this machine, before Ray starts.

    Returns:
        What was found in the data sets, with the boxes and images that are left out.

    Raises:
        UserError: one line with the key, the value and what would be right.
    """
    reports: list[DataReport] = []
    try:
        if "data" in config.data_keys:
            weights, spec = config.start.weights, config.start.spec
            if weights not in (None, "pretrain") and isinstance(spec, NetworkSpec):
                check_start_weights(weights, spec)
            reports.append(check_detection_data(config.data))
            _check_classes(config, reports[0].class_names)
        if config.reignition is not None and config.pretrains:
            reports.append(check_classification_data(config.reignition.data, key="reignition.data"))
    except (ValueError, OSError) as error:
        raise UserError(str(error)) from None
    for name in config.recipe_names() if config.algorithm != "evaluate" else ():
        num_images = reports[-1 if name == "reignition" else 0].num_train
        recipe = config.recipe(name)
        batch_size = recipe.batch_size
        if batch_size > num_images:
            raise UserError(
                f"{recipe_key(name)}.batch_size: {batch_size} is more than the {num_images} training images; use at "
                "most that"
            )
        if recipe.evaluate_at and recipe.evaluate_at[-1] > (num_steps := recipe.num_steps(num_images)):
            raise UserError(
                f"{recipe_key(name)}.evaluate_at: {recipe.evaluate_at[-1]} is more than the {num_steps} steps of the "
                f"{name} recipe; use at most that"
            )
    if not os.environ.get("RAY_ADDRESS"):
        gpus = len([path for path in Path("/dev").glob("nvidia*") if path.name[6:].isdigit()])
        if config.fleet.num_workers * config.fleet.gpus_per_worker > gpus:
            raise UserError(
                f"fleet.gpus_per_worker: {config.fleet.num_workers} workers with {config.fleet.gpus_per_worker} GPU "
                f"each need {config.fleet.num_workers * config.fleet.gpus_per_worker}, this machine has {gpus}; "
                "0 trains on the CPU"
            )
        needed, present = config.fleet.num_workers * config.fleet.cpus_per_worker, len(os.sched_getaffinity(0))
        if needed > present:
            raise UserError(
                f"fleet.num_workers: {config.fleet.num_workers} workers with fleet.cpus_per_worker "
                f"{config.fleet.cpus_per_worker} need {needed} CPUs, this machine has {present}; ask for fewer"
            )
    return reports


def _check_classes(config: RunConfig, class_names: Sequence[str]) -> None:
    """See that what is asked of a data set's classes can be had."""
    metric, given = config.objective.metric, config.start.given
    if (class_name := class_of(metric)) is not None and class_name not in class_names:
        raise ValueError(f"objective.metric: {metric!r} names none of the classes {', '.join(class_names)}")
    if config.algorithm == "evaluate" and given and given.classes not in (None, tuple(class_names)):
        assert given.classes is not None
        raise ValueError(
            f"data: has the classes {brief(', '.join(class_names))}, the weights of {given.source} are of "
            f"{brief(', '.join(given.classes))}; give data.classes in that order, or other data"
        )


def advice(config: RunConfig) -> list[str]:
    """What is allowed but hardly meant."""
    notes = []
    if others := config.built_otherwise():
        changed = ", ".join(f"{key} {brief(theirs)} (here {brief(ours)})" for key, (theirs, ours) in others.items())
        notes.append(f"the weights that it starts from were trained with {changed}")
    if unused := _unused(config):
        notes.append(f"{config.algorithm} has no use for {', '.join(unused)}; what they say changes nothing")
    if config.algorithm in SUPER_NET_ALGORITHMS:
        used = config.num_nodes("supernet")
        if used < config.fleet.num_workers:
            notes.append(
                f"{used} of fleet.num_workers {config.fleet.num_workers} will train the super-net; supernet.num_nodes: "
                "all has all of them train it together"
            )
        evolution = config.evolution
        if config.final is not None and evolution.top_k > evolution.population:
            notes.append(
                f"evolution.top_k is {evolution.top_k}, but no more are retrained than survive, evolution.population "
                f"{evolution.population}"
            )
        if evolution.generations and not evolution.num_samples(1):
            notes.append(
                f"none of evolution.generations {evolution.generations} has a sample, as num_children and num_random "
                "are 0: the first population is all there is"
            )
        return notes
    if config.algorithm == "trials":
        return notes
    if config.algorithm != "spnas":
        used = max(config.num_nodes(name) for name in config.recipe_names())
        if used < config.fleet.num_workers:
            name = recipe_key(config.recipe_names()[-1])
            notes.append(
                f"{used} of fleet.num_workers {config.fleet.num_workers} will work; {name}.num_nodes: all has all of "
                "them train together, in a new run"
            )
        return notes
    for phase in ("serial", "parallel") if config.parallel else ("serial",):
        in_flight = config.search.in_flight(phase)
        if in_flight < config.fleet.num_workers:
            notes.append(
                f"{phase}.in_flight {in_flight} keeps at most {in_flight} of fleet.num_workers "
                f"{config.fleet.num_workers} busy; a new run with a larger one would use them all"
            )
    return notes


def _unused(config: RunConfig) -> list[str]:
    """The groups of keys that only another search reads, where they say anything."""
    others: tuple[str, ...] = ()
    if config.algorithm in SUPER_NET_ALGORITHMS:
        others = ("serial", "parallel", "reignition", "trials")
    elif config.algorithm in SEARCHES:
        others = ("evolution", "supernet", "sample", "trials")
    default = {key: RunConfig.model_fields[key].get_default(call_default_factory=True) for key in others}
    return [key for key in others if getattr(config, key) not in (None, default[key])]
