"""A run carried out by this process: taken, checked, driven, shown.

Invariant: a run is taken before anything of it is written, and given back however this ends.
"""

import signal
from collections.abc import Callable

from orchestrator.config import RunConfig
from orchestrator.console import ConsoleObserver, closing
from orchestrator.driver import Driver
from orchestrator.environment import advice, check_environment
from orchestrator.errors import UserError
from orchestrator.given import put_given
from orchestrator.metrics import MetricsObserver
from orchestrator.observers import Observers
from orchestrator.runs import RunLock, open_run, storage_of
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
    console = make_console()
    if not storage.is_local:
        console.print(f"{run}: making sure that no other driver works on it", soft_wrap=True)
    lock = RunLock(storage)
    if not lock.acquire():
        raise UserError(
            f"run {run}: another driver works on it; see `spnas status {run}`, or end it: `spnas stop {run}`"
        )
    observer: ConsoleObserver | None = None
    try:
        folder, changed = open_run(settings, storage)
        put_given(settings, folder)
        for note in filter(None, (*advice(settings), advice_on_stopping())):
            console.print(note, soft_wrap=True)
        for key, report in zip(settings.data_keys, reports, strict=True):
            for line in report.lines():
                console.print(f"{key}: {line}", soft_wrap=True)
        observer = ConsoleObserver(settings, console)
        metrics = MetricsObserver(settings, folder.name, observer.note)
        observers = Observers(observer, metrics)
        driver = Driver(settings, folder, observers, still_ours=lock.verify, is_terminated=note_termination())
        driver.journal.on_append = metrics.appended
        reason = driver.run(changed)
    finally:
        if observer is not None:
            observer.close()
        lock.release()
    console.print(f"\n{reason}", soft_wrap=True)
    for part in closing(settings, driver.history, folder):
        console.print(part, soft_wrap=isinstance(part, str))
