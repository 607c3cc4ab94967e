"""What must hold after a run, whatever happened to it.

Invariant: a check only reads; it says in one line what is wrong.
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pandas as pd
from pyarrow.fs import FileSystem

from experiments.chaos.beside import beside
from experiments.chaos.stub import LOG
from orchestrator.config import RunConfig
from orchestrator.history import History
from orchestrator.journal import Journal, Record
from orchestrator.search.protocol import live_weights
from orchestrator.trials import INCIDENTAL_COLUMNS
from workers.run_folder import SUFFIX, RunFolder
from workers.storage import LocalFolder
from workers.task import attempt_name

KNOWN = re.compile(
    r"config\.yaml|driver\.lock|trials\.parquet|journal/\d{6}\.jsonl|(weights|results)/\d{6}-\d+-\d+\.\w+"
)


@dataclass(kw_only=True)
class Findings:
    """What is wrong with a run, one line each, by what is promised."""

    history: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    def all(self) -> list[str]:
        """Every line."""
        return [*self.other, *self.history, *self.repeated, *self.lost, *self.left_over]


def trials_of(folder: RunFolder) -> pd.DataFrame:
    """The trials table without what may differ between two runs of one config and seed."""
    return pd.read_parquet(io.BytesIO(folder.read_trials())).drop(columns=list(INCIDENTAL_COLUMNS))


def check_files(
    findings: Findings,
    folder: RunFolder,
    config: RunConfig,
    expected: pd.DataFrame,
    fails: tuple[int, str] | None,
    *,
    resumes: bool,
) -> None:
    """Check all that a run has left in its storage.

    Args:
        findings: where to say what is wrong.
        folder: the run's.
        config: its config.
        expected: the history it must have.
        fails: the job that had to fail, whose reason is to have these words in it.
        resumes: whether every attempt must go on from the last checkpoint.
    """
    journal = Journal(folder.storage)
    records = journal.read()
    trials = trials_of(folder)
    if fails is not None:
        index, words = fails
        error = str(trials.loc[index, "error"])
        if words not in error:
            findings.history.append(f"job {index} should have failed with {words!r}, its error is {error!r}")
        trials, expected = trials.drop(columns="error"), expected.drop(columns="error")
    try:
        pd.testing.assert_frame_equal(trials, expected, check_exact=True)
    except AssertionError as difference:
        findings.history.append("another history: " + " ".join(str(difference).split()))
    told = [record["outcome"]["index"] for record in records if record["type"] == "told"]
    if told != list(range(len(expected))):
        findings.lost.append(f"told {told} instead of 0 to {len(expected) - 1}")
    findings.repeated += repeated(folder)
    if resumes:
        findings.repeated += _steps_repeated(folder, _attempts(records))
    findings.left_over += _left_over(folder, History.fold(config, journal))


def _attempts(records: list[Record]) -> dict[int, list[tuple[str, float]]]:
    """(name, time it was sent off) of the attempts at each job."""
    attempts: dict[int, list[tuple[str, float]]] = {}
    for record in records:
        if record["type"] == "dispatched":
            name = attempt_name(record["index"], record["attempt"], record["epoch"])
            attempts.setdefault(record["index"], []).append((name, record["time"]))
    return attempts


def repeated(folder: RunFolder) -> Iterator[str]:
    """Jobs of which an attempt was sent off although the result of an earlier one was in storage."""
    stored = {name.removesuffix(".json") for name in folder.storage.names("results")}
    for index, tries in _attempts(Journal(folder.storage).read()).items():
        finished = [name for name, _ in tries if name in stored]
        if len(finished) < 2:
            continue
        stored_at = _stored_at(folder, f"results/{finished[0]}.json")
        # A result may have come while the next attempt was on its way.
        if any(sent_at > stored_at for name, sent_at in tries if name in finished[1:]):
            yield f"job {index} was finished more than once: {', '.join(finished)}"


def _stored_at(folder: RunFolder, name: str) -> float:
    """When a file was written, in seconds since 1970; of an object, the latest that it can have been."""
    storage = folder.storage
    if isinstance(storage, LocalFolder):
        return (storage.path / name).stat().st_mtime
    filesystem, root = FileSystem.from_uri(folder.address)
    written = filesystem.get_file_info(f"{root}/{name}").mtime
    assert written is not None, f"{name} is gone"
    return float(written.timestamp()) + 1  # S3 tells whole seconds


def _steps_repeated(folder: RunFolder, attempts: dict[int, list[tuple[str, float]]]) -> Iterator[str]:
    """Attempts of stub training that began before the last checkpoint."""
    log = beside(folder.address, LOG)
    if not log.is_file():
        return
    job_of = {name: index for index, tries in attempts.items() for name, _ in tries}
    saved: dict[int, int] = {}
    begun: set[str] = set()
    for line in log.read_text().splitlines():
        what, name, step = line.split()
        index = job_of.get(name)
        if index is None:  # of a driver that was superseded
            continue
        if what == "step" and name not in begun and int(step) <= saved.get(index, 0):
            yield f"{name} began at step {step}, although step {saved[index]} was in a checkpoint"
        if what == "checkpoint":
            saved[index] = max(saved.get(index, 0), int(step))
        begun.add(name)


def _left_over(folder: RunFolder, history: History) -> Iterator[str]:
    storage = folder.storage
    live = live_weights(history.state)
    expected = {history.weights[index].attempt + SUFFIX for index in live if index in history.weights}
    found = set(storage.names("weights"))
    if found != expected:
        extra, missing = sorted(found - expected), sorted(expected - found)
        yield f"weights that no job needs: {extra}; that are missing: {missing}"
    if checkpoints := storage.names("checkpoints"):
        yield f"checkpoints of what has ended: {checkpoints}"
    if isinstance(storage, LocalFolder):
        files = (path.relative_to(storage.path).as_posix() for path in storage.path.rglob("*") if path.is_file())
        if strange := sorted(name for name in files if not KNOWN.fullmatch(name)):
            yield f"files that belong to nothing: {strange}"
