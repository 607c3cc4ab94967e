"""Ten thousand candidates through the whole orchestrator: what the driver holds, what an event costs, how it resumes.

``python -m experiments.benchmarks long-run [--candidates N]``, on a quiet machine. Real Ray, real workers and ranks, a
real journal; only the training is none (`experiments.chaos.stub`). What grows with the history would show: memory and
cost are those of the run's second half against its first.
"""

import resource
import tempfile
import time
from pathlib import Path

import ray

from experiments.benchmarks.turns import Finding
from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.driver import Driver
from orchestrator.fleet import connect
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from workers.storage import LocalFolder
from workers.task import Progress

WARM_UP = 0.05  # of the candidates: caches fill, the first workers start


def config_of(num_candidates: int) -> RunConfig:
    """A steady search whose space is large enough."""
    return parse_config(
        {
            "objective": {"metric": "AP50"},
            "start": {"architecture": "BNB(111,d111,d11111,d11)", "training": {}},
            "serial": {
                "acceptance": "paper",
                "pace": "steady",
                "num_morphs": 8,
                "n_stuck": 1_000_000,
                "num_rounds": 1,
                "reignite": False,
                "in_flight": 32,
            },
            "parallel": None,
            "budget": {"max_candidates": num_candidates},
            "data": {"format": "shapes"},
            "training": {"epochs": 1},
            "fleet": {"num_workers": 2},
        },
        "long run",
    )


class Meter:
    """An observer that notes time and memory as outcomes are told."""

    def __init__(self) -> None:
        """Nothing has been told yet."""
        self.opened_at = 0.0
        self.first_work_s = 0.0
        self.cpu_s: list[float] = []
        self.wall_s: list[float] = []
        self.resident: list[int] = []

    def opened(self, history: History, resumed: bool) -> None:
        """The run begins."""

    def told(self, history: History, record: Record) -> None:
        """Note where the driver stands."""
        self.cpu_s.append(time.process_time())
        self.wall_s.append(time.monotonic())
        self.resident.append(_resident_bytes())

    def note(self, text: str) -> None:
        """Nothing is shown."""

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Note when the first job had been sent off."""
        if not self.first_work_s and any(jobs.values()):
            self.first_work_s = time.monotonic() - self.opened_at


def run(config: RunConfig, folder: Path) -> Meter:
    """One life of the driver, its workers up to the budget."""
    meter = Meter()
    meter.opened_at = time.monotonic()
    files, _ = open_run(config, LocalFolder(folder))
    Driver(config, files, meter, trainer="experiments.chaos.stub:QuickStub").run()
    return meter


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def bench_long_run(candidates: int = 10_000) -> list[Finding]:
    """Run it, and go on with it.

    Args:
        candidates: how many.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "run"
        connect(config_of(candidates).fleet)
        try:
            whole = run(config_of(candidates), folder)
            going_on = run(config_of(candidates + 8), folder)
        finally:
            ray.shutdown()
    first, middle, last = int(WARM_UP * candidates), int((1 + WARM_UP) / 2 * candidates), candidates - 1

    def ratio(values: list[float]) -> str:
        return f"{(values[last] - values[middle]) / (values[middle] - values[first]):.2f}"

    half = candidates // 2
    # The least of a while: the trials table takes memory while it is written.
    held = [min(whole.resident[end - candidates // 10 : end]) for end in (half, candidates)]
    added = (held[1] - held[0]) / 2**20
    per_candidate = 1e3 * (whole.wall_s[last] - whole.wall_s[first]) / (last - first)
    return [
        Finding(f"resident memory that the last {half} add", f"{added:.1f} MB", "under 20 MB"),
        Finding("driver's CPU time per event, second half / first", ratio(whole.cpu_s), "at most 1.2"),
        Finding("time per event, second half / first", ratio(whole.wall_s), "at most 1.2"),
        Finding("time per candidate", f"{per_candidate:.1f} ms"),
        Finding("resuming, to the first job sent off", f"{going_on.first_work_s:.1f} s", "under 5 s"),
    ]
