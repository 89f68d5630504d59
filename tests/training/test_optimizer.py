"""Which parameter learns at which rate."""

import pytest

from domainclip.model.folder import create_model
from domainclip.model.towers import lock_tower
from domainclip.recipe.schema import Optim
from domainclip.training.optimizer import build_optimizer, group_parameters


def rates(model, **changes):
    groups = group_parameters(model, 1.0, 0.1, changes.get("layer_decay", 1.0))
    names = {id(p): name for name, p in model.named_parameters()}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    }


def test_without_layer_decay_there_are_matrices_and_the_rest():
    model, _ = create_model("small")
    groups = group_parameters(model, 1.0, 0.1, 1.0)
    assert {(g["lr"], g["weight_decay"]) for g in groups} == {(1.0, 0.1), (1.0, 0.0)}
    assert sum(len(g["params"]) for g in groups) == len(list(model.parameters()))


def test_each_layer_learns_at_a_share_of_the_one_above():
    found = rates(create_model("small")[0], layer_decay=0.5)
    assert found["heads.names.weight"] == (1.0, 0.1) and found["log_scales.names"] == (1.0, 0.0)
    assert found["clip.visual.trunk.layer4.0.conv1.weight"] == (0.5, 0.1)
    assert found["clip.visual.trunk.layer1.0.bn1.weight"] == (0.5**4, 0.0)
    assert found["clip.visual.trunk.conv1.0.weight"] == (0.5**5, 0.1)
    assert found["clip.text.ln_final.bias"] == (1.0, 0.0)
    assert found["clip.text.transformer.resblocks.1.mlp.c_fc.weight"] == (0.5, 0.1)
    assert found["clip.text.transformer.resblocks.0.mlp.c_fc.bias"] == (0.25, 0.0)
    assert found["clip.text.token_embedding.weight"] == (0.125, 0.1)


def test_what_is_locked_has_no_rate():
    model, _ = create_model("small")
    lock_tower(model, "image")
    found = rates(model, layer_decay=0.5)
    assert not any("visual" in name for name in found) and "heads.captions.weight" in found


def test_the_schedule_scales_every_group_and_the_first_is_the_heads():
    optim = Optim(lr=1e-3, warmup=0.5, layer_decay=0.5)
    optimizer, schedule = build_optimizer(create_model("small")[0], optim, steps=8)
    lowest = [group["lr"] for group in optimizer.param_groups]
    assert lowest[0] == pytest.approx(1e-3 / 4) == max(lowest)
    assert min(lowest) == pytest.approx(1e-3 / 4 * 0.5**5)
    optimizer.step()
    schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([2 * x for x in lowest])
