"""The pages' commands and Python are run as they stand, in a folder as the pages take theirs to be.

The recipes there are the repository's, made small in every size, with small data in the place of ``/data``; one search
of them makes the ``runs/shapes`` that most pages speak of. A section of Python whose packages are missing is skipped
with the reason.
"""

import ast
import itertools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import ray
import torch
import yaml
from typer.testing import CliRunner

from experiments.commands import app
from tests.conftest import REPOSITORY
from tests.pages import BLOCKS, COMMANDS, Block
from tests.small_data import write_coco, write_image, write_json, write_voc

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]  # a page has several commands

OUR_OWN = (
    *("json", "pathlib"),
    *("models", "orchestrator", "spnas", "workers"),
    *("numpy", "onnxruntime", "pandas", "safetensors", "timm", "torch", "torchvision"),
)
"""Packages that our tests come with, so that a section that needs no others is always run."""

SMALL: dict[str, Any] = {
    "detector": {"pyramid_channels": 8, "head_channels": 16, "rpn_post_nms_train": 20, "rpn_post_nms_test": 20},
    "training": {"epochs": 1, "batch_size": 2},
    "fleet": {"num_workers": 1, "cpus_per_worker": 1},
}
BY_MORPHS: dict[str, Any] = SMALL | {
    "start": {"architecture": "BB(1,d1)", "base_channels": 4, "training": {"epochs": 1}},
    "serial": {
        **{"n_stuck": 1, "max_candidates": 1, "num_rounds": 1, "confirmations": 0, "in_flight": 2, "num_morphs": 1},
        **{"min_blocks": 1, "min_stages": 2, "max_stages": 3},
    },
    "parallel": None,
}
RECIPES: dict[str, dict[str, Any]] = {
    "shapes": BY_MORPHS
    | {
        "data": {"num_train": 8, "num_val": 4},
        "reignition": {"data": {"num_train": 8, "num_val": 4}, "epochs": 1, "batch_size": 2},
    },
    "bccd": BY_MORPHS
    | {
        "data": {"short_side": 64, "long_side": 96},
        "reignition": {"data": {"image_size": 32}, "epochs": 1, "batch_size": 2},
    },
    "msnas_shapes": SMALL
    | {
        "data": {"num_train": 8, "num_val": 4},
        "evolution": {"population": 2, "generations": 0, "top_k": 2, "flops_window": 1},
        "supernet": {"epochs": 1},
        "sample": {"iterations": 1},
    },
    "voc": {},
    "msnas_shapes_random": {"evolution": {"population": 2, "top_k": 2}},
}
"""The recipes that pages name, and how they are made small."""


def merged(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with some changed at any depth."""
    changed = {
        key: merged(values.get(key, {}), change) if isinstance(change, dict) else change
        for key, change in changes.items()
    }
    return values | changed


def packages(code: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def missing(blocks: list[Block]) -> list[str]:
    code = "\n".join(block.text for block in blocks if block.language == "python")
    return sorted(name for name in packages(code) if find_spec(name) is None)


class Home:
    """A folder in which pages are followed; a command that stands on several is run once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: set[tuple[str, ...]] = set()

    def follow(self, blocks: list[Block]) -> None:
        """Do what the blocks of a section say, in order; its Python shares its names."""
        module = ModuleType("guide")
        sys.modules["guide"] = module  # registries ask a function's module
        for block in blocks:
            if block.reason:
                continue
            if block.language == "python":
                torch.manual_seed(0)
                exec(compile(block.text, f"{block.page}, {block.section}", "exec"), module.__dict__)
            elif block.language in COMMANDS:
                for words in block.commands:
                    self._run(words)

    def _run(self, words: list[str]) -> None:
        words = [word.replace("=/data/", f"={self.folder}/data/") for word in words]
        if tuple(words) in self._done:
            return
        if words[0] == "spnas":
            answer = CliRunner().invoke(app, words[1:])
            assert answer.exit_code == 0, (shlex.join(words), answer.output)
        else:
            assert words[0] == "python", f"{shlex.join(words)}: what is run is spnas and python"
            run = [sys.executable, *words[1:]]
            subprocess.run(run, check=True, env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, capture_output=True)
        self._done.add(tuple(words))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Small recipes, small data, the repository's own folder, Ray, and a search."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "experiments").mkdir()
    for name, small in RECIPES.items():
        values = yaml.safe_load((REPOSITORY / "experiments" / f"{name}.yaml").read_text())
        (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(merged(values, small)))
    for split, images in (("train", "ab"), ("val", "c")):
        write_voc(folder / "data" / "mine", split, {image: [("cat", 5, 5, 30, 25)] for image in images})
        for class_name in ("apple", "pear"):
            write_image(folder / "data" / "imagenet-like" / split / class_name / "0.jpg", (48, 48))
    truth = write_coco(folder, "val", {"a.jpg": [("cat", (4, 4, 30, 25))]})
    write_json(folder / "instances_val.json", truth)
    found = {"image_id": 7, "category_id": 3, "bbox": [4, 4, 26, 21], "score": 0.9}
    write_json(folder / "results.json", [found])
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "spnas").symlink_to(REPOSITORY)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=128 * 2**20)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        made = Home(folder)
        (search, *_) = [block for block in BLOCKS if block.page == "first-search.md" and not block.reason]
        made.follow([search])
        yield made
        patch.delitem(sys.modules, "guide", raising=False)
    ray.shutdown()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def sections(*, apart: bool) -> list[list[Block]]:
    """The blocks of each section; those that need packages of others, or all others."""
    found = [list(blocks) for _, blocks in itertools.groupby(BLOCKS, key=lambda block: (block.page, block.section))]
    return [blocks for blocks in found if bool(set(missing(blocks)) - set(OUR_OWN)) == apart]


def by_page() -> dict[str, list[list[Block]]]:
    """The sections of each page that has anything to do."""
    found: dict[str, list[list[Block]]] = {}
    for section in sections(apart=False):
        if any(block.language in (*COMMANDS, "python") and not block.reason for block in section):
            found.setdefault(section[0].page, []).append(section)
    return found


@pytest.mark.parametrize("page", by_page())
def test_a_page_does_what_it_says(page: str, home: Home) -> None:
    for section in by_page()[page]:
        home.follow(section)


@pytest.mark.parametrize("section", sections(apart=True), ids=lambda blocks: blocks[0].section)
def test_a_section_on_another_library_does_what_it_says(section: list[Block], home: Home) -> None:
    if lacking := missing(section):
        pytest.skip(f"needs {' and '.join(lacking)}, which this Python lacks")
    home.follow(section)
