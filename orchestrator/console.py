"""Tables that a person sees when asked for; a run that goes by is shown by `live`."""

import json
from collections.abc import Callable, Iterator
from itertools import accumulate

from rich import box
from rich.table import Table

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.live.wording import percent, place
from orchestrator.result_tables import result_parts
from orchestrator.row_values import Row
from orchestrator.search.protocol import PHASES_IN_ROUNDS
from orchestrator.search.single import Single
from orchestrator.standing import Standing
from workers.run_folder import RunFolder


def in_one_line(run: Standing) -> str:
    """How far a run is."""
    stuck = f", stuck {run.counter}" if run.round else ""
    return f"{place(run.phase, run.round)}, {run.num_told} jobs finished, {run.num_pending} pending{stuck}"


def closing(config: RunConfig, run: Standing, folder: RunFolder) -> Iterator[Table | str]:
    """What a run has come to: a search's phases; of a list every trial; of one network every metric."""
    if config.algorithm == "trials":
        yield trials_table(config, run)
        return
    if not isinstance(run.algorithm, Single):
        yield summary_table(config, run)
        return
    for index in range(run.num_told):
        row = run.rows[index]
        yield from result_parts(json.loads(row["metrics"]))
        if row["notes"]:
            yield f"notes: {row['notes']}"
        if index in run.weights:
            yield f"weights: {folder.weights_path(run.weights[index])}"


def summary_table(config: RunConfig, run: Standing) -> Table:
    """Start, best after each phase, and the best of all; seconds are all workers' training until then."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("", "job", "encoding", "GFLOPs", config.objective.metric, "worker seconds"):
        table.add_column(column, justify="left" if column in ("", "encoding") else "right", overflow="fold")
    seconds = [0.0, *accumulate(run.seconds)]
    for name, index, score in phases(run):
        row, spent = run.rows[index], seconds[index + 1]
        table.add_row(name, str(index), row["architecture"], f"{row['gflops']:.4f}", percent(score), f"{spent:.0f}")
    if not run.num_told:
        table.add_row("nothing finished yet")
    return table


def trials_table(config: RunConfig, run: Standing) -> Table:
    """Every trial of a list that has ended, the best with a star."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("job", "encoding", "morphs", "recipe", "replicate", "GFLOPs", config.objective.metric):
        right = column not in ("encoding", "morphs", "recipe")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in run.rows.since(0):
        if row["role"] != "trial" or row["status"] not in ("completed", "failed"):
            continue
        score = percent(row["score"]) if row["status"] == "completed" else "failed"
        name = f"{row['index']} *" if row["is_best"] else str(row["index"])
        replicate = row["seed"].split()[-1]
        recipe = row["recipe"] if row["backbone"] is None else f"{row['recipe']}, pretrained"
        gflops = f"{row['gflops']:.4f}"
        table.add_row(name, row["architecture"], row["morphs"], recipe, replicate, gflops, score)
    if not table.row_count:
        table.add_row("nothing finished yet")
    return table


def phases(run: Standing) -> list[tuple[str, int, float]]:
    """(name, job, score) of the start, of the best after each round and phase, and of the best overall.

    A reignition begins a new line of weights, so a round's best is its best baseline, before or after it.
    """
    found: dict[str, tuple[int, float]] = {}
    better = run.algorithm.settings.objective.better
    for index, score in run.baselines:
        row = run.rows[index]
        if row["role"] == "final":
            continue
        if row["role"] == "start" and row["phase"] == "serial":
            found["start"] = index, score
        name = place(row["phase"], row["round"]) if row["phase"] in PHASES_IN_ROUNDS else row["phase"]
        if name not in found or better(score, found[name][1]):
            found[name] = index, score
    for index, score in run.finals:
        if "full training" not in found or better(score, found["full training"][1]):
            found["full training"] = index, score
    if run.best:
        found["best"] = run.best
    return [(name, index, score) for name, (index, score) in found.items()]


def status_table(config: RunConfig, run: Standing, last: int, width: int = 160) -> Table:
    """The last jobs of a run, with as many of their columns as there is room for."""
    columns: dict[str, tuple[int, Callable[[Row], str]]] = {  # from which width on, and a cell
        "job": (0, lambda row: f"{row['index']} *" if row["is_best"] else str(row["index"])),
        "phase": (50, lambda row: place(row["phase"], row["round"])),
        "role": (60, lambda row: row["role"]),
        "encoding": (0, lambda row: row["architecture"]),
        "parent": (100, lambda row: "" if row["parent"] is None else str(row["parent"])),
        config.objective.metric: (0, lambda row: percent(row["score"])),
        "GFLOPs": (90, lambda row: f"{row['gflops']:.4f}"),
        "status": (0, lambda row: row["status"] if row["status"] != "failed" else f"failed: {one_line(row['error'])}"),
        "seconds": (110, lambda row: f"{row['seconds']:.0f}" if row["seconds"] is not None else ""),
        "worker": (120, lambda row: row["worker"] or ""),
    }
    cells = {name: cell for name, (least, cell) in columns.items() if least <= width}
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in cells:
        right = name in ("job", "parent", config.objective.metric, "GFLOPs", "seconds")
        is_long = name in ("encoding", "status", "worker")
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=not is_long)
    for row in run.rows.since(max(0, len(run.rows) - last)):
        table.add_row(*(cell(row) for cell in cells.values()))
    return table
