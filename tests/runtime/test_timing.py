"""Percentiles from bins against percentiles from all values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runtime.timing import STEP, Timings


def test_nothing_added():
    timings = Timings()
    assert len(timings) == 0 and timings.total == 0
    assert all(math.isnan(value) for value in timings.percentiles([50, 99]))


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_percentiles_are_those_of_all_values(count):
    values = np.random.default_rng(count).lognormal(-5, 1.5, count)
    timings = Timings()
    for value in values:
        timings.add(float(value))
    shares = [0, 50, 95, 99, 100]
    exact = np.percentile(values, shares, method="inverted_cdf")
    np.testing.assert_allclose(timings.percentiles(shares), exact, rtol=STEP)
    assert timings.total == pytest.approx(values.sum())


def test_what_is_out_of_range_is_counted_at_its_ends():
    timings = Timings()
    for value in (0.0, 1e9):
        timings.add(value)
    low, high = timings.percentiles([25, 100])
    assert low < 1e-6 and high > 9e3
