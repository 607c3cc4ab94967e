"""Recipes (``*.yaml``), benchmarks and studies; they use the other rooms and nothing uses them."""

import orchestrator as orchestrator  # sets what Ray needs before a benchmark or study imports it
