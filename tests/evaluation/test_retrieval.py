"""Recall between pictures and texts, against a reference that tries every order of ties."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.errors import UsageError
from domainclip.evaluation.retrieval import find_hits, resample_means, score_hits


def naive(scores, right, k):
    """Share of the orders that the scores allow in which one of the k best is right."""
    n = len(scores)
    every = permutations(range(n))
    orders = [p for p in every if all(scores[a] >= scores[b] for a, b in pairwise(p))]
    return np.mean([any(right[i] for i in order[:k]) for order in orders])


def reference(images, texts, pairs, groups, ks):
    groups = list(range(len(images))) if groups is None else groups
    right = np.zeros((len(images), len(texts)), bool)
    for p, t in pairs:
        for other in range(len(images)):
            right[other, t] |= groups[other] == groups[p]
    scores = images.double().numpy() @ texts.double().numpy().T
    found = [
        [
            [naive(scores[p], right[p], k) for k in ks],
            [naive(scores[:, t], right[:, t], k) for k in ks],
        ]
        for p, t in pairs
    ]
    return np.array(found)


@st.composite
def cases(draw):
    n, m = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    # Few small whole numbers: products are exact and ties are common.
    vector = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    images = draw(st.lists(vector, min_size=n, max_size=n))
    texts = draw(st.lists(vector, min_size=m, max_size=m))
    pair = st.tuples(st.integers(0, n - 1), st.integers(0, m - 1))
    pairs = draw(st.lists(pair, min_size=1, max_size=6))
    groups = draw(st.none() | st.lists(st.sampled_from("ab"), min_size=n, max_size=n))
    return torch.tensor(images).float(), torch.tensor(texts).float(), pairs, groups


@settings(max_examples=80, deadline=None)
@given(cases(), st.integers(1, 30))
def test_equals_the_reference_with_ties_and_several_right_answers(case, chunk):
    images, texts, pairs, groups = case
    ks = (1, 2, 4)
    hits = find_hits(images, texts, pairs, groups=groups, ks=ks, chunk=chunk)
    np.testing.assert_allclose(hits.values, reference(images, texts, pairs, groups, ks), atol=1e-12)


def test_a_caption_that_two_pictures_share_is_right_for_both():
    images = torch.eye(3)
    texts = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    hits = find_hits(images, texts, [(0, 0), (1, 0), (2, 1)], ks=(1,))
    # Picture 0 scores 0 with both texts, a tie; its text finds picture 1, which is right too.
    assert hits.values[:, 0, 0].tolist() == [0.5, 1.0, 1.0]
    assert hits.values[:, 1, 0].tolist() == [1.0, 1.0, 1.0]


def test_groups_make_all_pictures_of_one_label_right():
    images, texts = torch.eye(4), torch.eye(4)[[1, 0, 3, 2]]
    pairs = [(i, i) for i in range(4)]
    alone = find_hits(images, texts, pairs, ks=(1,))
    grouped = find_hits(images, texts, pairs, groups=["a", "a", "b", "b"], ks=(1,))
    assert alone.values.sum() == 0 and grouped.values.mean() == 1


def test_a_model_that_says_the_same_of_everything_is_at_chance():
    torch.manual_seed(0)
    vector = torch.nn.functional.normalize(torch.randn(64), dim=0)
    hits = find_hits(vector.repeat(50, 1), vector.repeat(50, 1), [(i, i) for i in range(50)])
    np.testing.assert_allclose(hits.values, np.broadcast_to([0.02, 0.1, 0.2], (50, 2, 3)))


def test_chunks_change_nothing():
    torch.manual_seed(1)
    images, texts = torch.randn(200, 8), torch.randn(120, 8)
    pairs = [(i, i % 120) for i in range(200)]
    whole, cut = (find_hits(images, texts, pairs, chunk=c) for c in (10**9, 120))
    assert np.array_equal(whole.values, cut.values)
    assert whole.candidates == (120, 200)


def test_rows_name_metric_and_direction_and_leave_out_what_cannot_fail():
    hits = find_hits(torch.eye(6), torch.eye(6)[:4], [(i, i) for i in range(4)])
    rows = score_hits(hits, split="test", bootstrap=100)
    assert [r.metric for r in rows] == [
        "recall@1 image-to-text", "recall@1 text-to-image", "recall@5 text-to-image",
    ]  # fmt: skip
    assert all((r.value, r.low, r.high, r.n) == (1, 1, 1, 4) for r in rows)
    assert {(r.split, r.candidates, r.rank) for r in rows} == {("test", "captions", "")}


def test_the_interval_is_that_of_the_binomial_where_pictures_are_alone():
    rng = np.random.default_rng(0)
    images = torch.eye(400)
    texts = images.clone()
    wrong = rng.permutation(400)[:100]
    texts[wrong] = -texts[wrong]  # their own picture comes last
    rows = score_hits(
        find_hits(images, texts, [(i, i) for i in range(400)], ks=(1,)), split="t", bootstrap=4000
    )
    row = next(r for r in rows if r.metric == "recall@1 text-to-image")
    assert row.value == pytest.approx(0.75)
    assert row.high - row.low == pytest.approx(2 * 1.96 * np.sqrt(0.75 * 0.25 / 400), rel=0.08)


def test_whole_groups_are_drawn_and_one_group_has_no_interval():
    hits = find_hits(torch.eye(4), torch.eye(4)[[0, 1, 3, 2]], [(i, i) for i in range(4)], ks=(1,))
    torn = score_hits(hits, split="t", groups=["a", "a", "b", "b"], bootstrap=500)
    assert {(r.low, r.value, r.high) for r in torn} == {(0.0, 0.5, 1.0)}
    assert {r.low for r in score_hits(hits, split="t", groups=["a"] * 4)} == {None}
    assert {r.low for r in score_hits(hits, split="t", bootstrap=0)} == {None}


def test_resampled_means_weigh_clusters_by_their_size():
    values = np.array([[1.0], [0.0], [0.0]])
    drawn = resample_means(values, np.array([5, 9, 9]), 200, seed=3)
    assert set(np.round(drawn[:, 0], 6)) == {0.0, round(1 / 3, 6), 1.0}
    assert np.array_equal(drawn, resample_means(values, np.array([5, 9, 9]), 200, seed=3))


@pytest.mark.parametrize(
    ("images", "pairs", "groups", "said"),
    [
        (torch.eye(2), [], None, "no picture has a text"),
        (torch.eye(2), [(2, 0)], None, "not there"),
        (torch.eye(2), [(0, 0)], ["a"], "1 groups for 2 pictures"),
        (torch.eye(2) * torch.nan, [(0, 0)], None, "not finite"),
    ],
)
def test_wrong_use_is_refused(images, pairs, groups, said):
    with pytest.raises(UsageError, match=said):
        find_hits(images, torch.eye(2), pairs, groups=groups)
