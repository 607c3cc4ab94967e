"""A node worker without Ray: it outlives what happens to its rank."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from tests.workers.test_ranks import settings_of, task_of
from workers.node import NodeWorker

BLOB = np.ones(8, dtype=np.uint8)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeWorker]:
    node = NodeWorker("worker-0", settings_of(tmp_path))
    yield node
    node.end()


def test_a_task_that_could_not_be_handed_over_whole_does_not_spoil_the_next(
    node: NodeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("workers.ranks.send_handle", fail)
        with pytest.raises(OSError, match="No space left"):
            node.run(task_of("add"), BLOB, BLOB)
    assert node.run(task_of("add"), BLOB, BLOB).metrics["parent"] == 8


def test_a_worker_holds_no_more_files_open_after_many_tasks_and_ranks(node: NodeWorker) -> None:
    def num_open() -> int:
        return len(os.listdir("/proc/self/fd"))

    node.run(task_of("add"), BLOB, BLOB)
    before = num_open()
    for kind in ("add", "fail", "add", "raise", "add"):
        node.run(task_of(kind), BLOB, BLOB)
    assert num_open() <= before
