"""Is there a gain that more training of the very same network would not have given?"""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.drawing import course_and_finals
from experiments.studies.shared.jobs import RecordsJobs
from experiments.studies.shared.outcomes import by_seed, compared, outcomes, shortcomings, summary
from experiments.studies.shared.scores import metric
from experiments.studies.shared.searches import searches
from experiments.studying.statistics import spread
from experiments.studying.study import Run, Runs

ARMS = ("paper", "paired", "control")


class Control(RecordsJobs):
    """The greedy loop with morphs, beside the same loop without any."""

    name = "control"
    question = "Does a search find more than further training of the very same network would give?"
    claim = """SP-NAS, Figure 3 and Table 6: scores rise all through the search, from 77.1 to 84.1 AP50 on VOC, from
        36.5 to 38.7 mAP on BDD, and LAMR falls from 0.088 to 0.054 on ECP. The paper has no control: every candidate
        inherits its parent's weights and trains them for three epochs more, so part of any rise is more training."""
    method = """`paper` is Algorithm 1: three random morphs a candidate, three epochs, and whatever is better is the new
        baseline. `control` is the same loop with the same number of candidates and no morph at all: each is the
        baseline's own network, trained on from its weights with a seed of its own. `paired` is this project's rule,
        which asks a candidate to beat such a control. All arms of a seed begin with the same start, trained by itself
        for 30 epochs, and end with the same full training of what they have found. Smaller than the paper's: coloured
        shapes of 64 pixels for COCO, a start of 5 blocks for a ResNet, one round of few candidates without reignition,
        no parallel level."""

    def runs(self, seeds: Sequence[int], finished: Runs) -> list[Run]:
        """The start of each seed, and three searches from it."""
        return searches("shapes", ARMS, seeds)

    def tables(self, results: pd.DataFrame) -> dict[str, pd.DataFrame]:
        """Each arm's scores and cost; the final scores seed by seed."""
        runs = outcomes(results, ARMS)
        return {
            "What each arm came to, mean and deviation of its seeds": summary(runs),
            f"Final {metric(runs)}, seed by seed": by_seed(runs),
        }

    def findings(self, results: pd.DataFrame) -> list[str]:
        """The gain over the control after the full training, then by the search's own best, then what the rise is."""
        runs = outcomes(results, ARMS)
        unit = metric(runs)
        said = [f"{compared(runs, 'paper', 'control')} {compared(runs, 'paired', 'control')}"]
        said.append(
            f"By the searches' own best {unit}, which is the luckiest of many draws: "
            f"{compared(runs, 'paper', 'control', 'best')} {compared(runs, 'paired', 'control', 'best')}"
        )
        for arm, of_arm in runs.groupby("arm", sort=False):
            rise = of_arm["sign"] * (of_arm["best"] - of_arm["start"])
            cause = "by further training alone" if arm == "control" else "further training among its causes"
            said.append(
                f"From the start to its own best, `{arm}` gains {spread(rise)} points of {unit} in "
                f"{spread(of_arm['trainings'], 0)} trainings, {cause}; what it has found has "
                f"{spread(of_arm['growth'], 2)} times the start's multiply-adds."
            )
        return said + shortcomings(results, runs, ARMS)

    def draw(self, results: pd.DataFrame) -> Figure:
        """The best so far over the trainings, and the final scores."""
        return course_and_finals(results, ARMS, (3, 2))
