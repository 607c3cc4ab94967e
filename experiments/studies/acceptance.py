"""Which rule of acceptance finds the better network at equal cost: the paper's, or one that asks for more proof?"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.drawing import course_and_finals
from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import by_seed, comparisons, outcomes, shortcomings, summary
from experiments.studies.shared.scores import metric
from experiments.studies.shared.searches import searches
from experiments.studying.statistics import spread
from experiments.studying.study import Run, Runs

ARMS = ("paper", "paired-unconfirmed", "paired", "paired-thrice", "control")
PAIRED = ("paired-unconfirmed", "paired", "paired-thrice")


class Acceptance(RecordsJobs):
    """The paper's rule, and the paired one with no, one and three confirmations."""

    name = "acceptance"
    question = "Which rule of acceptance finds the better network at equal cost?"
    claim = """SP-NAS, Algorithm 1: whatever scores higher than the best so far is the new best, by one training of
        three epochs. (Section 3.1 says in passing that of several sets of modifications the best takes over; no table
        compares rules.) This project has one that asks for more proof; is the proof worth its trainings?"""
    method = """`paper` takes any candidate that is better than the baseline. The paired rule asks it to be better than
        both the baseline and a control, the baseline's own network trained on with the same seed: `paired-unconfirmed`
        asks no more, `paired` has the step run again on one further seed beside a control, `paired-thrice` on three,
        and it has to win on average. Controls and confirmations cost trainings, so these have fewer candidates, 75, 60
        and 45 % of the paper's, and all come to about as many trainings; the table has what they really came to.
        `control` is the paper's rule without morphs. All begin with the same start and end with the same full training
        of what they have found. Smaller than the paper's: coloured shapes of 64 pixels, one round, no reignition, no
        parallel level."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """A search of each."""
        return searches("shapes", ARMS, seeds)

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Each rule's scores and cost, how many steps it took; the final scores seed by seed."""
        runs = outcomes(results, ARMS)
        steps = {arm: spread(of_arm["steps"]) for arm, of_arm in runs.groupby("arm", sort=False)}
        table = summary(runs)
        table.insert(2, "accepted steps", table["arm"].map(steps))
        return {
            "What each rule came to, mean and deviation of its seeds": table,
            f"Final {metric(runs)}, seed by seed": by_seed(runs),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """The paired rules against the paper's; all against the control; steps and cost."""
        runs = outcomes(results, ARMS)
        said = [
            comparisons(runs, [(arm, "paper") for arm in PAIRED]),
            comparisons(runs, [(arm, "control") for arm in ARMS if arm != "control"]),
        ]
        said.append(
            f"By the searches' own best {metric(runs)}, which is luckier the less proof is asked for: "
            + comparisons(runs, [(arm, "paper") for arm in PAIRED], "best")
        )
        for arm, of_arm in runs.groupby("arm", sort=False):
            said.append(
                f"What `{arm}` has found is {spread(of_arm['steps'])} morphed steps from the start, after "
                f"{spread(of_arm['trainings'], 0)} trainings."
            )
        return said + shortcomings(results, runs, ARMS)

    def draw(self, results: pd.DataFrame) -> Figure:
        """The best so far over the trainings, and the final scores."""
        return course_and_finals(results, ARMS, (1, 1))
