"""The smallest search that has every phase, and how a run of it is looked at."""

import copy
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from experiments.chaos.searches import TINY_DETECTOR
from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config
from orchestrator.trials import INCIDENTAL_COLUMNS

TINY: dict[str, Any] = {
    "seed": 0,
    "objective": {"metric": "AP50"},
    "start": {"architecture": "BB(1,1,1)", "base_channels": 4},
    "serial": {
        "acceptance": "paired",
        "num_morphs": 1,
        "n_stuck": 2,
        "num_rounds": 1,
        "in_flight": 3,
        "min_blocks": 1,
        "max_blocks": 6,
        "min_stages": 2,
        "max_stages": 4,
    },
    "parallel": {"max_subnets": 1, "n_stuck": 2, "in_flight": 2, "training": {"batch_size": 4}},
    "detector": TINY_DETECTOR,
    "data": {"format": "shapes", "num_train": 24, "num_val": 8, "image_size": 64},
    "training": {"epochs": 1, "batch_size": 8},
    "reignition": {
        "data": {"format": "shapes", "num_train": 24, "num_val": 8},
        "epochs": 1,
        "batch_size": 8,
        "lr": 0.02,
    },
    "final": {"epochs": 1},
    "fleet": {"num_workers": 2},
}


def tiny_config(**changes: Any) -> RunConfig:
    """The tiny config with some groups updated."""
    values = copy.deepcopy(TINY)
    for key, change in changes.items():
        values[key] = values[key] | change if isinstance(change, dict) and isinstance(values.get(key), dict) else change
    return parse_config(values, "tiny")


def write_config(path: Path, **changes: Any) -> Path:
    """A YAML file of the tiny config."""
    path.write_text(yaml.safe_dump(tiny_config(**changes).model_dump(mode="json")))
    return path


def history_of(run: Path) -> pd.DataFrame:
    """The trials table without what may differ between two runs of one config and seed."""
    return pd.read_parquet(run / "trials.parquet").drop(columns=list(INCIDENTAL_COLUMNS))
