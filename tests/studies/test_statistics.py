"""What numbers allow to say, against values from hand."""

from itertools import product
from math import isnan, nan, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from experiments.studying.statistics import paired, partial_tau, spread, tau

WHOLE = st.integers(-3, 3)


def test_differences_have_their_mean_their_deviation_and_students_interval() -> None:
    found = paired([3, 5, 7, 9], [2, 3, 4, 5])  # differences 1, 2, 3, 4
    assert (found.num, found.mean) == (4, 2.5)
    assert found.deviation == pytest.approx(sqrt(5 / 3))
    half = 3.182446 * sqrt(5 / 3) / 2  # t of 3 degrees at 97.5 %, from a table
    assert (found.low, found.high) == pytest.approx((2.5 - half, 2.5 + half), rel=1e-6)
    assert found.p == 2 / 16  # all signs one way


def test_five_seeds_can_not_come_below_a_sixteenth() -> None:
    assert paired([10, 20, 30, 40, 50], [0] * 5).p == 0.0625
    assert paired([10] * 6, [0] * 6).p == 0.03125


@given(st.lists(WHOLE, min_size=2, max_size=6))
def test_the_sign_flip_test_counts_every_pattern(differences: list[int]) -> None:
    sums = [abs(sum(d * s for d, s in zip(differences, signs, strict=True))) for signs in _signs(len(differences))]
    share = np.mean([each >= abs(sum(differences)) for each in sums])
    found = paired(differences, [0] * len(differences))
    assert found.p == pytest.approx(share)
    assert paired([0] * len(differences), differences).p == pytest.approx(share)


def _signs(num: int) -> list[tuple[int, ...]]:
    return list(product((1, -1), repeat=num))


def test_pairs_without_one_side_are_left_out() -> None:
    assert paired([1, nan, 3], [0, 0, 1]) == paired([1, 3], [0, 1])
    assert paired([nan], [1]).num == 0 and str(paired([nan], [1])) == "nothing to compare"
    assert paired([4], [1]).mean == 3 and str(paired([4], [1])) == "+3.00 (one pair)"
    with pytest.raises(ValueError, match="not 2 and 3"):
        paired([1, 2], [1, 2, 3])


def test_a_comparison_is_a_clause() -> None:
    text = "+2.50 (95 % interval 0.45 to 4.55, sign-flip p = 0.125, 4 pairs)"
    assert str(paired([3, 5, 7, 9], [2, 3, 4, 5])) == text


def test_tau_counts_pairs_in_order() -> None:
    found = tau([1, 2, 3, 4], [1, 8, 7, 9])  # five pairs in order, one not
    assert (found.num, found.tau) == (4, pytest.approx(4 / 6))
    assert found.p == pytest.approx(8 / 24)  # of the 24 orders, 4 have one pair or less out of order, 4 one or less in
    tied = tau([1, 1, 2], [1, 2, 3])  # two in order of three pairs, of which x has one tied
    assert tied.tau == pytest.approx(2 / sqrt(2 * 3))


@given(st.lists(st.tuples(WHOLE, WHOLE), max_size=8))
def test_any_rankings_have_scipys_tau_within_its_interval_or_none(pairs: list[tuple[int, int]]) -> None:
    x, y = [float(a) for a, _ in pairs], [float(b) for _, b in pairs]
    found = tau(x, y)
    assert found.num == len(pairs)
    if len(set(x)) < 2 or len(set(y)) < 2:
        assert isnan(found.tau) and isnan(found.low) and str(found).startswith("none (")
    else:
        assert found.tau == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
        assert -1 - 1e-9 <= found.low <= found.high <= 1 + 1e-9
        assert tau(x, y) == found


def test_the_intervals_of_tau_narrow_with_more_networks() -> None:
    rng = np.random.default_rng(0)
    few, many = (tau(x, x + rng.normal(size=len(x))) for x in (rng.normal(size=10), rng.normal(size=80)))
    assert 0 < many.low < many.tau < many.high < 1
    assert many.high - many.low < (few.high - few.low) / 2


def test_partial_tau_takes_out_what_both_owe_to_a_third() -> None:
    x, y, z = [1, 2, 3, 4, 5], [1, 3, 2, 5, 4], [2, 1, 3, 4, 5]
    # of ten pairs y has two out of x's order, z one, and y has three out of z's
    xy, xz, yz = 0.6, 0.8, 0.4
    found = partial_tau(x, y, z)
    assert found.tau == pytest.approx((xy - xz * yz) / sqrt((1 - xz**2) * (1 - yz**2)))
    assert found.p is None and "p =" not in str(found)
    assert isnan(partial_tau(x, y, x).tau)  # nothing of x is left
    rng = np.random.default_rng(0)
    size = np.arange(40.0)
    scores, others = size + 3 * rng.normal(size=40), size + 3 * rng.normal(size=40)
    assert tau(scores, others).low > 0.5 > abs(partial_tau(scores, others, size).tau)


def test_spread_tells_what_is_missing() -> None:
    assert spread([30, 31, 32]) == "31.0 ± 1.0"
    assert spread([30, nan, 32], digits=2) == "31.00 ± 1.41 (2 of 3)"
    assert (spread([31]), spread([]), spread([nan])) == ("31.0", "none", "none")
