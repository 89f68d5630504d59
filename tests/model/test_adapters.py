"""Low-rank adapters: what learns, what stays bit by bit, and that merging changes nothing."""

import copy
import sys

import open_clip
import pytest
import torch

from domainclip.errors import UsageError
from domainclip.model.adapters import adapt, add_adapters, merge_adapters
from domainclip.model.folder import create_model, load_model, save_model
from domainclip.model.towers import lock_tower
from domainclip.recipe.schema import Model

NAMES = ("small", "vit")
TEXTS = ["a monarch", "a peacock with four eyespots"]


@pytest.fixture
def train_a_little(step):
    def run(model, steps=3):
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=1e-3)
        for _ in range(steps):
            optimizer.zero_grad()
            step(model)
            optimizer.step()
        return model

    return run


def outputs(model):
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        return (
            model.encode_image(pixels),
            model.encode_image(pixels, "captions"),
            model.encode_text(model.tokenize(TEXTS)),
        )


@pytest.mark.parametrize("name", NAMES)
def test_adapters_start_as_nothing_and_only_they_norms_and_heads_learn(build, name, train_a_little):
    model = build(name).eval()
    plain = outputs(model)
    add_adapters(model, 4, 8.0)
    for before, after in zip(plain, outputs(model), strict=True):
        torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
    model.train()
    before = {n: v.clone() for n, v in model.state_dict().items()}
    train_a_little(model)
    moved = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    heads = {"heads.names.weight", "heads.captions.weight", "log_scales.names",
             "log_scales.captions"}  # fmt: skip
    assert heads <= moved and any("text_projection" in n for n in moved)
    rest = {n for n in moved - heads if "text_projection" not in n}
    adapters = {n for n in before if "lora_" in n}
    norms = {
        f"{n}.{p}"
        for n, m in model.named_modules()
        if "Norm" in type(m).__name__
        for p in m.state_dict()
    }
    assert adapters and norms and rest == adapters | norms  # no other weight by one bit


@pytest.mark.parametrize("name", NAMES)
def test_merging_changes_nothing_and_leaves_plain_weights(build, name, tmp_path, train_a_little):
    model = build(name)
    keys = set(model.state_dict())
    add_adapters(model.train(), 4, 8.0)
    train_a_little(model).eval()
    unmerged = outputs(model)
    merge_adapters(model)
    assert set(model.state_dict()) == keys
    for before, after in zip(unmerged, outputs(model), strict=True):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    save_model(model, tmp_path, tree=None, card={})
    for before, after in zip(unmerged, outputs(load_model(tmp_path)), strict=True):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=0)
    loaded, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    with torch.no_grad():
        pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(5))
        stock = loaded.eval().encode_image(pixels, normalize=True)
    torch.testing.assert_close(stock, unmerged[0], atol=1e-5, rtol=0)


def test_a_model_without_adapters_is_left_alone(build):
    model = build("small")
    before = {n: id(m) for n, m in model.named_modules()}
    merge_adapters(model)
    assert {n: id(m) for n, m in model.named_modules()} == before


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_locked_tower_gets_no_adapter(build, tower):
    model = build("vit")
    lock_tower(model, tower)
    add_adapters(model, 4, 8.0)
    adapters = {n for n, p in model.named_parameters() if "lora_" in n}
    assert adapters and not any(n.startswith("clip.visual") == (tower == "image") for n in adapters)


def test_a_tower_without_such_layers_is_named(build):
    model = build("vit")
    lock_tower(model, "text")
    model.clip.visual = torch.nn.Sequential(torch.nn.LayerNorm(8))
    with pytest.raises(UsageError, match="image tower has no layer that takes an adapter"):
        add_adapters(model, 4, 8.0)


def test_weights_that_were_never_trained_are_not_adapted(build):
    with pytest.raises(UsageError, match="'small' starts from nothing"):
        adapt(build("small"), Model(lora=4), pretrained=False)


@pytest.mark.parametrize(
    ("lock", "told"),
    [
        ("none", "in the image and the text tower"),
        ("image", "in the text tower; the image tower is locked and gets none"),
    ],
)
def test_it_is_said_which_tower_is_adapted(build, lock, told):
    assert adapt(build("vit"), Model(lora=4, lock=lock), pretrained=True) == [
        f"model.lora: adapters of rank 4 {told}"
    ]


def test_without_peft_the_way_to_it_is_said(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(UsageError) as caught:
        add_adapters(build("small"), 4, 8.0)
    assert "pip install 'domainclip[lora]'" in caught.value.hint


def test_attention_pools_are_left_out_since_adapters_would_do_nothing(build, train_a_little):
    model = build("resnet")
    add_adapters(model.train(), 4, 8.0)
    train_a_little(model)
    grads = {n: p.grad for n, p in model.named_parameters() if "lora_" in n}
    assert all(g is not None for g in grads.values())
    assert not any("attnpool" in n for n in grads)


def test_a_merged_weight_is_the_published_sum(build, train_a_little):
    # W + (alpha / rank) B A: Hu et al. 2021 (arXiv:2106.09685), section 4.1
    model = build("vit")
    name = "clip.visual.transformer.resblocks.0.mlp.c_fc"
    weight = model.get_submodule(name).weight.detach().clone()
    add_adapters(model, 4, 12.0)
    train_a_little(model.train())
    layer = model.get_submodule(name)
    down, up = (m["default"].weight.detach() for m in (layer.lora_A, layer.lora_B))
    assert down.shape[0] == 4 and up.abs().max() > 0
    merge_adapters(model)
    torch.testing.assert_close(model.get_submodule(name).weight, weight + 3.0 * up @ down)


def test_blocks_are_adapted_as_the_literature_has_it(build):
    model = build("vit")
    add_adapters(model, 4, 8.0)
    names = {n.split(".lora_A")[0] for n, _ in model.named_parameters() if "lora_A" in n}
    parts = ("attn", "attn.base_layer.out_proj", "mlp.c_fc", "mlp.c_proj")
    towers = (("clip.visual.transformer", 2), ("clip.transformer", 3))
    assert names == {
        f"{tower}.resblocks.{i}.{part}" for tower, n in towers for i in range(n) for part in parts
    }


@pytest.mark.parametrize("name", NAMES)
def test_adapters_work_under_bfloat16_and_with_memory_saved(build, name, step, train_a_little):
    plain = build(name)
    add_adapters(plain.train(), 4, 8.0)
    train_a_little(plain, 1)
    saving = build(name)
    adapt(saving.train(), Model(lora=4, grad_checkpointing=True), True)
    saving.load_state_dict(plain.state_dict())
    plain.zero_grad()
    loss, gradients = step(plain)
    again, others = step(saving)
    assert torch.equal(loss, again)
    for key in gradients:
        torch.testing.assert_close(others[key], gradients[key], atol=1e-6, rtol=1e-5)
    exact = outputs(saving)
    with torch.autocast("cpu", torch.bfloat16):
        rough, (_, halves) = outputs(saving), step(saving)
    assert halves.keys() == gradients.keys()
    for one, other in zip(exact, rough, strict=True):
        assert torch.cosine_similarity(one, other).min() > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_a_probe_may_copy_a_model_that_has_run(build, name, train_a_little):
    model = build(name)
    add_adapters(model.train(), 4, 8.0)
    train_a_little(model, 1)
    copied = copy.deepcopy(model)
    train_a_little(copied, 1)
    for one, other in zip(outputs(model.eval()), outputs(copied.eval()), strict=True):
        assert not torch.equal(one, other)


def test_heads_of_a_model_are_checked_by_the_schema():
    with pytest.raises(ValueError, match="names"):
        Model(heads=("colours",))
    assert "names" in create_model("small", heads=("captions",))[0].heads
