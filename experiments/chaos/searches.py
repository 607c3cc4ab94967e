"""The searches that are disturbed: small, but with every phase.

Invariant: what a scenario changes of them is about workers and time only, so their histories stay as they are.
"""

from typing import Any

from orchestrator.config import RunConfig
from orchestrator.config_files import parse_config

STUB: dict[str, Any] = {
    "start": {"architecture": "BB(1,1,1)", "base_channels": 4},
    "serial": {
        "num_morphs": 1,
        "n_stuck": 2,
        "num_rounds": 1,
        "in_flight": 3,
        "min_blocks": 1,
        "max_blocks": 6,
        "min_stages": 2,
        "max_stages": 4,
    },
    "parallel": {"max_subnets": 1, "n_stuck": 2, "in_flight": 3},
    "data": {"format": "shapes", "num_train": 16, "num_val": 8, "image_size": 64},
    "training": {"epochs": 4, "batch_size": 8},
    "reignition": {
        "data": {"format": "shapes", "num_train": 16, "num_val": 8},
        "epochs": 5,
        "batch_size": 8,
        "lr": 0.02,
    },
    "final": {"epochs": 5},
}
TINY_DETECTOR: dict[str, Any] = {
    "pyramid_channels": 8,
    "anchor_size": 8,
    "head_channels": 16,
    "rpn_pre_nms_train": 50,
    "rpn_pre_nms_test": 50,
    "rpn_post_nms_train": 30,
    "rpn_post_nms_test": 20,
    "rpn_batch": 32,
    "roi_batch": 16,
    "roi_size": 3,
    "roi_sampling_ratio": 1,
}
REAL: dict[str, Any] = {
    **STUB,
    "parallel": {"max_subnets": 1, "n_stuck": 1, "in_flight": 2},
    "detector": TINY_DETECTOR,
    "training": {"epochs": 2, "batch_size": 8},
    "reignition": STUB["reignition"] | {"epochs": 2},
    "final": {"epochs": 2},
}
FLEET: dict[str, Any] = {
    "num_workers": 3,
    "gpus_per_worker": 1,
    "checkpoint_minutes": 0,
    "stall_minutes": 1,
    "max_attempts": 4,
}
SEARCHES: dict[str, dict[str, Any]] = {
    "steady": STUB | {"seed": 1, "serial": STUB["serial"] | {"acceptance": "paper"}},
    "paired": STUB | {"seed": 2, "serial": STUB["serial"] | {"acceptance": "paired"}},
    "real": REAL | {"seed": 0, "serial": REAL["serial"] | {"acceptance": "paired"}},
}


def config_of(search: str, fleet: dict[str, Any]) -> RunConfig:
    """One of the searches, with some keys of its fleet set otherwise."""
    return parse_config(SEARCHES[search] | {"fleet": FLEET | fleet}, search)
