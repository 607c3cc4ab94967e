"""What a study is: a question, the runs that answer it, and what is made of them.

Invariant: a run's name says what it is. Studies that need the same run ask for it under the same name, and it is done
once; `side_by_side` refuses two runs of one name that differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import pandas as pd
from matplotlib.figure import Figure

from orchestrator.config import RunConfig
from orchestrator.search.protocol import SearchState

Command = Literal["search", "train", "trials"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that a study needs.

    Attributes:
        data: the data set; scores on one are comparable.
        config: which of the studies' configs it goes by, such as ``shapes``.
        arm: what sets it apart from the others of this data, such as ``paper``.
        seed: the arms of one seed are compared with each other.
        candidates: the share of the config's `serial.max_candidates` that the search has.
        command: what it does, as the commands of `spnas` are called.
        changes: values by ``key.path``, beside the seed.
        origin: the run whose weights it starts from, by its name, and the job, None for its best.
    """

    data: str
    config: str
    arm: str
    seed: int
    changes: Mapping[str, Any] = field(default_factory=dict)
    candidates: float = 1.0
    command: Command = "search"
    origin: tuple[str, int | None] | None = None

    @property
    def name(self) -> str:
        """Its folder's, below the studies' own."""
        return f"{self.data}-{self.arm}-s{self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has come to its end.

    Attributes:
        run: as it was asked for.
        config: what it was made with.
        state: what the search came to.
        trials: the trials table, a row per job, and in `best` the score of the search's best once the job was told.
    """

    run: Run
    config: RunConfig
    state: SearchState
    trials: pd.DataFrame

    @property
    def best(self) -> int:
        """The job whose network it came to."""
        assert self.state.best_overall is not None, f"{self.run.name} has no completed job"
        return self.state.best_overall.index


Runs = Mapping[str, Finished]
"""What has come to its end, by name."""


class Study(Protocol):
    """One question of the papers, or beyond them."""

    @property
    def name(self) -> str:
        """What the command calls it."""

    @property
    def question(self) -> str:
        """What it asks, in a sentence."""

    @property
    def claim(self) -> str:
        """What the paper says, and where; or why it is asked though the paper does not."""

    @property
    def method(self) -> str:
        """What is done to answer it, in a few sentences, what is smaller here than in the paper among them."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The runs it needs, as far as it can say by now: some start from what others have come to."""

    def results(self, seeds: Sequence[int], finished: Runs) -> pd.DataFrame:
        """What is recorded: tidy rows, with everything that tables, figure and findings are made of."""

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """What the page shows, by title."""

    def findings(self, results: pd.DataFrame) -> list[str]:
        """The answer, in sentences with their numbers, failures and what speaks against it among them."""

    def draw(self, results: pd.DataFrame) -> Figure:
        """The paper's figure, or what shows the answer best."""


CONFIGS = Path(__file__).parents[1] / "studies" / "configs"
