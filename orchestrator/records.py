"""The form of the journal's records: what those who read them rely on.

Invariant: a record that `check_record` lets pass can be folded, put into the trials table and shown, as far as the
types and ranges of its fields go. Fields that nobody reads may be anything, so that later code can add some.
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from models.wording import brief, one_line
from orchestrator.errors import UserError
from orchestrator.journal import Journal, Record


def _encoded(text: str) -> str:
    text.encode()  # JSON can hold halves of characters, which no file and no terminal takes
    return text


Word = Annotated[str, AfterValidator(_encoded)]
Count = Annotated[int, Field(ge=0, le=2**62)]
Seconds = Annotated[float, Field(ge=0, le=1e11)]  # what a table's timestamps hold


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Job(_Form):
    index: Count
    kind: Word
    role: Word
    phase: Word
    round: Count
    recipe: Word
    parent: Count | None
    backbone: Count | None
    spec: dict[str, Word | int]
    morphs: list[Word]
    seed: Annotated[list[int], Field(min_length=3, max_length=3)]


class _Outcome(_Form):
    index: Count
    status: Literal["completed", "failed"]
    score: float | None
    metrics: dict[Word, float]
    error: str


class _Weights(_Form):
    name: str
    sha256: str
    size_bytes: Count


class _Result(_Form):
    attempt: Count
    worker: str
    started_at: Seconds
    finished_at: Seconds
    seconds: Seconds = 0.0
    peak_memory_bytes: Count
    notes: list[str] | tuple[str, ...]
    weights: _Weights | None


class _Opened(_Form):
    type: Literal["opened"]
    time: Seconds = 0.0


class _Decided(_Form):
    type: Literal["decided"]
    time: Seconds
    job: _Job


class _Dispatched(_Form):
    type: Literal["dispatched"]
    time: Seconds = 0.0
    index: Count
    attempt: Count
    epoch: Count = 0
    worker: str


class _Rejected(_Form):
    type: Literal["rejected"]
    index: Count
    attempt: Count


class _Best(_Form):
    index: Count
    score: float


class _State(_Form):
    phase: Word
    round: Count
    counter: Count
    baseline: _Best | None
    best_overall: _Best | None


class _Told(_Form):
    type: Literal["told"]
    outcome: _Outcome
    result: _Result
    state: _State


class _Ended(_Form):
    type: Literal["ended"]
    reason: str


SENSELESS = (ArithmeticError, AssertionError, LookupError, TypeError, ValueError)
"""What is raised where a record makes no sense."""

_FORMS: TypeAdapter[Any] = TypeAdapter(
    Annotated[_Opened | _Decided | _Dispatched | _Rejected | _Told | _Ended, Field(discriminator="type")]
)


def check_record(record: Record) -> None:
    """See that a record that was read has the form of its type.

    Raises:
        ValueError: in one line, with the first field that has not.
    """
    try:
        _FORMS.validate_python(record)
    except ValidationError as error:
        first = error.errors()[0]
        where = one_line(".".join(map(str, first["loc"])), 200)
        raise ValueError(f"{where}: {brief(first['input'])}: {one_line(first['msg'])}") from None


def follow_records(journal: Journal, follow: Callable[[Record], None]) -> None:
    """Read a journal and follow its records, in order; all have the form of their types.

    Args:
        journal: to be read.
        follow: called with each record; what it raises of a record that makes no sense is said with the record's place.

    Raises:
        OSError: if storage fails.
        UserError: if the journal is damaged, or a record does not follow from those before.
    """
    with _collector_paused():
        for number, record in enumerate(journal.read(), start=1):
            try:
                check_record(record)
                follow(record)
            except UserError:
                raise
            except SENSELESS as error:
                what = f"record {number} ({brief(record['type'])}) does not follow from those before"
                raise senseless(journal, what, error) from error


def senseless(journal: Journal, what: str, error: Exception) -> UserError:
    """What a user is told of records that have the right form and make no sense."""
    return UserError(
        f"journal {journal.folder}: {what} ({type(error).__name__}: {error}); restore the journal from a copy, or use "
        "the version of spnas that wrote it"
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Python's collector would go through all records again and again, and find nothing."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
