"""The search state and the trials table of a run, folded from its journal.

Invariant: folding decides nothing anew. Jobs are entered as they were decided and outcomes told as they were told, and
after every told record the state must be the one the record names.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields

from models.wording import one_line
from orchestrator.config import RunConfig
from orchestrator.deadlines import Deadlines
from orchestrator.errors import RunStopped, UserError
from orchestrator.journal import Journal, Record
from orchestrator.records import follow_records
from orchestrator.row_values import seconds_of
from orchestrator.search.protocol import Algorithm, Job, Outcome, SearchState, live_weights
from orchestrator.trials import Trials
from workers.run_folder import Result, RunFolder, WeightsFile
from workers.task import attempt_name

GANG_SEPARATOR = "+"
MOST_WEIGHTS = 256
"""Weights that may be remembered beside those of a search's state, before the dead ones are forgotten."""


@dataclass
class History:
    """What a run has come to.

    Attributes:
        algorithm: what decides.
        state: what it remembers.
        trials: the table.
        attempts: the names of the attempts so far, by pending job.
        deadlines: what the told jobs' times say of the next ones'.
        last_dispatched: the highest index that was ever sent to a worker, -1 before the first.
        rejected: attempts up to this one stopped the run and must not be used, by job.
        weights: where the told jobs' weights are, those of live ones at least.
        baselines: (job, score) of every baseline there has been, in order; of every best where there is none.
        candidates: indices of the candidates decided so far.
        worker_seconds: time that told jobs took on their workers, all of a gang's counted.
        ended: why the last driver ended, "" while it has not.
        keeps_all: whether any driver has kept every detector's weights, so that none of `weights` may be forgotten.
    """

    algorithm: Algorithm
    state: SearchState
    trials: Trials
    attempts: dict[int, list[str]] = field(default_factory=dict)
    deadlines: Deadlines = field(default_factory=Deadlines)
    last_dispatched: int = -1
    rejected: dict[int, int] = field(default_factory=dict)
    weights: dict[int, WeightsFile] = field(default_factory=dict)
    baselines: list[tuple[int, float]] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    worker_seconds: float = 0.0
    ended: str = ""
    keeps_all: bool = False
    _num_workers: dict[int, int] = field(default_factory=dict)

    @classmethod
    def fold(
        cls,
        config: RunConfig,
        journal: Journal,
        watch: Callable[["History", Record], None] = lambda history, record: None,
    ) -> "History":
        """Fold a run's journal; an empty one gives the state before the first decision.

        Args:
            config: the run's.
            journal: to be read.
            watch: called with every record once the history has followed it.

        Raises:
            UserError: if the journal is damaged, or gives another state than it says.
        """
        algorithm = config.build_algorithm()
        history = cls(algorithm, algorithm.initial(), Trials(algorithm.settings.cost))
        history.keeps_all = config.keep_weights == "all"

        def follow(record: Record) -> None:
            history._follow(record, journal)
            watch(history, record)

        follow_records(journal, follow)
        return history

    def _follow(self, record: Record, journal: Journal) -> None:
        """Take a record that was read.

        Raises:
            UserError: if it leads to another state than it says; other errors if it makes no sense at all.
        """
        if record["type"] == "decided":
            self.algorithm.enter(self.state, Job.from_dict(record["job"]))
        elif record["type"] == "dispatched":
            assert record["index"] in self.state.pending, "only pending jobs are sent off"
        elif record["type"] == "told":
            self.algorithm.tell(self.state, Outcome(**record["outcome"]))
            if not self.state.agrees_with(record["state"]):
                raise UserError(
                    f"journal {journal.folder}: after job {record['outcome']['index']} the search comes to "
                    f"{self.state.summary()}, but {record['state']} was recorded; use the version of spnas that wrote "
                    "it"
                )
        self.apply(record)

    def apply(self, record: Record) -> None:
        """Note what a record says beside the search's own state."""
        self.trials.apply(record)
        match record["type"]:
            case "opened":
                self.ended = ""
                self.keeps_all |= "keep_weights" in record.get("changed", ())
            case "decided":
                if record["job"]["role"] == "candidate":
                    self.candidates.append(record["job"]["index"])
            case "dispatched":
                self.attempts.setdefault(record["index"], []).append(_attempt_name(record))
                self.last_dispatched = max(self.last_dispatched, record["index"])
                self._num_workers[record["index"]] = len(record["worker"].split(GANG_SEPARATOR))
            case "rejected":
                self.rejected[record["index"]] = record["attempt"]
            case "told":
                index, result = record["outcome"]["index"], record["result"]
                self.attempts.pop(index, None)
                self.rejected.pop(index, None)
                seconds = seconds_of(result)
                self.worker_seconds += seconds * self._num_workers.pop(index, 1)
                if record["outcome"]["status"] == "completed" and result["attempt"] == 0:
                    # Later attempts go on from checkpoints, so their time may be a small part of the training's.
                    row = self.trials.rows[index]
                    self.deadlines.learn(row["recipe"], row["gflops"], seconds)
                baseline = record["state"]["baseline"] or record["state"]["best_overall"]
                if baseline and (not self.baselines or self.baselines[-1][0] != baseline["index"]):
                    self.baselines.append((baseline["index"], baseline["score"]))
                if result["weights"]:
                    self.weights[index] = WeightsFile(**result["weights"])
                if not self.keeps_all and len(self.weights) > MOST_WEIGHTS + 4 * len(self.state.pending):
                    self.weights = {i: self.weights[i] for i in live_weights(self.state) if i in self.weights}
            case "ended":
                self.ended = one_line(record["reason"])

    def finished_attempt(self, folder: RunFolder, index: int) -> Result | None:
        """The last finished attempt at a pending job that may be used.

        Only attempts that this history has sent off count: what a superseded driver starts does not.
        """
        usable = self.attempts.get(index, [])[self.rejected.get(index, -1) + 1 :]
        return next((result for name in reversed(usable) if (result := stored_result(folder, name))), None)


def stored_result(folder: RunFolder, name: str) -> Result | None:
    """What an attempt came to, None if it has not ended.

    Raises:
        RunStopped: if the result can't be read.
    """
    try:
        return folder.read_result(name)
    except ValueError as error:
        raise RunStopped(f"{error}; delete it to have the job run again") from None


def _attempt_name(dispatched: Record) -> str:
    index, attempt = dispatched["index"], dispatched["attempt"]
    # In the first format an attempt's name was without the epoch.
    return attempt_name(index, attempt, dispatched["epoch"]) if "epoch" in dispatched else f"{index:06d}-{attempt}"


def decided_record(job: Job, now: float) -> Record:
    """The record of a decision, made `now`, in seconds since 1970."""
    return {"type": "decided", "time": now, "job": job.to_dict()}


def dispatched_record(index: int, attempt: int, epoch: int, workers: Sequence[str], now: float) -> Record:
    """The record of an attempt that is about to begin, on one worker or on several together."""
    return {
        "type": "dispatched",
        "time": now,
        "index": index,
        "attempt": attempt,
        "epoch": epoch,
        "worker": GANG_SEPARATOR.join(workers),
    }


def told_record(outcome: Outcome, result: Result, state: SearchState, now: float) -> Record:
    """The record of an outcome and of what the state has become by it."""
    told_twice = ("metrics", "error", "status")
    values = {item.name: getattr(result, item.name) for item in fields(result) if item.name not in told_twice}
    return {
        "type": "told",
        "time": now,
        "outcome": {item.name: getattr(outcome, item.name) for item in fields(outcome)},
        "result": values | {"weights": asdict(result.weights) if result.weights else None},
        "state": state.summary(),
    }
