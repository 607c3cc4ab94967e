"""The command line, ``spnas``.

Invariant: what a user got wrong is one line on standard error and exit code 2, before Ray starts; a run that had to
stop is one line and exit code 1, and the same command goes on.
"""

import json
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal, NoReturn, ParamSpec, TypeVar

import typer

from models.detector_shape import MAX_SIDE
from models.families import BASE_CHANNELS, read_spec
from models.wording import one_line
from orchestrator.errors import RunStopped, UserError
from orchestrator.terminal import make_console

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search the best object-detection backbone for your own data, as SP-NAS does.",
)

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
RunAddress = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's folder, or s3://bucket/prefix.", show_default=False)
]
RunOption = Annotated[
    str,
    typer.Option(help="The run's folder, or s3://bucket/prefix; a run that is there goes on.", show_default=False),
]
ConfigFile = Annotated[Path, typer.Argument(help="A YAML file, such as experiments/shapes.yaml.", show_default=False)]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Keys to set otherwise.", show_default=False),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN_OR_FILE",
        help="Start from a run's best, or from a file: its network, with its weights.",
        show_default=False,
    ),
]
JobOption = Annotated[
    int | None,
    typer.Option("--job", min=0, help="With --from: a job of that run, in place of its best.", show_default=False),
]
ArchitectureOption = Annotated[
    str | None,
    typer.Option(help="An encoding or a name (`spnas arch`), in place of start.architecture.", show_default=False),
]


def one_line_errors(command: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    """A command that ends with one line and the right exit code for what goes wrong; see the module."""

    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        if isinstance(sys.stdout, TextIOWrapper):  # a folder's name may be no text that a terminal takes
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            answer = command(*args, **kwargs)
            sys.stdout.flush()
            return answer
        except UserError as error:
            _fail(str(error), 2)
        except RunStopped as error:
            _fail(f"stopped: {error}\nNothing is lost; the same command goes on.", 1)
        except OSError as error:
            if isinstance(error, BrokenPipeError) and _is_unread():
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left to write at the end
                raise typer.Exit(1) from None
            _fail(f"stopped: {error}\nNothing finished is lost; the same command goes on.", 1)
        except KeyboardInterrupt:
            _fail("interrupted. Nothing finished is lost; the same command goes on.", 130)

    return run


def _is_unread() -> bool:
    """Whether whoever read standard output has gone, as `head` does."""
    with suppress(OSError, ValueError):  # it may be no file
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    return False


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(code)


@app.command()
@one_line_errors
def search(
    config: ConfigFile,
    run: RunOption,
    source: SourceOption = None,
    job: JobOption = None,
    overrides: Overrides = None,
) -> None:
    """Start a search, or go on with it."""
    from orchestrator.carry_out import carry_out
    from orchestrator.commands import run_config

    carry_out(run, lambda folder: run_config(None, folder, config, overrides or [], source=source, job=job))


@app.command()
@one_line_errors
def train(
    config: ConfigFile,
    run: RunOption,
    architecture: ArchitectureOption = None,
    source: SourceOption = None,
    job: JobOption = None,
    overrides: Overrides = None,
) -> None:
    """Train one network in full, by the config's recipe `final`, or go on with that."""
    from orchestrator.carry_out import carry_out
    from orchestrator.commands import run_config

    carry_out(
        run,
        lambda folder: run_config(
            "train", folder, config, overrides or [], architecture=architecture, source=source, job=job
        ),
    )


@app.command()
@one_line_errors
def trials(
    config: ConfigFile,
    run: RunOption,
    source: SourceOption = None,
    job: JobOption = None,
    overrides: Overrides = None,
) -> None:
    """Train the networks of the config's list `trials`, none judged against another, or go on with them."""
    from orchestrator.carry_out import carry_out
    from orchestrator.commands import run_config

    carry_out(run, lambda folder: run_config("trials", folder, config, overrides or [], source=source, job=job))


@app.command()
@one_line_errors
def pretrain(
    config: ConfigFile,
    run: RunOption,
    architecture: ArchitectureOption = None,
    overrides: Overrides = None,
) -> None:
    """Train one backbone to classify images, by the config's recipe `reignition`, or go on with that."""
    from orchestrator.carry_out import carry_out
    from orchestrator.commands import run_config

    carry_out(run, lambda folder: run_config("pretrain", folder, config, overrides or [], architecture=architecture))


@app.command()
@one_line_errors
def evaluate(
    source: Annotated[
        str,
        typer.Argument(metavar="RUN_OR_FILE", help="A run, whose best is taken, or weights.", show_default=False),
    ],
    run: RunOption,
    rest: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONFIG] [KEY.PATH=VALUE]...",
            help="A YAML file, which a run needs none of; keys to set otherwise.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Evaluate a detector: every metric, by class, and its speed."""
    from orchestrator.carry_out import carry_out
    from orchestrator.commands import evaluation_config

    overrides = list(rest or [])
    config = Path(overrides.pop(0)) if overrides and "=" not in overrides[0] else None
    carry_out(run, lambda folder: evaluation_config(folder, source, config, overrides))


@app.command()
@one_line_errors
def status(
    run: RunAddress,
    last: Annotated[int, typer.Option(min=1, help="How many of the last jobs to list.")] = 20,
    watch: Annotated[bool, typer.Option("--watch", help="Show what its workers do, and go on showing it.")] = False,
    every: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds between two looks of --watch; by default 2, for a bucket 5."),
    ] = None,
) -> None:
    """Show how far a run has come; with --watch, how it comes on, until it has ended or Ctrl-C."""
    from orchestrator.status import show_status, watch_status

    if not watch:
        show_status(run, last)
        return
    with suppress(KeyboardInterrupt):
        watch_status(run, last, every)


@app.command()
@one_line_errors
def report(
    runs: Annotated[
        list[str],
        typer.Argument(metavar="RUN...", help="A run's folder, or s3://bucket/prefix; of several, a comparison."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The page's file; by default report.html in the run's folder, or, of a run in an object store and of "
            "several, a file here.",
            show_default=False,
        ),
    ] = None,
    figures: Annotated[
        Path | None, typer.Option(help="A folder for the figures as SVG and PNG, fit for print.", show_default=False)
    ] = None,
    detections: Annotated[
        int, typer.Option(min=0, max=100, help="Validation images to show the start's and the best's detections on.")
    ] = 6,
) -> None:
    """Write a page that shows a run, also one that goes on, or compares several."""
    from orchestrator.report.making import make_report

    for line in make_report(runs, out=out, figures=figures, num_images=detections):
        print(line)


@app.command()
@one_line_errors
def stop(run: RunAddress) -> None:
    """End a run after what is pending; the same search command goes on later."""
    from orchestrator.runs import RunLock, storage_of, stored_config
    from workers.run_folder import RunFolder

    storage = storage_of(run)
    folder = RunFolder(storage)
    stored_config(folder)
    if not RunLock(storage).is_held():
        print(f"{run}: no driver works on it; nothing to stop")
        return
    folder.request_stop()
    print(f"{run}: will end after what is pending")


@app.command()
@one_line_errors
def doctor(
    config: Annotated[Path, typer.Argument(help="The YAML file of the search.", show_default=False)],
    run: Annotated[
        str | None,
        typer.Option(help="The run's folder, or s3://bucket/prefix; without it storage is not looked at."),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Keys to set otherwise.", show_default=False),
    ] = None,
) -> None:
    """Check nodes, versions, data, storage, memory and links before a search; exit code 1 if anything fails."""
    from orchestrator.config_files import load_config
    from orchestrator.diagnosis import report_table
    from orchestrator.doctor import examine

    settings = load_config(config, overrides or [])
    console = make_console()
    with console.status("") as status:
        rows = examine(settings, run, announce=status.update)
    console.print(report_table(rows))
    if any(row.status == "fail" for row in rows):
        raise typer.Exit(1)


@app.command()
@one_line_errors
def simulate(
    config: ConfigFile,
    nodes: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Node workers; by default fleet.num_workers.")
    ] = None,
    in_flight: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            max=1_000_000,
            help="Jobs under way or waiting; given several times, they are compared. By default the config's, and 1, 2 "
            "and 4 times the nodes.",
            show_default=False,
        ),
    ] = None,
    losses_per_100_jobs: Annotated[
        float | None, typer.Option(min=0, max=50, help="Nodes that are lost in the time of 100 jobs; by default 0.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of chance: scores, stragglers, losses.")] = 0,
    like: Annotated[
        str | None, typer.Option(metavar="RUN", help="A run to learn times and chances from.", show_default=False)
    ] = None,
    pace: Annotated[
        str | None,
        typer.Option(
            help="Of each GPU: images a second in training the start network, such as 12, or 2.5TFLOPS; by default as "
            "in the paper.",
            show_default=False,
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Say how long a search will take and how busy its nodes will be, without starting it (docs/simulation.md)."""
    from orchestrator.simulation.command import Question, answer

    question = Question(
        path=config,
        overrides=overrides or [],
        nodes=nodes,
        in_flight=in_flight or [],
        losses_per_100_jobs=losses_per_100_jobs,
        seed=seed,
        like=like,
        pace=pace,
    )
    console = make_console()
    for part in answer(question):
        console.print(part, soft_wrap=isinstance(part, str))


@app.command()
@one_line_errors
def score(
    kind: Annotated[
        Literal["voc", "coco", "ecp", "bdd"],
        typer.Argument(metavar="FORMAT", help="Whose files and rules: voc, coco, ecp or bdd.", show_default=False),
    ],
    truth: Annotated[Path, typer.Argument(help="The annotations, as the benchmark has them.", show_default=False)],
    detections: Annotated[Path, typer.Argument(help="What a detector found, as it takes it.", show_default=False)],
    split: Annotated[str | None, typer.Option(help="Of voc: the list of images, such as test.")] = None,
    ignore_other_vru: Annotated[
        bool,
        typer.Option("--ignore-other-vru", help="Of ecp: pedestrians and riders taken for each other don't count."),
    ] = False,
) -> None:
    """Score a detector's result files as the benchmark's own tools do; every metric as JSON."""
    from workers.scoring import score as scored

    try:
        result = scored(kind, truth, detections, split=split, ignore_other_vru=ignore_other_vru)
    except ValueError as error:
        raise UserError(one_line(str(error))) from None
    except OSError as error:
        name = one_line(str(error.filename))
        raise UserError(f"{name}: can't be read ({error.strerror}); name a file or folder") from None
    for note in result.notes:
        print(f"note: {one_line(note)}", file=sys.stderr)
    print(json.dumps(result.metrics, indent=2, allow_nan=False))


@app.command()
@one_line_errors
def arch(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="[ENCODING_OR_NAME]",
            help='Such as "BNB(111,d111,d11111,d11)+(0,0,1,0)", "MS(BB,180;1,2,2,0.5;4,8,8,16,16)" or spnet-coco-bnb; '
            "without it, the names are listed.",
            show_default=False,
        ),
    ] = None,
    stem: Annotated[
        Literal["deep", "resnet"] | None,
        typer.Option(
            help="Two 3x3 convolutions, or 7x7 and max-pool; by default a name's own, else deep, of MS(...) resnet."
        ),
    ] = None,
    base_channels: Annotated[int, typer.Option(help="Channels of the stem; MS(...) says its own.")] = BASE_CHANNELS,
    height: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SIDE, help="Image height for the FLOPs; by default 224, of MS(...) 832."),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(min=1, max=MAX_SIDE, help="Image width for the FLOPs; by default 224, of MS(...) 1280."),
    ] = None,
    list_names: Annotated[bool, typer.Option("--list", help="List the names.")] = False,
) -> None:
    """Show strides, channels, FLOPs and parameters of an encoding or a named network, as freshly built."""
    from orchestrator.network_tables import description, listing

    console = make_console()
    if network is None or list_names:
        for part in listing(height, width):
            console.print(part)
        return
    try:
        spec = read_spec(network, stem, base_channels)
    except ValueError as error:
        raise UserError(str(error)) from None
    for part in description(spec, height, width):
        console.print(part)


@app.command()
@one_line_errors
def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN_OR_CHECKPOINT", help="A run, whose best is taken, or a safetensors file.", show_default=False
        ),
    ],
    to: Annotated[
        Literal["safetensors", "torch-export", "onnx"], typer.Option(help="The kind of file.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file; by default one named after the source, here.", show_default=False)
    ] = None,
    part: Annotated[
        Literal["backbone", "detector"] | None,
        typer.Option(help="The backbone alone or the whole detector; by default all there is.", show_default=False),
    ] = None,
    job: Annotated[int | None, typer.Option(min=0, help="A job of the run, in place of its best.")] = None,
    height: Annotated[
        int | None, typer.Option(min=1, max=MAX_SIDE, help="Of the images of a program; by default any.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(min=1, max=MAX_SIDE, help="Of the images of a program; by default any.")
    ] = None,
) -> None:
    """Write a network into a file for elsewhere: its weights, or a program that needs no spnas (docs/export.md)."""
    from orchestrator.exports import export_network

    path, network = export_network(source, to, out=out, part=part, job=job, height=height, width=width)
    print(f"{path}: {network.part} {network.spec.architecture}, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    app()
