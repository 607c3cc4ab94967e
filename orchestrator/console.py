"""What a person sees: progress while a search runs, tables when it is asked for.

On a terminal a live panel shows each worker's job above the phase, the counter and the best; in a job's log there are
plain lines, one per outcome.
"""

import json
import math
import time
from collections.abc import Iterator
from itertools import accumulate

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.result_tables import result_parts
from orchestrator.search.protocol import PHASES_IN_ROUNDS, Job, SearchState
from orchestrator.search.single import Single
from workers.run_folder import RunFolder
from workers.task import Progress

PLAIN_PROGRESS_EVERY_S = 60.0


class ConsoleObserver:
    """Prints a run as it goes by."""

    def __init__(self, config: RunConfig, console: Console) -> None:
        """Print to `console`, in the config's metric."""
        self._config = config
        self._console = console
        self._live: Live | None = None
        self._baseline: int | None = None
        self._next_plain = time.monotonic() + PLAIN_PROGRESS_EVERY_S

    def opened(self, history: History, resumed: bool) -> None:
        """Say what begins or goes on."""
        if history.state.baseline:
            self._baseline = history.state.baseline.index
        if resumed:
            told, pending = len(history.state.population), len(history.state.pending)
            self._say(f"going on after {told} finished jobs, {pending} pending")
        else:
            given = self._config.start.given
            begun_from = f", with the weights of {given.source}" if given else ""
            self._say(f"a new {history.algorithm.title}{begun_from}, seed {self._config.seed}")

    def told(self, history: History, record: Record) -> None:
        """One line per outcome, and one when the baseline changes."""
        outcome, state = record["outcome"], record["state"]
        row = history.trials.rows[outcome["index"]]
        metric = self._config.objective.metric
        if outcome["status"] == "failed":
            what = f"failed: {one_line(outcome['error'])}"
        elif metric in outcome["metrics"]:
            what = f"{metric} {_percent(outcome['metrics'][metric])}"
        else:
            what = "  ".join(f"{name} {_percent(value)}" for name, value in outcome["metrics"].items())
        stuck = f"  stuck {state['counter']}" if row["round"] else ""
        self._say(
            f"{_place(row['phase'], row['round'])}  #{row['index']:<4} {row['role']:<12} {row['architecture']:<34} "
            f"{what}  {row['seconds']:.0f} s{stuck}"
        )
        baseline = state["baseline"]
        if baseline and baseline["index"] != self._baseline:
            self._baseline = baseline["index"]
            self._say(
                f"    the baseline is now #{baseline['index']} {baseline['architecture']}, "
                f"{metric} {_percent(baseline['score'])}"
            )

    def note(self, text: str) -> None:
        """Say what an operator should know."""
        self._say(text)

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Show what the workers do."""
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=4, transient=True)
                self._live.start()
            self._live.update(self._panel(history, jobs, progress))
        elif time.monotonic() >= self._next_plain:
            self._next_plain = time.monotonic() + PLAIN_PROGRESS_EVERY_S
            for worker, job in jobs.items():
                if job is not None:
                    self._say(f"  {worker}: #{job.index} {job.role} {_progress(progress[worker])}")

    def close(self) -> None:
        """Take the live panel away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _panel(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> Table:
        state = history.state
        best = state.best_overall
        panel = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
        for worker, job in jobs.items():
            if job is None:
                panel.add_row(worker, "idle", "", "")
            else:
                panel.add_row(
                    worker, f"#{job.index} {job.role}", str(job.spec.architecture), _progress(progress[worker])
                )
        found = (
            f"{self._config.objective.metric} {_percent(best.score)}  {best.spec.architecture}" if best else "none yet"
        )
        stuck = f"stuck {state.counter}" if state.round else ""
        panel.add_row(_place(state.phase, state.round), stuck, "best", found)
        return panel

    def _say(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)


def standing(state: SearchState) -> str:
    """How far a run is, in one line."""
    stuck = f", stuck {state.counter}" if state.round else ""
    told, pending = len(state.population), len(state.pending)
    return f"{_place(state.phase, state.round)}, {told} jobs finished, {pending} pending{stuck}"


def _place(phase: str, round: int) -> str:
    """Where in a run; beside searches there are no rounds."""
    return f"{phase} {round}" if round else phase


def closing(config: RunConfig, history: History, folder: RunFolder) -> Iterator[Table | str]:
    """What a run has come to: a search's phases; of one network's training or evaluation every metric."""
    if not isinstance(history.algorithm, Single):
        yield summary_table(config, history)
        return
    for _, _, index in history.state.results:
        row = history.trials.rows[index]
        yield from result_parts(json.loads(row["metrics"]))
        if row["notes"]:
            yield f"notes: {row['notes']}"
        if index in history.weights:
            yield f"weights: {folder.weights_path(history.weights[index])}"


def summary_table(config: RunConfig, history: History) -> Table:
    """Start, best after each phase, and the best of all; seconds are all workers' training until then."""
    rows = history.trials.rows
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in ("", "job", "encoding", "GFLOPs", config.objective.metric, "worker seconds"):
        table.add_column(column, justify="left" if column in ("", "encoding") else "right", overflow="fold")
    seconds = [0.0, *accumulate(spent or 0.0 for spent in rows.column("seconds"))]
    for name, index, score in phases(history):
        row, spent = rows[index], seconds[index + 1]
        table.add_row(name, str(index), row["architecture"], f"{row['gflops']:.4f}", _percent(score), f"{spent:.0f}")
    if not history.state.population:
        table.add_row("nothing finished yet")
    return table


def phases(history: History) -> list[tuple[str, int, float]]:
    """(name, job, score) of the start, of the best after each round and phase, and of the best overall.

    A reignition begins a new line of weights, so a round's best is its best baseline, before or after it.
    """
    found: dict[str, tuple[int, float]] = {}
    better = history.algorithm.settings.objective.better
    for index, score in history.baselines:
        job = history.state.population[index].job
        if job.role == "final":
            continue
        if job.role == "start" and job.phase == "serial":
            found["start"] = index, score
        name = _place(job.phase, job.round) if job.phase in PHASES_IN_ROUNDS else job.phase
        if name not in found or better(score, found[name][1]):
            found[name] = index, score
    for phase, _, index in history.state.results:
        if phase == "final":
            score = history.state.population[index].score
            if "full training" not in found or better(score, found["full training"][1]):
                found["full training"] = index, score
    if history.state.best_overall:
        found["best"] = history.state.best_overall.index, history.state.best_overall.score
    return [(name, index, score) for name, (index, score) in found.items()]


def status_table(config: RunConfig, history: History, last: int) -> Table:
    """The last jobs of a run."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    columns = (
        "job",
        "phase",
        "role",
        "encoding",
        "parent",
        config.objective.metric,
        "GFLOPs",
        "status",
        "seconds",
        "worker",
    )
    for column in columns:
        right = column in ("job", "parent", config.objective.metric, "GFLOPs", "seconds")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in history.trials.rows.since(max(0, len(history.trials.rows) - last)):
        star = " *" if row["is_best"] else ""
        table.add_row(
            str(row["index"]) + star,
            _place(row["phase"], row["round"]),
            row["role"],
            row["architecture"],
            "" if row["parent"] is None else str(row["parent"]),
            _percent(row["score"]),
            f"{row['gflops']:.4f}",
            row["status"] if row["status"] != "failed" else f"failed: {one_line(row['error'])}",
            f"{row['seconds']:.0f}" if row["seconds"] is not None else "",
            row["worker"],
        )
    return table


def _percent(score: float | None) -> str:
    return "" if score is None else f"{100 * score:.2f}"


def _duration(seconds: float) -> str:
    """Two units are enough."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if days >= 1:
        return f"{int(days)} d {hours % 24:.0f} h"
    if hours >= 1:
        return f"{int(hours)} h {minutes % 60:.0f} min"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"


def _progress(progress: Progress | None) -> str:
    if progress is None:
        return "getting ready"
    if progress.phase != "training":
        return f"{progress.phase}  {progress.images_per_second:.0f} images/s" if progress.step else progress.phase
    top1 = "" if math.isnan(progress.top1) else f"  top-1 {_percent(progress.top1)}"
    left = "" if math.isnan(progress.seconds_left) else f"  {_duration(progress.seconds_left)} left"
    return (
        f"epoch {min(progress.epoch, progress.num_epochs)}/{progress.num_epochs}  loss {progress.loss:.3f}  "
        f"{100 * progress.step / progress.num_steps:.0f} %  {progress.images_per_second:.0f} images/s{top1}{left}"
    )
