"""How scores, places and times are written, short enough for a terminal."""


def percent(score: float | None) -> str:
    """A score, from 0 to 1, in percent; "" for none."""
    return "" if score is None else f"{100 * score:.2f}"


def place(phase: str, round: int) -> str:
    """Where in a run; beside searches there are no rounds."""
    return f"{phase} {round}" if round else phase


def duration(seconds: float) -> str:
    """A time in at most two units."""
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if days >= 1:
        return f"{int(days)} d {int(hours % 24)} h"
    if hours >= 1:
        return f"{int(hours)} h {int(minutes % 60)} min"
    return f"{minutes:.0f} min" if minutes >= 2 else f"{seconds:.0f} s"
