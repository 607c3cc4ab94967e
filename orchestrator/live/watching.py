"""A run seen from elsewhere, by its folder alone.

The run's lock says whether a driver works on it; ``progress.json`` how it stands while one does; the journal what it
has come to otherwise.

Invariant: nothing of the run is changed, and what is read may be damaged or of a driver that is long dead.
"""

import time
from dataclasses import dataclass, replace
from typing import Literal

from orchestrator.history import GANG_SEPARATOR, History
from orchestrator.journal import Journal
from orchestrator.live.screen import LogView, TerminalView
from orchestrator.live.snapshot import Snapshot, WorkerLine
from orchestrator.live.telling import Teller
from orchestrator.live.wording import duration
from orchestrator.runs import RunLock, stored_config
from workers.run_folder import RunFolder
from workers.storage import Storage

LOCAL_EVERY_S = 2.0
REMOTE_EVERY_S = 5.0
FOLD_EVERY_S = 10.0
SHARE_OF_TIME = 20
QUIET_S = 30.0
"""A driver that has told nothing for so long is worth a notice; it tells something every few seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one look has shown.

    Attributes:
        life: ``running``; ``unknown`` as long as nobody can say; ``gone``: no driver works on it, and it has not ended;
            ``ended``.
        snapshot: how it stands.
        notice: what is wrong, else "".
    """

    life: Literal["running", "unknown", "gone", "ended"]
    snapshot: Snapshot
    notice: str = ""


class Watcher:
    """Looks at one run again and again."""

    def __init__(self, storage: Storage, *, lock: RunLock | None = None, quiet_s: float = QUIET_S) -> None:
        """Look at this run.

        Args:
            storage: the run's.
            lock: stands in for the run's own.
            quiet_s: time without news after which a notice says so.

        Raises:
            UserError: if it is none, or its config can't be read.
        """
        self._folder = RunFolder(storage)
        self._config = stored_config(self._folder)
        self._lock = lock or RunLock(storage)
        self._quiet_s = quiet_s
        self._folded: tuple[Snapshot, str] | None = None
        self._fold_due = 0.0
        self._was_held: bool | None = None
        self._news: tuple[str, int] | None = None
        self._news_at = time.monotonic()

    def look(self) -> Sight:
        """See how the run stands.

        Raises:
            OSError: if storage fails.
            UserError: if the journal is damaged.
        """
        is_held = self._lock.look()
        if is_held != self._was_held:  # what the journal says may have changed with that
            self._fold_due, self._was_held = 0.0, is_held
        if is_held is False:
            snapshot, ended = self._fold()
            if ended:
                return Sight(life="ended", snapshot=snapshot)
            notice = "no driver works on it, and it has not ended: the same command goes on"
            return Sight(life="gone", snapshot=snapshot, notice=notice)
        snapshot = Snapshot.from_json(self._folder.read_progress() or b"") or self._fold()[0]
        if is_held is None:
            return Sight(life="unknown", snapshot=snapshot, notice="looking whether its driver lives")
        return Sight(life="running", snapshot=snapshot, notice=self._quiet_notice(snapshot))

    def _quiet_notice(self, snapshot: Snapshot) -> str:
        news = snapshot.life, snapshot.number
        if news != self._news:
            self._news, self._news_at = news, time.monotonic()
        quiet_s = time.monotonic() - self._news_at
        return f"its driver lives, but has told nothing for {duration(quiet_s)}" if quiet_s > self._quiet_s else ""

    def _fold(self) -> tuple[Snapshot, str]:
        """How the run stands by its journal, and why it has ended, "" if it has not; read anew only now and then."""
        begun = time.monotonic()
        if self._folded is None or begun >= self._fold_due:
            history = History.fold(self._config, Journal(self._folder.storage))
            teller = Teller(self._config)
            teller.look_back(history)
            workers = _at_work(history) if self._was_held else ()
            self._folded = replace(teller.snapshot(history, {}, {}), workers=workers), history.ended
            took = time.monotonic() - begun
            self._fold_due = time.monotonic() + max(FOLD_EVERY_S, SHARE_OF_TIME * took)
        return self._folded


def _at_work(history: History) -> tuple[WorkerLine, ...]:
    """Who does what, as far as the journal knows."""
    lines = []
    for index, job in history.state.pending.items():
        row = history.trials.rows[index]
        if row["status"] == "running":
            for name in row["worker"].split(GANG_SEPARATOR):
                network = str(job.spec.architecture)
                lines.append(WorkerLine(name=name, job=index, role=job.role, architecture=network, phase="at work"))
    return tuple(sorted(lines, key=lambda line: (len(line.name), line.name)))


def watch(storage: Storage, view: TerminalView | LogView, every_s: float | None = None) -> None:
    """Show a run until it has ended, or Ctrl-C.

    Args:
        storage: the run's.
        view: where.
        every_s: time between two looks; None: by the kind of storage.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        OSError: if storage fails at the first look; later it is asked again.
        UserError: if it is no run, or is damaged.
    """
    every_s = every_s or (LOCAL_EVERY_S if storage.is_local else REMOTE_EVERY_S)
    watcher = Watcher(storage)
    sight = watcher.look()
    life, last_event = "", 0
    try:
        while sight.life != "ended":
            if sight.snapshot.life != life:
                life, last_event = sight.snapshot.life, 0
            for event in sight.snapshot.events:
                if event.number > last_event:
                    last_event = event.number
                    view.say(event.text)
            view.show(sight.snapshot, sight.notice)
            time.sleep(every_s)
            try:
                sight = watcher.look()
            except OSError as error:
                sight = Sight(life="unknown", snapshot=sight.snapshot, notice=f"can't be read at the moment: {error}")
    except KeyboardInterrupt:
        view.close(leave=True)
        raise
    finally:
        view.close()
