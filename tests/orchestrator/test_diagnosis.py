"""What the doctor makes of what it has found."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from orchestrator.config import FleetConfig
from orchestrator.diagnosis import (
    MAX_PROBLEMS,
    Needs,
    Node,
    Silence,
    judge_data,
    judge_gang,
    judge_no_storage,
    judge_placement,
    judge_room,
    judge_step,
    judge_storage,
    judge_versions,
    not_run,
    report_table,
)
from tests.orchestrator.tiny import tiny_config
from workers.data.interface import DataReport
from workers.examination import Room, Space, versions
from workers.examiner import Whereabouts
from workers.rank import Trained
from workers.run_folder import WeightsFile

GIB = 2**30
SILENT = Silence("unclear", "no answer within 60 s", is_lasting=True)
REPORT = DataReport(num_train=10, num_val=5, class_names=("cat",), class_counts=(15,))
NEEDS = Needs(weights_bytes=GIB, num_workers=2, num_ranks=16, num_all_workers=4)
ROOM = Room(
    session=Space(path="/tmp/ray", free_bytes=500 * GIB, total_bytes=1000 * GIB),
    shared_memory=Space(path="/dev/shm", free_bytes=100 * GIB, total_bytes=100 * GIB),
    run=Space(path="/run", free_bytes=500 * GIB, total_bytes=1000 * GIB),
)


def trained(**metrics: float) -> Trained:
    return Trained(
        metrics=metrics,
        weights=WeightsFile(name="x", sha256="0", size_bytes=0),
        peak_memory_bytes=20 * GIB,
        notes=(),
        seconds=1.0,
    )


def room_statuses(room: Room | Silence = ROOM, store_bytes: int = 100 * GIB) -> list[str]:
    """Of object store, shared memory and disk."""
    return [row.status for row in judge_room({"a": room}, {"a": NEEDS}, {"a": store_bytes})]


def test_another_version_on_one_node_fails_and_names_it() -> None:
    ours = versions()
    row = judge_versions(ours, {"worker-0": ours, "worker-1": ours | {"torch": "2.0"}})
    assert (row.status, row.found) == ("fail", f"worker-1: torch is 2.0, the driver's is {ours['torch']}")
    assert row.remedy
    missing = {name: version for name, version in ours.items() if name != "torchvision"}
    assert "torchvision is missing" in judge_versions(ours, {"worker-0": missing}).found
    assert judge_versions(ours, {"worker-0": ours}).status == "pass"


def test_other_code_is_another_version() -> None:
    assert "code is other" in judge_versions(versions(), {"worker-0": versions() | {"code": "other"}}).found


def test_data_that_one_node_lacks_or_has_otherwise_fails() -> None:
    lacking = Silence("candidate", "data.root: '/data' is no folder")
    assert judge_data([REPORT], {"worker-0": [REPORT], "worker-1": lacking}).found == (
        "worker-1: data.root: '/data' is no folder"
    )
    row = judge_data([REPORT], {"worker-0": [REPORT], "worker-1": [replace(REPORT, num_train=9)]})
    assert row.status == "fail" and "worker-1: data has 9 training" in row.found and "10 training" in row.found
    assert judge_data([REPORT, REPORT], {"worker-0": [REPORT, REPORT]}).status == "pass"


def test_storage_that_is_not_the_same_place_for_all_fails() -> None:
    nobody = {"the driver": None, "worker-0": None}
    absent = Silence("infrastructure", "FileNotFoundError: x")
    row = judge_storage("/run", b"1", nobody, {"the driver": b"1", "worker-0": absent}, nobody)
    assert row.status == "fail" and row.found == "worker-0 can't read what another has written: FileNotFoundError: x"
    assert judge_storage("/run", b"1", nobody, {"the driver": b"1", "worker-0": b"2"}, nobody).status == "fail"
    assert judge_storage("/run", b"1", nobody, {"the driver": b"1", "worker-0": b"1"}, nobody).status == "pass"


def test_storage_that_nobody_asked_for_is_not_run_and_one_out_of_reach_fails() -> None:
    assert judge_no_storage("").status == "not run"
    assert judge_no_storage("can't be reached").status == "fail"


def test_the_room_that_is_needed_follows_from_weights_and_workers() -> None:
    assert NEEDS.blob_bytes == 4 * GIB
    assert NEEDS.store_bytes == (2 * 2 + 1) * 4 * GIB
    assert NEEDS.shared_bytes == NEEDS.store_bytes + GIB  # 16 ranks with 64 MiB each
    assert NEEDS.session_bytes == NEEDS.store_bytes + GIB
    assert NEEDS.run_bytes == (10 + 3 * 4) * 4 * GIB
    assert replace(NEEDS, num_ranks=1).shared_bytes == NEEDS.store_bytes


def test_each_kind_of_room_fails_by_itself() -> None:
    def with_free(space: Space | None, free_bytes: int) -> Space:
        assert space is not None
        return replace(space, free_bytes=free_bytes)

    assert room_statuses() == ["pass", "pass", "pass"]
    assert room_statuses(store_bytes=NEEDS.store_bytes) == ["pass", "pass", "pass"]
    assert room_statuses(store_bytes=NEEDS.store_bytes - 1) == ["fail", "pass", "pass"]
    small = replace(ROOM, shared_memory=with_free(ROOM.shared_memory, NEEDS.shared_bytes - 1))
    assert room_statuses(small) == ["pass", "fail", "pass"]
    assert room_statuses(replace(ROOM, shared_memory=None)) == ["pass", "pass", "pass"]
    for full in ({"session": with_free(ROOM.session, NEEDS.session_bytes - 1)}, {"run": with_free(ROOM.run, 1)}):
        assert room_statuses(replace(ROOM, **full)) == ["pass", "pass", "fail"]
    assert room_statuses(replace(ROOM, run=None)) == ["pass", "pass", "pass"]
    assert room_statuses(SILENT) == ["fail", "fail", "fail"]


def test_a_disk_so_full_that_ray_spills_nothing_fails_however_large_it_is() -> None:
    large = Space(path="/tmp/ray", free_bytes=400 * GIB, total_bytes=10_000 * GIB)
    *_, disk = judge_room({"a": replace(ROOM, session=large)}, {"a": NEEDS}, {"a": 100 * GIB})
    assert (disk.status, disk.found) == ("fail", "a: /tmp/ray is 96 % full")


def test_what_is_short_is_told_with_what_is_needed() -> None:
    short = replace(ROOM, run=Space(path="/run", free_bytes=GIB // 2, total_bytes=GIB))
    *_, disk = judge_room({"worker-0 on h": short}, {"worker-0 on h": NEEDS}, {"worker-0 on h": 100 * GIB})
    assert disk.found == "worker-0 on h: /run has 512 MiB free, 88 GiB are needed"


@pytest.mark.parametrize(
    "reason", ["out of memory: CUDA out of memory", "its process was ended by SIGKILL, as the system does"]
)
def test_too_little_memory_says_which_batch_to_lower(reason: str) -> None:
    row = judge_step(tiny_config(), "final", {"worker-0": Silence("candidate", reason)})
    assert row.status == "fail" and "lower final.batch_size, which gives 8 images" in row.remedy


def test_the_memory_of_a_step_is_shown_beside_the_devices() -> None:
    row = judge_step(tiny_config(), "serial", {"worker-0": trained(num_devices=1.0, device_bytes=80.0 * GIB)})
    assert row.status == "pass" and "20 GiB of 80 GiB a rank, 25 %" in row.found


def test_a_gang_shows_its_bandwidth_or_who_failed() -> None:
    config = tiny_config()
    found = {"worker-0": trained(bytes_per_second=5e9), "worker-1": None}
    assert judge_gang(config, 2, found, range(10)).found == "bus bandwidth 5 GB/s"
    row = judge_gang(config, 2, found | {"worker-1": SILENT}, range(7, 10))
    assert row.status == "fail" and "worker-1" in row.found and "ports 7 to 9" in row.remedy


def test_a_node_has_places_for_as_many_workers_as_fit_whole() -> None:
    node = Node(node="a", host="10.0.0.1", num_cpus=64, num_gpus=8, store_bytes=GIB, session="/tmp/ray", labels={})
    assert node.num_places(FleetConfig(cpus_per_worker=60, gpus_per_worker=8)) == 1
    assert node.num_places(FleetConfig(cpus_per_worker=10, gpus_per_worker=3)) == 2
    assert node.num_places(FleetConfig(num_workers=100, cpus_per_worker=10)) == 6
    assert node.num_places(FleetConfig(gpus_per_worker=16)) == 0


def test_the_same_trouble_everywhere_takes_few_lines() -> None:
    found = {f"worker-{number}": SILENT for number in range(100)}
    lines = judge_versions(versions(), found).found.splitlines()
    assert len(lines) == MAX_PROBLEMS + 1 and lines[-1] == f"... and {100 - MAX_PROBLEMS} more"


def test_missing_workers_are_told_with_what_the_nodes_have() -> None:
    node = Node(node="a", host="10.0.0.1", num_cpus=64, num_gpus=8, store_bytes=GIB, session="/tmp/ray", labels={})
    found = {"worker-0": Whereabouts("a", "10.0.0.1"), "worker-1": SILENT}
    row = judge_placement(tiny_config(), [node], found)
    assert row.found.splitlines() == [
        "1 of 2 workers could be placed; 1 nodes (10.0.0.1) with 64 CPUs, 8 GPUs, 1 workers",
        "no answer within 60 s",
    ]
    assert "fleet.num_workers to 1" in row.remedy


def test_nodes_that_are_alike_take_one_line_with_the_labels_that_are_asked_for() -> None:
    labels = {"pool": "b", "x": "y"}
    node = Node(node="a", host="10.0.0.1", num_cpus=64, num_gpus=8, store_bytes=GIB, session="/tmp/ray", labels=labels)
    nodes = [replace(node, node=str(number), host=f"10.0.0.{number}") for number in range(9)]
    row = judge_placement(tiny_config(fleet={"label_selector": {"pool": "a"}}), nodes, {"worker-0": SILENT})
    assert "9 nodes (10.0.0.0, 10.0.0.1, 10.0.0.2, ...) with 64 CPUs, 8 GPUs, pool=b, 0 workers" in row.found
    assert "num_workers to" not in row.remedy


def test_the_table_shows_every_row_and_what_to_do() -> None:
    failing = judge_no_storage("run [red]s3://x can't be reached")
    console = Console(width=120, file=io.StringIO())
    console.print(report_table([failing, not_run("data", "there is no worker to ask")]))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert all(part in text for part in ("fail", "not run", "to do:", "[red]"))
