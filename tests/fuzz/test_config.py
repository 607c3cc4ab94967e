"""Config files and overrides: what a user may have written, or been given."""

import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.config import RunConfig
from orchestrator.config_files import load_config, parse_config, read_config
from orchestrator.errors import MAX_LINES, UserError
from orchestrator.search.settings import TrialSettings
from orchestrator.yaml_text import MAX_BYTES, read_yaml
from tests.fuzz.answers import FEW, MANY, answer, check_message, refusal
from tests.orchestrator.test_config import SMALLEST

TEXT = yaml.safe_dump(SMALLEST)

odd_texts = st.text(max_size=20) | st.sampled_from(
    [
        "",
        "\x00",
        "\x1b[31m",
        "a\nb",
        "\ud800",
        "\u2028",
        "../../etc/passwd",
        "/dev/zero",
        "torchvision:",
        "pretrain",
        "x" * 5000,
    ]
)
odd_numbers = st.integers() | st.floats() | st.sampled_from([0, -1, True, 2**63, 10**99, -(10**99), 1e308])
ENCODINGS = st.sampled_from(["BB(1,1)", "resnet18", "MS(BB,4;1,2,0.5;4,4,8,8,8)", "swap(0)", "new_stage()", "final"])
odd_values = st.recursive(
    st.none() | st.booleans() | odd_numbers | odd_texts | st.binary(max_size=5) | st.dates() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(odd_texts, inner, max_size=3),
    max_leaves=6,
)


def paths(schema: dict[str, Any], node: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every key of a config, by its path."""
    node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
    found = [(*prefix, name) for name in node.get("properties", {})]
    for name, inner in node.get("properties", {}).items():
        found += paths(schema, inner, (*prefix, name))
    for word in ("anyOf", "oneOf"):
        for option in node.get(word, []):
            found += paths(schema, option, prefix)
    return found


SCHEMA = RunConfig.model_json_schema()
PATHS = sorted(set(paths(SCHEMA, SCHEMA)))


def check_config(config: RunConfig) -> None:
    """A config that is accepted can be written, read again, and handed to the search."""
    assert read_config(config.to_yaml(), "written.yaml") == config
    assert config.search.start == config.start.spec


@MANY
@given(st.dictionaries(st.sampled_from(PATHS), odd_values, min_size=1, max_size=3))
@example({("start", "training"): {"epochs": [[[[]]]]}})
@example({("data", "format"): ["shapes"]})
@example({("sample",): {"": b"\xff"}})  # a search by morphs has no samples
@example({("data", "mean"): []})  # pydantic speaks of its first number, which is not there
def test_a_config_with_odd_values_is_one_or_refused(changes: dict[tuple[str, ...], Any]) -> None:
    values = deepcopy(SMALLEST)
    for (*parents, last), value in changes.items():
        inner = values
        for key in parents:
            if not isinstance(inner.get(key), dict):
                inner[key] = {}
            inner = inner[key]
        inner[last] = value
    config = answer(lambda: parse_config(values, "odd.yaml"), UserError)
    if config is not None:
        check_config(config)


@FEW
@given(
    st.lists(st.dictionaries(st.sampled_from(list(TrialSettings.model_fields)), odd_values | ENCODINGS), max_size=2),
)
@example([{"morphs": "expand(0) " * 100_000}])
@example([{"morphs": "swap(999999999)"}])
@example([{"architecture": "x", "morphs": ""}])
def test_a_list_of_odd_trials_is_one_or_refused(trials: list[dict[str, Any]]) -> None:
    config = answer(lambda: parse_config(SMALLEST | {"algorithm": "trials", "trials": trials}, "odd.yaml"), UserError)
    if config is not None:
        check_config(config)


PIECES = [
    "a",
    "start",
    "seed",
    ": ",
    ":",
    "- ",
    "\n",
    "\n  ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    '"',
    "&x ",
    "*x",
    "!!int ",
    "? ",
]
MORE = [
    "!",
    "|",
    ">",
    "%YAML 9.9\n",
    "---\n",
    "...\n",
    "<<",
    "0x_",
    "0b_",
    "1:2:3",
    "1_0",
    "2001-99-99",
    ".nan",
    "=",
    "\t",
    "#",
]


@MANY
@given(st.lists(st.sampled_from(PIECES + MORE), max_size=20).map("".join) | st.text(max_size=40))
@example("!!timestamp x")  # PyYAML answers these with an AttributeError, IndexErrors and a KeyError
@example("!!int ''")
@example("!!float ''")
@example("!!bool maybe")
@example("a: 0x_")
@example("a: 2001-99-99")
@example("? [a]\n: b")
@example("a: 1\na: 2")
@example("on: 1")
def test_a_text_is_yaml_or_refused_in_one_line(text: str) -> None:
    answer(lambda: read_yaml(text))
    answer(lambda: read_config(text, "odd.yaml"), UserError)


LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]\n" for i in range(24)
)

HOSTILE = {
    "billion laughs": (LAUGHS, "found an alias"),
    "merged laughs": (LAUGHS + "z:\n  <<: *a\n", "found an alias"),
    "an alias in itself": ("a: &a [*a]", "found an alias"),
    "an object": ("a: !!python/object/apply:os.system ['touch owned']", "found a tag"),
    "a name": ("a: !!python/name:os.system", "found a tag"),
    "a tag of its own": ("a: !x 1", "found a tag"),
    "deep lists": ("a: " + "[" * 50_000, "levels of nesting"),
    "deep mappings": ("{a: " * 20_000, "levels of nesting"),
    "deep dashes": ("- " * 50_000, "levels of nesting"),
    "deep keys": ("? " * 50_000, "levels of nesting"),
    "base 60": ("a: 1" + ":1" * 50_000, "a number of more than"),
    "base 60 with a point": ("a: 1" + ":1" * 50_000 + ".5", "a number of more than"),
    "base 16": ("a: 0x" + "f" * 50_000, "a number of more than"),
    "digits": ("a: " + "9" * 50_000, "a number of more than"),
    "the same key": ("seed: 1\nseed: 2", "line 2, column 1: no YAML (found a key for the second time"),
    "a number as a key": ("1: x", "a key that is no word"),
    "a list as a key": ("[a]: x", "a key that is no word"),
    "null as a key": ("~: x", "a key that is no word"),
    "two documents": ("a: 1\n---\nb: 2", "but found another document"),
    "a control character": ("a: \x07", "no YAML"),
    "too long": ("#" * (MAX_BYTES + 1), f"is longer than {MAX_BYTES} characters"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_text_that_unfolds_or_runs_or_misleads_is_refused(name: str) -> None:
    text, reason = HOSTILE[name]
    message = refusal(lambda: read_config(text, "odd.yaml"), UserError)
    assert reason in message and "\n" not in message


def test_a_file_full_of_mistakes_is_answered_with_the_first_of_them() -> None:
    text = TEXT + "".join(f"k{number}: 1\n" for number in range(10_000))
    lines = refusal(lambda: read_config(text, "odd.yaml"), UserError).split("\n")
    assert len(lines) == MAX_LINES
    assert lines[0] == "config odd.yaml: k0: unknown key; use one of " + lines[0].partition("use one of ")[2]
    assert lines[-1] == f"config odd.yaml: ... and {10_000 - MAX_LINES + 1} more mistakes"


def test_a_key_can_not_write_to_the_terminal() -> None:
    message = refusal(lambda: read_config(TEXT + '"\\e[31m\\nowned": 1\n', "odd.yaml"), UserError)
    assert message.startswith(r"config odd.yaml: \x1b[31m\nowned: unknown key")


@MANY
@given(
    st.lists(
        st.sampled_from(
            ["serial", "start", "training", "seed", "a", ".", "=", "=", "{}", "[", "*a", "1", "", "\x00", "-"]
        )
    )
)
@example(["a", ".", ".", "b", "=", "1"])
@example(["="])
@example(["serial", "=", "5"])
@example(["start", ".", "a", ".", "b", "="])
def test_an_override_is_one_or_refused(pieces: list[str]) -> None:
    override = "".join(pieces)
    config = answer(lambda: read_config(TEXT, "odd.yaml", [override]), UserError)
    if config is not None:
        check_config(config)


@pytest.mark.parametrize(
    "override",
    ["a." * 60_000 + "b=1", "final.epochs" + ".a" * 5000 + "=1", "final=" + "{a: " * 5000, "seed=" + "9" * 60_000],
    ids=lambda override: override[:12],
)
def test_an_endless_override_is_refused(override: str) -> None:
    refusal(lambda: read_config(TEXT, "odd.yaml", [override]), UserError)


def test_only_a_file_is_read_as_a_config(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "endless").symlink_to("/dev/zero")
    (tmp_path / "below.yaml").write_text(TEXT)
    for path in (
        tmp_path / "pipe",
        tmp_path / "loop",
        tmp_path / "endless",
        tmp_path,
        tmp_path / "below.yaml" / "below.yaml",
        tmp_path / ("x" * 300),
        Path("/dev/null"),
        Path("/dev/stdin"),
    ):
        assert "\n" not in refusal(lambda path=path: load_config(path), UserError)  # type: ignore[misc]


def test_a_file_without_end_is_read_to_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "hole.yaml"
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole, which takes no room
    assert "is longer than" in refusal(lambda: load_config(path), UserError)


@FEW
@given(st.binary(max_size=60))
@example(b"\xff\xfe\x00a")
@example(b"\xef\xbb\xbfseed: 1")
@example("seed: 1".encode("utf-16"))
def test_any_bytes_are_a_config_or_refused(data: bytes) -> None:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"fuzz-{os.getpid()}.yaml"
    path.write_bytes(data)
    try:
        answer(lambda: load_config(path), UserError)
    finally:
        path.unlink()


@FEW
@given(st.text(max_size=3000))
@example("\n".join(map(str, range(1000))))
@example("\x1b[2J" * 500)
def test_an_error_for_the_user_can_always_be_printed(text: str) -> None:
    check_message(str(UserError(text or "x")))
