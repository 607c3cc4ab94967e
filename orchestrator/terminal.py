"""Where a command prints.

Invariant: nothing here loads more than rich, so that commands which only look something up answer at once.
"""

import sys

from rich.console import Console


def make_console() -> Console:
    """The console of a command; a job's log has no width of its own."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
