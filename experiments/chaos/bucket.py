"""An object store on this machine: moto's server, which speaks S3's protocol.

Invariant: it is empty when it starts and gone when it is closed.
"""

import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_EC2_METADATA_DISABLED": "true"}
START_TRIES = 400
NAME = "chaos"


class Bucket:
    """A server with one bucket."""

    def __init__(self) -> None:
        """Start it and wait until it answers."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self._port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(START_TRIES):
            try:
                url = f"http://127.0.0.1:{self._port}/{NAME}"
                urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=10).close()
                return
            except (urllib.error.URLError, ConnectionError):
                threading.Event().wait(0.05)
        raise RuntimeError("moto's server does not answer")

    def address(self, prefix: str) -> str:
        """The address of a run in it."""
        return f"s3://{NAME}/{prefix}?endpoint_override=127.0.0.1:{self._port}&scheme=http"

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def allow_access() -> None:
    """Let this process and all that it starts use such a bucket."""
    os.environ.update(CREDENTIALS)
