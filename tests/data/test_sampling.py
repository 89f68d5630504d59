"""Which pictures a step takes: exact shares, exact resumes, sisters where they are asked for."""

from collections import Counter

import data_fakes as fakes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainclip.data.datamodule import open_data
from domainclip.data.sampling import StepSampler, even_out, find_parents, group_for_balance
from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe


def opened(**data):
    recipe = Recipe(
        domain="fake", data={"batch_size": 8, "workers": 0, **data}, train={"augment": False}
    )
    found = open_data(recipe, fakes.make_domain(), 16)
    found.steps = 5
    return found


@pytest.mark.parametrize("world", [2, 4, 8])
def test_the_shares_of_all_processes_are_the_batch_of_one(world):
    whole = list(opened().train_dataloader())
    shares = []
    for rank in range(world):
        data = opened()
        data.rank, data.world = rank, world
        shares.append(list(data.train_dataloader()))
    for step, batch in enumerate(whole):
        mine = [share[step] for share in shares]
        assert torch.equal(torch.cat([one.pixels for one in mine]), batch.pixels)
        for one in mine:
            assert torch.equal(one.nodes, batch.nodes) and torch.equal(one.indices, batch.indices)


def test_processes_augment_by_streams_of_their_own():
    domain = fakes.make_domain()
    recipe = Recipe(domain="fake", data={"batch_size": 8, "workers": 0, "limit": 1})
    pixels = []
    for rank in range(2):
        data = open_data(recipe, domain, 16)  # one picture, so that only the augmentation differs
        data.steps, data.rank, data.world = 1, rank, 2
        pixels.append(next(iter(data.train_dataloader())).pixels)
    assert not torch.equal(*pixels)


def test_a_batch_that_cannot_be_shared_is_refused():
    data = opened(batch_size=9)
    data.world = 2
    with pytest.raises(UsageError, match="2 processes cannot share a batch of 9") as caught:
        data.train_dataloader()
    assert "such as 10" in caught.value.hint


def test_a_group_is_thinned_out_as_metaclip_does():
    groups = np.repeat([3, 5, 9], [1, 2, 5])  # t = 2: kept with 1, 1 and 2/5; 5 expected of 8
    often = even_out(groups)
    np.testing.assert_allclose(often, np.repeat([1, 1, 2 / 5], [1, 2, 5]) * 8 / 5)
    np.testing.assert_allclose(even_out(groups, 1), np.repeat([1, 1 / 2, 1 / 5], [1, 2, 5]) * 8 / 3)
    np.testing.assert_allclose(even_out(groups, 5), 1)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=6),
    st.integers(1, 12) | st.none(),
    st.integers(0, 9),
    st.integers(1, 40),
)
def test_an_epoch_draws_each_picture_as_often_as_it_should(counts, at, seed, batch):
    often = even_out(np.repeat(np.arange(len(counts)), counts), at)
    n = len(often)
    sampler = StepSampler(n, batch, seed, 3 * n, often=often)
    drawn = np.concatenate([sampler.batch(step) for step in range(3 * n)])
    for epoch in range(3):
        times = np.bincount(drawn[epoch * n : (epoch + 1) * n], minlength=n)
        assert times.sum() == n
        assert (times >= np.floor(often - 1e-9)).all() and (times <= np.ceil(often + 1e-9)).all()
    later = StepSampler(n, batch, seed, 3 * n, often=often)
    assert later.batch(3 * n - 1).tolist() == drawn[-batch:].tolist()


def test_labels_come_as_often_as_expected_over_epochs():
    often = even_out(np.repeat([0, 1], [90, 10]), 10)  # both as often
    sampler = StepSampler(100, 100, 0, 40, often=often)
    few = [int((sampler.batch(step) >= 90).sum()) for step in range(40)]
    assert few == [50] * 40  # each of the ten five times, exactly
    rare = np.mean([np.bincount(sampler.batch(step), minlength=100) for step in range(40)], axis=0)
    assert rare[:90].min() > 0.2 and rare[:90].max() < 0.95  # 5/9 each, whichever comes first


def test_balance_by_rank_or_label():
    data = opened(balance="label", balance_at=3)
    assert data.often == pytest.approx(np.ones(30))  # built-in data is even
    assert "data.balance: a picture comes 1 to 1 times in an epoch" in data.messages
    nodes = data.splits["train"].nodes
    families = group_for_balance(data.tree, nodes, "family")
    assert sorted(Counter(families.tolist()).values()) == [10, 20]  # two small ones, one large
    drawn = np.concatenate([b.nodes.numpy() for b in opened(balance="family").train_dataloader()])
    assert len(drawn) == 40
    with pytest.raises(UsageError, match="no rank 'famly'; it can be label, kingdom, family, spec"):
        opened(balance="famly")


def tree():
    """Two families of 4 genera of 3 each, a third with a genus of one and a genus of two."""
    rows = [(f"F{f}", f"G{f}{g}", f"s{f}{g}{s}") for f in range(2) for g in range(4) for s in "abc"]
    rows += [("F2", "G20", "s20a"), ("F2", "G21", "s21a"), ("F2", "G21", "s21b")]
    ranks = ("family", "genus", "species")
    return LabelTree.from_columns(dict(zip(ranks, zip(*rows, strict=True), strict=True)), ranks)


def test_sisters_share_the_nearest_ancestor_that_has_several_labels():
    labels = tree()
    species = labels.leaves.astype(np.int64)
    parents = dict(zip(species.tolist(), find_parents(labels, species).tolist(), strict=True))
    said = {labels.name(node): labels.name(up) for node, up in parents.items()}
    assert said["s00a"] == "G00" and said["s21b"] == "G21"
    assert said["s20a"] == "F2"  # alone in its genus
    lonely = species[[0, 3]]  # of two genera of one family
    assert {labels.name(int(up)) for up in find_parents(labels, lonely)} == {"F0"}
    assert find_parents(labels, species[:1]).tolist() == [-1]


def sister_pairs(nodes, parents):
    """Count pairs of different labels of one parent."""
    alike = (parents[:, None] == parents[None]) & (nodes[:, None] != nodes[None])
    return int(alike.sum()) // 2


@pytest.mark.parametrize("batch", [16, 64])
def test_sisters_come_together_and_every_picture_as_often(batch):
    labels = tree()
    nodes = np.tile(labels.leaves.astype(np.int64), 40)
    both = np.stack([nodes, find_parents(labels, nodes)], axis=1)
    n, steps = len(nodes), 2 * len(nodes) // batch
    plain = StepSampler(n, batch, 0, steps)
    grouped = StepSampler(n, batch, 0, steps, labels=both, sisters=0.5)
    drawn = np.concatenate([grouped.batch(step) for step in range(steps)])
    assert sorted(drawn[:n].tolist()) == list(range(n))
    pairs = [
        np.mean([sister_pairs(nodes[i], both[i, 1]) for i in map(one.batch, range(steps))])
        for one in (plain, grouped)
    ]
    assert pairs[1] > 1.5 * pairs[0]
    again = StepSampler(n, batch, 0, steps, steps - 3, labels=both, sisters=0.5)
    for step, indices in again:
        assert indices.tolist() == grouped.batch(step).tolist()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 20), min_size=1, max_size=8),
    st.integers(1, 30),
    st.floats(0.01, 1),
    st.integers(0, 5),
)
def test_whatever_the_tree_an_epoch_stays_whole(counts, batch, share, seed):
    own = np.repeat(np.arange(len(counts)), counts)
    labels = np.stack([own, own // 3 - 1], axis=1)  # the first three have no sister
    n = len(own)
    sampler = StepSampler(n, batch, seed, 3 * n, labels=labels, sisters=share)
    drawn = np.concatenate([sampler.batch(step) for step in range(3 * n)])
    for epoch in range(3):
        assert sorted(drawn[epoch * n : (epoch + 1) * n].tolist()) == list(range(n))


def test_sisters_and_balance_go_together():
    nodes = np.repeat(np.arange(6), [40, 2, 10, 10, 30, 4])
    labels = np.stack([nodes, nodes // 3], axis=1)
    often = even_out(nodes)
    sampler = StepSampler(96, 32, 0, 3, often=often, labels=labels, sisters=0.5)
    times = np.bincount(np.concatenate([sampler.batch(step) for step in range(3)]), minlength=96)
    assert times.sum() == 96
    assert (times >= np.floor(often - 1e-9)).all() and (times <= np.ceil(often + 1e-9)).all()


def test_sister_batches_of_a_run():
    data = opened(sisters=1.0)
    data.steps = 15
    batches = list(data.train_dataloader())
    drawn = np.concatenate([batch.indices for batch in batches])
    assert np.bincount(drawn).tolist() == [4] * 30
    said = "data.sisters: 53% of the pictures can come in groups of sister labels"
    assert f"{said}, fewer than the 100% that are wanted" in data.messages
    # two of the three labels are sisters: a batch is theirs alone, or what is left of the epoch
    small = data.tree.children(data.tree.node(("K", "small")))
    shares = [torch.isin(batch.nodes, torch.tensor(small)).float().mean() for batch in batches]
    assert sum(share == 1 for share in shares) >= 4
