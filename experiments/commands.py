"""The command line as it is installed, ``spnas``: the orchestrator's commands, and those of experiments beside them."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import app, one_line_errors

__all__ = ["app"]


@app.command()
@one_line_errors
def study(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Studies by name, or all.", show_default=False)],
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds each search has.")] = 5,
    first_seed: Annotated[int, typer.Option(min=0, help="The first of them; tune on others than you record.")] = 0,
    root: Annotated[
        str, typer.Option(help="The folder of the studies' runs, or s3://bucket/prefix; what has ended there counts.")
    ] = "runs/studies",
    out: Annotated[Path, typer.Option(help="The folder for what comes out: Parquet, figures, pages.")] = Path(
        "runs/studies-results"
    ),
    configs: Annotated[
        list[str] | None,
        typer.Option(
            "--config",
            metavar="DATA=FILE",
            help="A config in place of that of a study's data set, such as shapes=experiments/coco.yaml.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Put the papers' claims to the test: carry out studies, or go on with them, and write what came out."""
    from experiments.studying.command import carry_out_studies

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `ray job stop` asks; it is as Ctrl-C
    chosen = range(first_seed, first_seed + seeds)
    carry_out_studies(names, chosen, root, out, configs or [], lambda line: print(line, flush=True))


if __name__ == "__main__":
    app()
