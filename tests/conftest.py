"""Settings that must be made before Ray or torch is imported, and what several tests share."""

import os
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"
# However busy the machine is, Ray has the time to start.
os.environ["RAY_gcs_server_port_wait_time_s"] = os.environ["RAY_DASHBOARD_STARTUP_TIMEOUT_S"] = "300"
os.environ.pop("RAY_ADDRESS", None)

import pytest
from hypothesis import HealthCheck, settings

from experiments.s3_server import CREDENTIALS, S3Server, running_s3_server

# What a shell puts in the background ignores it, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No judgement by time: the machine may be busy.
settings.register_profile("spnas", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("spnas")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session", autouse=True)
def patient_ray(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ray gives up a node that has not come up within 30 s, which a busy machine may need: here it has minutes."""
    if not any(item.get_closest_marker("ray") for item in request.session.items):
        yield  # it need not be imported
        return
    from ray._private import services

    get_node = services.get_node

    def get_node_in_time(*arguments: Any) -> Any:
        until = time.monotonic() + 300
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > until:
                    raise
            time.sleep(0.1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(services, "get_node", get_node_in_time)
        yield


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A server with a bucket named ``bucket``, which this process and those it starts may use."""
    with pytest.MonkeyPatch.context() as environment, running_s3_server() as server:
        for key, value in CREDENTIALS.items():
            environment.setenv(key, value)
        server.make_bucket("bucket")
        yield server


@pytest.fixture(params=["folder", "bucket"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty storage, of each kind in turn."""
    if request.param == "folder":
        return str(tmp_path / "storage")
    server: S3Server = request.getfixturevalue("s3_server")
    return server.address(f"bucket/runs/{secrets.token_hex(4)}")
