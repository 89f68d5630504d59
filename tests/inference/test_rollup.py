"""Scores summed up to a rank."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.domains.labels import LabelTree
from domainclip.inference.rollup import roll_up

RANKS = ("order", "family", "species")
TREE = LabelTree.from_columns(
    {
        "order": ["O", "O", "O", "P"],
        "family": ["F", "F", "", "G"],
        "species": ["a", "b", "c", ""],
    },
    RANKS,
)
NODES = TREE.nodes_of(
    {"order": ["O", "O", "O", "P"], "family": ["F", "F", "", "G"], "species": ["a", "b", "c", ""]}
)


def test_scores_are_summed_in_their_group():
    scores = torch.tensor([[0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 4.0, 8.0]])
    groups = TREE.groups("family", NODES)
    assert groups.names == ("F", "G", "no family, under O")
    expected = torch.tensor([[0.3, 0.4, 0.3], [3.0, 8.0, 4.0]])
    torch.testing.assert_close(roll_up(scores, groups), expected)
    torch.testing.assert_close(roll_up(scores[0], groups), expected[0])
    order = roll_up(scores, TREE.groups("order", NODES))
    torch.testing.assert_close(order, torch.tensor([[0.6, 0.4], [7.0, 8.0]]))
    assert TREE.groups("species", NODES).names == ("a", "b", "c", "no species, under G")


def test_half_precision_is_summed_in_single():
    scores = torch.full((2048,), 1 / 2048, dtype=torch.bfloat16)
    tree = LabelTree.from_columns({"a": ["x"] * 2048, "b": [str(i) for i in range(2048)]})
    total = roll_up(scores, tree.groups("a", tree.leaves))
    assert total.dtype == torch.float32
    assert total.tolist() == [1.0]


def test_gradients_pass_to_every_score():
    scores = torch.rand(2, 4, requires_grad=True)
    roll_up(scores, TREE.groups("family", NODES))[:, 0].sum().backward()
    assert scores.grad.tolist() == [[1.0, 1.0, 0.0, 0.0]] * 2


def test_a_wrong_number_of_scores_is_refused():
    with pytest.raises(ValueError, match="3 scores for 4"):
        roll_up(torch.rand(2, 3), TREE.groups("family", NODES))


cell = st.sampled_from(["", "A", "B", "C"])


@given(
    st.lists(st.tuples(cell, cell, cell).filter(any), min_size=1, max_size=15, unique=True),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None)
def test_probabilities_sum_to_one_at_every_rank(rows, batch, seed):
    columns = {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}
    tree = LabelTree.from_columns(columns, RANKS)
    nodes = tree.nodes_of(columns)
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 2, len(rows))
    scores = torch.randn(shape, generator=generator, dtype=torch.float64).softmax(-1)
    for rank in RANKS:
        groups = tree.groups(rank, nodes)
        summed = roll_up(scores, groups)
        assert summed.shape == (batch, 2, len(groups))
        torch.testing.assert_close(summed.sum(-1), torch.ones(batch, 2, dtype=torch.float64))
        for number in range(len(groups)):
            own = torch.from_numpy(groups.codes == number)
            torch.testing.assert_close(summed[..., number], scores[..., own].sum(-1))
