"""Losses against open_clip's own, exact small cases, and properties."""

import math

import open_clip
import open_clip.loss
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from domainclip.model.losses import (
    Negatives,
    clip_loss,
    pair_captions,
    pair_labels,
    pair_own,
    pair_tree,
    siglip_loss,
)


def unit(n: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(
        torch.randn(n, dim, generator=generator, dtype=torch.float64), dim=1
    )


def captions(labels: torch.Tensor, said: torch.Tensor):
    return pair_captions(labels, said, torch.arange(len(labels)))


def test_clip_loss_equals_open_clip():
    images, texts, scale = unit(7), unit(7, seed=1), torch.tensor(12.5, dtype=torch.float64)
    theirs = open_clip.ClipLoss()(images, texts, scale)
    assert clip_loss(images, texts, scale) == pytest.approx(theirs.item(), rel=1e-12)


def test_siglip_loss_equals_open_clip():
    images, texts = unit(7), unit(7, seed=1)
    scale, bias = torch.tensor(9.0), torch.tensor(-8.0)
    theirs = open_clip.loss.SigLipLoss()(images, texts, scale, bias)
    assert siglip_loss(images, texts, scale, bias).item() == pytest.approx(theirs.item(), rel=1e-9)


@given(st.integers(2, 9), st.integers(0, 1000))
def test_labels_that_all_differ_leave_the_own_text(n, seed):
    images, texts, scale = unit(n, seed=seed), unit(n, seed=seed + 1), torch.tensor(10.0)
    ours = clip_loss(images, texts, scale, pair_labels(torch.arange(n)))
    assert ours.item() == pytest.approx(clip_loss(images, texts, scale).item(), rel=1e-6)


def test_multi_positive_by_hand():
    # Two pictures of one label: both texts are right for both, each with half of the target.
    images, texts = torch.eye(2, dtype=torch.float64), torch.eye(2, dtype=torch.float64)
    loss = clip_loss(images, texts, torch.tensor(1.0), pair_labels(torch.tensor([5, 5])))
    assert loss.item() == pytest.approx(-(1 + 0) / 2 + math.log(math.e + 1), rel=1e-7)


def test_siglip_of_several_positives_by_hand():
    # z = +1 wherever the labels are the same, -1 elsewhere; summed, and divided by the pictures.
    images, texts, labels = unit(3), unit(3, seed=1), torch.tensor([4, 4, 9])
    scale, bias = torch.tensor(5.0), torch.tensor(-1.0)
    loss = siglip_loss(images, texts, scale, bias, pair_labels(labels))
    by_hand = 0.0
    for i in range(3):
        for j in range(3):
            sign = 1 if labels[i] == labels[j] else -1
            logit = sign * (5.0 * float(images[i] @ texts[j]) - 1.0)
            by_hand += math.log(1 + math.exp(-logit)) / 3
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_pictures_of_one_label_do_not_repel():
    # Two of three pictures share a label; the loss must not push their features apart.
    images = unit(3, seed=3).requires_grad_()
    texts = torch.stack([unit(1, seed=9)[0], unit(1, seed=9)[0], unit(1, seed=4)[0]])
    clip_loss(images, texts, torch.tensor(5.0), pair_labels(torch.tensor([1, 1, 2]))).backward()
    shared = images.grad[0] @ texts[0]
    other = images.grad[0] @ texts[2]
    assert shared < other  # descending moves picture 0 towards the shared text


@given(st.permutations(range(6)))
def test_order_of_the_batch_does_not_matter(order):
    images, texts, labels = unit(6), unit(6, seed=1), torch.tensor([0, 0, 1, 2, 2, 2])
    one = clip_loss(images, texts, torch.tensor(8.0), pair_labels(labels))
    index = torch.tensor(order)
    two = clip_loss(images[index], texts[index], torch.tensor(8.0), pair_labels(labels[index]))
    assert one.item() == pytest.approx(two.item(), rel=1e-6)


def test_tree_targets_by_hand():
    # Names 2 edges away count exp(-2 / 1): in the softmax as a share, in the sigmoid as they are.
    images, texts = unit(2), unit(2, seed=1)
    pairing = pair_tree(torch.tensor([[0.0, 2.0], [2.0, 0.0]]), softness=1.0)
    near = math.exp(-2)
    logits = 3.0 * images @ texts.T
    share = torch.tensor([[1, near], [near, 1]], dtype=torch.float64) / (1 + near)
    theirs = (
        functional.cross_entropy(logits, share) + functional.cross_entropy(logits.T, share)
    ) / 2
    assert clip_loss(images, texts, torch.tensor(3.0), pairing).item() == pytest.approx(
        theirs.item(), rel=1e-6
    )
    target = torch.tensor([[1, near], [near, 1]], dtype=torch.float64)
    theirs = functional.binary_cross_entropy(torch.sigmoid(logits - 1), target, reduction="sum") / 2
    ours = siglip_loss(images, texts, torch.tensor(3.0), torch.tensor(-1.0), pairing)
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-6)


@given(st.lists(st.integers(0, 2), min_size=2, max_size=8))
def test_tree_targets_without_softness_are_those_of_labels(labels):
    ids = torch.tensor(labels)
    edges = (ids[:, None] != ids[None, :]) * 2.0
    torch.testing.assert_close(pair_tree(edges, 0.05).targets, pair_labels(ids).targets)


@given(st.integers(2, 9), st.integers(0, 1000))
def test_captions_of_other_labels_leave_the_own_text(n, seed):
    images, texts, scale = unit(n, seed=seed), unit(n, seed=seed + 1), torch.tensor(10.0)
    ours = clip_loss(images, texts, scale, captions(torch.arange(n), torch.arange(n)))
    assert ours.item() == pytest.approx(clip_loss(images, texts, scale).item(), rel=1e-6)


@pytest.mark.parametrize("loss", [clip_loss, lambda i, t, s, p: siglip_loss(i, t, s, -s, p)])
def test_other_captions_of_a_label_are_left_out(loss):
    images, texts, scale = unit(4, seed=5).requires_grad_(), unit(4, seed=6), torch.tensor(4.0)
    pairing = captions(torch.tensor([1, 1, 2, 3]), torch.arange(4))
    loss(images, texts, scale, pairing).backward()
    first = images.grad[0].clone()
    images.grad = None
    # The caption of picture 1, which shares the label of picture 0, says nothing to picture 0.
    changed = torch.cat([texts[:1], unit(1, seed=8), texts[2:]])
    loss(images, changed, scale, pairing).backward()
    torch.testing.assert_close(images.grad[0], first)


def test_equal_captions_are_positives_across_labels():
    images, shared = unit(2), unit(1, seed=1).expand(2, -1)
    pairing = captions(torch.tensor([1, 2]), torch.tensor([0, 0]))
    equal = clip_loss(images, shared, torch.tensor(3.0), pairing)
    # Both pictures are right for both rows, so picture to text has the least loss there is, ln 2.
    logits = 3.0 * images @ shared.T
    down = functional.cross_entropy(logits.T, torch.full((2, 2), 0.5, dtype=torch.float64))
    assert equal.item() == pytest.approx((math.log(2) + down.item()) / 2, rel=1e-6)


def test_a_single_label_teaches_captions_nothing():
    # Two pictures of one label and nothing else: there is no negative, so nothing to learn.
    pairing = captions(torch.tensor([7, 7]), torch.tensor([0, 1]))
    loss = clip_loss(unit(2), unit(2, seed=1), torch.tensor(3.0), pairing)
    assert loss.item() == pytest.approx(0.0, abs=1e-12)


def test_all_captions_drawn_for_a_picture_are_right_for_it():
    # DreamLIP: picture 0 has two parts of its caption; each is a positive of it, not a negative.
    labels, said, pictures = torch.tensor([1, 1, 2]), torch.arange(3), torch.tensor([0, 0, 1])
    pairing = pair_captions(labels, said, pictures)
    assert pairing.targets.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert pairing.unknown is not None and not pairing.unknown.any()


def test_negatives_are_more_columns_for_the_pictures_they_are_wrong_for():
    # NegCLIP on a batch of two: each picture sees its own wrong text beside the two of the batch.
    images, texts, wrong = unit(2), unit(2, seed=1), unit(2, seed=2)
    negatives = Negatives(wrong, torch.eye(2, dtype=torch.bool))
    ours = clip_loss(images, texts, torch.tensor(6.0), negatives=negatives)
    total = 0.0
    for i in range(2):
        row = [6 * float(images[i] @ t) for t in (*texts, wrong[i])]
        column = [6 * float(texts[i] @ x) for x in images]
        total += (-row[i] + math.log(sum(map(math.exp, row)))) / 4
        total += (-column[i] + math.log(sum(map(math.exp, column)))) / 4
    assert ours.item() == pytest.approx(total, rel=1e-6)
    bias = torch.tensor(-2.0)
    plain = siglip_loss(images, texts, torch.tensor(6.0), bias)
    more = siglip_loss(images, texts, torch.tensor(6.0), bias, negatives=negatives)
    added = sum(math.log(1 + math.exp(6 * float(images[i] @ wrong[i]) - 2)) for i in range(2)) / 2
    assert (more - plain).item() == pytest.approx(added, rel=1e-6)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_rows_of_all_processes_add_up(kind):
    # Loss and gradient of a batch of six, and of its halves against the whole.
    labels = torch.tensor([0, 0, 1, 2, 2, 3])
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 0.3, 1.2], dtype=torch.float64)
    wrong = unit(3, seed=7)
    against = torch.zeros(6, 3, dtype=torch.bool)
    against[[1, 3, 4], [0, 1, 2]] = True

    def part(images, texts, rows):
        mine = against if rows is None else against[rows]
        also = {"weights": weights, "negatives": Negatives(wrong, mine), "rows": rows}
        pairing = pair_labels(labels, rows)
        if kind == "clip":
            return clip_loss(images, texts, torch.tensor(7.0), pairing, **also)
        return siglip_loss(images, texts, torch.tensor(7.0), torch.tensor(-3.0), pairing, **also)

    images, texts = unit(6, seed=3).requires_grad_(), unit(6, seed=4).requires_grad_()
    whole = part(images, texts, None)
    halves = sum(part(images, texts, torch.tensor(rows)) for rows in ([0, 1, 2], [3, 4, 5]))
    assert halves.item() == pytest.approx(whole.item(), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(whole, [images, texts]),
        torch.autograd.grad(halves, [images, texts]),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_weights_scale_the_part_of_a_pair():
    images, texts, weights = unit(3), unit(3, seed=1), torch.tensor([1.0, 0.0, 0.0])
    one = clip_loss(images, texts, torch.tensor(5.0), weights=weights)
    logits = 5.0 * images @ texts.T
    own = torch.arange(3)
    each = [functional.cross_entropy(x, own, reduction="none")[0] for x in (logits, logits.T)]
    assert one.item() == pytest.approx(sum(each).item() / 2 / 3, rel=1e-6)


def test_pair_own_is_right_for_all_texts_of_a_picture():
    pictures = torch.tensor([0, 0, 7])
    assert pair_own(pictures).targets.tolist() == [[1, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert pair_own(pictures, torch.tensor([2])).targets.tolist() == [[0, 0, 1]]
