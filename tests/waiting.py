"""How tests wait: for what becomes so, however long that takes; never for a time."""

import threading
from collections.abc import Callable

TICK_S = 0.02


def wait_until(condition: Callable[[], bool]) -> None:
    """Look until it holds; the test's own time limit ends what never does."""
    while not condition():
        threading.Event().wait(TICK_S)
