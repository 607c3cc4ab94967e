"""The one error that a user can mend: one line that names what, where, the value, and what would be right."""


class UserError(ValueError):
    """Something the user wrote or pointed at is not right; the command line prints it and exits with code 2."""


class RunStopped(Exception):
    """The run can't go on by itself, but nothing is lost: the same command goes on once the reason is gone."""
