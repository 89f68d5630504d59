"""Losses against open_clip's own, exact small cases, and properties."""

import math

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from domainclip.model.losses import caption_loss, clip_loss, multi_positive_loss


def unit(n: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(
        torch.randn(n, dim, generator=generator, dtype=torch.float64), dim=1
    )


def test_clip_loss_equals_open_clip():
    images, texts, scale = unit(7), unit(7, seed=1), torch.tensor(12.5, dtype=torch.float64)
    theirs = open_clip.ClipLoss()(images, texts, scale)
    assert clip_loss(images, texts, scale) == pytest.approx(theirs.item(), rel=1e-12)


@given(st.integers(2, 9), st.integers(0, 1000))
def test_multi_positive_is_clip_when_all_labels_differ(n, seed):
    images, texts, scale = unit(n, seed=seed), unit(n, seed=seed + 1), torch.tensor(10.0)
    ours = multi_positive_loss(images, texts, scale, torch.arange(n))
    assert ours.item() == pytest.approx(clip_loss(images, texts, scale).item(), rel=1e-6)


def test_multi_positive_by_hand():
    # Two pictures of one label: both texts are right for both, each with half of the target.
    images = torch.eye(2, dtype=torch.float64)
    texts = torch.eye(2, dtype=torch.float64)
    loss = multi_positive_loss(images, texts, torch.tensor(1.0), torch.tensor([5, 5]))
    row = -(1 + 0) / 2 + math.log(math.e + 1)
    assert loss.item() == pytest.approx(row, rel=1e-9)


def test_pictures_of_one_label_do_not_repel():
    # Two of three pictures share a label; the loss must not push their features apart.
    images = unit(3, seed=3).requires_grad_()
    texts = torch.stack([unit(1, seed=9)[0], unit(1, seed=9)[0], unit(1, seed=4)[0]])
    multi_positive_loss(images, texts, torch.tensor(5.0), torch.tensor([1, 1, 2])).backward()
    shared = images.grad[0] @ texts[0]
    other = images.grad[0] @ texts[2]
    assert shared < other  # descending moves picture 0 towards the shared text


@given(st.permutations(range(6)))
def test_order_of_the_batch_does_not_matter(order):
    images, texts, labels = unit(6), unit(6, seed=1), torch.tensor([0, 0, 1, 2, 2, 2])
    one = multi_positive_loss(images, texts, torch.tensor(8.0), labels)
    index = torch.tensor(order)
    two = multi_positive_loss(images[index], texts[index], torch.tensor(8.0), labels[index])
    assert one.item() == pytest.approx(two.item(), rel=1e-9)


@given(st.integers(2, 9), st.integers(0, 1000))
def test_caption_loss_is_clip_when_labels_and_captions_differ(n, seed):
    images, texts, scale = unit(n, seed=seed), unit(n, seed=seed + 1), torch.tensor(10.0)
    ours = caption_loss(images, texts, scale, torch.arange(n), torch.arange(n))
    assert ours.item() == pytest.approx(clip_loss(images, texts, scale).item(), rel=1e-6)


def test_caption_loss_leaves_out_other_captions_of_a_label():
    images, texts, scale = unit(4, seed=5).requires_grad_(), unit(4, seed=6), torch.tensor(4.0)
    labels, said = torch.tensor([1, 1, 2, 3]), torch.arange(4)
    caption_loss(images, texts, scale, labels, said).backward()
    first = images.grad[0].clone()
    images.grad = None
    # The caption of picture 1, which shares the label of picture 0, says nothing to picture 0.
    changed = torch.cat([texts[:1], unit(1, seed=8), texts[2:]])
    caption_loss(images, changed, scale, labels, said).backward()
    torch.testing.assert_close(images.grad[0], first)


def test_equal_captions_are_positives_across_labels():
    images, shared = unit(2), unit(1, seed=1).expand(2, -1)
    labels, scale = torch.tensor([1, 2]), torch.tensor(3.0)
    equal = caption_loss(images, shared, scale, labels, torch.tensor([0, 0]))
    # Both pictures are right for both rows, so picture to text has the least loss there is, ln 2.
    logits = scale * images @ shared.T
    down = functional.cross_entropy(logits.T, torch.full((2, 2), 0.5, dtype=torch.float64))
    assert equal.item() == pytest.approx((math.log(2) + down.item()) / 2, rel=1e-6)


def test_caption_loss_by_hand():
    # Two pictures of one label and nothing else: there is no negative, so nothing to learn.
    images, texts = unit(2), unit(2, seed=1)
    loss = caption_loss(
        images, texts, torch.tensor(3.0), torch.tensor([7, 7]), torch.tensor([0, 1])
    )
    assert loss.item() == pytest.approx(0.0, abs=1e-12)
