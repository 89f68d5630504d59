import json
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix
from torchmetrics.functional.classification import multiclass_accuracy

from domainclip.domains.labels import LabelTree
from domainclip.errors import UsageError
from domainclip.evaluation.metrics import ScoreRow, Tally, evaluate

RANKS = ("family", "genus", "species")


def tree_of(rows):
    columns = {rank: [row[i] for row in rows] for i, rank in enumerate(RANKS)}
    tree = LabelTree.from_columns(columns, RANKS)
    return tree, np.asarray(tree.nodes_of(columns))


def regular(species, per_genus=3, per_family=10):
    return tree_of(
        [
            (f"F{i // per_family}", f"F{i // per_family}G{i // per_genus}", f"s{i:03d}")
            for i in range(species)
        ]
    )


def certain(choices, size):
    """Probabilities that put nearly everything on one candidate, with the rest spread evenly."""
    p = torch.full((len(choices), size), 0.1 / (size - 1) if size > 1 else 0.0)
    p[torch.arange(len(choices)), torch.tensor(choices)] = 0.9
    return p


def value(rows, rank, metric):
    (row,) = [r for r in rows if (r.rank, r.metric) == (rank, metric)]
    return row


def score(p, truth, candidates, tree, **options):
    return evaluate(p, truth, candidates, tree, split="test", candidates_name="all", **options)


def test_small_case_by_hand():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A1", "b"), ("A", "A2", "c"), ("B", "B1", "d")])
    truth = nodes[[0, 0, 0, 1, 2, 3]]
    p = certain([0, 1, 3, 1, 0, 3], 4)
    rows = score(p, truth, nodes, tree, bootstrap=0)
    assert value(rows, "species", "top1").value == pytest.approx(3 / 6)
    assert value(rows, "species", "mean_per_class").value == pytest.approx((1 / 3 + 1 + 0 + 1) / 4)
    assert value(rows, "genus", "top1").value == pytest.approx(4 / 6)
    assert value(rows, "genus", "mean_per_class").value == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert value(rows, "family", "top1").value == pytest.approx(5 / 6)
    assert value(rows, "family", "mean_per_class").value == pytest.approx((4 / 5 + 1) / 2)
    assert not [r for r in rows if r.metric == "top5"]  # four labels: five of them say nothing
    assert all(r.n == 6 and r.left_out == 0 and r.low is None and r.high is None for r in rows)


def test_coarser_ranks_sum_probabilities_and_do_not_follow_the_best_leaf():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A1", "b"), ("B", "B1", "d")])
    p = torch.tensor([[0.3, 0.3, 0.4]])
    rows = score(p, nodes[[0]], nodes, tree, bootstrap=0)
    assert value(rows, "species", "top1").value == 0.0
    assert value(rows, "family", "top1").value == 1.0


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
@pytest.mark.parametrize("size", [4, 7, 30])
def test_agrees_with_torchmetrics_and_sklearn(size):
    tree, nodes = regular(size)
    rng = np.random.default_rng(size)
    true = rng.integers(0, size - 1, 200)  # the last label never occurs
    p = torch.randn(200, size, generator=torch.Generator().manual_seed(size))
    p[torch.arange(200), torch.tensor(true)] += 1.5
    p = p.softmax(-1)
    rows = score(p, nodes[true], nodes, tree, bootstrap=0)
    target = torch.tensor(true)
    micro = multiclass_accuracy(p, target, size, average="micro")
    assert value(rows, "species", "top1").value == pytest.approx(float(micro), abs=1e-6)
    said = p.argmax(-1).numpy()
    balanced = balanced_accuracy_score(true, said)
    assert value(rows, "species", "mean_per_class").value == pytest.approx(balanced, abs=1e-12)
    if size > 5:
        five = multiclass_accuracy(p, target, size, average="micro", top_k=5)
        assert value(rows, "species", "top5").value == pytest.approx(float(five), abs=1e-6)


def test_ties_go_to_the_earlier_candidate():
    tree, nodes = regular(6)
    p = torch.full((6, 6), 1 / 6)
    rows = score(p, nodes, nodes, tree, bootstrap=0)
    assert value(rows, "species", "top1").value == pytest.approx(1 / 6)
    assert value(rows, "species", "top5").value == pytest.approx(5 / 6)


def test_a_picture_labelled_to_genus_is_scored_at_its_own_rank_and_above():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A1", "b"), ("B", "B1", "d"), ("A", "A1", None)])
    species, genus = nodes[:3], nodes[3]
    truth = np.array([genus, species[0]])
    rows = score(certain([1, 2], 3), truth, species, tree, bootstrap=0)
    at_genus, at_species = value(rows, "genus", "top1"), value(rows, "species", "top1")
    assert (at_genus.n, at_genus.left_out, at_genus.value) == (2, 0, 0.5)
    assert (at_species.n, at_species.left_out, at_species.value) == (1, 1, 0.0)
    assert value(rows, "family", "top1").n == 2


def test_a_truth_that_is_no_candidate_is_left_out_and_counted():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A1", "b"), ("B", "B1", "c"), ("C", "C1", "d")])
    rows = score(certain([0, 1, 0, 2], 3), nodes, nodes[:3], tree, bootstrap=0)
    for rank in RANKS:
        row = value(rows, rank, "top1")
        assert (row.n, row.left_out) == (3, 1)
    # One species of a known family that is no candidate counts at family, where its family is one.
    rows = score(certain([0, 0], 2), nodes[[1, 2]], nodes[[0, 2]], tree, bootstrap=0)
    assert (value(rows, "species", "top1").n, value(rows, "family", "top1").n) == (1, 2)
    assert value(rows, "family", "top1").value == 0.5


def test_a_missing_rank_is_a_value_of_its_own():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", None, "b"), ("B", None, "c"), ("B", "B1", "d")])
    rows = score(certain([0, 1, 2, 2], 4), nodes, nodes, tree, bootstrap=0)
    genus = value(rows, "genus", "top1")
    assert (genus.n, genus.value) == (4, 0.75)  # "no genus" below A and below B are told apart


def test_a_rank_with_one_value_is_not_reported():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A2", "b")])
    rows = score(certain([0, 1], 2), nodes, nodes, tree)
    assert {r.rank for r in rows} == {"genus", "species"}
    assert score(torch.ones(1, 1), nodes[:1], nodes[:1], tree) == []


def test_intervals_hold_the_value_and_are_those_of_a_binomial():
    tree, nodes = regular(2, per_genus=1)
    true = np.zeros(400, dtype=int)
    said = np.r_[np.zeros(300, dtype=int), np.ones(100, dtype=int)]
    row = value(score(certain(said, 2), nodes[true], nodes, tree), "species", "top1")
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert row.value == 0.75
    assert row.low == pytest.approx(0.75 - half, abs=0.01)
    assert row.high == pytest.approx(0.75 + half, abs=0.01)


def test_intervals_resample_whole_groups():
    tree, nodes = regular(2, per_genus=1)
    said = np.repeat(np.r_[np.zeros(15, dtype=int), np.ones(5, dtype=int)], 20)  # 20 patients
    p, truth = certain(said, 2), np.repeat(nodes[:1], 400)
    groups = [f"patient {i // 20}" for i in range(400)]
    alone = value(score(p, truth, nodes, tree), "species", "top1")
    together = value(score(p, truth, nodes, tree, groups=groups), "species", "top1")
    # All pictures of a patient agree, so there are 20 observations: sqrt(20) times as wide.
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(np.sqrt(20), rel=0.2)
    nameless = value(score(p, truth, nodes, tree, groups=[""] * 400), "species", "top1")
    assert (nameless.low, nameless.high) == (alone.low, alone.high)


def test_one_group_alone_gives_no_interval():
    tree, nodes = regular(2, per_genus=1)
    rows = score(certain([0, 1, 1], 2), nodes[[0, 1, 0]], nodes, tree, groups=["p"] * 3)
    assert rows and all(r.low is None and r.high is None for r in rows)


def test_the_bootstrap_of_the_mean_per_class_is_that_of_sklearn():
    tree, nodes = regular(8, per_genus=8, per_family=8)
    rng = np.random.default_rng(5)
    true, said = rng.integers(0, 8, 60), rng.integers(0, 8, 60)
    said[:30] = true[:30]
    row = value(
        score(certain(said, 8), nodes[true], nodes, tree, seed=3), "species", "mean_per_class"
    )
    draws = np.random.default_rng(3).integers(0, 60, (1000, 60))
    expected = [
        np.mean([(said[d][true[d] == c] == c).mean() for c in np.unique(true[d])]) for d in draws
    ]
    assert (row.low, row.high) == pytest.approx(
        tuple(np.percentile(expected, [2.5, 97.5])), abs=1e-6
    )


def test_equal_seeds_give_equal_intervals_and_batches_do_not_matter():
    tree, nodes = regular(12)
    rng = np.random.default_rng(0)
    p = torch.tensor(rng.dirichlet(np.ones(12), 50))
    truth = nodes[rng.integers(0, 12, 50)]
    whole = score(p, truth, nodes, tree, seed=4)
    tally = Tally(tree, nodes)
    for start in range(0, 50, 7):
        tally.add(p[start : start + 7], truth[start : start + 7])
    assert tally.rows(split="test", candidates_name="all", seed=4) == whole
    assert score(p, truth, nodes, tree, seed=5) != whole


def test_two_thousand_pictures_are_resampled_in_well_under_a_second():
    tree, nodes = regular(50)
    rng = np.random.default_rng(0)
    p = torch.tensor(rng.dirichlet(np.ones(50), 2000)).float()
    start = time.perf_counter()
    score(p, nodes[rng.integers(0, 50, 2000)], nodes, tree)
    assert time.perf_counter() - start < 1.5  # 0.1 s on an idle core


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_no_rank_is_harder_than_a_finer_one_for_sure_predictions(data):
    size = data.draw(st.integers(2, 12))
    tree, nodes = regular(size, per_genus=2, per_family=4)
    true = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20))
    said = data.draw(st.lists(st.integers(0, size - 1), min_size=len(true), max_size=len(true)))
    rows = score(certain(said, size), nodes[true], nodes, tree, bootstrap=20)
    tops = [r.value for r in rows if r.metric == "top1"]
    assert tops == sorted(tops, reverse=True)
    for row in rows:
        assert (row.low is None) == (len(true) == 1)  # one picture cannot be resampled
        assert row.low is None or 0 <= row.low <= row.high <= 1
        assert 0 <= row.value <= 1


def test_confusion_lies_along_the_tree():
    rows = [
        ("B", "B1", "x"),
        ("A", "A2", "c"),
        ("B", "B1", "w"),
        ("A", "A1", "b"),
        ("A", "A1", "a"),
    ]
    tree, nodes = tree_of(rows)
    tally = Tally(tree, nodes)
    true, said = [0, 0, 1, 2, 3, 4, 4], [0, 2, 1, 2, 4, 4, 3]
    tally.add(certain(said, 5), nodes[true])
    found = tally.confusion("species")
    assert found.names == ("a", "b", "c", "w", "x")
    names = np.array(["x", "c", "w", "b", "a"])
    expected = confusion_matrix(names[true], names[said], labels=list(found.names))
    assert (found.counts == expected).all()
    assert found.blocks == (("A", 0, 3), ("B", 3, 5))
    assert tally.confusion("family").counts.tolist() == [[4, 0], [0, 3]]
    with pytest.raises(UsageError, match="nothing to tell apart at 'order'"):
        tally.confusion("order")


def test_error_distance_is_that_of_the_errors_alone():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A1", "b"), ("B", "B1", "c")])
    tally = Tally(tree, nodes)
    tally.add(certain([0, 1], 3), nodes[[0, 1]])
    assert tally.error_distance() is None
    tally.add(certain([1, 2], 3), nodes[[0, 0]])  # a sister, and a label of another family
    expected = np.mean(tree.distance(nodes[[0, 0]], nodes[[1, 2]]))
    assert tally.error_distance() == pytest.approx(expected)


def test_best_and_worst_are_the_surest():
    tree, nodes = regular(3, per_genus=1)
    p = torch.tensor([[0.8, 0.1, 0.1], [0.9, 0.1, 0], [0.6, 0.4, 0], [0, 0.5, 0.5], [0.7, 0, 0.3]])
    tally = Tally(tree, nodes)
    tally.add(p, nodes[[0, 0, 1, 1, 2]])
    best, worst = tally.predictions().best_and_worst(2)
    assert best.tolist() == [1, 3]  # the surest of each label
    assert worst.tolist() == [4, 2]


def test_a_species_below_the_true_genus_is_right():
    tree, nodes = tree_of([("A", "A1", "a"), ("A", "A2", "b"), ("A", "A1", None)])
    tally = Tally(tree, nodes[:2])
    tally.add(certain([0, 1], 2), nodes[[2, 2]])
    assert tally.predictions().right.tolist() == [True, False]


def test_rows_are_json_without_nan():
    tree, nodes = regular(4)
    rows = score(certain([0, 1], 4), nodes[[0, 1]], nodes, tree, bootstrap=0)
    text = json.dumps([r.as_dict() for r in rows], allow_nan=False)
    assert ScoreRow(**json.loads(text)[0]) == rows[0]


def test_wrong_input_is_refused():
    tree, nodes = regular(3)
    with pytest.raises(UsageError, match="not probabilities"):
        score(torch.randn(2, 3) * 9, nodes[:2], nodes, tree)
    with pytest.raises(UsageError, match="not probabilities"):
        score(torch.full((2, 3), torch.nan), nodes[:2], nodes, tree)
    with pytest.raises(UsageError, match="shape"):
        score(torch.ones(2, 2) / 2, nodes[:2], nodes, tree)
    with pytest.raises(UsageError, match="twice"):
        Tally(tree, nodes[[0, 0]])
    with pytest.raises(UsageError, match="no label"):
        Tally(tree, [])
    with pytest.raises(UsageError, match="3 groups for 2"):
        score(certain([0, 1], 3), nodes[:2], nodes, tree, groups=["a", "b", "c"])
    assert score(torch.zeros(0, 3), [], nodes, tree) == []
