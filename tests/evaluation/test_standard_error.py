"""The standard error of a mean of which several things vary: by the textbook's formulas, and the plain t test where only one does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from redheart.evaluation.standard_error import StandardError


def test_of_one_part_the_interval_and_the_p_value_are_those_of_the_t_test() -> None:
    values = np.random.default_rng(0).standard_normal(9) + 0.5
    found = StandardError.of([(float(values.var(ddof=1)) / 9, 8)])
    theirs = stats.ttest_1samp(values, 0.0)
    low, high = theirs.confidence_interval(0.9)
    assert found.freedom == pytest.approx(8)
    assert found.margin(0.9) == pytest.approx((high - low) / 2)
    assert found.p_value(float(values.mean())) == pytest.approx(theirs.pvalue)


def test_of_two_samples_the_difference_is_welchs() -> None:
    generator = np.random.default_rng(1)
    one, other = generator.standard_normal(6), 3 * generator.standard_normal(11) + 1
    found = StandardError.of([(float(x.var(ddof=1)) / len(x), len(x) - 1) for x in (one, other)])
    theirs = stats.ttest_ind(one, other, equal_var=False)
    assert found.freedom == pytest.approx(theirs.df)
    assert found.p_value(float(one.mean() - other.mean())) == pytest.approx(theirs.pvalue)


def test_where_nothing_varies_a_difference_is_certain() -> None:
    found = StandardError.of([(0.0, 4), (0.0, 59)])
    assert (found.error, found.margin(0.95)) == (0.0, 0.0)
    assert (found.p_value(0.0), found.p_value(-1e-9)) == (1.0, 0.0)


def test_what_is_not_known_gives_no_interval() -> None:
    assert math.isnan(StandardError.of([(math.nan, 4)]).margin(0.95))
