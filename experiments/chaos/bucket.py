"""An object store on this machine, the tests' own.

Invariant: it is empty when it starts and gone when it is closed.
"""

import os
from contextlib import ExitStack

from tests.s3_server import CREDENTIALS, running_s3_server

NAME = "chaos"


class Bucket:
    """A server with one bucket."""

    def __init__(self) -> None:
        """Start it and wait until it answers."""
        self._stack = ExitStack()
        self._server = self._stack.enter_context(running_s3_server())
        self._server.make_bucket(NAME)

    def address(self, prefix: str) -> str:
        """The address of a run in it."""
        return self._server.address(f"{NAME}/{prefix}")

    def close(self) -> None:
        """End it."""
        self._stack.close()


def allow_access() -> None:
    """Let this process and all that it starts use such a bucket."""
    os.environ.update(CREDENTIALS)
