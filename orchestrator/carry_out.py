"""A run carried out by this process: taken, checked, driven, shown.

Invariant: a run is taken before anything of it is written, and given back however this ends. Whatever carries out a run
does it by `drive`, so that all that a config asks for happens in each.
"""

import signal
from collections.abc import Callable
from contextlib import ExitStack

from orchestrator.config import RunConfig
from orchestrator.console import closing
from orchestrator.driver import Driver
from orchestrator.environment import advice, check_environment
from orchestrator.errors import UserError
from orchestrator.given import put_given
from orchestrator.history import History
from orchestrator.live.publishing import ProgressFile
from orchestrator.live.screen import make_view
from orchestrator.live.telling import Teller, View
from orchestrator.metrics import MetricsObserver
from orchestrator.observers import Observers
from orchestrator.recorders.recording import RecordingObserver, check_recorders, make_recorders
from orchestrator.runs import RunLock, open_run, storage_of
from orchestrator.standing import Standing
from orchestrator.terminal import make_console
from orchestrator.termination import advice as advice_on_stopping
from orchestrator.termination import note_termination
from workers.run_folder import RunFolder


def carry_out(run: str, config_of: Callable[[RunFolder], RunConfig]) -> None:
    """Begin a run or go on with it, to its end.

    Args:
        run: its address.
        config_of: gives its config, which it may have already.

    Raises:
        KeyboardInterrupt: at Ctrl-C and SIGTERM.
        OSError: where storage fails.
        RunStopped: when it can't go on by itself.
        UserError: for what the user got wrong.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the driver takes note of it, it is as Ctrl-C
    storage = storage_of(run)
    settings = config_of(RunFolder(storage))
    reports = check_environment(settings)
    check_recorders(settings, storage.is_local)
    console = make_console()
    if not storage.is_local:
        console.print(f"{run}: making sure that no other driver works on it", soft_wrap=True)

    def view() -> View:
        for note in filter(None, (*advice(settings), advice_on_stopping())):
            console.print(note, soft_wrap=True)
        for key, report in zip(settings.data_keys, reports, strict=True):
            for line in report.lines():
                console.print(f"{key}: {line}", soft_wrap=True)
        return make_view(console)

    reason, history = drive(run, settings, open_view=view, note_end=note_termination)
    console.print(f"\n{reason}", soft_wrap=True)
    for part in closing(settings, Standing.of(history), RunFolder(storage)):
        console.print(part, soft_wrap=isinstance(part, str))


def drive(
    run: str,
    settings: RunConfig,
    *,
    open_view: Callable[[], View],
    note_end: Callable[[], Callable[[], bool]],
) -> tuple[str, History]:
    """Take a run, and begin it or go on with it to its end: shown, measured, and recorded as its config asks.

    Args:
        run: its address.
        settings: what it is; machine, data and recorders are looked at by the caller.
        open_view: gives where it is shown, once it is taken.
        note_end: called before it is driven; gives what says, about twice a second, whether it is to end.

    Returns:
        Why it ended, and what it has come to.

    Raises:
        KeyboardInterrupt: at Ctrl-C, and once it is to end; what was under way has left checkpoints.
        OSError: where storage fails.
        RunStopped: when it can't go on by itself.
        UserError: for what the user got wrong.
    """
    storage = storage_of(run)
    lock = RunLock(storage)
    if not lock.acquire():
        raise UserError(
            f"run {run}: another driver works on it; see `spnas status {run}`, or end it: `spnas stop {run}`"
        )
    reason = ""
    with ExitStack() as at_end:
        at_end.callback(lock.release)
        folder, changed = open_run(settings, storage)
        put_given(settings, folder)
        view = open_view()
        teller = Teller(settings, view, ProgressFile(folder, view.say))
        at_end.callback(teller.close)
        metrics = MetricsObserver(settings, folder.name, teller.note)
        recording = RecordingObserver(settings, folder, make_recorders(settings, folder), teller.note)
        at_end.callback(lambda: recording.close(has_ended=bool(reason)))
        observers = Observers(teller, metrics, recording)
        driver = Driver(settings, folder, observers, still_ours=lock.verify, is_terminated=note_end())
        driver.journal.on_append = metrics.appended
        reason = driver.run(changed)
    return reason, driver.history
