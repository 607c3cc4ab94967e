"""Blobs between storage and Ray's object store, as far as no Ray is needed for it."""

from pathlib import Path
from typing import NoReturn

import pytest
import ray
import ray.exceptions

from orchestrator.errors import RunStopped
from orchestrator.weights import Weights
from workers.run_folder import RunFolder


def test_an_object_store_that_is_full_stops_the_run_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(value: object) -> NoReturn:
        raise ray.exceptions.ObjectStoreFullError("no room\nfor this")

    monkeypatch.setattr(ray, "put", fail)
    folder = RunFolder(tmp_path)
    weights = Weights(folder)
    weights.add(3, folder.write_weights("000003-0-1", b"weights"))
    with pytest.raises(RunStopped, match=r"^Ray has no room for the weights of job 3: [^\n]*no room[^\n]*$"):
        weights.ref(3)
