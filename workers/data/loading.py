"""Images read ahead by threads, in the order in which they are wanted.

Threads, as what takes time (reading, decoding and resizing in Pillow, checksums) leaves Python to others meanwhile:
they decode as much as processes do, need no memory that is shared by name and copy nothing into it, keep one cache
among them, raise what they come upon where it is wanted, and end with their rank, whatever ends it.

Invariant: what a training gets, and where it fails, does not depend on the number of loaders.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from PIL import Image as PillowImage

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")

READ_AHEAD = 2
"""Images that are read ahead for each loader, beside a batch."""


class Loaders:
    """The threads of one rank; they live from one task to the next."""

    def __init__(self, num_loaders: int = 0) -> None:
        """Start none yet.

        Args:
            num_loaders: 0 reads everything where and when it is wanted.
        """
        self._num_loaders = num_loaders
        self._pool = ThreadPoolExecutor(num_loaders, thread_name_prefix="loader") if num_loaders else None
        # Memory that Pillow gives back to the system it has to take again, page by page, for the next image: a third
        # of the time.
        PillowImage.core.set_blocks_max(2 * (num_loaders + 1))  # type: ignore[attr-defined]  # Pillow documents it

    def map(
        self, make: Callable[[Item], Loaded], items: Iterable[Item], *, batch_size: int = 1
    ) -> Generator[Loaded, None, None]:
        """What `make` gives for each item, in their order.

        With loaders, `items` is asked for ahead of what is given out, and whatever is still waiting when the iterator
        is closed is not made.

        Args:
            make: called in any thread; what it raises is raised where the item's turn has come.
            items: from which it is made.
            batch_size: how many are taken at once.
        """
        if self._pool is None:
            yield from map(make, items)
            return
        ahead = batch_size + READ_AHEAD * self._num_loaders
        waiting: deque[Future[Loaded]] = deque()
        try:
            for item in items:
                waiting.append(self._pool.submit(make, item))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()

    def close(self) -> None:
        """End the threads once they have done what they are at."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
