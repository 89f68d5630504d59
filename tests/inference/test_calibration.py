"""Calibrated probabilities: what always holds of them, and exact small cases of what is fitted."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, UsageError
from domainclip.inference.calibration.backoff import Ladder, find_rank, fit_backoff
from domainclip.inference.calibration.conformal import find_sets, find_thresholds
from domainclip.inference.calibration.fit import fit_calibration
from domainclip.inference.calibration.hierarchy import Hierarchy
from domainclip.inference.calibration.rejection import fit_rejection, measure_separation
from domainclip.inference.calibration.reliability import measure_reliability
from domainclip.inference.calibration.store import Fitted, find_calibration, save_calibration
from domainclip.model.folder import create_model, save_model

ROWS = st.lists(
    st.tuples(st.sampled_from(["", "A", "B"]), st.sampled_from(["", "C", "D", "E"]),
              st.sampled_from("vwxyz")),
    min_size=2, max_size=12, unique=True,
)  # fmt: skip


def build(rows):
    columns = dict(zip(("order", "family", "kind"), zip(*rows, strict=True), strict=True))
    tree = LabelTree.from_columns(columns)
    return Hierarchy(tree, tree.leaves)


def draw(hierarchy, n, seed, scale=4.0):
    """Logits of made-up pictures, and the node of each."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(hierarchy), n)
    logits = rng.normal(size=(n, len(hierarchy)))
    logits[np.arange(n), truth] += 1.5
    return torch.from_numpy((scale * logits).astype(np.float32)), hierarchy.nodes[truth]


def fit(hierarchy, logits, truth):
    return fit_calibration(
        hierarchy, lambda: logits.split(64), truth, Fitted("model", "labels", "names")
    ).calibration


@settings(max_examples=25, deadline=None)
@given(ROWS, st.integers(0, 1000))
def test_ranks_sum_to_one_and_no_parent_is_less_likely_than_its_child(rows, seed):
    hierarchy = build(rows)
    logits, truth = draw(hierarchy, 120, seed)
    temperatures = fit(hierarchy, logits, truth).temperatures
    scaled = temperatures.apply(hierarchy, logits[:9])
    levels = hierarchy.probabilities(scaled)
    for level, p in zip(hierarchy.levels, levels, strict=True):
        np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)
        assert p.shape == (9, len(level))
    for level, p, above in zip(hierarchy.levels[1:], levels[1:], levels, strict=False):
        assert (above[:, level.parents] >= p - 1e-5).all()
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    np.testing.assert_allclose(
        temperatures.apply(hierarchy, logits[:9][order]).softmax(1), levels[-1][order], atol=1e-5
    )
    alone = torch.cat([temperatures.apply(hierarchy, row[None]) for row in logits[:9]])
    np.testing.assert_allclose(alone.softmax(1), levels[-1], atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(ROWS, st.integers(0, 1000))
def test_groups_are_those_of_the_tree(rows, seed):
    hierarchy = build(rows)
    logits, _ = draw(hierarchy, 5, seed)
    levels, p = hierarchy.probabilities(logits), logits.softmax(1)
    for number, rank in enumerate(hierarchy.ranks):
        groups = hierarchy.tree.groups(rank.name, hierarchy.nodes)
        rolled = torch.zeros(5, len(groups)).index_add_(1, torch.from_numpy(groups.codes), p)
        np.testing.assert_allclose(hierarchy.at_rank(levels, number), rolled, atol=1e-5)


def test_probabilities_that_were_too_sure_become_honest():
    hierarchy = build([("A", "C", "v"), ("A", "C", "w"), ("A", "D", "x"), ("B", "E", "y"),
                       ("B", "E", "z")])  # fmt: skip
    logits, truth = draw(hierarchy, 6000, 0, scale=6.0)
    temperatures = fit(hierarchy, logits[:3000], truth[:3000]).temperatures
    right = logits[3000:].argmax(1).numpy() == (truth[3000:, None] == hierarchy.nodes).argmax(1)
    before = measure_reliability(logits[3000:].softmax(1).amax(1).numpy(), right)
    p = temperatures.apply(hierarchy, logits[3000:]).softmax(1)
    right = p.argmax(1).numpy() == (truth[3000:, None] == hierarchy.nodes).argmax(1)
    after = measure_reliability(p.amax(1).numpy(), right)
    assert after.error < 0.05 and before.error > 0.15


def test_calibration_error_of_bins_of_equal_mass():
    said = np.repeat([0.2, 0.6, 0.9], 100)
    right = np.concatenate([np.arange(100) < n for n in (20, 60, 60)])
    found = measure_reliability(said, right, bins=3)
    assert found.error == pytest.approx((0 + 0 + 0.3) / 3)


def test_the_deepest_rank_that_passes_and_ladders_that_are_always_wrong():
    p = np.array([[0.9, 0.8, 0.6], [0.9, 0.4, 0.7], [0.3, 0.2, 0.1]], np.float32)
    assert find_rank(p, 0.65).tolist() == [1, 2, -1]
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, (2000, 2)).astype(np.float32)
    sure[:, 1] = sure[:, 0] * rng.uniform(0.5, 1, 2000)
    right = (rng.uniform(size=sure.shape) < sure).astype(np.int8)
    for one in fit_backoff(Ladder(sure, right)):
        place = find_rank(sure, one.threshold)
        told = np.flatnonzero(place >= 0)
        wrong = 1 - right[told, place[told]].mean() if len(told) else 0
        assert wrong <= 1 - one.level + 1e-9
        assert one.coverage == pytest.approx(len(told) / 2000)
    none = fit_backoff(Ladder(sure, np.zeros_like(right)), [0.9])[0]
    assert none.coverage == 0 and (find_rank(sure, none.threshold) == -1).all()


def test_sets_and_their_thresholds():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.05, 0.05, 0.9], [0.34, 0.33, 0.33]])
    assert find_sets(p, 0.25).tolist() == [
        [True, True, False], [False, False, True], [True, True, True]
    ]  # fmt: skip
    assert find_sets(p, 0.95).sum(1).tolist() == [1, 1, 1]  # the likeliest always
    true = np.linspace(0, 1, 5000).astype(np.float32)
    found = find_thresholds(true, [0.1, 0.01])
    assert 0.08 < found[0.1] <= 0.1 and 0.005 < found[0.01] <= 0.01
    assert find_thresholds(true[:5], [0.01])[0.01] == 0  # too few tell: sets of all


def test_rejection_and_the_area_under_its_curve():
    known = np.linspace(0, 1, 1000).astype(np.float32)
    (one,) = fit_rejection(known, known - 0.5, [0.1])
    assert one.rejected <= 0.1 and one.found == pytest.approx(one.rejected + 0.5, abs=0.01)
    assert measure_separation(np.array([2.0, 3.0]), np.array([1.0, 2.0])) == 0.875


def test_what_is_kept_is_what_was_fitted(tmp_path):
    network, _ = create_model("small", image_size=32)
    save_model(network, tmp_path, tree=None, card={})
    hierarchy = build([("A", "C", "v"), ("A", "D", "w"), ("B", "E", "x")])
    made = fit(hierarchy, *draw(hierarchy, 200, 1))
    assert "not calibrated" in find_calibration(tmp_path, made.fitted)
    file = save_calibration(made, tmp_path)
    assert find_calibration(tmp_path, made.fitted) == made
    for other, said in (
        (Fitted("other", "labels", "names"), "another model"),
        (Fitted("model", "other", "names"), "other labels"),
        (Fitted("model", "labels", "captions"), "another head"),
    ):
        assert said in find_calibration(tmp_path, other)
    with pytest.raises(UsageError, match="as strict as"):
        made.find_backoff(0.999)
    assert made.find_backoff(0.85).level == 0.9
    file.write_text(json.dumps({"format": 1, "calibrations": [{"x": 1}]}))
    with pytest.raises(DataError, match="is damaged"):
        find_calibration(tmp_path, made.fitted)
