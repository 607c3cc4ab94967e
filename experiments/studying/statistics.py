"""What the numbers of a study allow to say.

Invariant: equal numbers give equal answers, wherever and whenever. What is missing, since a run failed, is left out and
counted, never filled in.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
"""Of every interval."""

NUM_RESAMPLES = 2000
"""Of a bootstrap."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """What one arm has over another, seed by seed.

    Attributes:
        num: pairs in which both are there.
        mean: of the differences, the first arm less the second.
        deviation: of the differences (of the sample), NaN for less than two pairs.
        p: of the exact sign-flip test, two-sided; NaN without pairs.
        low: the t interval of the mean, NaN for less than two pairs.
        high: its other end.
    """

    num: int
    mean: float
    deviation: float
    p: float
    low: float
    high: float

    def __str__(self) -> str:
        """For a sentence: ``+0.82 (95 % interval -0.10 to 1.74, sign-flip p = 0.0625, 5 pairs)``."""
        if self.num < 2:
            return f"{self.mean:+.2f} (one pair)" if self.num else "nothing to compare"
        return f"{self.mean:+.2f} ({_interval(self)}, sign-flip p = {self.p:.3g}, {self.num} pairs)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correlation:
    """How far two rankings agree.

    Attributes:
        num: networks that have both.
        tau: Kendall's, from -1 to 1; NaN for less than two networks, or if all are alike.
        low: the bootstrap's interval (percentiles), NaN where tau is.
        high: its other end.
        p: of a tau as far from 0 if the rankings have nothing to do with each other; None where there is no such test.
    """

    num: int
    tau: float
    low: float
    high: float
    p: float | None = None

    def __str__(self) -> str:
        """For a sentence: ``0.62 (95 % interval 0.35 to 0.81, p = 0.00012, 20 networks)``."""
        if np.isnan(self.tau):
            return f"none ({self.num} network{'s' * (self.num != 1)})"
        test = "" if self.p is None else f"p = {self.p:.2g}, "
        return f"{self.tau:.2f} ({_interval(self)}, {test}{self.num} networks)"


def _interval(found: Paired | Correlation) -> str:
    return f"{100 * CONFIDENCE:.0f} % interval {found.low:.2f} to {found.high:.2f}"


def paired(a: ArrayLike, b: ArrayLike) -> Paired:
    """Is arm `a` better than arm `b`, where both were run with the same seeds?

    The test is exact: if the arms were alike, each difference might as well have the other sign; p is the share of all
    sign patterns whose mean is as far from 0. It assumes no distribution, but five seeds have 32 patterns only, so
    their p can't be below 2/32 = 0.0625, however clear the differences are; six reach 0.031, eight 0.0078. The interval
    is Student's, and assumes that differences are normal.

    Args:
        a: one value per seed; NaN where there is none.
        b: of the same seeds, in the same order.

    Raises:
        ValueError: if they are not as many.
    """
    first, second = np.asarray(a, float), np.asarray(b, float)
    if first.shape != second.shape:
        raise ValueError(f"pairs need as many values on both sides, not {first.size} and {second.size}")
    differences = first - second
    differences = differences[~np.isnan(differences)]
    num = len(differences)
    if num == 0:
        return Paired(num=0, mean=np.nan, deviation=np.nan, p=np.nan, low=np.nan, high=np.nan)
    mean = float(differences.mean())
    p = _sign_flip(differences)
    if num == 1:
        return Paired(num=1, mean=mean, deviation=np.nan, p=p, low=np.nan, high=np.nan)
    deviation = float(differences.std(ddof=1))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, num - 1)) * deviation / num**0.5
    return Paired(num=num, mean=mean, deviation=deviation, p=p, low=mean - half, high=mean + half)


def _sign_flip(differences: Floats) -> float:
    """The p of `paired`; exact up to 13 pairs, above that of 10^4 patterns drawn with a fixed seed."""
    if len(differences) == 1:
        return 1.0
    found = stats.permutation_test(
        (differences, np.zeros_like(differences)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def tau(x: ArrayLike, y: ArrayLike, seed: int = 0) -> Correlation:
    """Do `x` and `y` rank the same networks alike? Kendall's tau-b, which knows ties.

    Args:
        x: a score per network; NaN where there is none.
        y: another, of the same networks in the same order.
        seed: of the bootstrap, which draws networks with replacement.

    Raises:
        ValueError: if they are not as many.
    """
    first, second = _complete(x, y)
    test = float(stats.kendalltau(first, second).pvalue) if len(first) > 1 else np.nan
    weights = _resamples(len(first), seed)
    return _correlation(len(first), _tau_b(weights, first, second), test)


def partial_tau(x: ArrayLike, y: ArrayLike, z: ArrayLike, seed: int = 0) -> Correlation:
    """Do `x` and `y` still rank networks alike once what both owe to `z` is taken out (Kendall's partial tau)?

    As whether scores agree beyond what the networks' size makes of them. There is no exact test of it, so p is None.

    Args:
        x: a score per network; NaN where there is none.
        y: another, of the same networks in the same order.
        z: what is held fixed, such as multiply-adds.
        seed: of the bootstrap.

    Raises:
        ValueError: if they are not as many.
    """
    first, second, third = _complete(x, y, z)
    weights = _resamples(len(first), seed)
    xy, xz, yz = (_tau_b(weights, *pair) for pair in ((first, second), (first, third), (second, third)))
    with np.errstate(invalid="ignore", divide="ignore"):  # where z settles a ranking, nothing is left to compare
        partial = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    return _correlation(len(first), np.where(np.isfinite(partial), partial, np.nan), None)


def spread(values: ArrayLike, digits: int = 1) -> str:
    """How values lie, as text: mean and standard deviation (of the sample), and how many are missing.

    ``31.2 ± 0.4``; of one value ``31.2``; with a failed run ``31.2 ± 0.4 (4 of 5)``; ``none`` without any.
    """
    every = np.asarray(values, float)
    found = every[~np.isnan(every)]
    if not len(found):
        return "none"
    deviation = f" ± {found.std(ddof=1):.{digits}f}" if len(found) > 1 else ""
    missing = f" ({len(found)} of {len(every)})" if len(found) < len(every) else ""
    return f"{found.mean():.{digits}f}{deviation}{missing}"


def _complete(*columns: ArrayLike) -> list[Floats]:
    """The rows in which nothing is missing."""
    arrays = [np.asarray(column, float) for column in columns]
    if len({array.shape for array in arrays}) > 1:
        raise ValueError(f"rankings need as many values each, not {' and '.join(str(a.size) for a in arrays)}")
    kept = ~np.isnan(arrays).any(axis=0)
    return [array[kept] for array in arrays]


def _resamples(num: int, seed: int) -> Floats:
    """How often each network counts: first in what there is, once; then in each resample. (1 + NUM_RESAMPLES, num)."""
    if num == 0:
        return np.ones((1, 0))
    drawn = np.random.default_rng(seed).multinomial(num, [1 / num] * num, size=NUM_RESAMPLES)
    return np.concatenate([np.ones((1, num)), drawn])


def _tau_b(weights: Floats, x: Floats, y: Floats) -> Floats:
    """Kendall's tau-b for each row of weights: concordant less discordant pairs over those that are no ties."""
    signs_x, signs_y = (np.sign(values[:, None] - values[None, :]) for values in (x, y))

    def pairs(matrix: Floats) -> Floats:
        return np.asarray(((weights @ matrix) * weights).sum(axis=1))

    with np.errstate(invalid="ignore"):  # all alike: no pair to compare
        return np.asarray(pairs(signs_x * signs_y) / np.sqrt(pairs(signs_x**2) * pairs(signs_y**2)))


def _correlation(num: int, taus: Floats, p: float | None) -> Correlation:
    """From the value of all networks, followed by the resamples'; those in which all are alike have none."""
    value, drawn = float(taus[0]), taus[1:][~np.isnan(taus[1:])]
    if np.isnan(value) or not len(drawn):
        return Correlation(num=num, tau=value, low=np.nan, high=np.nan, p=p)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Correlation(num=num, tau=value, low=float(low), high=float(high), p=p)
