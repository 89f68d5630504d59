"""Probabilities of labels and ranks: what always holds, whatever the tree and the pictures."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.inference.candidates import choose
from domainclip.inference.label_cache import LabelMatrix
from domainclip.inference.ranks import Ranks
from domainclip.inference.scoring import find_logits, into_probabilities, top

names = st.lists(
    st.tuples(st.sampled_from(["", "A", "B"]), st.sampled_from(["", "C", "D", "E"]),
              st.sampled_from("vwxyz")),
    min_size=1, max_size=12, unique=True,
)  # fmt: skip


def build(rows):
    columns = dict(zip(("order", "family", "kind"), zip(*rows, strict=True), strict=True))
    return Ranks(choose(LabelTree.from_columns(columns), PromptSet()))


def unit(seed, n, dim=6):
    vectors = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def score(labels, pictures, scale=30.0):
    logits = find_logits(LabelMatrix(labels), torch.from_numpy(pictures), scale)
    return torch.cat([into_probabilities(one) for one in logits])


@settings(max_examples=60, deadline=None)
@given(names, st.integers(0, 1000))
def test_every_rank_sums_to_one_and_a_parent_is_at_least_its_likeliest_child(rows, seed):
    ranks = build(rows)
    tree, nodes = ranks.candidates.tree, ranks.candidates.nodes
    p = score(unit(seed, len(ranks.candidates)), unit(seed + 1, 3))
    coarser = None
    for rank in ranks.names:
        here, groups = ranks.roll_up(p, rank), ranks.groups(rank)
        np.testing.assert_allclose(here.sum(1), 1, atol=1e-5)
        for group in range(len(groups)):
            members = np.flatnonzero(groups.codes == group)
            assert (here[:, group] >= p[:, members].max(1).values - 1e-6).all()
            if coarser is not None:  # a group lies in one group above it
                above = np.unique(coarser[1].codes[members])
                assert len(above) == 1
                assert (coarser[0][:, above[0]] >= here[:, group] - 1e-6).all()
        coarser = here, groups
    assert tree is not None and len(nodes) == p.shape[1]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000), st.data())
def test_order_and_number_of_pictures_change_no_answer(n_labels, n_pictures, seed, data):
    labels, pictures = unit(seed, n_labels), unit(seed + 1, n_pictures)
    whole = score(labels, pictures)
    order = data.draw(st.permutations(range(n_pictures)))
    np.testing.assert_allclose(score(labels, pictures[order]), whole[order], atol=1e-5)
    alone = torch.cat([score(labels, pictures[i : i + 1]) for i in range(n_pictures)])
    np.testing.assert_allclose(alone, whole, atol=1e-5)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5]), min_size=1, max_size=9), st.data())
def test_the_highest_come_first_and_of_equal_ones_the_first(scores, data):
    k = data.draw(st.integers(1, len(scores)))
    values, places = top(torch.tensor([scores]), k)
    best = sorted(range(len(scores)), key=lambda i: (-scores[i], i))[:k]
    assert places[0].tolist() == best
    assert values[0].tolist() == [torch.tensor(scores[i]).item() for i in best]


@settings(max_examples=40, deadline=None)
@given(names, st.integers(0, 1000))
def test_coarse_to_fine_stays_on_one_line(rows, seed):
    ranks = build(rows)
    p = score(unit(seed, len(ranks.candidates)), unit(seed + 1, 4))
    line = None
    for rank in ranks.names:
        groups = ranks.groups(rank)
        chosen = top(ranks.roll_up(ranks.keep_best_line(p, rank), rank), 1)[1][:, 0].tolist()
        members = [set(np.flatnonzero(groups.codes == one).tolist()) for one in chosen]
        if line is None:
            assert chosen == top(ranks.roll_up(p, rank), 1)[1][:, 0].tolist()
        else:
            assert all(here <= above for here, above in zip(members, line, strict=True))
        line = members
    best = top(ranks.keep_best_line(p, None), 1)[1][:, 0].tolist()
    assert all(one in here for one, here in zip(best, line, strict=True))


def test_many_labels_are_scored_a_few_pictures_at_a_time(monkeypatch):
    labels, pictures = unit(0, 50), unit(1, 9)
    whole = score(labels, pictures)
    monkeypatch.setattr("domainclip.inference.scoring.AT_ONCE", 120)
    parts = [*find_logits(LabelMatrix(labels), torch.from_numpy(pictures), 30.0)]
    assert [len(part) for part in parts] == [2, 2, 2, 2, 1]
    np.testing.assert_allclose(score(labels, pictures), whole, atol=1e-6)


def test_a_prior_is_added_to_the_logits():
    labels, pictures = unit(0, 3), unit(1, 2)
    prior = torch.tensor([0.0, np.log(2.0), -np.inf])
    (logits,) = find_logits(LabelMatrix(labels), torch.from_numpy(pictures), 5.0, prior)
    p, plain = into_probabilities(logits), score(labels, pictures, 5.0)
    expected = plain * torch.tensor([1.0, 2.0, 0.0])
    np.testing.assert_allclose(p, expected / expected.sum(1, keepdim=True), atol=1e-6)
