"""The command line: ``spnas search``, ``status``, ``stop``, ``doctor``, ``score`` and ``arch``.

Invariant: what a user got wrong is one line on standard error and exit code 2, before Ray starts; a run that had to
stop is one line and exit code 1, and the same command goes on.
"""

import json
import signal
import sys
from collections.abc import Callable
from functools import wraps
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Literal, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console

from models.architecture import Architecture, NetworkSpec
from models.wording import one_line
from orchestrator.errors import RunStopped, UserError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search the best object-detection backbone for your own data, as SP-NAS does.",
)
MAX_SIDE = 16384  # of an image, in pixels

Parameters = ParamSpec("Parameters")
Returned = TypeVar("Returned")
RunAddress = Annotated[
    str, typer.Argument(metavar="RUN", help="The run's folder, or s3://bucket/prefix.", show_default=False)
]


def _one_line_errors(command: Callable[Parameters, Returned]) -> Callable[Parameters, Returned]:
    @wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Returned:
        if isinstance(sys.stdout, TextIOWrapper):  # a folder's name may be no text that a terminal takes
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return command(*args, **kwargs)
        except UserError as error:
            _fail(str(error), 2)
        except RunStopped as error:
            _fail(f"stopped: {error}\nNothing is lost; the same command goes on.", 1)
        except OSError as error:
            _fail(f"stopped: {error}\nNothing finished is lost; the same command goes on.", 1)
        except KeyboardInterrupt:
            _fail("interrupted. Nothing finished is lost; the same command goes on.", 130)

    return run


def _fail(text: str, code: int) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(code)


@app.command()
@_one_line_errors
def search(
    config: Annotated[Path, typer.Argument(help="A YAML file, such as experiments/shapes.yaml.", show_default=False)],
    run: Annotated[
        str,
        typer.Option(help="The run's folder, or s3://bucket/prefix; a run that is there goes on.", show_default=False),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY.PATH=VALUE]...", help="Keys to set otherwise.", show_default=False),
    ] = None,
) -> None:
    """Start a search, or go on with it."""
    from orchestrator.config import advice, check_environment, load_config
    from orchestrator.console import ConsoleObserver, summary_table
    from orchestrator.driver import Driver
    from orchestrator.metrics import MetricsObserver
    from orchestrator.observers import Observers
    from orchestrator.runs import RunLock, open_run, storage_of
    from orchestrator.termination import advice as advice_on_stopping
    from orchestrator.termination import note_termination

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # until the driver takes note of it, it is as Ctrl-C
    settings = load_config(config, overrides or [])
    storage = storage_of(run)
    reports = check_environment(settings)
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    if not storage.is_local:
        console.print(f"{run}: making sure that no other driver works on it", soft_wrap=True)
    lock = RunLock(storage)
    if not lock.acquire():
        raise UserError(
            f"run {run}: another driver works on it; see `spnas status {run}`, or end it: `spnas stop {run}`"
        )
    observer: ConsoleObserver | None = None
    try:
        folder, changed = open_run(settings, storage)
        for note in filter(None, (*advice(settings), advice_on_stopping())):
            console.print(note, soft_wrap=True)
        for key, report in zip(("data", "reignition.data"), reports, strict=False):
            for line in report.lines():
                console.print(f"{key}: {line}", soft_wrap=True)
        observer = ConsoleObserver(settings, console)
        metrics = MetricsObserver(settings, folder.name, observer.note)
        observers = Observers(observer, metrics)
        driver = Driver(settings, folder, observers, still_ours=lock.verify, is_terminated=note_termination())
        driver.journal.on_append = metrics.appended
        reason = driver.run(changed)
    finally:
        if observer is not None:
            observer.close()
        lock.release()
    console.print(f"\n{reason}", soft_wrap=True)
    console.print(summary_table(settings, driver.history))


@app.command()
@_one_line_errors
def status(
    run: RunAddress,
    last: Annotated[int, typer.Option(min=1, help="How many of the last jobs to list.")] = 20,
) -> None:
    """Show how far a run has come."""
    from orchestrator.console import status_table, summary_table
    from orchestrator.history import History
    from orchestrator.journal import Journal
    from orchestrator.runs import RunLock, storage_of, stored_config
    from workers.run_folder import RunFolder

    storage = storage_of(run)
    settings = stored_config(RunFolder(storage))
    history = History.fold(settings, Journal(storage))
    alive = RunLock(storage).is_held()
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    state = history.state
    life = "running" if alive else f"not running ({history.ended or 'its driver is gone; the same command goes on'})"
    console.print(
        f"{run}: {life}; {state.phase} {state.round}, {len(state.population)} jobs finished, "
        f"{len(state.pending)} pending, stuck {state.counter}",
        soft_wrap=True,
    )
    console.print(status_table(settings, history, last))
    console.print(summary_table(settings, history))


@app.command()
@_one_line_errors
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
@_one_line_errors
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
    from orchestrator.config import load_config
    from orchestrator.diagnosis import report_table
    from orchestrator.doctor import examine

    settings = load_config(config, overrides or [])
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    with console.status("") as status:
        rows = examine(settings, run, announce=status.update)
    console.print(report_table(rows))
    if any(row.status == "fail" for row in rows):
        raise typer.Exit(1)


@app.command()
@_one_line_errors
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
@_one_line_errors
def arch(
    encoding: Annotated[str, typer.Argument(help='Such as "BNB(111,d111,d11111,d11)+(0,0,1,0)".', show_default=False)],
    stem: Annotated[
        Literal["deep", "resnet"], typer.Option(help="Two 3x3 convolutions, or 7x7 and max-pool.")
    ] = "deep",
    base_channels: Annotated[int, typer.Option(help="Channels of the stem.")] = 64,
    height: Annotated[int, typer.Option(min=1, max=MAX_SIDE, help="Image height for the FLOPs.")] = 224,
    width: Annotated[int, typer.Option(min=1, max=MAX_SIDE, help="Image width for the FLOPs.")] = 224,
) -> None:
    """Show stages, strides, channels, FLOPs and parameters of an encoding, as freshly built."""
    from orchestrator.console import architecture_table

    try:
        spec = NetworkSpec.fresh(Architecture.parse(encoding), stem, base_channels)
    except ValueError as error:
        raise UserError(str(error)) from None
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 160)
    console.print(f"{spec.architecture}, stem {stem}, base channels {base_channels}, {height} x {width} pixels")
    console.print(architecture_table(spec, height, width))


if __name__ == "__main__":
    app()
