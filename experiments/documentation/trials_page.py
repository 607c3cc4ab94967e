"""The page of the trials table's columns, from what writes them."""

from orchestrator.row_values import COLUMNS, INTEGER, NUMBER, TEXT, TIME, TRUTH
from orchestrator.trials import INCIDENTAL_COLUMNS

HEAD = """# The trials table

`trials.parquet` in a run's folder has one row for each job, in the order in which they were decided. While a search
runs it is written anew every ten seconds or so; it is derived from the journal, which alone a run goes on from.

```python
import pandas

trials = pandas.read_parquet("runs/shapes/trials.parquet")
best = trials[trials["is_best"]].iloc[0]
print(best["architecture"], best["score"])
```
"""
TAIL = """
Another run of the same config and seed has the same values on CPU, but for {}.

`metrics` is JSON, since what is measured depends on the data; one column for each metric is a line:

```python
import json

metrics = pandas.DataFrame([json.loads(text or "{{}}") for text in trials["metrics"]], index=trials["index"])
```
"""
WORDS = {INTEGER: "integer", NUMBER: "float", TEXT: "text", TRUTH: "boolean", TIME: "time"}


def trials_page() -> str:
    """The page, Markdown."""
    rows = [f"| `{name}` | {WORDS[kind]} | {words} |" for name, (kind, words) in COLUMNS.items()]
    incidental = ", ".join(f"`{name}`" for name in INCIDENTAL_COLUMNS)
    return "\n".join([HEAD, "| column | type | what it is |", "| --- | --- | --- |", *rows, TAIL.format(incidental)])
