"""ALIP's gates on cases small enough for a pencil."""

import math

import pytest
import torch

from domainclip.model.gates import Gates


def test_gates_by_hand():
    gates = Gates().eval()
    gates.means.copy_(torch.tensor([0.5, 0.2, 0.2]))
    axis = torch.eye(3)
    # Under the names head the picture is its name (1 > 0.2: open), under the captions head it is
    # nothing that was said; the other way round both gates close, the name's and the caption's.
    image = torch.stack([axis[0:1], axis[2:3]])
    texts = math.exp(-0.5) ** 2  # 0 against a mean of 0.5
    names, captions = gates(image, axis[0:1], axis[1:2])
    assert names.item() == pytest.approx(texts, rel=1e-6)
    assert captions.item() == pytest.approx(texts * math.exp(-0.2) ** 2, rel=1e-6)
    names, captions = gates(torch.stack([axis[2:3], axis[1:2]]), axis[0:1], axis[1:2])
    assert names.item() == pytest.approx(texts * math.exp(-0.2) ** 2, rel=1e-6)
    assert captions.item() == pytest.approx(texts, rel=1e-6)


def test_each_gate_is_closed_by_its_own_condition():
    # Texts agree less than usual, yet the picture agrees with its name more: that gate stays 1.
    gates = Gates().eval()
    gates.means.copy_(torch.tensor([0.9, 0.0, 0.0]))
    axis = torch.eye(2)
    names, _ = gates(torch.stack([axis[:1], axis[:1]]), axis[:1], axis[1:])
    assert names.item() == pytest.approx(math.exp(-0.9) ** 2, rel=1e-6)


def test_running_means_take_a_hundredth_of_a_batch():
    gates = Gates().train()
    axis = torch.eye(2)
    gates(torch.stack([axis[:1], axis[:1]]), axis[:1], axis[1:])
    assert gates.means.tolist() == pytest.approx([0.99, 1.0, 0.99])
