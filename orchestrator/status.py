"""How far a run has come, asked from any place that can read its storage.

Invariant: nothing of the run is changed.
"""

import gc

from orchestrator.console import closing, in_one_line, status_table
from orchestrator.journal import Journal
from orchestrator.runs import RunLock, storage_of, stored_config
from orchestrator.standing import Standing
from orchestrator.terminal import make_console
from workers.run_folder import RunFolder


def show_status(run: str, last: int) -> None:
    """Print whether a run goes on, its last jobs, and what it has come to.

    Args:
        run: its address.
        last: how many jobs.

    Raises:
        OSError: if storage fails.
        UserError: if it is no run, or is damaged.
    """
    storage = storage_of(run)
    settings = stored_config(RunFolder(storage))
    standing = Standing.read(settings, Journal(storage))
    gc.freeze()  # Python's collector would go through all records again, at the latest when the command ends
    alive = RunLock(storage).is_held()
    console = make_console()
    life = "running" if alive else f"not running ({standing.ended or 'its driver is gone; the same command goes on'})"
    console.print(f"{run}: {life}; {in_one_line(standing)}", soft_wrap=True)
    console.print(status_table(settings, standing, last, console.width))
    for part in closing(settings, standing, RunFolder(storage)):
        console.print(part, soft_wrap=isinstance(part, str))


def watch_status(run: str, last: int, every_s: float | None) -> None:
    """Show a run as it goes by until it has ended, then its status.

    Args:
        run: its address.
        last: how many jobs to list at the end.
        every_s: time between two looks; None: by the kind of storage.

    Raises:
        KeyboardInterrupt: at Ctrl-C.
        OSError: if storage fails at the first look.
        UserError: if it is no run, or is damaged.
    """
    from orchestrator.live.screen import make_view  # what only looks once does without
    from orchestrator.live.watching import watch

    watch(storage_of(run), make_view(make_console()), every_s)
    show_status(run, last)
