"""An object store on this machine.

Invariant: it is empty when it starts and gone when it is closed.
"""

from contextlib import ExitStack

from experiments.s3_server import CREDENTIALS, running_s3_server

NAME = "chaos"

__all__ = ["CREDENTIALS", "Bucket"]


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
