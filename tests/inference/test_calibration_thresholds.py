"""Thresholds of back-off, prediction sets and rejection: exact on small cases, and kept."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from domainclip.inference.calibration.backoff import (
    NEVER,
    Ladder,
    find_rank,
    fit_backoff,
    trace,
)
from domainclip.inference.calibration.bounds import DOUBT, binomial_tail, find_quantile
from domainclip.inference.calibration.conformal import find_sets, find_thresholds
from domainclip.inference.calibration.rejection import fit_rejection, measure_separation
from domainclip.inference.calibration.reliability import (
    find_floor,
    measure_area,
    measure_reliability,
)


def test_the_tail_of_a_binomial():
    for n, p in ((1, 0.3), (7, 0.05), (12, 0.5)):
        chances = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
        for k in range(n + 1):
            assert binomial_tail(k, n, p) == pytest.approx(sum(chances[: k + 1]), abs=1e-12)
    assert binomial_tail(5000, 100_000, 0.05) == pytest.approx(0.504, abs=0.001)


def test_a_quantile_rules_the_rate_out_and_the_next_one_does_not():
    scores = np.arange(1000.0)
    found = find_quantile(np.random.default_rng(0).permutation(scores), 0.1)
    below = int((scores < found).sum())
    assert binomial_tail(below, 1000, 0.1) <= DOUBT < binomial_tail(below + 1, 1000, 0.1)
    assert find_quantile(scores[:20], 0.05) == -np.inf  # 0.95^20 is more than the doubt
    assert find_quantile(np.zeros(100), 0.1) == 0


def test_the_deepest_rank_that_passes_is_answered():
    p = np.array([[0.9, 0.6, 0.5], [0.9, 0.2, 0.5], [0.4, 0.3, 0.2], [0.5, 0.5, 0.5]], np.float32)
    assert find_rank(p, 0.5).tolist() == [2, 2, -1, 2]
    assert find_rank(p, 0.55).tolist() == [1, 0, -1, -1]


ladders = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.float32, shape, elements=st.sampled_from([0, 0.1, 0.25, 0.5, 0.75, 1])),
        arrays.arrays(np.int8, shape, elements=st.sampled_from([-1, 0, 1])),
    )
)


@given(ladders)
@settings(deadline=None)
def test_a_curve_says_what_every_threshold_gives(case):
    ladder = Ladder(*case)
    curve = trace(ladder)
    assert (np.diff(curve.thresholds) < 0).all()
    assert set(curve.thresholds) <= set(ladder.probabilities.astype(float).ravel()) - {0.0}
    for i, threshold in enumerate(curve.thresholds):
        answer = find_rank(ladder.probabilities, np.float32(threshold))
        right = ladder.right[np.arange(len(answer)), answer][answer >= 0]
        assert curve.answered[i] == (answer >= 0).sum()
        assert curve.known[i] == (right >= 0).sum()
        assert curve.wrong[i] == (right == 0).sum()
        assert curve.depth[i] == (answer + 1).sum()


def honest(count, seed=0, sharp=1.0):
    """Answers at two ranks that are right as often as they say, or less often."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(0.3, 1, count)
    fine = coarse * rng.uniform(0.2, 1, count)
    u = rng.random(count)  # right at the finer rank is right at the coarser one
    right = np.stack([u < coarse**sharp, u < fine**sharp], axis=1)
    return Ladder(np.stack([coarse, fine], axis=1).astype(np.float32), right.astype(np.int8))


def risk_of(ladder, threshold):
    answer = find_rank(ladder.probabilities, threshold)
    right = ladder.right[np.arange(len(answer)), answer][answer >= 0]
    return float((right == 0).mean()) if len(right) else 0.0


@pytest.mark.parametrize("sharp", [1.0, 3.0], ids=["honest", "too sure"])
def test_the_risk_asked_is_kept_on_new_pictures(sharp):
    new = honest(100_000, 1, sharp)
    for level in (0.8, 0.9):
        fitted = [fit_backoff(honest(2000, seed, sharp), [level])[0] for seed in range(10, 40)]
        over = sum(risk_of(new, one.threshold) > 1 - level for one in fitted)
        assert over <= 5  # 1.5 are to be expected of 30


def test_no_more_is_given_away_than_the_doubt_asks():
    new = honest(100_000, 1)
    fitted = [fit_backoff(honest(2000, seed), [0.8])[0] for seed in range(10, 20)]
    assert all(one.assured and one.threshold < 0.8 for one in fitted)
    assert np.mean([risk_of(new, one.threshold) for one in fitted]) > 0.16


def test_what_was_fitted_says_what_it_gave():
    ladder = honest(3000)
    for one in fit_backoff(ladder):
        answer = find_rank(ladder.probabilities, np.float32(one.threshold))
        assert one.pictures == 3000
        assert one.coverage == pytest.approx((answer >= 0).mean(), abs=1e-3)
        assert one.depth == pytest.approx((answer + 1).mean(), abs=2e-3)
        assert one.risk == pytest.approx(risk_of(ladder, one.threshold), abs=2e-3)


def test_too_few_pictures_promise_nothing():
    few = Ladder(np.full((10, 1), 0.97, np.float32), np.ones((10, 1), np.int8))
    one = fit_backoff(few, [0.95])[0]
    assert (one.threshold, one.assured, one.risk, one.coverage) == (0.95, False, 0, 1)
    wrong = Ladder(np.full((10, 1), 0.97, np.float32), np.zeros((10, 1), np.int8))
    one = fit_backoff(wrong, [0.95])[0]
    assert (one.threshold, one.assured, one.coverage, one.depth) == (NEVER, False, 0, 0)
    assert find_rank(wrong.probabilities, one.threshold).tolist() == [-1] * 10


def test_answers_of_which_nobody_knows_are_no_evidence():
    ladder = honest(2000)
    half = np.arange(2000)[:, None] % 2 == 0
    hidden = Ladder(ladder.probabilities, np.where(half, ladder.right, -1).astype(np.int8))
    alone = Ladder(ladder.probabilities[::2], ladder.right[::2])
    assert fit_backoff(hidden, [0.9])[0].threshold == pytest.approx(
        fit_backoff(alone, [0.9])[0].threshold, abs=0.02
    )


def test_sets_hold_what_passes_and_always_the_best():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.4, 0.35, 0.25], [0.1, 0.1, 0.8]])
    assert find_sets(p, 0.3).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
    assert find_sets(p, 0.9).sum(1).tolist() == [1, 1, 1]
    assert find_sets(p, 0.0).all()
    assert find_sets(torch.tensor([[0.5, 0.5]]), 0.9).sum() == 2  # none of equals is left out


def test_sets_cover_what_was_asked_on_new_pictures():
    rng = np.random.default_rng(0)
    new = rng.beta(2, 1, 100_000)
    for error in (0.2, 0.05):
        missed = [
            (new < find_thresholds(rng.beta(2, 1, 500).astype(np.float32), [error])[error]).mean()
            for _ in range(60)
        ]
        assert np.mean(np.array(missed) > error) <= 0.15  # the doubt is 0.05
        assert np.mean(missed) > error / 2
    assert find_thresholds(np.ones(10, np.float32), [0.05]) == {0.05: 0.0}


def test_rejection_keeps_its_rate_and_says_what_it_finds():
    rng = np.random.default_rng(0)
    known, other = rng.normal(2, 1, 4000).astype("f4"), rng.normal(0, 1, 4000).astype("f4")
    for one in fit_rejection(known, other):
        assert one.threshold is not None
        assert one.rejected == pytest.approx((known < one.threshold).mean(), abs=1e-3)
        assert 0.6 * one.rate < one.rejected <= one.rate
        assert one.found == pytest.approx((other < one.threshold).mean(), abs=1e-3)
    few = fit_rejection(known[:5], other[:5], [0.01])[0]
    assert few.threshold is None and few.rejected == few.found == 0


def test_separation_is_the_area_under_the_curve():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    known, unknown = rng.integers(0, 9, 50) + 2.0, rng.integers(0, 9, 70) * 1.0
    scores, truth = np.concatenate([known, unknown]), np.repeat([1, 0], [50, 70])
    assert measure_separation(known, unknown) == pytest.approx(roc_auc_score(truth, scores))


def test_the_calibration_error_by_hand():
    said = [0.9, 0.1, 0.6, 0.2]
    found = measure_reliability(said, [1, 0, 0, 1], bins=2)
    assert found.said.tolist() == pytest.approx([0.15, 0.75])
    assert found.right.tolist() == [0.5, 0.5]
    assert found.error == pytest.approx((0.35 + 0.25) / 2)
    assert measure_reliability([0.3], [1]).error == pytest.approx(0.7)


def test_the_calibration_error_of_equal_bins_is_that_of_torchmetrics():
    from torchmetrics.functional.classification import binary_calibration_error

    # Uniform probabilities fill bins of equal width as evenly as bins of equal mass.
    said = (np.arange(1500) + 0.5) / 1500
    right = np.random.default_rng(0).random(1500) < said**2
    theirs = binary_calibration_error(
        torch.from_numpy(said), torch.from_numpy(right).int(), n_bins=15
    )
    assert measure_reliability(said, right).error == pytest.approx(float(theirs), abs=1e-6)


def test_the_floor_is_what_honest_probabilities_show():
    said = np.random.default_rng(7).uniform(0, 1, 2000)
    right = np.random.default_rng(8).random(2000) < said
    assert measure_reliability(said, right).error == pytest.approx(find_floor(said), abs=0.012)
    assert find_floor(said) < find_floor(said[:200])


def test_the_area_is_that_of_every_threshold():
    """One rank: risks 0, 1/2, 1/3 at coverages 1/3, 2/3, 1."""
    one = Ladder(np.array([[0.9], [0.8], [0.7]], np.float32), np.array([[1], [0], [1]], np.int8))
    assert measure_area(one) == pytest.approx((0 + 1 / 2 + 1 / 3) / 3)
    perfect, worst = (
        Ladder(one.probabilities, np.array(right, np.int8)[:, None])
        for right in ([1, 1, 0], [0, 1, 1])
    )
    assert measure_area(perfect) < measure_area(one) < measure_area(worst)
    orders = itertools.permutations([1, 1, 0])
    areas = {measure_area(Ladder(one.probabilities, np.array(r, np.int8)[:, None])) for r in orders}
    assert min(areas) == measure_area(perfect)
