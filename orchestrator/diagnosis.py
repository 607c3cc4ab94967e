"""What the doctor makes of what it has found: a row for each check, with what to do.

Invariant: these are functions of what was found; nothing is asked, started or changed here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.config import FleetConfig, RunConfig, recipe_key
from workers.data.interface import DataReport
from workers.examination import MISSING, Room, Space
from workers.rank import Trained
from workers.settings import AnnotatedData
from workers.task import Fault

Status = Literal["pass", "fail", "not run"]

GROWTH = 4
"""How many times the start network's weights a searched network's may come to, for the room that is asked for."""

BLOBS_PER_WORKER = 2
CHECKPOINTS_PER_WORKER = 3
KEPT_BLOBS = 10
"""Weights that are there at once: a worker's parent and backbone; the weights that it stores and its checkpoint, which
holds momentum, too; the best, the baselines, and the parents of what is pending."""

SHARED_PER_RANK = 2**26
SESSION_BYTES = 2**30
"""What NCCL and gloo share between ranks of a node, and what Ray writes to its logs."""

FULLEST = 0.95
"""The share of a disk beyond which Ray spills nothing to it."""

MAX_PROBLEMS = 8
"""Lines of a row; a hundred nodes may have the same problem."""

DATA_KEYS = ("data", "reignition.data")
PLACES_CHECK = "nodes and GPUs"
STORAGE_CHECK = "storage"
STORAGE_REMEDY = (
    "give --run a folder that all nodes share and Ray's user may write, or an object store (s3://bucket/run) whose "
    "credentials every node has"
)

Found = Mapping[str, Any]
"""What was found, or the `Silence` in its place, by who was asked."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What came instead of an answer.

    Attributes:
        fault: whose it was, as for a training.
        reason: one line.
        is_lasting: whether there is nobody to ask again.
    """

    fault: Fault
    reason: str
    is_lasting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster, as Ray has it; `session` is Ray's folder there, for logs and what memory can't hold."""

    node: str
    host: str
    num_cpus: int
    num_gpus: int
    store_bytes: int
    session: str
    labels: Mapping[str, str]

    def num_places(self, fleet: FleetConfig) -> int:
        """How many workers it has room for while nothing else runs on it, whatever its labels."""
        by_gpus = self.num_gpus // fleet.gpus_per_worker if fleet.gpus_per_worker else fleet.num_workers
        return min(self.num_cpus // fleet.cpus_per_worker, by_gpus)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What came of one check.

    Attributes:
        name: of the check.
        looked_at: what it looked at.
        status: whether it passes.
        found: what it found, perhaps of several lines.
        remedy: what to do, unless it passes.
    """

    name: str
    looked_at: str
    status: Status
    found: str
    remedy: str = ""


def report_table(rows: Sequence[Row]) -> Table:
    """The rows for a terminal or log."""
    styles = {"pass": "green", "fail": "bold red", "not run": "yellow"}
    table = Table(box=box.SIMPLE, pad_edge=False, show_lines=False)
    table.add_column("", no_wrap=True)
    for column, ratio in (("check", 2), ("looked at", 3), ("found", 6)):
        table.add_column(column, overflow="fold", ratio=ratio)
    for row in rows:
        found = Text(row.found)
        if row.remedy:
            found.append(f"\nto do: {row.remedy}", style="bold")
        table.add_row(Text(row.status, style=styles[row.status]), row.name, Text(row.looked_at), found)
    return table


def not_run(name: str, reason: str) -> Row:
    """The row of a check that could not be made."""
    return Row(name=name, looked_at="", status="not run", found=reason)


def step_check(recipe: str) -> str:
    """The name of a recipe's check."""
    return f"training step, {recipe}"


def gang_check(num_nodes: int) -> str:
    """The name of the check of gangs of so many workers."""
    return f"all-reduce, {num_nodes} " + ("worker" if num_nodes == 1 else "workers")


def images_per_rank(config: RunConfig, recipe: str) -> int:
    """Of one step."""
    return config.recipe(recipe).batch_size // (config.num_nodes(recipe) * config.fleet.num_ranks)


def judge_driver(reports: list[DataReport] | Silence) -> Row:
    """Whether `spnas search` would begin here: what `orchestrator.environment.check_environment` says."""
    row = Row(
        name="this machine",
        looked_at="start weights, data and batch sizes; for a local Ray, its CPUs and GPUs",
        status="pass",
        found="" if isinstance(reports, Silence) else _contents(reports),
    )
    problems = [reports.reason] if isinstance(reports, Silence) else []
    return _with_problems(row, problems, "correct that key; `spnas search` refuses to begin until then")


def judge_placement(config: RunConfig, cluster: Sequence[Node], found: Found) -> Row:
    """Whether as many workers were placed as are asked for.

    Args:
        config: the run's.
        cluster: its nodes.
        found: each worker's `Whereabouts`, or its silence.
    """
    fleet = config.fleet
    up = _answered(found)
    alike: dict[str, list[str]] = {}
    for node in cluster:
        num_workers = sum(place.node == node.node for place in up.values())
        labels = "".join(f", {key}={node.labels.get(key, '')}" for key in fleet.label_selector)
        what = f"{node.num_cpus} CPUs, {node.num_gpus} GPUs{labels}, {num_workers} workers"
        alike.setdefault(what, []).append(node.host)
    seen = "; ".join(f"{len(hosts)} nodes ({_few(hosts)}) with {what}" for what, hosts in alike.items())
    row = Row(
        name=PLACES_CHECK,
        looked_at=f"places for fleet.num_workers {fleet.num_workers}, each with {fleet.needs}",
        status="pass",
        found=f"{len(up)} of {fleet.num_workers} workers could be placed; {seen}",
    )
    if len(up) == fleet.num_workers:
        return row
    fewer = f"set fleet.num_workers to {len(up)}, " if up else ""
    reasons = sorted({silence.reason for silence in found.values() if isinstance(silence, Silence)})
    return _with_problems(
        row,
        [row.found, *reasons],
        f"add nodes, end what else runs on them (`ray status`), {fewer}or ask less of a node (fleet.gpus_per_worker, "
        "cpus_per_worker, label_selector)",
    )


def judge_no_cluster(problem: str) -> Row:
    """There is no Ray to ask."""
    row = Row(name=PLACES_CHECK, looked_at="Ray", status="fail", found="")
    return _with_problems(
        row,
        [problem],
        "start a cluster (`ray start`) and give its address as RAY_ADDRESS, its token as RAY_AUTH_MODE=token has it; "
        "without RAY_ADDRESS a Ray is started on this machine",
    )


def judge_versions(ours: Mapping[str, str], found: Found) -> Row:
    """Whether all have the driver's."""
    row = Row(
        name="versions",
        looked_at=f"{', '.join(ours)} of {len(found)} workers and the driver",
        status="pass",
        found=", ".join(f"{name} {version}" for name, version in ours.items()),
    )
    problems = _silences(found)
    for worker, theirs in _answered(found).items():
        for name in ours | theirs:
            if ours.get(name, MISSING) != theirs.get(name, MISSING):
                problems.append(
                    f"{worker}: {name} is {theirs.get(name, MISSING)}, the driver's is {ours.get(name, MISSING)}"
                )
    return _with_problems(row, problems, "install the same on every node: one image, and one --working-dir for all")


def judge_data(expected: Sequence[DataReport] | None, found: Found) -> Row:
    """Whether all workers read the data, and the same.

    Args:
        expected: what the driver has found, or else the first worker; None if nobody can read it.
        found: each worker's reports, or its silence.
    """
    expected = expected or ()
    problems = _silences(found)
    for worker, reports in _answered(found).items():
        for key, report, other in zip(DATA_KEYS, reports, expected, strict=False):
            if report != other:
                problems.append(f"{worker}: {key} has {report.lines()[0]}; elsewhere it has {other.lines()[0]}")
    row = Row(
        name="data",
        looked_at=f"data and, if it is used, reignition.data on {len(found)} workers",
        status="pass",
        found=_contents(expected),
    )
    return _with_problems(row, problems, "mount the same data at the same place on every node, readable for Ray's user")


def judge_storage(address: str, data: bytes, written: Found, read: Found, deleted: Found) -> Row:
    """Whether all could write, read what another has written, and delete.

    Args:
        address: the storage's.
        data: what was written.
        written: None, or a silence, by who wrote.
        read: what was read, or a silence, by who read.
        deleted: None, or a silence, by who deleted.
    """
    problems = []
    for what, found in (("write", written), ("read what another has written", read), ("delete", deleted)):
        problems += [f"{who} can't {what}: {text.reason}" for who, text in found.items() if isinstance(text, Silence)]
    problems += [
        f"{who} reads something else than was written" for who, text in _answered(read).items() if text != data
    ]
    row = Row(
        name=STORAGE_CHECK,
        looked_at=f"{address}: a file written by the driver and each worker, read by the next",
        status="pass",
        found=f"{len(written)} files written, read and deleted",
    )
    return _with_problems(row, problems, STORAGE_REMEDY)


def judge_no_storage(problem: str) -> Row:
    """There is none to look at: it can't be reached, or, without a problem, none is named."""
    if not problem:
        return not_run(STORAGE_CHECK, "no --run is given; give the address that the search is to have")
    row = Row(name=STORAGE_CHECK, looked_at="--run", status="fail", found="")
    return _with_problems(row, [problem], STORAGE_REMEDY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The room that a search wants, from the size of its start network's weights or its super-net's.

    Attributes:
        weights_bytes: of the start network, or of the super-net, as a detector.
        num_workers: on the node.
        num_ranks: on the node; 1 if none has to reach another.
        num_all_workers: in the run.
        is_supernet: whether the weights are a super-net's, which has no larger networks beside it.
    """

    weights_bytes: int
    num_workers: int
    num_ranks: int
    num_all_workers: int
    is_supernet: bool = False

    @property
    def weights(self) -> str:
        """What is counted with, in words."""
        if self.is_supernet:
            return f"super-net's weights {_size(self.weights_bytes)}"
        return f"start network's weights {_size(self.weights_bytes)}, grown {GROWTH} times {_size(self.blob_bytes)}"

    @property
    def blob_bytes(self) -> int:
        """Of the weights of a network that has grown, or of the super-net."""
        return self.weights_bytes if self.is_supernet else GROWTH * self.weights_bytes

    @property
    def store_bytes(self) -> int:
        """Ray's object store: each worker's blobs, and one more on its way."""
        return (BLOBS_PER_WORKER * self.num_workers + 1) * self.blob_bytes

    @property
    def shared_bytes(self) -> int:
        """/dev/shm: the object store, and what ranks share."""
        return self.store_bytes + (SHARED_PER_RANK * self.num_ranks if self.num_ranks > 1 else 0)

    @property
    def session_bytes(self) -> int:
        """Ray's session folder: logs, and the object store's blobs spilled."""
        return SESSION_BYTES + self.store_bytes

    @property
    def run_bytes(self) -> int:
        """The run's folder: what is kept, and each worker's weights and checkpoint."""
        return (KEPT_BLOBS + CHECKPOINTS_PER_WORKER * self.num_all_workers) * self.blob_bytes


def judge_room(found: Found, needs: Mapping[str, Needs], stores: Mapping[str, int]) -> list[Row]:
    """Whether there is room: in the object store, in shared memory, on the disks.

    Args:
        found: each node's `Room`, or the silence of the worker on it.
        needs: each node's.
        stores: the capacity of each node's object store, in bytes.
    """
    rooms: dict[str, Room] = _answered(found)
    most = max(needs.values(), key=lambda need: need.shared_bytes)
    problems = {name: _silences(found) for name in ("object store", "shared memory", "disk")}
    for host, here in rooms.items():
        need = needs[host]
        if stores[host] < need.store_bytes:
            problems["object store"].append(f"{host}: {_size(stores[host])} of {_size(need.store_bytes)} needed")
        problems["shared memory"] += _too_small(host, here.shared_memory, need.shared_bytes)
        problems["disk"] += _too_small(host, here.session, need.session_bytes)
        problems["disk"] += _too_small(host, here.run, need.run_bytes)
        if here.session.used_share > FULLEST:
            problems["disk"].append(f"{host}: {here.session.path} is {100 * here.session.used_share:.0f} % full")
    spaces = [place for here in rooms.values() for place in (here.session, here.run) if place is not None]
    shared = [here.shared_memory for here in rooms.values() if here.shared_memory is not None]
    ranks = f" + {most.num_ranks} ranks x {_size(SHARED_PER_RANK)}" if most.num_ranks > 1 else ""
    store = f"{BLOBS_PER_WORKER} x {most.num_workers} workers + 1"
    run = f"{KEPT_BLOBS} + {CHECKPOINTS_PER_WORKER} x {most.num_all_workers} workers"
    return [
        _with_problems(
            Row(
                name="object store",
                looked_at=f"wants {_size(most.store_bytes)} ({store} blobs; {most.weights})",
                status="pass",
                found=f"at least {_size(min((stores[host] for host in rooms), default=0))} on each node",
            ),
            problems["object store"],
            "start Ray with a larger --object-store-memory, or put fewer workers on a node",
        ),
        _with_problems(
            Row(
                name="shared memory",
                looked_at=f"/dev/shm wants {_size(most.shared_bytes)} free (the object store{ranks})",
                status="pass",
                found=f"at least {_size(min(place.free_bytes for place in shared))} free on each node"
                if shared
                else "there is none: Ray uses its temp folder",
            ),
            problems["shared memory"],
            "make it larger: --shm-size for docker, an emptyDir of medium Memory at /dev/shm for Kubernetes",
        ),
        _with_problems(
            Row(
                name="disk",
                looked_at=f"Ray's session folder wants {_size(most.session_bytes)} free ({_size(SESSION_BYTES)} + the "
                f"object store), the run's folder {_size(most.run_bytes)} ({run} blobs)",
                status="pass",
                found="; ".join(
                    f"{path}: at least {_size(min(place.free_bytes for place in spaces if place.path == path))} free"
                    for path in sorted({place.path for place in spaces})
                ),
            ),
            problems["disk"],
            "free some of it, or have Ray's temp folder (ray start --temp-dir) and --run on a larger disk",
        ),
    ]


def judge_step(config: RunConfig, recipe: str, found: Found) -> Row:
    """Whether every worker's ranks could train with a recipe.

    Args:
        config: the run's.
        recipe: whose batch was taken.
        found: each worker's `Trained`, or its silence.
    """
    per_rank = images_per_rank(config, recipe)
    num_gpus = config.fleet.gpus_per_worker
    problems = _silences(found)
    trained: dict[str, Trained] = _answered(found)
    for worker, end in trained.items():
        if end.metrics.get("num_devices", 0) < num_gpus:
            problems.append(
                f"{worker}: torch sees {end.metrics.get('num_devices', 0):.0f} CUDA devices, {num_gpus} are asked for"
            )
    reasons = " ".join(silence.reason for silence in found.values() if isinstance(silence, Silence))
    key = recipe_key(recipe)
    if recipe == "reignition":
        pixels = "reignition.data.image_size"
    else:
        pixels = "data.short_side and data.long_side" if isinstance(config.data, AnnotatedData) else "data.image_size"
    if "out of memory" in reasons or "SIGKILL" in reasons:
        remedy = (
            f"lower {key}.batch_size, which gives {per_rank} images to a rank, or {pixels}, or take devices with more "
            "memory"
        )
    elif reasons:
        remedy = "mend what it names; the whole story is in the worker's log, in Ray's session folder"
    else:
        remedy = "install a torch built for CUDA and a driver that it works with, or set fleet.gpus_per_worker to 0"
    row = Row(
        name=step_check(recipe),
        looked_at=f"{_trained(config, recipe)}, {per_rank} images of full size on each of {config.fleet.num_ranks} "
        f"ranks ({key}.batch_size {config.recipe(recipe).batch_size})",
        status="pass",
        found=_memory(list(trained.values()), grows=config.algorithm == "spnas"),
    )
    return _with_problems(row, problems, remedy)


def judge_gang(config: RunConfig, num_nodes: int, found: Found, ports: range) -> Row:
    """Whether the ranks of so many workers reach each other.

    Args:
        config: the run's.
        num_nodes: workers of a gang.
        found: the `Trained` of each gang's first worker, None of the others, or a silence.
        ports: where ranks of several nodes meet.
    """
    rates = [end.metrics["bytes_per_second"] for end in _answered(found).values() if end is not None]
    recipes = [name for name in config.recipe_names() if config.num_nodes(name) == num_nodes]
    ranks = config.fleet.num_ranks
    return _with_problems(
        Row(
            name=gang_check(num_nodes),
            looked_at=f"every worker in a gang of {num_nodes}, {num_nodes * ranks} ranks each, as for "
            f"{', '.join(recipes)}",
            status="pass",
            found=_bandwidth(rates),
        ),
        _silences(found),
        f"let the nodes reach each other at ports {ports.start} to {ports.stop - 1} and those that NCCL and "
        "gloo choose; NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME names the network; NCCL_DEBUG=INFO says more",
    )


def _with_problems(row: Row, problems: Sequence[str], remedy: str) -> Row:
    """The row, failed if there is any."""
    if not problems:
        return row
    more = [f"... and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return replace(row, status="fail", found="\n".join([*problems[:MAX_PROBLEMS], *more]), remedy=remedy)


def _few(names: Sequence[str]) -> str:
    return ", ".join([*names[:3], "..."] if len(names) > 3 else names)


def _silences(found: Found) -> list[str]:
    return [f"{name}: {answer.reason}" for name, answer in found.items() if isinstance(answer, Silence)]


def _answered(found: Found) -> dict[str, Any]:
    return {name: answer for name, answer in found.items() if not isinstance(answer, Silence)}


def _too_small(host: str, space: Space | None, needed: int) -> list[str]:
    if space is None or space.free_bytes >= needed:
        return []
    return [f"{host}: {space.path} has {_size(space.free_bytes)} free, {_size(needed)} are needed"]


def _contents(reports: Sequence[DataReport]) -> str:
    return "\n".join(f"{key}: {report.lines()[0]}" for key, report in zip(DATA_KEYS, reports, strict=False))


def _bandwidth(rates: Sequence[float]) -> str:
    least, most = (f"{rate(rates, default=0.0) / 1e9:.3g}" for rate in (min, max))
    return f"bus bandwidth {least} GB/s" if least == most else f"bus bandwidth {least} to {most} GB/s"


def _trained(config: RunConfig, recipe: str) -> str:
    """What a recipe's step was made with, in words."""
    whose = "the finest path of the super-net of " if recipe == "supernet" else ""
    return f"{whose}{config.start.architecture}"


def _memory(trained: Sequence[Trained], *, grows: bool) -> str:
    peak = max((end.peak_memory_bytes for end in trained), default=0)
    device = min((end.metrics["device_bytes"] for end in trained if "device_bytes" in end.metrics), default=None)
    if device is None:
        return f"peak memory {_size(peak)} a rank"
    share = 100 * peak / device
    return f"peak memory {_size(peak)} of {_size(int(device))} a rank, {share:.0f} %" + (
        "; networks grow from here" if grows else ""
    )


def _size(num_bytes: int) -> str:
    """Such as 1.5 GiB."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.3g} {name}"
    return f"{num_bytes / 2**10:.3g} KiB"
