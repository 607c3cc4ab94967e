import pytest

from orchestrator.report.reading import read_story
from orchestrator.report.story import Story
from tests.orchestrator.made_up_runs import BEGUN_AT, made_up_run, multi_scale_config, search_config

NOW = BEGUN_AT + 10**6


@pytest.fixture(scope="session")
def paper_story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A search by morphs with failures, lost attempts, two drivers, a reignition and subnets."""
    path = tmp_path_factory.mktemp("runs") / "paper"
    serial = {"acceptance": "paper", "n_stuck": 8, "num_rounds": 1, "in_flight": 8, "max_candidates": 40}
    parallel = {"n_stuck": 6, "in_flight": 8, "max_candidates": 10}
    made_up_run(path, search_config(serial=serial, parallel=parallel, final=None), (20, 10**6), losses=0.1)
    return read_story(str(path), NOW)


@pytest.fixture(scope="session")
def msnas_story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """A search over the paths of a super-net."""
    path = tmp_path_factory.mktemp("runs") / "msnas"
    made_up_run(path, multi_scale_config())
    return read_story(str(path), NOW)
