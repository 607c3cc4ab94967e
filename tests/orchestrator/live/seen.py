"""What views are shown, made up."""

from pathlib import Path
from typing import Any

from orchestrator.config import RunConfig
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.live.snapshot import Event, Found, Limit, Snapshot, WorkerLine
from orchestrator.live.telling import Teller
from workers.storage import open_storage

LONG = "BNB(" + ",d".join(["1" * 14] * 4) + ")+(0,1,1,0)"


class Seen:
    """A view that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.shown: list[Snapshot] = []
        self.is_closed = False

    def say(self, text: str) -> None:
        self.said.append(text)

    def show(self, snapshot: Snapshot) -> None:
        self.shown.append(snapshot)

    def close(self) -> None:
        self.is_closed = True


def worker(number: int, **changes: Any) -> WorkerLine:
    values: dict[str, Any] = {
        "name": f"worker-{number}",
        "job": 40 + number,
        "role": "candidate",
        "architecture": LONG,
        "phase": "training",
        "epoch": 2,
        "num_epochs": 3,
        "step": 1234,
        "num_steps": 3000,
        "loss": 0.512,
        "images_per_second": 33.3,
        "seconds_left": 720.0,
    }
    return WorkerLine(**values | changes)


def idle(number: int) -> WorkerLine:
    return WorkerLine(name=f"worker-{number}")


def snapshot(**changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "life": "a",
        "number": 1,
        "at": 1.8e9,
        "elapsed_s": 4000.0,
        "title": "search from BB(11,d1,d1,d1)",
        "metric": "AP",
        "phase": "serial",
        "round": 1,
        "num_rounds": 2,
        "start": Found(index=0, score=0.36, architecture="BB(11,d1,d1,d1)", gflops=1.5),
        "best": Found(index=17, score=0.402, architecture=LONG, gflops=2.25),
        "num_told": 30,
        "num_candidates": 23,
        "num_failed": 2,
        "num_pending": 4,
        "counter": 5,
        "n_stuck": 20,
        "limits": (Limit(what="candidates", used=23, most=100), Limit(what="GPU-hours", used=3.21, most=10)),
        "budget_left_s": 7800.0,
        "budget_left_of": "budget.max_candidates",
        "round_left_s": 1500.0,
        "workers": (worker(0), worker(1, phase="evaluating", loss=None, seconds_left=None), idle(2)),
        "events": (Event(number=1, at=1.8e9, text="a new search"),),
    }
    return Snapshot(**values | changes)


def replayed(path: Path, config: RunConfig, *views: Any, from_told: int = 0) -> tuple[Teller, History]:
    """What a driver would have told of a run that stands; it opens the run after so many jobs were told."""
    teller = Teller(config, *views)
    has_opened = False

    def follow(history: History, record: Record) -> None:
        nonlocal has_opened
        if not has_opened and record["type"] != "told" and len(history.state.population) >= from_told:
            has_opened = True
            teller.opened(history, from_told > 0)
        elif has_opened and record["type"] == "told":
            teller.told(history, record)

    history = History.fold(config, Journal(open_storage(path)), follow)
    return teller, history
