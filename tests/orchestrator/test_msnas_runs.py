"""Whole searches among a super-net's paths: real Ray, real training, interruptions; all of them seconds long."""

import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray
from rich.console import Console

from experiments.chaos.searches import TINY_DETECTOR
from models.blob import unpack
from models.msnas_encoding import MultiScale, MultiScaleSpec, SearchSpace
from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.console import status_table, summary_table
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.search.protocol import live_weights
from orchestrator.sources import best_of_run
from orchestrator.standing import Standing
from tests.orchestrator.held_trainers import HeldTraining, first_step, held
from tests.orchestrator.test_driver import HELD, Watcher, records, run
from tests.orchestrator.tiny import history_of
from workers.run_folder import RunFolder
from workers.storage import open_storage

pytestmark = pytest.mark.ray

START = "MS(BB,4;1,2,2,0.5,1,2;4,8,8,16,16)"
TINY: dict[str, Any] = {
    "algorithm": "msnas",
    "start": {"architecture": START},
    "evolution": {
        "population": 3,
        "generations": 1,
        "num_children": 2,
        "num_random": 1,
        "flops_window": 0.3,
        "top_k": 2,
    },
    "detector": TINY_DETECTOR,
    "data": {"format": "shapes", "num_train": 16, "num_val": 8, "image_size": 64},
    "training": {"epochs": 1, "batch_size": 8},
    "supernet": {"epochs": 3},
    "sample": {"iterations": 1},
    "final": {"epochs": 1},
    "fleet": {"num_workers": 2, "checkpoint_minutes": 0},
}


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    yield
    ray.shutdown()


def config(**changes: Any) -> RunConfig:
    values = copy.deepcopy(TINY)
    for key, change in changes.items():
        values[key] = values[key] | change if isinstance(change, dict) else change
    return parse_config(values, "test")


@pytest.fixture(scope="module")
def undisturbed(local_ray: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run(config(), path) == "the search is complete"
    return path


def test_a_search_trains_the_super_net_its_samples_and_the_best_of_them(undisturbed: Path) -> None:
    trials = pd.read_parquet(undisturbed / "trials.parquet")
    assert list(trials["role"]) == ["supernet"] + ["candidate"] * 6 + ["final"] * 2
    assert set(trials["status"]) == {"completed"}
    supernet, samples, finals = (trials[trials["role"] == role] for role in ("supernet", "candidate", "final"))
    assert (samples["parent"] == 0).all() and finals["parent"].isna().all()
    assert supernet["score"].isna().all() and "AP50" in json.loads(supernet["metrics"][0])
    assert samples["score"].notna().all() and samples["architecture"].is_unique
    best = samples.sort_values(["score", "index"], ascending=[False, True])["architecture"][:2]
    assert list(finals["architecture"]) == list(best)
    target = supernet["gflops"][0]  # the start's
    assert ((samples["gflops"] - target).abs() <= 0.3 * target).all()
    (marked,) = trials[trials["is_best"]]["index"]
    assert marked == finals.loc[finals["score"].idxmax(), "index"]


def test_the_super_net_and_the_retrained_keep_their_weights_and_the_samples_do_not(undisturbed: Path) -> None:
    state = History.fold(config(), Journal(open_storage(undisturbed))).state
    kept = {int(path.name.split("-")[0]) for path in (undisturbed / "weights").iterdir()}
    assert kept == live_weights(state) == {0, 7, 8}
    assert not list(undisturbed.glob("checkpoints/*"))
    best = best_of_run(str(undisturbed))
    assert isinstance(best.spec, MultiScaleSpec) and best.spec == state.population[best.job or 0].job.spec
    names = [name for name in unpack(best.data)[0] if ".blocks." in name]
    assert {name.split(".")[3] for name in names} == {str(index) for index in range(6)}
    assert len({tuple(name.split(".")[3:5]) for name in names}) == 6  # one operator of each block


def test_the_tables_of_a_search_can_be_printed_at_every_moment(undisturbed: Path, tmp_path: Path) -> None:
    lines = (undisturbed / "journal" / "000001.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "journal").mkdir()
    for count in range(len(lines) + 1):
        (tmp_path / "journal" / "000001.jsonl").write_bytes(b"".join(lines[:count]))
        history = History.fold(config(), Journal(open_storage(tmp_path)))
        printed = io.StringIO()
        console = Console(file=printed, width=160)
        console.print(summary_table(config(), Standing.of(history)))
        console.print(status_table(config(), Standing.of(history), 99))
        assert len(printed.getvalue().splitlines()) >= len(history.trials.rows)


def test_one_worker_that_is_interrupted_and_stopped_gives_the_history_of_two(undisturbed: Path, tmp_path: Path) -> None:
    path, given = tmp_path / "run", config(fleet={"num_workers": 1})

    def interrupt(roles: set[str]) -> None:
        if held(path, 0).exists():  # within the super-net's training
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(given, path, Watcher(on_working=interrupt), HELD)
    stop = Watcher(on_told=lambda index: RunFolder(path).request_stop() if index == 1 else None)
    assert run(given, path, stop, HELD) == "stopped as asked"
    assert first_step(path, 0, 1) == HeldTraining.before_step
    assert 1 < len(stop.told_indices) < 9
    assert run(given, path) == "the search is complete"
    pd.testing.assert_frame_equal(history_of(path), history_of(undisturbed), check_exact=True)


def test_workers_train_the_super_net_together_and_score_its_paths_as_they_are(local_ray: None, tmp_path: Path) -> None:
    given = config(
        algorithm="random",
        training={"normalization": "sync"},
        supernet={"num_nodes": "all", "epochs": 1},
        evolution={"fine_tune": False, "utilization": "free", "generations": 0, "population": 2},
        final=None,
    )
    assert run(given, tmp_path / "run") == "the search is complete"
    trials = pd.read_parquet(tmp_path / "run" / "trials.parquet")
    assert records(tmp_path / "run", "dispatched")[0]["worker"] == "worker-0+worker-1"
    assert list(trials["role"]) == ["supernet", "candidate", "candidate"]
    space = SearchSpace(block="BB", channels=4, num_blocks=6, utilization="free")
    assert all(MultiScale.parse(text) in space for text in trials["architecture"])
    assert [path.name[:6] for path in (tmp_path / "run" / "weights").iterdir()] == ["000000"]
