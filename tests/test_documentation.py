"""The documentation: the site builds without a warning and needs no network; commands are run, or say why not."""

import re
import shlex
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from markdown.extensions.toc import slugify

from experiments.commands import app
from experiments.documentation.config_page import config_page, groups
from orchestrator.config import RunConfig
from orchestrator.config_files import load_config
from orchestrator.row_values import COLUMNS
from tests.conftest import REPOSITORY
from tests.pages import BLOCKS, COMMANDS, PAGES, Block

PROGRAMS = ("spnas", "make", "python", "pytest", "ray", "pip", "export", "cp")
REASONS = (
    "a form",
    "installs 6 GB first; tests run what",
    "needs a cluster",
    "needs the full data set",
    "shows it until Ctrl-C",
    "takes a minute; ",
    "takes hours",
)
CHANGES = {
    "search": {},
    "train": {"algorithm": "train"},
    "pretrain": {"algorithm": "pretrain"},
    "trials": {"algorithm": "trials"},
}
"""What commands put into a config."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    answer = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "WARNING" not in answer.stderr
    return folder


class Loaded(HTMLParser):
    """What a browser fetches for a page by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]


@pytest.mark.slow
def test_a_page_stands_once_in_the_navigation() -> None:
    named = re.findall(r"^ +- .*: (\S+\.md)$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(named) > 10 and len(set(named)) == len(named)


def test_the_site_needs_no_network(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text())
        assert loaded.addresses
        assert not [address for address in loaded.addresses if re.match(r"(\w+:)?//", address)], page
        for address in loaded.addresses:
            if page.name != "404.html":  # it may be shown for any address, so its own are from the site's root
                assert (page.parent / address.partition("?")[0].partition("#")[0]).exists(), (page, address)
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(\w+:)?//", sheet.read_text()), sheet


@pytest.mark.slow
def test_files_of_the_repository_that_pages_link_to_are_in_the_site(site: Path) -> None:
    copy = site / "source" / "workers" / "failures.py.txt"
    assert copy.read_text() == (REPOSITORY / "workers" / "failures.py").read_text()
    assert 'href="source/workers/failures.py.txt"' in (site / "failures.html").read_text()


@pytest.mark.slow
def test_the_api_is_in_the_site_with_its_words(site: Path) -> None:
    assert "a run's folder or URI, or a safetensors file" in (site / "api.html").read_text().replace("&#39;", "'")
    assert 'id="orchestrator.driver.Observer.told"' in (site / "extending.html").read_text()


def test_every_config_key_has_a_row_with_its_default() -> None:
    page = config_page()
    for group in groups():
        _, _, section = page.partition(f"## {group.title}\n")
        section = section.partition("\n## ")[0]
        rows = re.findall(r"^\| `(\w+)`(?: †)? \| (.+?) \| (.+?) \| (.+?) \|$", section, re.MULTILINE)
        assert [row[0] for row in rows] == list(group.model.model_fields), group.title
    assert {group.path for group in groups()} >= set(RunConfig.model_fields) - {"algorithm", "seed", "keep_weights"}
    assert "| `n_stuck` | `20` | whole number ≥ 1 |" in page
    assert "| `num_workers` † | `1` |" in page
    assert "| `cache_dir` † | `null` | text, or `null` |" in page
    assert "None" not in page


def test_every_column_of_the_trials_table_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGES["trials.md"], re.MULTILINE)
    assert [name for name, _ in rows] == list(COLUMNS)


def test_every_block_says_what_language_it_is_in() -> None:
    assert not [(block.page, block.line) for block in BLOCKS if not block.language]


def test_a_command_stands_in_a_block_of_commands() -> None:
    for block in BLOCKS:
        if block.language in ("text", "yaml"):
            first = [line.removeprefix("$ ").split(" ")[0] for line in block.text.splitlines()]
            assert not set(first) & set(PROGRAMS), (block.page, block.line)


def test_what_is_not_run_says_why() -> None:
    for block in BLOCKS:
        if block.reason:
            assert block.language in COMMANDS, (block.page, block.line)
            assert block.reason.startswith(REASONS), (block.page, block.line, block.reason)
    comments = sum(len(re.findall(r"^<!-- not run", text, re.MULTILINE)) for text in PAGES.values())
    assert comments == sum(bool(block.reason) for block in BLOCKS), "a comment stands before no block"


@cache
def subcommands() -> dict[str, Any]:
    """The command line's commands by name."""
    return typer.main.get_command(app).commands


def check(words: list[str]) -> None:
    """See that a command, or the beginning of one, names what is there."""
    match words:
        case ["spnas", name, *rest]:
            command = subcommands()[name]
            known = {option for parameter in command.params for option in parameter.opts}
            given = {word.strip("[]") for word in rest if word.strip("[]").startswith("--")}
            assert given <= known, words
        case ["make", *targets]:
            rules = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
            assert {target for target in targets if "=" not in target} <= set(rules), words
        case ["python", "-m", module, *_] if module.startswith("experiments"):
            assert find_spec(module) is not None, words


def test_commands_and_options_that_pages_name_are_there() -> None:
    for page, text in PAGES.items():
        for code in re.findall(r"(?<!`)`((?:spnas|make|python -m) [^`]+)`", text):
            try:
                check(shlex.split(code.replace("...", "")))
            except (AssertionError, KeyError) as error:
                raise AssertionError(f"{page}: `{code}`") from error
    for block in BLOCKS:
        for words in block.commands if block.language in COMMANDS else ():
            check(words)


@pytest.mark.parametrize(
    "block", [block for block in BLOCKS if block.reason.startswith("needs")], ids=lambda block: block.page
)
def test_the_keys_of_commands_that_need_more_than_a_laptop_are_keys(block: Block) -> None:
    for words in block.commands:
        match words:
            case ["spnas", name, config, *rest] if name in CHANGES:
                load_config(REPOSITORY / config, [word for word in rest if "=" in word], CHANGES[name])


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.page)
def test_pieces_of_configs_are_keys_with_values_they_take(block: Block, tmp_path: Path) -> None:
    recipe = f"experiments/{'ecp' if 'LAMR' in block.text else 'bccd'}.yaml"
    piece = {"base": recipe} | yaml.safe_load(block.text)
    piece["base"] = str(REPOSITORY / piece["base"])
    (tmp_path / "piece.yaml").write_text(yaml.safe_dump(piece))
    load_config(tmp_path / "piece.yaml")


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_a_page_outside_of_the_site_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", PAGES[page]):
        name, _, anchor = target.partition("#")
        assert (REPOSITORY / name).exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (REPOSITORY / name).read_text(), re.MULTILINE)
            assert anchor in {slugify(heading, "-") for heading in headings}, target


def test_make_search_is_the_first_searchs_command() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    assert "RUN ?= runs/shapes" in makefile
    assert "$(BIN)/spnas search experiments/shapes.yaml --run $(RUN)" in makefile
    (command, *_) = [block for block in BLOCKS if block.page == "first-search.md" and not block.reason]
    assert command.commands == [["spnas", "search", "experiments/shapes.yaml", "--run", "runs/shapes"]]
