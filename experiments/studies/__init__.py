"""Does it work as the papers say? A module for each question; `catalogue` has them in order."""
