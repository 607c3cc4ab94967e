"""The one error that a user can mend: one line that names what, where, the value, and what would be right.

Invariant: what a `UserError` says can be printed: at most `MAX_LINES` lines, each bounded and without control
characters, whatever was written in the file it speaks of.
"""

from models.wording import one_line

MAX_LINES = 20


class UserError(ValueError):
    """Something the user wrote or pointed at is not right; the command line prints it and exits with code 2."""

    def __init__(self, text: str) -> None:
        """One mistake a line."""
        lines = [one_line(line) for line in text.split("\n")]
        more = [f"... and {len(lines) - MAX_LINES + 1} more"] if len(lines) > MAX_LINES else []
        super().__init__("\n".join(lines[: MAX_LINES - len(more)] + more))


class RunStopped(Exception):
    """The run can't go on by itself, but nothing is lost: the same command goes on once the reason is gone."""


class Superseded(RunStopped):
    """Another driver has taken the run; this one must have no further effect."""
