"""``spnas doctor``: what a search will meet on its cluster, met before GPU-days are spent.

Each check asks what it has to, of the driver's machine and of an examiner where each worker would be, and hands the
answers to `orchestrator.diagnosis`.

Invariant: every check gives its row within a bounded time, whatever fails; one that could not be made says why.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from models.detector_shape import DetectorShape
from models.families import detector_parameters
from models.msnas_costs import multi_scale_detector_parameters
from models.msnas_encoding import MultiScaleSpec
from orchestrator.config import RunConfig
from orchestrator.diagnosis import (
    Needs,
    Node,
    Row,
    Silence,
    gang_check,
    images_per_rank,
    judge_data,
    judge_driver,
    judge_gang,
    judge_no_cluster,
    judge_no_storage,
    judge_placement,
    judge_room,
    judge_step,
    judge_storage,
    judge_versions,
    not_run,
    step_check,
)
from orchestrator.environment import check_environment
from orchestrator.errors import UserError
from orchestrator.examiners import Examiners, nodes, within
from orchestrator.fleet import GANG_PORTS, connect
from orchestrator.node_settings import node_settings, start_weights
from orchestrator.search.algorithms import SUPER_NET_ALGORITHMS
from workers.data.interface import DataReport
from workers.examination import versions
from workers.settings import TrainingSettings
from workers.storage import Storage, open_storage
from workers.task import ALL_REDUCE, REHEARSAL_TRAINER, Gang, Task

PLACE_S = 60.0
ANSWER_S = 60.0
DATA_S = 600.0
STORAGE_S = 150.0  # an object store's requests are tried again for a minute
STEP_S = 900.0
LINK_S = 300.0
"""How long each kind of question is waited for."""

STALL_S = 120.0
"""How long ranks wait for each other."""

DRIVER = "the driver"
BYTES_PER_PARAMETER = 4


def examine(
    config: RunConfig,
    run: str | None,
    *,
    announce: Callable[[str], None] = lambda name: None,
    trainer: str = REHEARSAL_TRAINER,
    place_s: float = PLACE_S,
) -> list[Row]:
    """Make every check.

    Args:
        config: what is to be searched.
        run: the address of the run's storage; None leaves out what needs it.
        announce: told what is looked at next.
        trainer: what ranks train with; see `workers.rank.Trainer`.
        place_s: how long workers are waited for that the cluster has room for.

    Raises:
        UserError: if `run` is no address.
    """
    storage, problem = None, ""
    try:
        storage = open_storage(run) if run is not None else None
    except ValueError as error:
        raise UserError(f"run {run}: {error}") from None
    except OSError as error:
        problem = f"run {run}: can't be reached ({error})"
    examination = _Examination(config, storage, problem, announce, trainer, place_s)
    try:
        return list(examination.rows())
    finally:
        examination.close()


class _Examination:
    """The checks, in an order in which later ones can rely on earlier ones."""

    def __init__(
        self,
        config: RunConfig,
        storage: Storage | None,
        storage_problem: str,
        announce: Callable[[str], None],
        trainer: str,
        place_s: float,
    ) -> None:
        self._config = config
        self._storage = storage
        self._storage_problem = storage_problem
        self._announce = announce
        self._place_s = place_s
        settings = node_settings(config, storage.address if storage is not None else "", trainer)
        self._settings = settings if config.pretrains else replace(settings, reignition_data=None)
        self._examiners: Examiners | None = None
        self._cluster: list[Node] = []
        self._reports: list[DataReport] | None = None
        self._readers: list[str] = []

    def rows(self) -> Iterator[Row]:
        """Make all checks."""
        self._announce("this machine")
        reports: list[DataReport] | Silence = within(DATA_S, lambda: check_environment(self._config))
        self._reports = None if isinstance(reports, Silence) else reports
        yield judge_driver(reports)
        self._announce("nodes and GPUs")
        yield self._place()
        for name, check in self._checks():
            if self._workers:
                self._announce(name)
                yield from check()
            else:
                yield not_run(name, "there is no worker to ask")

    def close(self) -> None:
        """End what was started on the nodes."""
        if self._examiners is not None:
            self._examiners.close()

    def _checks(self) -> Iterator[tuple[str, Callable[[], Sequence[Row]]]]:
        yield "versions", self._check_versions
        yield "data", self._check_data
        yield "storage", self._check_storage
        yield "object store, shared memory, disk", self._check_room
        detectors = [name for name in self._config.recipe_names() if name != "reignition"]
        heaviest = [max(detectors, key=lambda name: images_per_rank(self._config, name))]
        if self._has_supernet and heaviest != ["supernet"]:
            heaviest.insert(0, "supernet")  # it has more weights, and finer paths, than what is sampled
        for recipe in (*heaviest, "reignition") if self._config.pretrains else heaviest:
            yield step_check(recipe), partial(self._check_step, recipe)
        for num_nodes in sorted({self._config.num_nodes(name) for name in self._config.recipe_names()}):
            if num_nodes * self._config.fleet.num_ranks > 1:
                yield gang_check(num_nodes), partial(self._check_gangs, num_nodes)

    @property
    def _has_supernet(self) -> bool:
        return self._config.algorithm in SUPER_NET_ALGORITHMS

    @property
    def _workers(self) -> list[str]:
        return self._examiners.names if self._examiners is not None else []

    def _ask(self, method: str, timeout_s: float, of: Mapping[str, tuple[Any, ...]] | None = None) -> dict[str, Any]:
        """The answers of all workers, or of some with arguments; a `Silence` is one, too."""
        assert self._examiners is not None
        return self._examiners.ask(method, timeout_s, {worker: () for worker in self._workers} if of is None else of)

    def _label(self, worker: str) -> str:
        """A worker with its node's address; the driver as it is."""
        if worker == DRIVER:
            return worker
        assert self._examiners is not None
        return f"{worker} on {self._examiners.where[worker].host}"

    def _labelled(self, answers: Mapping[str, Any]) -> dict[str, Any]:
        return {self._label(worker): answer for worker, answer in answers.items()}

    # ---- the checks ------------------------------------------------------------------------------------------------

    def _place(self) -> Row:
        fleet = self._config.fleet
        try:
            connect(fleet)
            self._cluster = nodes()
            # Workers that the cluster has no room for are not waited for.
            num_places = min(fleet.num_workers, sum(node.num_places(fleet) for node in self._cluster))
            self._examiners = Examiners(fleet, self._settings, num_places, self._place_s)
        except UserError as error:
            return judge_no_cluster(str(error))
        return judge_placement(self._config, self._cluster, self._examiners.where | self._examiners.missing)

    def _check_versions(self) -> list[Row]:
        return [judge_versions(versions(), self._labelled(self._ask("versions", ANSWER_S)))]

    def _check_data(self) -> list[Row]:
        answers = self._ask("data", DATA_S)
        self._readers = [worker for worker, answer in answers.items() if not isinstance(answer, Silence)]
        if self._reports is None:
            self._reports = answers[self._readers[0]] if self._readers else None
        return [judge_data(self._reports, self._labelled(answers))]

    def _check_storage(self) -> list[Row]:
        """Each writes a file that the next one reads: wherever a place is not the same for all, somebody misses one."""
        if self._storage is None:
            return [judge_no_storage(self._storage_problem)]
        token = secrets.token_hex(4)
        data = token.encode()
        files = {who: f"doctor-{token}-{number}" for number, who in enumerate((DRIVER, *self._workers))}
        written = self._each("write", {who: (name, data) for who, name in files.items()})
        writers = [who for who, answer in written.items() if not isinstance(answer, Silence)]
        readers = [*writers[1:], *writers[:1]]
        read = self._each("read", {reader: (files[writer],) for reader, writer in zip(readers, writers, strict=True)})
        deleted = self._each("delete", {who: (files[who],) for who in writers})
        return [
            judge_storage(
                self._storage.address, data, self._labelled(written), self._labelled(read), self._labelled(deleted)
            )
        ]

    def _each(self, method: str, of: Mapping[str, tuple[Any, ...]]) -> dict[str, Any]:
        """Have workers and the driver do something with the run's storage."""
        answers = self._ask(method, STORAGE_S, {who: arguments for who, arguments in of.items() if who != DRIVER})
        if DRIVER in of:
            answers = {DRIVER: within(STORAGE_S, lambda: getattr(self._storage, method)(*of[DRIVER]))} | answers
        return answers

    def _check_room(self) -> list[Row]:
        """Of each node, as seen by the first worker on it."""
        assert self._examiners is not None
        config = self._config
        on_nodes = {
            node.node: [worker for worker in self._workers if self._examiners.where[worker].node == node.node]
            for node in self._cluster
        }
        nodes_asked = {workers[0]: node for node in self._cluster if (workers := on_nodes[node.node])}
        answers = self._ask("room", ANSWER_S, {worker: (node.session,) for worker, node in nodes_asked.items()})
        needs = {}
        for worker, node in nodes_asked.items():
            num_workers = len(on_nodes[node.node])
            needs[worker] = Needs(
                weights_bytes=BYTES_PER_PARAMETER * self._num_parameters(),
                num_workers=num_workers,
                num_ranks=num_workers * config.fleet.num_ranks if config.fleet.num_ranks > 1 else 1,
                num_all_workers=config.fleet.num_workers,
                is_supernet=self._has_supernet,
            )
        stores = {worker: node.store_bytes for worker, node in nodes_asked.items()}
        return judge_room(self._labelled(answers), self._labelled(needs), self._labelled(stores))

    def _num_parameters(self) -> int:
        """Of the start network as a detector, or of its super-net."""
        spec, detector = self._config.start.spec, DetectorShape(**self._config.detector.model_dump())
        num_classes = len(self._reports[0].class_names) if self._reports else 1
        if self._has_supernet:
            assert isinstance(spec, MultiScaleSpec), f"{spec.architecture} has no super-net"
            return multi_scale_detector_parameters(spec, detector, num_classes, supernet=True)
        return detector_parameters(spec, detector, num_classes, self._config.serial.max_stages)

    def _check_step(self, recipe: str) -> list[Row]:
        able = [worker for worker in self._readers if worker in self._workers]
        if not able:
            return [not_run(step_check(recipe), "no worker can read the data")]
        images = images_per_rank(self._config, recipe) * self._config.fleet.num_ranks
        # Two epochs of one batch: the second step is the first that holds the optimizer's momentum, too.
        task = self._task(
            {"reignition": "pretrain", "supernet": "train_supernet"}.get(recipe, "train_detector"),
            self._config.recipe(recipe).merged({"epochs": 2, "batch_size": images}),
            STEP_S,
        )
        answers = self._ask("train", STEP_S, {worker: (task,) for worker in able})
        return [judge_step(self._config, recipe, self._labelled(answers))]

    def _check_gangs(self, num_nodes: int) -> list[Row]:
        """All workers in gangs of so many, at once; those left over in one with others."""
        workers = self._workers
        if len(workers) < num_nodes:
            return [not_run(gang_check(num_nodes), f"there are {len(workers)} workers")]
        rounds = [[workers[first : first + num_nodes] for first in range(0, len(workers) - num_nodes + 1, num_nodes)]]
        if len(workers) % num_nodes:
            rounds.append([workers[-num_nodes:]])
        found: dict[str, Any] = {}
        for number, gangs in enumerate(rounds):
            asked = {worker: (task,) for gang in gangs for worker, task in self._gang_tasks(gang)}
            suffix = " (with others)" if number else ""
            found |= {
                self._label(worker) + suffix: answer for worker, answer in self._ask("train", LINK_S, asked).items()
            }
        return [judge_gang(self._config, num_nodes, found, GANG_PORTS)]

    def _gang_tasks(self, workers: Sequence[str]) -> Iterator[tuple[str, Task]]:
        """What each worker of a gang is to do."""
        assert self._examiners is not None
        task = self._task(ALL_REDUCE, self._config.recipe("serial"), STALL_S)
        address = f"{self._examiners.where[workers[0]].host}:{secrets.choice(GANG_PORTS)}"
        for number, worker in enumerate(workers):
            gang = Gang(node_rank=number, num_nodes=len(workers), address=address)
            yield worker, replace(task, gang=gang if len(workers) > 1 else None)

    def _task(self, kind: str, training: TrainingSettings, stall_s: float) -> Task:
        return Task(
            index=0,
            attempt=0,
            kind=kind,
            spec=self._config.start.spec,
            morphs=(),
            training=training,
            seed=(self._config.seed,),
            start_weights=start_weights(self._config) if kind == "train_detector" else None,
            stall_s=stall_s,
        )
