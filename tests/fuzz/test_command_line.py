"""The command line: whatever its arguments, an answer or a short refusal with exit code 2."""

import os
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from hypothesis import example, given
from hypothesis import strategies as st
from typer.testing import CliRunner

from orchestrator.cli import app
from tests.fuzz.answers import FEW, check_message
from tests.orchestrator.tiny import TINY, tiny_config


def spnas(*arguments: str) -> Result:
    """What a command answers; nothing but an exit may come out of it."""
    result = CliRunner().invoke(app, arguments, env={"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2), result.output
    assert "Traceback" not in result.output
    return result


def refused(*arguments: str) -> str:
    """The message that a command is refused with."""
    result = spnas(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    check_message(result.stderr.strip())
    return result.stderr


odd = st.text(st.characters(exclude_characters="\x00"), max_size=30) | st.sampled_from(
    [
        "-",
        "--",
        "--help=1",
        "-1",
        "9" * 5000,
        "x" * 5000,
        "../..",
        "/dev/null",
        "\x1b[31m",
        "\udcff",
        "s3:",
        "=",
        "a..b=1",
    ]
)


@FEW
@given(
    encoding=odd,
    number=odd | st.integers().map(str),
    option=st.sampled_from(["--height", "--width", "--base-channels", "--stem"]),
)
@example(encoding="BB(1)", number="1" + "0" * 200, option="--height")  # no float holds the costs
@example(encoding="BB(1)", number="1" + "0" * 200, option="--base-channels")
@example(encoding="BB(1)", number="-1", option="--base-channels")
@example(encoding="BB(" + "d" * 900 + ")", number="64", option="--base-channels")
@example(encoding="BB(" + "1," * 999 + "1)", number="64", option="--base-channels")
@example(encoding="MS(BB,4;1,2;4,4,8,8,8)", number="1" + "0" * 200, option="--width")
@example(encoding="MS(BB,4;1,2;4,4,8,8,8)", number="16384", option="--height")
@example(encoding="MS(BB,4;1,2;4,4,8,8,8)", number="-1", option="--base-channels")
def test_arch_answers_anything(encoding: str, number: str, option: str) -> None:
    spnas("arch", option, number, "--", encoding)


@FEW
@given(
    arguments=st.lists(
        odd | st.sampled_from(["search", "status", "stop", "export", "--run", "--last", "--to", "onnx", "x.yaml"]),
        max_size=4,
    )
)
def test_any_arguments_are_answered(arguments: list[str]) -> None:
    spnas(*arguments)


@pytest.fixture
def config(tmp_path: Path) -> str:
    """A config that is whole but for its data, so that no search begins."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(TINY | {"data": {"format": "voc", "root": str(tmp_path / "nowhere")}}))
    return str(path)


OVERRIDES = [
    "",
    "=",
    "a..b=1",
    "a",
    "serial=5",
    "serial.x.y=",
    "seed=[",
    "seed=*a",
    "seed=!!int ''",
    "final=" + "[" * 5000,
]
MORE = [
    "data.root=\x1b[31m",
    "data.root=" + "x" * 5000,
    'data.root="\\0"',
    "data.train=[../../etc/passwd]",
    "seed=" + "9" * 5000,
]


@pytest.mark.parametrize("override", OVERRIDES + MORE, ids=lambda text: repr(text[:12]))
def test_a_search_with_an_odd_override_is_refused(override: str, config: str, tmp_path: Path) -> None:
    refused("search", config, "--run", str(tmp_path / "run"), "--", override)
    assert not (tmp_path / "run").exists()


@FEW
@given(text=odd)
@example(text="no/such.safetensors")
def test_a_source_or_a_network_that_is_none_is_refused(text: str) -> None:
    run = ("--run", "/dev/null/run")
    refused("evaluate", *run, "--", text)
    refused("train", *run, f"--from={text}", "--", "experiments/shapes.yaml")
    refused("pretrain", *run, f"--architecture={text}", "--", "experiments/shapes.yaml")


@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero", "/", "x" * 300, "no/such.yaml", "\udcff.yaml", ""])
def test_a_config_that_is_none_is_refused(path: str, tmp_path: Path) -> None:
    refused("search", path, "--run", str(tmp_path / "run"))


ADDRESSES = [
    "/dev/null",
    "/dev/null/x",
    "x" * 300,
    "",
    " ",
    "ftp://x/y",
    "s3:",
    "s3://",
    "file://other/x",
    "x://",
    "\x1b[31m",
    "\udcff",
]


@pytest.mark.parametrize("command", ["status", "stop"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_that_is_no_run_is_refused(command: str, address: str) -> None:
    refused(command, "--", address)


def test_a_run_whose_name_is_no_text_is_shown(tmp_path: Path) -> None:
    run = tmp_path / os.fsdecode(b"\xff\x1b[31m")
    run.mkdir()
    (run / "config.yaml").write_text(tiny_config().to_yaml())
    assert "nothing finished yet" in spnas("status", str(run)).stdout
    assert "nothing to stop" in spnas("stop", str(run)).stdout


@pytest.mark.parametrize("name", ["config.yaml", "driver.lock", "journal"])
def test_a_pipe_in_a_run_keeps_no_command_waiting(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(tiny_config().to_yaml())
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    for command in ("status", "stop"):
        result = CliRunner().invoke(app, [command, str(tmp_path)])
        assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)


@pytest.mark.parametrize("text", ["", "[]", "a: *b", "start: 5", "\x00", "seed: 1\nseed: 2"], ids=repr)
def test_a_run_with_another_config_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    refused("status", str(tmp_path))
