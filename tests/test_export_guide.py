"""docs/export.md is run as it stands, but for sections whose packages are missing: they are skipped with the reason."""

import ast
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "export.md").read_text()
SECTIONS = {text.partition("\n")[0]: text for text in PAGE.split("\n## ")[1:]}
OUR_OWN = ("torch", "torchvision", "numpy", "onnxruntime", "safetensors", "spnas", "json", "timm")
"""Packages that our tests come with, so that a section that needs no others is always run."""


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def packages(code: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder as the page takes it to be: a run in it, and the files that its commands write."""
    folder = tmp_path_factory.mktemp("home")
    shutil.copytree(REPOSITORY / "tests" / "assets" / "run-format-2", folder / "runs" / "shapes")
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "spnas").symlink_to(REPOSITORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in "".join(blocks(PAGE, "sh")).splitlines():
            _, *arguments = shlex.split(line)
            answer = CliRunner().invoke(app, arguments)
            assert answer.exit_code == 0, (line, answer.output)
        yield folder


@pytest.mark.slow
@pytest.mark.parametrize("section", [name for name, text in SECTIONS.items() if blocks(text, "python")])
def test_a_section_of_the_guide_does_what_it_says(section: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = blocks(SECTIONS[section], "python")
    missing = sorted(name for name in packages("\n".join(code)) if find_spec(name) is None)
    assert not set(missing) & set(OUR_OWN)
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}, which this Python lacks")
    torch.manual_seed(0)
    for block in code:
        module = ModuleType("guide")
        monkeypatch.setitem(sys.modules, "guide", module)  # registries ask a function's module
        exec(compile(block, f"docs/export.md, {section}", "exec"), module.__dict__)
