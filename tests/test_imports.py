"""The architecture, as imports: one way between the rooms, Ray and torch only where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
ROOMS = ("models", "workers", "orchestrator", "spnas", "experiments")  # each may import those before it
RAY_MODULES = {
    "workers/examiner.py",
    "workers/node.py",
    "orchestrator/examiners.py",
    "orchestrator/fleet.py",
    "orchestrator/metrics.py",
    "orchestrator/weights.py",
}
WITHOUT_TORCH = (
    "models.architecture",
    "models.morphism",
    "models.costs",
    "models.zoo",
    "models.families",
    "spnas",
    "orchestrator.search.spnas",
    "orchestrator.carry_out",
    "orchestrator.commands",
    "orchestrator.history",
    "orchestrator.driver",
    "orchestrator.metrics",
    "orchestrator.simulation.command",
    "orchestrator.report.figures",
    "orchestrator.report.making",
    "orchestrator.cli",
    "orchestrator.network_tables",
    "orchestrator.config",
    "workers.rank",
    "workers.ranks",
    "workers.failures",
    "workers.run_folder",
)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def modules(room: str) -> list[Path]:
    return sorted((REPOSITORY / room).rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_imports_between_rooms_run_one_way(room: str) -> None:
    forbidden = {*ROOMS[ROOMS.index(room) + 1 :], "tests"}
    for path in modules(room):
        crossing = {name for name in imported(path) if name.split(".")[0] in forbidden}
        assert not crossing, f"{path} imports {crossing}"


def test_ray_is_imported_only_where_actors_are_started_called_or_are() -> None:
    found = {
        str(path.relative_to(REPOSITORY))
        for room in ("models", "workers", "orchestrator")
        for path in modules(room)
        if any(name.split(".")[0] == "ray" for name in imported(path))
    }
    assert found == RAY_MODULES


def test_the_search_imports_only_encodings_morphisms_and_costs_of_the_other_rooms() -> None:
    for path in modules("orchestrator/search"):
        others = {name for name in imported(path) if name.startswith(("models", "workers", "orchestrator"))}
        allowed = {"models.architecture", "models.morphism", "models.costs", "models.families"}
        allowed |= {"models.msnas_encoding", "models.msnas_costs", "models.detector_shape"}
        assert {name for name in others if not name.startswith("orchestrator.search")} <= allowed, path


@pytest.mark.parametrize("module", WITHOUT_TORCH)
def test_what_answers_at_once_loads_neither_torch_nor_ray(module: str) -> None:
    code = f"import {module}, sys; print([name for name in ('torch', 'ray') if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_look_at_a_run_s_status_loads_neither_the_trials_table_nor_what_packs_it() -> None:
    code = "import sys, orchestrator.status; print(sorted({'pyarrow', 'orchestrator.history'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_a_look_at_a_network_loads_no_config_and_no_tables_of_a_run() -> None:
    code = """
import sys
from orchestrator.cli import app
app(["arch", "msnas-r18-5"], standalone_mode=False)
print([name for name in ("numpy", "pandas", "torch", "ray", "orchestrator.config") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert answer.stdout.splitlines()[-1] == "[]"
