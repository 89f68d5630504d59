"""Calibrated probabilities by rank: sums, parents and children, and what is fitted to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.labels import LabelTree
from domainclip.errors import LabelError
from domainclip.inference.calibration.hierarchy import Hierarchy
from domainclip.inference.calibration.temperature import Choices, Temperatures
from domainclip.inference.rollup import roll_up

RANKS = ("order", "family", "species")
COLUMNS = {
    "order": ["O", "O", "O", "P", "P"],
    "family": ["F", "F", "", "G", "G"],
    "species": ["a", "b", "c", "", "d"],
}
TREE = LabelTree.from_columns(COLUMNS, RANKS)
NODES = TREE.nodes_of(COLUMNS)
"""Two species of F, one without a family, the family G itself, and a species of it."""


def temperatures(hierarchy, base=1.0, spread=0.0, margin=0.0, size=0.0):
    told = [(value,) * len(hierarchy.levels) for value in (base, spread, margin, size)]
    return Temperatures(hierarchy.names, *told, spreads=(0.1, 2.0, 9.0), margins=(1.0, 2.0, 9.0))


def at_rank(tree, nodes, logits, rank):
    return roll_up(logits.softmax(-1), tree.groups(rank, nodes))


def test_levels_are_the_partitions_that_differ_and_end_with_the_labels():
    hierarchy = Hierarchy(TREE, NODES)
    assert hierarchy.names == ("order", "family", "species")
    assert [level.sizes.tolist() for level in hierarchy.levels] == [[3, 2], [2, 2, 1], [1] * 5]
    assert [level.parents.tolist() for level in hierarchy.levels] == [
        [0, 0],
        [0, 1, 0],  # F, G, and the bucket of O
        [0, 0, 2, 1, 1],
    ]
    one_order = Hierarchy(TREE, NODES[:3])
    assert one_order.names == ("family", "species")  # the order tells nothing apart
    assert [(rank.name, rank.level) for rank in one_order.ranks] == [
        ("order", -1),
        ("family", 0),
        ("species", 1),
    ]
    flat = Hierarchy(None, [4, 9])
    assert flat.names == ("label",) and flat.locate([9, 5, 4]).tolist() == [[1], [-1], [0]]


def test_labels_keep_the_order_that_they_are_given_in():
    turned = NODES[[4, 2, 0, 3, 1]]
    hierarchy = Hierarchy(TREE, turned)
    logits = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0]])
    levels = hierarchy.probabilities(logits)
    torch.testing.assert_close(levels[-1], logits.softmax(-1))
    assert hierarchy.locate(turned)[:, -1].tolist() == [0, 1, 2, 3, 4]
    values, nodes = hierarchy.find_best(levels)
    assert nodes[0].tolist() == [TREE.find("O")[0], TREE.find("F")[0], TREE.find("b")[0]]
    for column, rank in enumerate(RANKS):
        best = at_rank(TREE, turned, logits, rank)
        named = torch.from_numpy(TREE.groups(rank, turned).nodes >= 0)
        assert float(values[0, column]) == pytest.approx(float(best[0, named].max()), abs=1e-6)


def test_truths_are_found_at_each_level_as_far_as_they_are_known():
    hierarchy = Hierarchy(TREE, NODES)
    named = dict(zip("abcGd", hierarchy.locate(NODES).tolist(), strict=True))
    assert named == {"a": [0, 0, 0], "b": [0, 0, 1], "c": [0, 2, 2], "G": [1, 1, 3], "d": [1, 1, 4]}
    fewer = Hierarchy(TREE, NODES[[0, 1, 2, 4]])  # without G itself
    order, family, genus = (TREE.find(name)[0] for name in ("O", "F", "G"))
    assert fewer.locate([order, family, genus]).tolist() == [[0, -1, -1], [0, 0, -1], [1, 1, -1]]
    without_b = Hierarchy(TREE, NODES[[0, 2, 3, 4]])
    assert without_b.locate([NODES[1]]).tolist() == [[0, 0, -1]]


def test_an_answer_is_right_above_the_truth_and_unknown_below_it():
    hierarchy = Hierarchy(TREE, NODES)
    a, b, f, o, p = (TREE.find(name)[0] for name in ("a", "b", "F", "O", "P"))
    assert hierarchy.judge([a, f, o, b, p, -1], [a] * 6).tolist() == [1, 1, 1, 0, 0, -1]
    assert hierarchy.judge([a, f, o, p], [f] * 4).tolist() == [-1, 1, 1, 0]
    assert Hierarchy(None, [0, 1]).judge([0, 1, -1], [0, 0, 0]).tolist() == [1, 0, -1]


def test_no_label_and_a_label_given_twice_are_refused():
    with pytest.raises(LabelError, match="no label"):
        Hierarchy(TREE, [])
    with pytest.raises(LabelError, match="twice"):
        Hierarchy(TREE, [NODES[0], NODES[0]])


def test_without_temperatures_it_is_the_softmax():
    hierarchy = Hierarchy(TREE, NODES)
    logits = 20 * torch.randn(50, 5, generator=torch.Generator().manual_seed(1))
    scaled = temperatures(hierarchy).apply(hierarchy, logits)
    torch.testing.assert_close(scaled.exp(), logits.softmax(-1), atol=1e-6, rtol=1e-5)
    small = logits / 10
    scaled = temperatures(hierarchy).apply(hierarchy, small)
    torch.testing.assert_close(scaled, small.log_softmax(-1), atol=1e-4, rtol=1e-5)


def test_probabilities_by_hand():
    """order: O is e + e + 1, P is 1 + e^2; T = 2; sizes 3 and 2 to the power 0.5."""
    hierarchy = Hierarchy(TREE, NODES)
    logits = torch.tensor([[1.0, 1.0, 0.0, 0.0, 2.0]])
    found = temperatures(hierarchy, base=2.0, size=0.5).apply(hierarchy, logits).exp()[0]
    e = np.e
    order = np.sqrt([2 * e + 1, 1 + e**2]) * np.sqrt([3, 2])
    order /= order.sum()
    family = np.sqrt([2 * e, 1.0]) * np.sqrt([2, 1])  # F, and the bucket of c
    family /= family.sum()
    last = np.sqrt([1.0, e**2]) / np.sqrt([1.0, e**2]).sum()  # G itself, and d
    expected = [
        order[0] * family[0] / 2, order[0] * family[0] / 2, order[0] * family[1],
        order[1] * last[0], order[1] * last[1],
    ]  # fmt: skip
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_temperature_follows_spread_and_margin_within_what_was_seen():
    hierarchy = Hierarchy(None, [0, 1, 2])
    logits = torch.tensor([[3.0, 0.0, 0.0], [30.0, 0.0, 0.0], [1e4, 0.0, 0.0]])
    spread = float(logits[0].std(correction=0))
    follow = temperatures(hierarchy, base=1.5, spread=-1.0, margin=0.5)
    cooler = 1.5 * (spread / 2) ** -1 * ((1 + 3) / 2) ** 0.5
    expected = (logits[0] / cooler).log_softmax(-1)
    torch.testing.assert_close(follow.apply(hierarchy, logits)[0], expected, atol=1e-5, rtol=1e-5)
    bounded = 1.5 * (9 / 2) ** -1 * (9 / 2) ** 0.5
    torch.testing.assert_close(
        follow.apply(hierarchy, logits)[1], (logits[1] / bounded).log_softmax(-1)
    )
    assert follow.apply(hierarchy, logits).isfinite().all()


cell = st.sampled_from(["", "A", "B", "C"])
number = st.floats(0.2, 5, allow_nan=False)
power = st.floats(-3, 3, allow_nan=False)


@st.composite
def cases(draw):
    """A tree with gaps and labels at any rank, logits of a few pictures, and temperatures."""
    rows = draw(
        st.lists(st.tuples(cell, cell, cell).filter(any), min_size=2, max_size=12, unique=True)
    )
    columns = {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}
    tree = LabelTree.from_columns(columns, RANKS)
    nodes = draw(st.permutations(tree.nodes_of(columns).tolist()))
    seed = draw(st.integers(0, 2**32 - 1))
    scale = draw(st.sampled_from([0.1, 5.0, 60.0]))
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(draw(st.integers(1, 6)), len(nodes), generator=generator)
    hierarchy = Hierarchy(tree, nodes)
    told = [draw(st.lists(kind, min_size=len(hierarchy.levels), max_size=len(hierarchy.levels)))
            for kind in (number, power, power, power)]  # fmt: skip
    fitted = Temperatures(hierarchy.names, *map(tuple, told), (0.1, 2.0, 90.0), (1.0, 2.0, 90.0))
    return tree, nodes, hierarchy, logits, fitted


@given(cases())
@settings(deadline=None, max_examples=60)
def test_every_rank_sums_to_one_and_no_parent_is_less_likely_than_its_child(case):
    tree, nodes, hierarchy, logits, fitted = case
    scaled = fitted.apply(hierarchy, logits)
    assert scaled.isfinite().all()
    torch.testing.assert_close(scaled.exp().sum(-1), torch.ones(len(logits)), atol=1e-5, rtol=0)
    before = torch.ones(len(logits), 1)
    codes = torch.zeros(len(nodes), dtype=torch.int64)
    for rank in tree.ranks:
        groups = tree.groups(rank, nodes)
        found = at_rank(tree, nodes, scaled, rank)
        torch.testing.assert_close(found.sum(-1), torch.ones(len(logits)), atol=1e-5, rtol=0)
        now = torch.from_numpy(groups.codes)
        assert (before[:, codes] >= found[:, now] - 1e-5).all()  # of each label, one rank up
        before, codes = found, now
    for level, summed in zip(hierarchy.levels, hierarchy.probabilities(scaled), strict=True):
        assert summed.shape == (len(logits), len(level))
        torch.testing.assert_close(summed.sum(-1), torch.ones(len(logits)), atol=1e-5, rtol=0)


@given(cases())
@settings(deadline=None, max_examples=60)
def test_groups_are_those_of_the_tree(case):
    tree, nodes, hierarchy, logits, _ = case
    levels = hierarchy.probabilities(logits)
    for rank in hierarchy.ranks:
        groups = tree.groups(rank.name, nodes)
        assert len(rank) == len(groups)
        assert rank.members[rank.places.numpy()].tolist() == groups.nodes.tolist()
        summed = (
            levels[rank.level][:, rank.places] if rank.level >= 0 else torch.ones(len(logits), 1)
        )
        torch.testing.assert_close(
            summed, at_rank(tree, nodes, logits, rank.name), atol=1e-5, rtol=0
        )


@given(cases(), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_neither_the_order_of_pictures_nor_the_batch_changes_an_answer(case, random):
    _, _, hierarchy, logits, fitted = case
    order = list(range(len(logits)))
    random.shuffle(order)
    whole = fitted.apply(hierarchy, logits)
    turned = fitted.apply(hierarchy, logits[order])
    alone = torch.cat([fitted.apply(hierarchy, one[None]) for one in logits])
    torch.testing.assert_close(turned.exp(), whole[order].exp(), atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.exp(), whole.exp(), atol=1e-5, rtol=0)


@given(cases())
@settings(deadline=None, max_examples=60)
def test_labels_of_one_parent_keep_their_order(case):
    _, _, hierarchy, logits, fitted = case
    scaled, parents = fitted.apply(hierarchy, logits), hierarchy.levels[-1].parents
    for parent in parents.unique():
        own = parents == parent
        sharp, flat = scaled[:, own], (logits - logits.amax(-1, keepdim=True))[:, own]
        higher = (flat[:, :, None] > flat[:, None, :]) & (flat[:, :, None] > -80)
        gap = sharp[:, :, None] - sharp[:, None, :]
        assert (gap[higher] >= -1e-4).all()


def test_equal_labels_are_answered_in_their_order():
    hierarchy = Hierarchy(TREE, NODES[[1, 0]])
    levels = hierarchy.probabilities(torch.zeros(1, 2))
    assert hierarchy.find_best(levels)[1][0, -1] == NODES[1]


def test_buckets_are_no_answer():
    tree = LabelTree.from_columns({"family": ["", "F"], "species": ["a", "b"]})
    hierarchy = Hierarchy(tree, tree.leaves)
    bucket = tree.find("a")[0]
    logits = torch.where(torch.from_numpy(tree.leaves == bucket), 5.0, 0.0)[None]
    values, nodes = hierarchy.find_best(hierarchy.probabilities(logits))
    assert nodes[0].tolist() == [tree.find("F")[0], bucket]
    assert values[0, 0] < 0.01 < values[0, 1]


def sample(hierarchy, count, fitted, seed=0, scale=8.0):
    """Logits, and truths drawn from what temperatures make of them."""
    generator = torch.Generator().manual_seed(seed)
    strength = 0.5 + torch.rand(count, 1, generator=generator)
    logits = scale * strength * torch.randn(count, len(hierarchy), generator=generator)
    p = fitted.apply(hierarchy, logits).exp()
    return logits, torch.multinomial(p, 1, generator=generator)[:, 0].numpy()


def test_the_temperatures_that_truths_were_drawn_with_are_found_again():
    hierarchy = Hierarchy(TREE, NODES)
    made = Temperatures(
        hierarchy.names, (3.0, 1.0, 2.0), (-0.6, 0.0, 0.0), (0.0, 0.0, 0.5), (-0.8, 0.4, 0.0),
        (0.1, 7.4, 90.0), (1.0, 5.1, 90.0),
    )  # fmt: skip
    logits, labels = sample(hierarchy, 20_000, made)
    truth = hierarchy.locate(NODES[labels])
    found = Choices(hierarchy, lambda: iter(logits.split(1000)), truth).fit()
    said = found.apply(hierarchy, logits).exp()
    torch.testing.assert_close(said, made.apply(hierarchy, logits).exp(), atol=0.04, rtol=0)
    for name in ("spread", "margin", "size"):
        assert getattr(found, name)[:2] == pytest.approx(getattr(made, name)[:2], abs=0.25)


def test_fitting_does_not_depend_on_the_batches_and_reads_no_clock():
    hierarchy = Hierarchy(TREE, NODES)
    logits, labels = sample(hierarchy, 300, temperatures(hierarchy, base=2.0))
    truth = hierarchy.locate(NODES[labels])
    one = Choices(hierarchy, lambda: [logits], truth).fit()
    many = Choices(hierarchy, lambda: logits.split(7), truth).fit()
    for name in ("base", "spread", "margin", "size"):
        assert getattr(many, name) == pytest.approx(getattr(one, name), rel=1e-3, abs=1e-4)


def test_pictures_known_to_a_coarse_rank_alone_are_fitted_there():
    hierarchy = Hierarchy(TREE, NODES)
    logits, labels = sample(hierarchy, 2000, temperatures(hierarchy, base=3.0))
    orders = TREE.ancestors[NODES[labels], 0]
    found = Choices(hierarchy, lambda: [logits], hierarchy.locate(orders)).fit()
    assert found.base[0] == pytest.approx(3.0, rel=0.3)
    assert found.base[1:] == (1.0, 1.0) and found.spread[1:] == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["always right", "always wrong", "all alike", "one label"])
def test_pictures_that_tell_nothing_new_leave_finite_temperatures(kind):
    hierarchy = Hierarchy(TREE, NODES)
    labels = torch.arange(100) % (1 if kind == "one label" else 5)
    shown = labels if kind != "always wrong" else (labels + 2) % 5
    logits = 300.0 * torch.nn.functional.one_hot(shown, 5).float()
    logits += torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    logits = torch.zeros_like(logits) if kind == "all alike" else logits
    truth = hierarchy.locate(NODES[labels.numpy()])
    found = Choices(hierarchy, lambda: [logits], truth).fit()
    scaled = found.apply(hierarchy, logits)
    assert scaled.isfinite().all()
    assert all(0.05 < base < 20.1 for base in found.base)
    best = scaled.exp().amax(-1).mean()
    assert best > 0.9 if kind == "always right" else best < 1 - 1e-3 or kind == "one label"
