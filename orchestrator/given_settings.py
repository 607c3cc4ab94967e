"""What a config says of weights that a run was given; no user writes it.

Invariant: the checksum is that of the bytes in the run's own folder, so what the source has become since says nothing.
"""

from typing import Literal

from pydantic import Field

from orchestrator.search.settings import Settings


class GivenConfig(Settings):
    """Weights that a run was given at its beginning (`--from`); they lie in its own folder from then on."""

    source: str = Field(description="the run or file that they were taken from")
    job: int | None = Field(
        None, ge=0, description="the run's job that they are of (--job); null: its best, or a file's"
    )
    kind: Literal["detector", "backbone"] = Field(description="what they are of")
    classes: tuple[str, ...] | None = Field(None, description="a detector's classes, in the order of their labels")
    normalization: Literal["batch", "group"] | None = Field(
        None, description="whether they have running statistics (batch) or not (group); null: not known"
    )
    built_with: dict[str, bool | int | float | str | tuple[float, ...]] | None = Field(
        None, description="keys of a config with the values that a detector's weights belong to; null: not known"
    )
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="of the file's bytes")
    size_bytes: int = Field(ge=0, description="the file's length")
