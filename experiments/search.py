"""``spnas search`` on the cluster that this runs on, for ``ray submit CLUSTER.yaml experiments/search.py``."""

import os
import sys

from orchestrator.cli import app

if __name__ == "__main__":
    os.environ.setdefault("RAY_ADDRESS", "auto")  # the node's Ray, not one of our own
    app(["search", *sys.argv[1:]])
