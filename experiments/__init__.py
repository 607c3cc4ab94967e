"""Recipes (``*.yaml``), benchmarks and studies; they use the other rooms and nothing uses them."""
