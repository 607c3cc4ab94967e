"""What is done to a run's files after one driver has died and before the next one starts."""

from collections.abc import Callable
from pathlib import Path


def tear_tail(run: Path) -> None:
    """Leave the beginning of a record at the journal's end."""
    newest = max((run / "journal").iterdir())
    with newest.open("ab") as file:
        file.write(b'1234abcd {"type":"told","time":1')


def truncate_checkpoints(run: Path) -> None:
    """Cut every checkpoint in half."""
    for path in (run / "checkpoints").iterdir():
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])


def leave_leftovers(run: Path) -> None:
    """Leave what writers leave that die, and what belongs to attempts that no driver has told the journal of."""
    for folder in ("weights", "results", "checkpoints"):
        (run / folder).mkdir(exist_ok=True)
        (run / folder / ".000001-0-9.safetensors.4711-0badcafe.tmp").write_bytes(b"half of")
    (run / ".trials.parquet.4711-0badcafe.tmp").write_bytes(b"half of")
    for folder in ("weights", "checkpoints"):
        (run / folder / "000001-7-1.safetensors").write_bytes(b"of nobody")


TAMPERINGS: dict[str, Callable[[Path], None]] = {
    "torn tail": tear_tail,
    "truncated checkpoints": truncate_checkpoints,
    "leftovers": leave_leftovers,
}
