"""A study's page for the docs, made of its record, and the page that lists them.

    python -m experiments.studying.pages

makes those of docs/studies again. Invariant: a page is a function of the study and its record alone; a test holds the
docs to that.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from experiments.studies.catalogue import STUDIES
from experiments.studying.figures import svg
from experiments.studying.records import Provenance, read_record
from experiments.studying.study import Study
from orchestrator.errors import UserError
from orchestrator.report.style import style
from workers.storage import LocalFolder

DOCS = Path(__file__).parents[2] / "docs" / "studies"
INDEX = "index.md"
INDEX_HEAD = """# Studies

Does it work as the papers say? Each study puts one claim to the test with this project's own searches, in small: a few
seeds, small images, hours on two cores. Its page has the answer with its spread, what speaks against it, and the
command that makes it again; its numbers are a Parquet file beside it. Nothing was tuned on the seeds that are shown.
"""
INDEX_TAIL = """## Running them

<!-- not run: takes hours -->

```sh
spnas study control luck --seeds 2       # two of them, with two seeds each
make studies SEEDS=2 RESULTS=quick       # the quick tier: all of them; an hour or two on two cores
make studies                             # with five seeds, into docs/studies; some hours
```

Searches run side by side, as many as there are workers for: each is a trial of Ray Tune, and a run like any other in
`runs/studies`, where studies that need the same run share it. `spnas status`, `spnas report` and `spnas stop` work on
them. After Ctrl-C, a `kill -9` or a lost machine the same command goes on, and begins nothing again that has ended;
Ctrl-C and SIGTERM leave a checkpoint of what is under way. A run that a budget or `spnas stop` ends, or that can't go
on, is told with its reason; the others go on, and a study is written once all of its runs have come to their ends.
Seeds are counted from `--first-seed`: tune on others than you record.

The same studies at full size, on your own cluster and data, have your configs in place of the small ones. Give them a
`serial.max_candidates`, so that what is compared costs as much; the sentences about small images are not yours then:

<!-- not run: needs the full data set and a cluster -->

```sh
ray job submit --working-dir . -- python -m experiments.commands study all --root s3://bucket/studies \\
    --out /mnt/studies --config shapes=coco_500.yaml --config bccd=voc_500.yaml
```
"""


def page(study: Study, results: pd.DataFrame, provenance: Provenance) -> str:
    """The page, Markdown; its figure and its record are beside it, under the study's name."""
    parts = [
        f"# {study.question}",
        f"**The claim.** {_flat(study.claim)}",
        "## What came out",
        "\n".join(f"- {_flat(finding)}" for finding in study.findings(results)),
        f"![{study.question}]({study.name}.svg)",
    ]
    for title, table in study.tables(results).items():
        parts += [f"**{title}**", markdown_table(table)]
    parts += [
        "## What was done",
        _flat(study.method),
        _chance(provenance),
        _cost(provenance),
        "<!-- not run: takes hours -->",
        f"```sh\n{provenance.command}\n```",
        f"What it has recorded, with a digest of each run's config: [{study.name}.parquet]({study.name}.parquet).",
    ]
    return "\n\n".join(parts) + "\n"


def index(recorded: Sequence[tuple[Study, pd.DataFrame]]) -> str:
    """The page that lists them, Markdown: a row for each study with its results: its question, its answer."""
    rows = [
        {"question": f"[{study.question}]({study.name}.md)", "answer": _first_sentence(study.findings(results)[0])}
        for study, results in recorded
    ]
    return f"{INDEX_HEAD}\n{markdown_table(pd.DataFrame(rows, columns=['question', 'answer']))}\n\n{INDEX_TAIL}"


def made(folder: Path, studies: Iterable[Study]) -> dict[str, bytes]:
    """What belongs beside the records of a folder: each study's page and figure, and the index.

    Args:
        folder: where records are, ``NAME.parquet``.
        studies: in the order of the index; those that have no record there are left out.

    Returns:
        The files' bytes, by name.

    Raises:
        UserError: if a record is damaged.
    """
    files, recorded = {}, []
    for study in studies:
        record = folder / f"{study.name}.parquet"
        if not record.exists():
            continue
        results, provenance = read_record(record)
        with style():
            files[f"{study.name}.svg"] = svg(study.draw(results))
        files[f"{study.name}.md"] = page(study, results, provenance).encode()
        recorded.append((study, results))
    return files | {INDEX: index(recorded).encode()}


def write_pages(folder: Path, studies: Iterable[Study]) -> list[Path]:
    """Write what is `made` of the records of a folder into it.

    Returns:
        The files.

    Raises:
        UserError: if a record is damaged, or the files can't be written.
    """
    storage, files = LocalFolder(folder), made(folder, studies)
    for name, data in files.items():
        try:
            storage.write(name, data)
        except OSError as error:
            raise UserError(f"{folder / name}: can't be written ({error.strerror}); name a folder that can") from None
    return [folder / name for name in files]


def markdown_table(table: pd.DataFrame) -> str:
    """A table in Markdown, without its index: floats have two digits, what is missing is empty."""
    numeric = [pd.api.types.is_numeric_dtype(kind) for kind in table.dtypes]
    lines = [[_cell(name) for name in table.columns], ["---:" if right else "---" for right in numeric]]
    lines += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if pd.isna(value):  # type: ignore[call-overload]
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _chance(provenance: Provenance) -> str:
    least = 2 / 2 ** len(provenance.seeds)
    return (
        "A difference is called one where its 95 % interval leaves out zero. The intervals are not corrected for how "
        "many there are on this page, so one in twenty of those without a difference would be called one, too; with "
        f"{_seeds(provenance)} the sign-flip p can't be below {min(1.0, least):.2g}."
    )


def _seeds(provenance: Provenance) -> str:
    count = len(provenance.seeds)
    return f"{count} seed{'s' * (count > 1)}"


def _cost(provenance: Provenance) -> str:
    seeds = ", ".join(map(str, provenance.seeds))
    versions = ", ".join(f"{name} {version}" for name, version in provenance.versions.items())
    return (
        f"{provenance.num_runs} runs with seed{'s' * (len(provenance.seeds) > 1)} {seeds}: "
        f"{provenance.training_seconds / 3600:.1f} hours of training in {provenance.wall_hours:.1f} hours, on "
        f"{provenance.num_cores} cores of {provenance.machine}, recorded on {provenance.date[:10]} with {versions}."
    )


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s+(?=[A-Z])", _flat(text), maxsplit=1)[0]


def _flat(text: str) -> str:
    return " ".join(text.split())


if __name__ == "__main__":
    write_pages(DOCS, STUDIES.values())
