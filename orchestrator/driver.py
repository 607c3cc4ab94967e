"""The loop of a run: propose, dispatch, collect, record.

One turn: take what workers have finished; tell it in the order of the jobs' indices, deciding after every single tell;
match jobs to idle workers; write all of that to the journal in one durable append; only then let it have effect.

Invariants:
- What happens is a function of the journal: a driver that dies is followed by one that folds the journal and goes on.
- A job with a finished attempt in storage is never run again, unless that attempt stopped the run.
- A driver whose run another has taken has no effect: each turn it makes sure that the run is still its own.
- When the run ends early (stop, budget), jobs are still decided as they would have been, but none beyond the horizon is
  dispatched; so going on later gives the history of the undisturbed run.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from heapq import heappop, heappush
from typing import Protocol

from orchestrator.config import RunConfig
from orchestrator.errors import RunStopped, Superseded, UserError
from orchestrator.given import origins, start_weights_of
from orchestrator.history import History, decided_record, dispatched_record, stored_result, told_record
from orchestrator.journal import Journal, Record
from orchestrator.search.protocol import Decision, Done, Job, Outcome, live_weights
from orchestrator.workplace import Completion, RayCluster, Workplace
from workers.examination import versions
from workers.failures import classify
from workers.run_folder import Result, RunFolder
from workers.task import NETWORK_TRAINER, Progress, Task

POLL_S = 0.5
MAX_UNCLEAR = 2
NODES_NOTE_EVERY_S = 10.0
TABLE_EVERY_S = 10.0
STOP_QUESTION_EVERY_S = 5.0
RETAIN_SHARE = 64


class Observer(Protocol):
    """Sees a run go by; it changes nothing."""

    def opened(self, history: History, resumed: bool) -> None:
        """The run begins or goes on."""

    def told(self, history: History, record: Record) -> None:
        """A job's outcome counts from now on; `record` is the durable one."""

    def note(self, text: str) -> None:
        """Something an operator should know."""

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        """Called about twice a second while workers work."""


@dataclass
class _Losses:
    """How often a job's attempts were lost.

    Attributes:
        count: one after the other without getting further.
        unclear: of these, by nobody knows whose fault.
        step: how far any of them had come.
        worker: where the last one was.
    """

    count: int = 0
    unclear: int = 0
    step: int = 0
    worker: str = ""


class Driver:
    """Runs one search, or whatever its algorithm decides, to its end, its budget's, or a stop."""

    def __init__(
        self,
        config: RunConfig,
        folder: RunFolder,
        observer: Observer,
        *,
        still_ours: Callable[[], None] = lambda: None,
        is_terminated: Callable[[], bool] = lambda: False,
        trainer: str = NETWORK_TRAINER,
        workplace: Workplace | None = None,
    ) -> None:
        """Forget an old stop and fold the journal; nothing starts yet.

        Args:
            config: what to do.
            folder: the run's files.
            observer: sees it go by.
            still_ours: raises `Superseded` once another driver has the run.
            is_terminated: whether the process has been asked to end; asked about twice a second.
            trainer: what the workers' ranks train with; see `workers.rank.Trainer`.
            workplace: has the workers; by default a Ray cluster.
        """
        self.config = config
        self.folder = folder
        self.observer = observer
        folder.clear_stop()
        self.journal = Journal(folder.storage)
        self.history = History.fold(config, self.journal)
        self._still_ours = still_ours
        self._is_terminated = is_terminated
        self._trainer = trainer
        self._workplace = workplace or RayCluster()
        self._clock = self._workplace.clock
        self._waiting = sorted(self.history.state.pending)  # a heap; see `_next_waiting`
        self._results: dict[int, Result] = {}
        self._losses: dict[int, _Losses] = {}
        self._told_attempts: list[tuple[str, bool]] = []
        self._num_told_since_retained = 0
        self._horizon: int | None = None
        self._ending = ""
        self._table_due = 0.0
        self._stop_question_due = 0.0
        self._num_up_told: int | None = None
        self._nodes_note_due = 0.0
        self._waits_since = 0.0

    def run(self, changed: dict[str, tuple[object, object]] | None = None) -> str:
        """Work until nothing is left to do.

        Args:
            changed: config keys that differ from the run's first config; the journal notes them.

        Returns:
            Why it ended.

        Raises:
            KeyboardInterrupt: at Ctrl-C, and once the process has been asked to end.
            RunStopped: when it can't go on by itself; the same command goes on later.
            UserError: when the cluster is smaller than the fleet.
        """
        self._still_ours()
        self.observer.opened(self.history, resumed=bool(self.history.trials.rows))
        turn: list[Record] = []
        decision = self._decide(turn)
        self._sweep()
        if isinstance(decision, Done) and self.history.ended:
            self.history.trials.write(self.folder)
            return decision.reason
        self.journal.open_epoch(
            time=self._clock.time(),
            versions=versions(),
            changed={key: list(pair) for key, pair in (changed or {}).items()},
        )
        self.history.apply({"type": "opened"})
        self._write(turn)
        self._check_budget()
        try:
            if not isinstance(decision, Done) and self._is_within_horizon(self.history.state.next_told):
                decision = self._search(decision)
        except Superseded:
            raise
        except (RunStopped, UserError, OSError, KeyboardInterrupt) as interruption:
            with contextlib.suppress(OSError):
                self._end(str(interruption) or "interrupted")
            raise
        reason = decision.reason if isinstance(decision, Done) else self._ending
        self._end(reason)
        return reason

    def _sweep(self) -> None:
        """Delete what no job needs of what drivers and workers left that have died."""
        history = self.history
        live = self._live_weights()
        attempts = {name for names in history.attempts.values() for name in names}
        told = {file.attempt for index, file in history.weights.items() if index in live}
        self.folder.sweep(keep_weights=told | attempts, keep_checkpoints=attempts, up_to_epoch=self.journal.epoch)

    def _end(self, reason: str) -> None:
        ended: Record = {"type": "ended", "time": self._clock.time(), "reason": reason}
        self._write([ended])
        self.history.apply(ended)
        self._sweep()
        self.history.trials.write(self.folder)
        self.journal.close()

    def _search(self, decision: Decision) -> Decision:
        name = f"{self.folder.name}-{self.journal.epoch}"
        self._fleet, self._weights = self._workplace.open(self.config, self.folder, name, self._trainer)
        for index, file in self.history.weights.items():
            self._weights.add(index, file)
        self._waits_since = self._clock.monotonic()
        self._nodes_note_due = self._waits_since + NODES_NOTE_EVERY_S  # they need a while to start
        try:
            for index in list(self.history.state.pending):
                finished = self.history.finished_attempt(self.folder, index)
                if finished is not None:
                    self._take(finished)
            while True:
                if self._is_terminated():
                    self.observer.note("asked to end: what is under way stops at a checkpoint")
                    raise KeyboardInterrupt("asked to end")
                turn: list[Record] = []
                decision = self._tell(turn, decision)
                self._check_budget()
                assigned = self._assign(turn)
                self._write(turn)
                for workers, task in assigned:
                    self._submit(workers, task)
                self._delete_what_is_not_needed()
                if self._ending and not assigned and not any(self._fleet.tasks.values()) and not self._is_work_left():
                    return decision
                if isinstance(decision, Done):
                    return decision
                self._collect()
                self._show()
        finally:
            self._fleet.close()

    # ---- one turn --------------------------------------------------------------------------------------------------

    def _decide(self, turn: list[Record]) -> Decision:
        """Decide until the algorithm waits or is done."""
        while isinstance(decision := self.history.algorithm.decide(self.history.state), Job):
            turn.append(decided_record(decision, self._clock.time()))
            self.history.apply(turn[-1])
            heappush(self._waiting, decision.index)
        return decision

    def _tell(self, turn: list[Record], decision: Decision) -> Decision:
        """Tell what has come, as far as it is next in order, and decide after every single one."""
        state, algorithm = self.history.state, self.history.algorithm
        while (index := state.next_told) is not None and index in self._results:
            result = self._results.pop(index)
            outcome = self._outcome(result)
            objection = algorithm.objection(state, outcome)
            if objection is not None:
                now = self._clock.time()
                turn.append({"type": "rejected", "time": now, "index": index, "attempt": result.attempt})
                self._write(turn)
                raise RunStopped(objection)
            algorithm.tell(state, outcome)
            self._num_told_since_retained += 1
            self._losses.pop(index, None)
            used = result.weights.attempt if result.weights else None
            self._told_attempts += [(name, name == used) for name in self.history.attempts.get(index, [])]
            turn.append(told_record(outcome, result, state, self._clock.time()))
            self.history.apply(turn[-1])
            decision = self._decide(turn)
        return decision

    def _outcome(self, result: Result) -> Outcome:
        """What the search is told of a result."""
        metric = self.config.objective.metric
        has_score = self.history.state.pending[result.index].has_score
        score = result.metrics.get(metric) if has_score else None
        status, error = result.status, result.error
        if status == "completed" and has_score and score is None:
            status, error = "failed", f"no metric {metric!r} in its results; it has {', '.join(sorted(result.metrics))}"
        return Outcome(index=result.index, status=status, score=score, metrics=result.metrics, error=error)

    def _assign(self, turn: list[Record]) -> list[tuple[list[str], Task]]:
        """Match waiting jobs to idle workers, both by number; a job that was lost goes elsewhere if it can."""
        assigned: list[tuple[list[str], Task]] = []
        passed_over = []
        idle, num_up = list(self._fleet.idle), self._fleet.num_up
        while idle and (index := self._next_waiting()) is not None:
            heappop(self._waiting)
            num_nodes = self.config.num_nodes(self.history.state.pending[index].recipe)
            last = self._losses[index].worker if index in self._losses and num_up > num_nodes else None
            workers = [name for name in idle if name != last][:num_nodes]
            if len(workers) < num_nodes:
                passed_over.append(index)
                continue
            if index in self._losses and (late := self.history.finished_attempt(self.folder, index)) is not None:
                self._take(late)  # a worker that was not heard of has ended it all the same
                continue
            idle = [name for name in idle if name not in workers]
            assigned.append((workers, self._task(index)))
            turn.append(
                dispatched_record(index, assigned[-1][1].attempt, self.journal.epoch, workers, self._clock.time())
            )
            self.history.apply(turn[-1])
        for index in passed_over:
            heappush(self._waiting, index)
        return assigned

    def _task(self, index: int) -> Task:
        """The next attempt at a job."""
        job, fleet = self.history.state.pending[index], self.config.fleet
        earlier = self.history.attempts.get(index, [])
        stall_s = 60 * fleet.stall_minutes
        if fleet.deadline_minutes is not None:
            deadline_s: float | None = 60 * fleet.deadline_minutes
        else:
            deadline_s = self.history.deadlines.of(job.recipe, self.history.trials.rows[index]["gflops"])
            deadline_s = None if deadline_s is None else max(stall_s, deadline_s)
        return Task(
            index=index,
            attempt=len(earlier),
            epoch=self.journal.epoch,
            kind=job.kind,
            spec=job.spec,
            morphs=job.morphs,
            training=self.config.recipe(job.recipe),
            seed=job.seed,
            start_weights=start_weights_of(self.config, job),
            earlier=tuple(reversed(earlier)),
            checkpoint_s=60 * fleet.checkpoint_minutes,
            stall_s=stall_s,
            deadline_s=deadline_s,
        )

    def _next_waiting(self) -> int | None:
        """The first pending job that nobody works on and that has no result, if it is within the horizon."""
        pending = self.history.state.pending
        while self._waiting and (self._waiting[0] in self._results or self._waiting[0] not in pending):
            heappop(self._waiting)  # its result was in storage
        return self._waiting[0] if self._waiting and self._is_within_horizon(self._waiting[0]) else None

    def _is_work_left(self) -> bool:
        """Whether a job can be sent off or told before the run ends."""
        return self._next_waiting() is not None or self.history.state.next_told in self._results

    def _is_within_horizon(self, index: int | None) -> bool:
        """Whether there is this job and it is to be finished before the run ends."""
        return index is not None and (self._horizon is None or index <= self._horizon)

    def _submit(self, workers: list[str], task: Task) -> None:
        job = self.history.state.pending[task.index]
        parent, backbone = map(self._weights.ref, origins(self.config, job))
        self._fleet.submit(workers, task, job.role, parent, backbone)

    def _write(self, turn: list[Record]) -> None:
        """Make a turn's records durable, show what is told, and write the table when it is due."""
        self.journal.append(turn)
        self._still_ours()
        for record in turn:
            if record["type"] == "told":
                self.observer.told(self.history, record)
        if turn and time.monotonic() >= self._table_due:
            begun = time.monotonic()
            self.history.trials.write(self.folder)
            # A large table is written so rarely that it costs at most a hundredth of the time.
            self._table_due = time.monotonic() + max(TABLE_EVERY_S, 100 * (time.monotonic() - begun))

    # ---- what comes from outside -----------------------------------------------------------------------------------

    def _collect(self) -> None:
        """Wait for workers; a lost attempt's job waits to be dispatched again."""
        self._wait_for_nodes()
        for completion in self._fleet.wait(POLL_S):
            result = completion.result
            if result is None:  # an unknown outcome: the attempt may have ended all the same
                result = stored_result(self.folder, completion.task.name)
            if result is not None:
                self._take(result)
                continue
            assert completion.error is not None
            fault, reason = classify(completion.error)
            if fault == "candidate":
                self._take(_failed(completion.task, completion.worker, reason, self._clock.time()))
            else:
                self._lose(completion, fault, reason)

    def _wait_for_nodes(self) -> None:
        """Say when workers come up or are missing, and give up when none works for too long."""
        fleet, now = self.config.fleet, self._clock.monotonic()
        num_up = self._fleet.num_up
        if any(self._fleet.tasks.values()) or self._next_waiting() is None:
            self._waits_since = now
        what = f"{num_up} of {fleet.num_workers} workers are up"
        if num_up != self._num_up_told and now >= self._nodes_note_due:
            missing = f"; each needs a node with {fleet.needs}" if num_up < fleet.num_workers else ""
            self.observer.note(what + missing)
            self._num_up_told, self._nodes_note_due = num_up, now + NODES_NOTE_EVERY_S
        if now - self._waits_since >= 60 * fleet.wait_minutes:
            waiting = (index for index in self._waiting if self._is_within_horizon(index))
            needed = max(self.config.num_nodes(self.history.state.pending[index].recipe) for index in waiting)
            raise RunStopped(
                f"{what}, and for fleet.wait_minutes, {fleet.wait_minutes:g}, there was no node for a job that needs "
                f"{needed}; a node must have {fleet.needs}"
            )

    def _lose(self, completion: Completion, fault: str, reason: str) -> None:
        """Take note of an attempt without a result; its job waits to be dispatched again, elsewhere."""
        task, worker = completion.task, completion.worker
        job = self.history.state.pending[task.index]
        self._weights.forget(origins(self.config, job))
        losses = self._losses.setdefault(task.index, _Losses())
        step = completion.progress.step if completion.progress else 0
        # A long training may lose many nodes, as long as it gets on between them.
        if step > losses.step:
            losses.count, losses.unclear, losses.step = 0, 0, step
        losses.count += 1
        losses.unclear += fault == "unclear"
        losses.worker = worker
        if losses.unclear >= MAX_UNCLEAR:  # once may be the node's fault, twice is the candidate's
            self._take(_failed(task, worker, f"{reason}, the second time", self._clock.time()))
        elif losses.count >= self.config.fleet.max_attempts:
            raise RunStopped(
                f"job {task.index} ({job.role}, {job.spec.architecture}) was lost {losses.count} times, which is not "
                f"its fault; the last time on {worker}: {reason}"
            )
        else:
            heappush(self._waiting, task.index)
            self.observer.note(f"job {task.index} was lost on {worker} ({reason}) and runs again")

    def _take(self, result: Result) -> None:
        self._results[result.index] = result
        self._weights.add(result.index, result.weights)

    def _delete_what_is_not_needed(self) -> None:
        """Delete weights and checkpoints that no job can ask for any more; the records that say so are durable."""
        pending = self.history.state.pending
        # Going through what is pending takes as long as there is of it, so a share of that has to be told first.
        if self._num_told_since_retained > len(pending) // RETAIN_SHARE:
            parents = {index for job in pending.values() for index in origins(self.config, job) if index is not None}
            self._weights.retain(self._live_weights(), parents)
            self._num_told_since_retained = 0
        for name, is_used in self._told_attempts:
            self.folder.delete_checkpoint(name)
            if not is_used:
                self.folder.delete_weights(name)
        self._told_attempts.clear()

    def _live_weights(self) -> set[int]:
        return live_weights(self.history.state, keep_all=self.config.keep_weights == "all")

    def _check_budget(self) -> None:
        """Set the horizon once a limit is reached or a stop is asked for."""
        if self._ending:
            return
        # A spent budget finishes what has been sent off, in this life or an earlier one, so that asking again spends
        # nothing more; a stop finishes what is pending.
        budget, last = self.config.budget, self.history.last_dispatched
        if self._stop_is_asked():
            self._ending, self._horizon = "stopped as asked", self.history.state.next_index - 1
        elif budget.deadline is not None and self._clock.time() >= _with_zone(budget.deadline).timestamp():
            self._ending, self._horizon = f"budget.deadline {budget.deadline} is over", last
        elif budget.max_gpu_hours is not None and self._device_hours() >= budget.max_gpu_hours:
            self._ending, self._horizon = f"budget.max_gpu_hours {budget.max_gpu_hours} is spent", last
        elif budget.max_candidates is not None and len(self.history.candidates) >= budget.max_candidates:
            self._ending = f"budget.max_candidates {budget.max_candidates} is reached"
            self._horizon = self.history.candidates[budget.max_candidates - 1]
        if self._ending:
            self.observer.note(f"{self._ending}; what is under way is finished, then the run ends")

    def _stop_is_asked(self) -> bool:
        """Whether a stop is asked for; each question to an object store is a request, so they are few."""
        if time.monotonic() < self._stop_question_due:
            return False
        if not self.folder.storage.is_local:
            self._stop_question_due = time.monotonic() + STOP_QUESTION_EVERY_S
        return self.folder.stop_requested()

    def _device_hours(self) -> float:
        return self.history.worker_seconds / 3600 * self.config.fleet.devices_per_worker

    def _show(self) -> None:
        for event in self._fleet.watch():
            self.observer.note(event)
        pending = self.history.state.pending
        jobs = {name: pending[task.index] if task else None for name, task in self._fleet.tasks.items()}
        self.observer.working(self.history, jobs, self._fleet.progress)


def _failed(task: Task, worker: str, reason: str, now: float) -> Result:
    """The result of an attempt that could not write one."""
    return Result(
        index=task.index,
        attempt=task.attempt,
        epoch=task.epoch,
        name=task.name,
        status="failed",
        worker=worker,
        started_at=now,
        finished_at=now,
        seconds=0.0,
        error=reason,
    )


def _with_zone(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
