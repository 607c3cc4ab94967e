"""Settings that must be made before Ray or torch is imported, and what several tests share."""

import os
from pathlib import Path

os.environ["RAY_AUTH_MODE"] = "disabled"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("RAY_ADDRESS", None)

import pytest
from hypothesis import settings

settings.register_profile("spnas", deadline=None, derandomize=True)
settings.load_profile("spnas")

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture
def repository() -> Path:
    return REPOSITORY
