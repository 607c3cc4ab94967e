"""A real S3 server, moto's, for tests and chaos: a process of its own on a free port of this machine.

It is installed beside the environment, see `experiments/s3_server.txt`.

Invariant: it is empty when it starts and gone when its context ends.
"""

import os
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = Path(sys.prefix) / "s3-server" / "bin" / "moto_server"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """The server as a client sees it.

    Attributes:
        endpoint: its host and port.
    """

    def __init__(self, endpoint: str) -> None:
        """Name it."""
        self.endpoint = endpoint

    def make_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        urllib.request.urlopen(urllib.request.Request(f"http://{self.endpoint}/{name}", method="PUT")).close()

    def address(self, path: str) -> str:
        """The URI of bucket/prefix."""
        return f"s3://{path}?endpoint_override={self.endpoint}&scheme=http"


@contextmanager
def running_s3_server() -> Iterator[S3Server]:
    """The server for as long as the context lasts; `CREDENTIALS` must be in the environment of its clients."""
    assert PROGRAM.is_file(), f"{PROGRAM} is not installed; run `make install`"
    command = [str(PROGRAM), "-H", "127.0.0.1", "-p", "0"]
    environment = os.environ | CREDENTIALS | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = iter(process.stdout)
        try:
            endpoint = next(match[1] for line in lines if (match := re.search(r"Running on http://(\S+)", line)))
            drain = threading.Thread(target=lambda: [None for _ in lines], daemon=True)  # or it would block on its log
            drain.start()
            yield S3Server(endpoint)
        finally:
            process.kill()
            process.wait()
            drain.join()
