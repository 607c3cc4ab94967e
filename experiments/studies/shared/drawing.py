"""What several studies of searches draw."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from experiments.studies.shared.outcomes import course, outcomes
from experiments.studies.shared.scores import metric
from experiments.studying.figures import curves, dots, legend
from orchestrator.report.style import new_figure


def course_and_finals(results: pd.DataFrame, arms: Sequence[str], width_ratios: tuple[int, int]) -> Figure:
    """Left the best so far over the trainings, right the final scores.

    Args:
        results: see `jobs`.
        arms: in the order in which they are drawn.
        width_ratios: of left and right.
    """
    runs, unit = outcomes(results, arms), metric(results)
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2, width_ratios=width_ratios)
    over = course(results, arms, "trainings").rename(columns={"best": f"own best {unit}"})
    curves(left, over, "trainings", f"own best {unit}")
    dots(right, runs.rename(columns={"final": f"final {unit}"}), f"final {unit}")
    legend(figure)
    return figure
