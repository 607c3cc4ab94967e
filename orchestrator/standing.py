"""What people are shown of a run's history: how far it is, what it has come to, its jobs.

Invariant: what `Standing.read` finds in a journal is what `Standing.of` finds in its fold, at every record. Reading
takes a small part of the time: no search is followed, no network is looked at but those of rows that are asked for.
What a fold would notice beyond the records' form, that a search would have come to another state, it does not see.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.journal import Journal, Record
from orchestrator.records import SENSELESS, follow_records, senseless
from orchestrator.row_values import COLUMNS, Row, decided_values, dispatched_values, seconds_of, told_values
from orchestrator.search.protocol import Algorithm
from orchestrator.search.spnas import SpNas
from workers.run_folder import WeightsFile

if TYPE_CHECKING:  # it needs the trials table, which takes a tenth of a second to be imported
    from orchestrator.history import History


class SomeRows(Protocol):
    """Rows of the trials table, made already or not."""

    def __len__(self) -> int:
        """How many there are."""

    def __getitem__(self, number: int) -> Row:
        """One of them."""

    def since(self, first: int) -> Iterator[Row]:
        """Those from this one on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a run is, and what it has come to.

    Attributes:
        algorithm: the run's.
        phase: as the last decided job has it.
        round: likewise.
        counter: candidates since the last improvement.
        num_told: jobs finished; theirs are the lowest indices.
        num_pending: jobs decided and not finished.
        baselines: (job, score) of every baseline there has been, in order; of every best where there is none.
        finals: (job, score) of the full trainings at a search's end.
        best: (job, score) of the best overall, None before there is one.
        weights: where the told jobs' weights are, those of live ones at least.
        seconds: how long each told job took.
        ended: why the last driver ended, "" while it has not.
        rows: of the trials table.
    """

    algorithm: Algorithm
    phase: str
    round: int
    counter: int
    num_told: int
    num_pending: int
    baselines: list[tuple[int, float]]
    finals: list[tuple[int, float]]
    best: tuple[int, float] | None
    weights: Mapping[int, WeightsFile]
    seconds: list[float]
    ended: str
    rows: SomeRows

    @classmethod
    def of(cls, history: "History") -> "Standing":
        """That of a folded history."""
        state, rows = history.state, history.trials.rows
        return cls(
            algorithm=history.algorithm,
            phase=state.phase,
            round=state.round,
            counter=state.counter,
            num_told=len(state.population),
            num_pending=len(state.pending),
            baselines=list(history.baselines),
            finals=[(index, state.population[index].score) for phase, _, index in state.results if phase == "final"],
            best=(state.best_overall.index, state.best_overall.score) if state.best_overall else None,
            weights=dict(history.weights),
            seconds=rows.column("seconds")[: len(state.population)],
            ended=history.ended,
            rows=rows,
        )

    @classmethod
    def read(cls, config: RunConfig, journal: Journal) -> "Standing":
        """That of a run's journal.

        Raises:
            OSError: if storage fails.
            UserError: if the journal is damaged.
        """
        reader = _Reader(config.build_algorithm(), journal)
        follow_records(journal, reader.follow)
        return reader.standing()


@dataclass
class _Entry:
    """What the journal says of one job."""

    decided: Record
    dispatched: Record | None = None
    told: Record | None = None
    is_running: bool = False


class _Reader:
    """Follows a journal's records and keeps them; rows are made when they are asked for."""

    def __init__(self, algorithm: Algorithm, journal: Journal) -> None:
        initial = algorithm.initial()
        self._algorithm = algorithm
        self._journal = journal
        self._phase, self._round, self._counter = initial.phase, initial.round, initial.counter
        self._entries: list[_Entry] = []
        self._running: set[int] = set()
        self._num_told = 0
        self._baselines: list[tuple[int, float]] = []
        self._marked: set[int] = set()
        self._finals: list[tuple[int, float]] = []
        self._best: tuple[int, float] | None = None
        self._weights: dict[int, WeightsFile] = {}
        self._seconds: list[float] = []
        self._ended = ""

    def follow(self, record: Record) -> None:
        """Take a record; raises what of it does not follow from those before."""
        match record["type"]:
            case "opened" | "ended":
                self._ended = one_line(record["reason"]) if record["type"] == "ended" else ""
                for index in self._running:
                    self._entries[index].is_running = False
                self._running.clear()
            case "decided":
                self._decided(record)
            case "dispatched":
                assert self._num_told <= record["index"] < len(self._entries), "only pending jobs are sent off"
                entry = self._entries[record["index"]]
                entry.dispatched, entry.is_running = record, True
                self._running.add(record["index"])
            case "told":
                self._told(record)

    def standing(self) -> Standing:
        """What it has come to."""
        return Standing(
            algorithm=self._algorithm,
            phase=self._phase,
            round=self._round,
            counter=self._counter,
            num_told=self._num_told,
            num_pending=len(self._entries) - self._num_told,
            baselines=self._baselines,
            finals=self._finals,
            best=self._best,
            weights=self._weights,
            seconds=self._seconds,
            ended=self._ended,
            rows=_EntryRows(self._algorithm, self._journal, self._entries, self._marked, self._best),
        )

    def _decided(self, record: Record) -> None:
        job = record["job"]
        assert job["index"] == len(self._entries), "jobs are decided in the order of their indices"
        if (job["phase"], job["round"]) != (self._phase, self._round):
            self._phase, self._round = job["phase"], job["round"]
            if isinstance(self._algorithm, SpNas):  # others count on
                self._counter = 0
        self._entries.append(_Entry(record))

    def _told(self, record: Record) -> None:
        outcome, result, state = record["outcome"], record["result"], record["state"]
        index = outcome["index"]
        assert index == self._num_told, "jobs are told in the order of their indices"
        entry = self._entries[index]
        entry.told, entry.is_running = record, False
        self._running.discard(index)
        self._num_told += 1
        self._phase, self._round, self._counter = state["phase"], state["round"], state["counter"]
        baseline, best = state["baseline"], state["best_overall"]
        assert all(found["index"] <= index for found in (baseline, best) if found), "the best has been told"
        if baseline:
            self._marked.add(baseline["index"])
        if best:
            self._best = best["index"], best["score"]
        if (found := baseline or best) and (not self._baselines or self._baselines[-1][0] != found["index"]):
            self._baselines.append((found["index"], found["score"]))
        if entry.decided["job"]["phase"] == "final":
            self._finals.append((index, outcome["score"]))
        if result["weights"]:
            self._weights[index] = WeightsFile(**result["weights"])
        self._seconds.append(seconds_of(result))


class _EntryRows:
    """Rows that are made when they are asked for; one that makes no sense is a `UserError`."""

    def __init__(
        self,
        algorithm: Algorithm,
        journal: Journal,
        entries: list[_Entry],
        baselines: set[int],
        best: tuple[int, float] | None,
    ) -> None:
        self._cost = algorithm.settings.cost
        self._journal = journal
        self._entries = entries
        self._baselines = baselines
        self._best = best and best[0]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> Row:
        entry = self._entries[number]
        try:
            row = self._row(entry)
        except SENSELESS as error:
            raise senseless(self._journal, f"job {number} can't be shown", error) from error
        marks = {"is_baseline": number in self._baselines, "is_best": number == self._best}
        return {**dict.fromkeys(COLUMNS), **row, **marks}

    def _row(self, entry: _Entry) -> Row:
        row = decided_values(entry.decided, self._cost)
        if entry.dispatched is not None:
            row |= dispatched_values(entry.dispatched)
            row["status"] = "running" if entry.is_running else "pending"
        if entry.told is not None:
            row |= told_values(entry.told, row["attempts"])
        return row

    def since(self, first: int) -> Iterator[Row]:
        return (self[number] for number in range(first, len(self)))
