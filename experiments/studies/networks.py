"""The networks that a run has scored, as a table.

Invariant: multiply-adds are those by which MSNAS compares networks, of encoder and RPN, and of a pyramid where there is
one (section 4.1); images have the size that the run's search counts for.
"""

import argparse
from collections.abc import Callable, Sequence

import pandas as pd

from models.costs import backbone_costs, conv_cost
from models.families import AnySpec
from models.msnas_encoding import MultiScaleSpec
from orchestrator.config import RunConfig
from orchestrator.errors import UserError
from orchestrator.history import History
from orchestrator.journal import Journal
from orchestrator.runs import storage_of, stored_config
from workers.run_folder import RunFolder

COLUMNS = ("index", "role", "generation", "architecture", "gflops", "score")


def networks(run: str) -> tuple[RunConfig, pd.DataFrame]:
    """The config of a run, and a row for each network that it has scored.

    Args:
        run: its folder or URI; it may be under way.

    Returns:
        The config; `COLUMNS`: the job's index, its role (``candidate`` and the like, ``final`` after a full training),
        its generation, the encoding, 10^9 multiply-adds, and the objective in percent.

    Raises:
        UserError: if there is no such run, or its journal is damaged.
    """
    folder = RunFolder(storage_of(run))
    config = stored_config(folder)
    state = History.fold(config, Journal(folder.storage)).state
    rows = [
        (index, job.role, job.round, str(job.spec.architecture), search_gflops(config, job.spec), 100 * member.score)
        for index, member in state.population.items()
        if member.outcome.completed and (job := member.job).has_score
    ]
    return config, pd.DataFrame(rows, columns=list(COLUMNS))


def search_gflops(config: RunConfig, spec: AnySpec) -> float:
    """10^9 multiply-adds of a network's encoder and RPN, and of its pyramid."""
    if isinstance(spec, MultiScaleSpec):
        return config.search.cost(spec).macs / 1e9
    shape = config.search.detector
    height, width = config.evolution.image_size or config.image_size
    channels, macs = shape.pyramid_channels, backbone_costs(spec, height, width).macs
    missing = config.serial.max_stages - len(spec.stage_channels)
    for level, inner in enumerate((*spec.stage_channels, *spec.stage_channels[-1:] * missing)):
        size = -(-height // (4 << level)), -(-width // (4 << level))
        pyramid = (inner, channels, 1), (channels, channels, 3)
        rpn = (channels, channels, 3), (channels, 5 * len(shape.anchor_ratios), 1)
        macs += sum(conv_cost(*convolution, size).macs for convolution in (*pyramid, *rpn))
    return macs / 1e9


def print_table(parser: argparse.ArgumentParser, table: Callable[[Sequence[str]], pd.DataFrame]) -> None:
    """Print what a study makes of the runs that the command line names; what is wrong with them is one line."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or its URI")
    try:
        frame = table(parser.parse_args().runs)
    except UserError as error:
        parser.exit(2, f"{error}\n")
    print(frame.to_string(index=False, float_format="{:.4g}".format, na_rep=""))
