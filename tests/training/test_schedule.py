"""The learning rate over a run."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainclip.training.optimizer import cosine


@given(st.integers(1, 5000), st.floats(0, 0.99), st.floats(0, 1))
def test_rises_within_the_run_and_never_passes_the_peak(steps, warmup, final):
    rates = [cosine(step, steps, warmup, final) for step in range(steps)]
    assert all(0 < rate <= 1 or (final == 0 and rate >= 0) for rate in rates)
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == 1.0


def test_exact_values():
    assert cosine(0, 100, 0.1, 0.0) == pytest.approx(0.1)
    assert cosine(9, 100, 0.1, 0.0) == 1.0
    assert cosine(55, 100, 0.1, 0.0) == pytest.approx((1 + math.cos(math.pi * 0.5)) / 2)
    assert cosine(100, 100, 0.1, 0.2) == pytest.approx(0.2)
