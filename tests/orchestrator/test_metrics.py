"""What Ray's dashboard and Prometheus see of a search, and what the Grafana dashboard asks for."""

import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from urllib.request import urlopen

import pandas as pd
import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from ray.util.state import list_tasks

from orchestrator import metrics
from orchestrator.config import RunConfig
from orchestrator.driver import Driver
from orchestrator.history import History
from orchestrator.journal import Record
from orchestrator.metrics import MetricsObserver
from orchestrator.observers import Observers
from orchestrator.runs import open_run
from orchestrator.search.protocol import Job
from tests.orchestrator.held_trainers import released
from tests.orchestrator.test_driver import Watcher
from tests.orchestrator.tiny import tiny_config
from workers.storage import open_storage
from workers.task import Progress

REPOSITORY = Path(__file__).parents[2]
DASHBOARD = REPOSITORY / "experiments" / "grafana" / "spnas.json"
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
RUN = "größe 1"  # what Ray takes as a tag is less than what a file system takes as a name
EXPORTED_RUN = "gr\\xf6\\xdfe 1"
HELD_REIGNITION = "tests.orchestrator.held_trainers:HeldReignition"
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[str]:
    """The address of the dashboard of a Ray that exports often."""
    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=True,
        dashboard_port=0,
        log_to_driver=False,
        object_store_memory=128 * 2**20,
        _system_config={"metrics_report_interval_ms": 1000},
    )
    yield f"http://{context.dashboard_url}"
    ray.shutdown()


def scraped() -> list[Sample]:
    """Every sample of a run that the node exports now."""
    node = ray.nodes()[0]  # type: ignore[no-untyped-call]
    with urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as answer:
        text = answer.read().decode()
    families = text_string_to_metric_families(text)
    return [sample for family in families for sample in family.samples if family.name.startswith("ray_spnas_")]


def wait_until(condition: Callable[[list[Sample]], bool]) -> list[Sample]:
    """The first samples that fulfil it; pytest's time limit ends it."""
    while not condition(samples := scraped()):
        Event().wait(0.2)
    return samples


def value_of(samples: list[Sample], name: str, **labels: str) -> float:
    """The value of the one series with these labels, NaN if there is none."""
    labels["run"] = EXPORTED_RUN
    found = [sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()]
    assert len(found) <= 1, f"{name} {labels}: {found}"
    return found[0] if found else math.nan


class Reader(Watcher):
    """Reads what is exported once the driver knows how far the reignition is; both wait meanwhile."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self.during_reignition: list[Sample] = []
        self.num_appends = 0
        self._num_waiting = 0

    def opened(self, history: History, resumed: bool) -> None:
        super().opened(history, resumed)
        self._num_waiting = 0

    def appended(self) -> None:
        """An append to the journal is exported with the next outcome or look."""
        self._num_waiting += 1

    def _note_export(self) -> None:
        self.num_appends += self._num_waiting
        self._num_waiting = 0

    def told(self, history: History, record: Record) -> None:
        super().told(history, record)
        self._note_export()

    def working(self, history: History, jobs: dict[str, Job | None], progress: dict[str, Progress | None]) -> None:
        self._note_export()
        steps = [
            told.step for name, told in progress.items() if (job := jobs[name]) and job.kind == "pretrain" and told
        ]
        if any(steps) and not self.during_reignition:
            self.during_reignition = wait_until(lambda samples: value_of(samples, "ray_spnas_reignition_epoch") > 0)
            released(self._path).touch()


def run(config: RunConfig, path: Path, watcher: Watcher) -> str:
    folder, changed = open_run(config, open_storage(path))
    observer = MetricsObserver(config, folder.name, watcher.note)
    driver = Driver(config, folder, Observers(observer, watcher), trainer=HELD_REIGNITION)

    def appended(seconds: float) -> None:
        observer.appended(seconds)
        if isinstance(watcher, Reader):
            watcher.appended()

    driver.journal.on_append = appended
    return driver.run(changed)


@pytest.fixture(scope="module")
def searched(local_ray: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reader]:
    """A search in two lives, so that the second's metrics have to go on from the first's."""
    path = tmp_path_factory.mktemp("metrics") / RUN
    reader = Reader(path)
    assert "max_candidates" in run(tiny_config(budget={"max_candidates": 2}), path, reader)
    assert run(tiny_config(), path, reader) == "the search is complete"
    return path, reader


@pytest.fixture(scope="module")
def exported(searched: tuple[Path, Reader]) -> list[Sample]:
    """What is exported once the search is over."""
    _, reader = searched
    # What is exported last of all.
    return wait_until(lambda samples: value_of(samples, "ray_spnas_journal_append_seconds_count") == reader.num_appends)


def test_every_metric_is_exported_under_its_run(exported: list[Sample]) -> None:
    names = {sample.name for sample in exported if sample.labels["run"] == EXPORTED_RUN}
    for instrument in vars(metrics._instruments()).values():
        for suffix in SUFFIXES[type(instrument).__name__.lower()]:
            assert f"ray_{instrument.info['name']}{suffix}" in names


def test_the_numbers_are_those_of_the_search(searched: tuple[Path, Reader], exported: list[Sample]) -> None:
    trials = pd.read_parquet(searched[0] / "trials.parquet")
    candidates = trials[trials["role"] == "candidate"]
    best = trials.loc[trials["is_best"], "score"].item()
    assert value_of(exported, "ray_spnas_candidates", status="completed") == len(candidates)
    assert value_of(exported, "ray_spnas_phase", phase=trials["phase"].iloc[-1]) == 1
    assert value_of(exported, "ray_spnas_best_score", metric="AP50") == pytest.approx(best)
    assert value_of(exported, "ray_spnas_candidates", status="failed") == 0
    assert value_of(exported, "ray_spnas_candidates", status="pending") == 0
    assert value_of(exported, "ray_spnas_candidate_seconds") == pytest.approx(candidates["seconds"][-20:].mean())
    assert value_of(exported, "ray_spnas_round") == 1
    assert value_of(exported, "ray_spnas_phase", phase="serial") == 0
    assert value_of(exported, "ray_spnas_reignition_images_per_second") == 0
    assert value_of(exported, "ray_spnas_journal_append_seconds_count") >= len(trials)


def test_a_reignition_shows_how_far_it_is(searched: tuple[Path, Reader]) -> None:
    samples = searched[1].during_reignition
    assert value_of(samples, "ray_spnas_reignition_epoch") == 1
    assert value_of(samples, "ray_spnas_reignition_images_per_second") == 1  # as the stub says
    assert value_of(samples, "ray_spnas_reignition_top1") == 0.5
    assert value_of(samples, "ray_spnas_reignition_seconds_left") == 0  # as the stub says after the first step of one
    busy = [sample for sample in samples if sample.labels.get("state") == "busy"]
    assert busy and all(sample.value > 0 for sample in busy)


def test_no_series_is_told_apart_by_network_or_job(exported: list[Sample]) -> None:
    of_ray = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "NodeId", "IsHeadNode"}
    ours = {"run", "worker", "state", "status", "phase", "metric", "le"}
    for sample in exported:
        assert {label for label in sample.labels if not label.startswith("otel_")} <= of_ray | ours


def test_jobs_are_tasks_named_by_what_they_do_and_no_question_stands_among_them(
    local_ray: str, searched: tuple[Path, Reader]
) -> None:
    trials = pd.read_parquet(searched[0] / "trials.parquet")
    columns = zip(trials["role"], trials["index"], trials["architecture"], strict=True)
    jobs = {f"{role}[{index} {architecture}]" for role, index, architecture in columns}
    while not jobs <= (names := {task.name for task in list_tasks(local_ray, limit=10_000)}):
        Event().wait(0.2)  # workers tell of their tasks now and then
    assert not [name for name in names if name.endswith(".status")]


def queries() -> list[str]:
    """Every query of the dashboard, those of its variables too."""
    dashboard = json.loads(DASHBOARD.read_text())
    variables = dashboard["templating"]["list"]
    of_panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return of_panels + [variable["query"]["query"] for variable in variables if variable["type"] == "query"]


def test_dashboard_and_documentation_name_what_is_exported_and_all_of_it(exported: list[Sample]) -> None:
    asked = {name for query in queries() for name in re.findall(r"\bray_\w+", query)}
    assert asked <= {sample.name for sample in exported}
    shown = {re.sub("_(total|bucket)$", "", name) for name in asked}
    assert shown == {f"ray_{instrument.info['name']}" for instrument in vars(metrics._instruments()).values()}
    described = re.findall(r"^\| `(ray_spnas_\w+)`", (REPOSITORY / "docs" / "dashboard.md").read_text(), re.MULTILINE)
    assert {re.sub("_total$", "", name) for name in described} == shown


@pytest.mark.parametrize("query", queries())
def test_a_query_asks_for_labels_that_are_there_and_adds_up_drivers(query: str, exported: list[Sample]) -> None:
    for name in re.findall(r"\bray_\w+", query):
        labels = set.union(*(set(sample.labels) for sample in exported if sample.name == name))
        grouped = re.findall(r"by \((\w+)\)", query)
        assert set(grouped) <= labels
        assert query.startswith("label_values") or grouped, f"{query} shows every driver of a run apart"
        assert set(re.findall(r"(\w+)=\"", query)) <= labels


def test_a_search_goes_on_without_metrics_and_says_so_once(
    local_ray: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("no metrics here")

    monkeypatch.setattr(metrics, "_instruments", broken)
    watcher = Watcher()
    released(tmp_path / "run").touch()
    assert run(tiny_config(parallel=None, final=None), tmp_path / "run", watcher) == "the search is complete"
    notes = [note for note in watcher.notes if "metrics" in note]
    assert notes == ["metrics are incomplete: RuntimeError: no metrics here; the search goes on"]
