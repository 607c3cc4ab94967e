"""What would the start architecture have reached with the best network's training?

    python -m experiments.fair_control runs/shapes

Continued training alone lifts scores, so a search has found something only if its best beats the *fair control*: the
start architecture, trained with the same recipes, seeds and number of epochs as every step of the best's lineage, a
reignition included, and never morphed. Trains on this machine, without Ray, one thread.
"""

import argparse

from orchestrator.config import RunConfig
from orchestrator.given import given_file, origins
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.runs import stored_config
from orchestrator.search.protocol import Job, SearchState
from workers.classification import pretrain
from workers.data import open_classification_data, open_detection_data
from workers.detection import train_detector
from workers.run_folder import GIVEN_INDEX, RunFolder
from workers.task import Task, TrainingResult


def lineage(state: SearchState, index: int) -> list[Job]:
    """The jobs whose weights a job's stand on, oldest first, itself last."""
    needed: set[int] = set()
    frontier = [index]
    while frontier:
        job = state.population[frontier.pop()].job
        needed.add(job.index)
        frontier += [origin for origin in (job.parent, job.backbone) if origin is not None and origin not in needed]
    return [state.population[number].job for number in sorted(needed)]


def train_control(config: RunConfig, jobs: list[Job], given: bytes | None = None) -> list[tuple[Job, TrainingResult]]:
    """Train the start architecture through a lineage, without its morphs; `given` is what the run was given."""
    data = open_detection_data(config.data)
    serial = config.search.start_network
    blobs = {} if given is None else {GIVEN_INDEX: given}
    results = []
    for job in jobs:
        task = Task(
            index=job.index,
            attempt=0,
            kind=job.kind,
            spec=serial,
            morphs=(),
            training=config.recipe(job.recipe),
            seed=job.seed,
            start_weights=None if config.start.weights == "pretrain" else config.start.weights,
        )
        if job.kind == "pretrain":
            assert config.reignition is not None
            result = pretrain(task, data=open_classification_data(config.reignition.data))
        else:
            parent, backbone = origins(config, job)
            result = train_detector(
                task,
                data=data,
                detector=config.detector,
                max_stages=config.serial.max_stages,
                parent=None if parent is None else blobs[parent],
                backbone=None if backbone is None else blobs[backbone],
            )
        blobs[job.index] = result.weights
        results.append((job, result))
    return results


def main() -> None:
    """Print start, control and best of a finished run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="a run's folder, or its URI")
    folder = RunFolder(parser.parse_args().run)
    config = stored_config(folder)
    state = History.fold(config, Journal(folder.storage)).state
    assert state.best_overall is not None, "the run has no finished job yet"
    jobs = lineage(state, state.best_overall.index)
    metric = config.objective.metric
    given = given_file(config)
    results = train_control(config, jobs, folder.read_weights(given) if given else None)
    start = next(result for job, result in results if job.role == "start")
    recipes = [config.recipe(job.recipe) for job in jobs if job.kind != "pretrain"]
    length = f"{sum(recipe.epochs or 0 for recipe in recipes)} detector epochs"
    if iterations := sum(recipe.iterations or 0 for recipe in recipes):
        length += f" and {iterations} iterations"
    best = state.population[state.best_overall.index]
    print(f"lineage of the best: {' -> '.join(f'#{job.index} {job.role}' for job in jobs)}, {length}")
    print(f"start    {metric} {100 * start.metrics[metric]:.2f}  {config.start.architecture}")
    print(f"control  {metric} {100 * results[-1][1].metrics[metric]:.2f}  {config.start.architecture}")
    print(
        f"best     {metric} {100 * state.best_overall.score:.2f}  {best.job.spec.architecture}"
        f"  (its first run {100 * best.score:.2f})"
    )


if __name__ == "__main__":
    main()
