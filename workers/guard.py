"""Ends a process group when whoever started this script is gone, however it went.

A node worker that is killed can't end the processes below it, and those it leaves would keep the GPU. So each of them
has this script at its side, which waits at a pipe that only the node worker holds open: when the pipe ends without a
word, it kills the group. It runs on the bare interpreter, as ``python -S guard.py GROUP``.
"""

import contextlib
import os
import signal
import sys

RELEASE = b"released"


def main() -> None:
    """Wait for the word or for the pipe's end."""
    group = int(sys.argv[1])
    if os.fork():
        # Ray kills the direct children of a worker that ends in order; as a grandchild this one stays to do its work.
        os._exit(0)
    if not sys.stdin.buffer.read():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    main()
