"""What the scores of children, each trained with several seeds, say of a score by one seed.

Invariant: merits, of which more is better; a child counts if it has all seeds that the control has, so all of a start
have as many. Starts may differ in that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, comb

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from experiments.studies.shared.scores import MERIT
from experiments.studying.statistics import CONFIDENCE

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """The merits of a start's children.

    Attributes:
        children: (children, seeds).
        control: (seeds,), the start without a morph.
        parent: of the start before any of this.
    """

    children: Floats
    control: Floats
    parent: float


@dataclass(frozen=True, slots=True)
class Shares:
    """Where the differences between scores come from.

    Attributes:
        seeds: standard deviation between trainings of a child, after what a seed does to all alike.
        children: that between children, as it would be without the former.
        share: of the variance by one seed that is the children's, from 0 to 1; NaN where there is no telling.
        low: its interval's end (F), which may be below 0.
        high: the other.
    """

    seeds: float
    children: float
    share: float
    low: float
    high: float


def scores_of(rows: pd.DataFrame, parent: float) -> Scores | None:
    """The scores of one start's children; None without a seed that the control and two children have."""
    merits = rows[rows[MERIT].notna()].pivot_table(index="morphs", columns="replicate", values=MERIT)
    if "" not in merits.index:
        return None
    whole = merits.loc[:, merits.loc[""].notna()].dropna()
    children = whole.drop(index="")
    if len(children) < 2 or not len(children.columns):
        return None
    return Scores(children.to_numpy(float), whole.loc[""].to_numpy(float), parent)


def variance_shares(found: Sequence[Scores]) -> Shares:
    """Between seeds, and between children (analysis of variance of children by seeds, over all starts together).

    All children of a start see the same images in the same order with a seed, so what a seed does to all of them alike
    decides nothing, and is left out. Where starts have different numbers of seeds, their mean square between children
    is that of the mean number, weighted by degrees of freedom, and the interval holds nearly.
    """
    between = within = 0.0
    free_between = free_within = 0
    weighted = 0
    for one in found:
        rows, seeds = one.children.shape
        rest = one.children - one.children.mean(axis=1, keepdims=True)
        rest = rest - rest.mean(axis=0)
        between += seeds * float(one.children.mean(axis=1).var(ddof=0)) * rows
        within += float((rest**2).sum())
        free_between, free_within = free_between + rows - 1, free_within + (rows - 1) * (seeds - 1)
        weighted += seeds * (rows - 1)
    if not free_within or not within:
        return Shares(np.nan, np.nan, np.nan, np.nan, np.nan)
    noise, both, num_seeds = within / free_within, between / free_between, weighted / free_between
    edge = (1 + CONFIDENCE) / 2
    ratio = both / noise
    low = ratio / float(stats.f.ppf(edge, free_between, free_within))
    high = ratio * float(stats.f.ppf(edge, free_within, free_between))
    real = max(0.0, (both - noise) / num_seeds)
    share, low, high = ((value - 1) / (value + num_seeds - 1) for value in (ratio, low, high))
    return Shares(noise**0.5, real**0.5, max(0.0, share), low, high)


def best_is_good(found: Sequence[Scores], num: int | None) -> tuple[float, int]:
    """How often the best of some children by one seed is in their better half by the mean of the others.

    Args:
        found: of which those count that have two seeds and as many children.
        num: of children, every choice of which counts alike; None for all.

    Returns:
        The share, NaN where there is none, and by how many seeds of starts it was judged.
    """
    shares = [
        _best_is_good(own, others, len(own) if num is None else num)
        for one in found
        for own, others in _split(one.children)
        if num is None or len(own) >= num
    ]
    return (float(np.mean(shares)), len(shares)) if shares else (np.nan, 0)


def _best_is_good(own: Floats, others: Floats, num: int) -> float:
    """Over every choice of `num`: the chosen one is the best by `own`, if all others come from those below it."""
    better_places, total = ceil(num / 2) - 1, 0.0
    ranks = stats.rankdata(own, method="ordinal")
    for child, rank in enumerate(ranks):
        below = ranks < rank
        above = int((others[below] > others[child]).sum())  # truly better, though worse by this seed
        chosen = comb(int(below.sum()), num - 1) / comb(len(own), num)
        if chosen:
            total += chosen * float(stats.hypergeom.cdf(better_places, int(below.sum()), above, num - 1))
    return total


def better_than_control(found: Sequence[Scores], than: str) -> tuple[int, int]:
    """Of the children that are better by one seed, how many are better than the control by the mean of the others.

    Args:
        found: of which those count that have two seeds.
        than: what they are better than by that seed: ``parent``, as the paper's rule asks; ``control``, the start
            without a morph with the same seed; or ``nothing``, which all are.

    Returns:
        How many are, of how many.
    """
    good = asked = 0
    for one in found:
        gains = one.children - one.control
        for seed, (own, others) in enumerate(_split(gains)):
            chosen = {
                "parent": one.children[:, seed] > one.parent,
                "control": own > 0,
                "nothing": np.ones(len(own), bool),
            }[than]
            good, asked = good + int((others[chosen] > 0).sum()), asked + int(chosen.sum())
    return good, asked


def _split(values: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Each seed's values, and the means of the others'."""
    seeds = values.shape[1]
    if seeds > 1:
        for seed in range(seeds):
            yield values[:, seed], np.delete(values, seed, axis=1).mean(axis=1)
