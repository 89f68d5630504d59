"""A batch taken in chunks gives the loss and the gradient of the whole."""

import copy

import pytest
import torch
from small_recipe import small_recipe
from tiny_module import batch, build

from domainclip.data.batches import Batch
from domainclip.errors import UsageError
from domainclip.training.gradcache import has_batch_statistics
from domainclip.training.module import ContrastiveModule
from domainclip.training.prepare import say_statistics
from domainclip.training.resolve import resolve


def gradients(module: ContrastiveModule, data: Batch) -> tuple[float, dict[str, torch.Tensor]]:
    loss = module.backpropagate(data)
    found = {k: p.grad for k, p in module.model.named_parameters() if p.grad is not None}
    return float(loss.detach()), found


@pytest.mark.parametrize("micro", [4, 5, 12])
@pytest.mark.parametrize(
    "loss",
    [
        {},
        {"targets": "tree"},
        {"kind": "siglip", "targets": "own"},
        {"gates": True},
    ],
)
def test_gradients_are_those_of_the_whole_batch(micro, loss):
    # Patch dropout is on in neither: its masks are drawn by chunk, see the test below.
    whole, chunked = (build("vit", m, **loss) for m in (0, micro))
    for module in (whole, chunked):
        module.model.clip.visual.patch_dropout = torch.nn.Identity()
    data = batch(whole.views.tree)
    one, wanted = gradients(whole, data)
    other, found = gradients(chunked, data)
    assert other == pytest.approx(one, rel=1e-6)
    assert found.keys() == wanted.keys() and "log_scales.names" in wanted
    for name, gradient in wanted.items():
        off = (found[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert off <= 1e-5, (name, float(off))


def test_randomness_is_replayed():
    """With dropout the chunked gradient is that of the features that the loss saw.

    Its derivative along a direction is compared with the difference of losses under the same masks.
    """
    module = build("vit", 4)
    data = batch(module.views.tree)
    _, found = gradients(module, data)
    name = "clip.visual.transformer.resblocks.0.mlp.c_fc.weight"
    step = found[name] / found[name].norm()
    losses = []
    for sign in (1e-2, -1e-2):
        moved = copy.deepcopy(module)
        moved.model.get_parameter(name).data += sign * step
        with torch.no_grad():
            losses.append(float(moved.loss(data)))
    slope = (losses[0] - losses[1]) / 2e-2
    assert slope == pytest.approx(float(found[name].norm()), rel=2e-2)


def test_batch_statistics_are_counted_once_per_chunk():
    module, by_hand = build("resnet", 4), build("resnet")
    data = batch(module.views.tree)
    assert has_batch_statistics(module.model.clip.visual)
    gradients(module, data)
    with torch.no_grad():
        for chunk in data.pixels.split(4):
            by_hand.model.pool(by_hand.normalise(chunk))
    wanted = dict(by_hand.model.named_buffers())
    moved = 0
    for name, value in module.model.named_buffers():
        torch.testing.assert_close(value, wanted[name])
        moved += name.endswith("num_batches_tracked") and int(value) == 3
    assert moved > 0


def test_a_step_is_the_same_whatever_came_before():
    # Dropout masks depend on seed and step, so a run that is taken up draws the same ones.
    module = build("vit")
    data = batch(module.views.tree)
    one = float(module.loss(data).detach())
    torch.rand(7)
    assert float(module.loss(data).detach()) == one


@pytest.mark.parametrize(
    ("device", "world", "micro", "told"),
    [
        ("cpu", 1, 0, ""), ("cpu", 1, 4, "those of 4 pictures, and are updated once"),
        ("cpu", 2, 0, "in each process they are those of its own 4 pictures"),
        ("cuda", 2, 0, ""), ("cuda", 2, 2, "those of 4 pictures, and are updated once"),
    ],
)  # fmt: skip
def test_it_is_said_whose_statistics_norms_go_by(device, world, micro, told, monkeypatch):
    monkeypatch.setattr("domainclip.training.prepare.count_processes", lambda: world)
    asked = small_recipe(train={"micro_batch": micro})
    assert say_statistics(asked, build("vit").model, device) == []
    said = say_statistics(asked, build("resnet").model, device)
    assert len(said) == bool(told) and told in "".join(said)


def test_sharded_weights_want_a_length_in_steps(monkeypatch):
    monkeypatch.setattr("domainclip.training.resolve.count_processes", lambda: 2)
    sharded = {"strategy": "fsdp", "micro_batch": 0}
    with pytest.raises(UsageError, match=r"fsdp needs train.steps or train.epochs"):
        resolve(small_recipe(train={**sharded, "steps": None}), False, "cpu", "float32", 24)
    with pytest.raises(ValueError, match=r"fsdp needs train.steps or train.epochs"):
        small_recipe(train={**sharded, "devices": 2, "steps": None, "minutes": 3})
    by_epochs = small_recipe(train={**sharded, "steps": None, "epochs": 2})
    assert resolve(by_epochs, False, "cpu", "float32", 24).train.steps == 6


@pytest.mark.parametrize(("micro", "left"), [(4, 4), (8, 0), (16, 0)])
def test_one_part_is_no_part(micro, left):
    asked = small_recipe(train={"micro_batch": micro})  # of batches of 8
    assert resolve(asked, False, "cpu", "float32", 24).train.micro_batch == left
