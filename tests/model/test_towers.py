"""Towers that are held, that save memory, that leave patches out, and how deep their layers lie."""

import open_clip
import pytest
import torch
from torch import nn

from domainclip.errors import UsageError
from domainclip.model.adapters import adapt
from domainclip.model.clip import DomainClip
from domainclip.model.folder import create_model
from domainclip.model.towers import depths, drop_patches, lock_tower, parameters_of, save_memory
from domainclip.recipe.schema import Model

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
}


@pytest.mark.parametrize("tower", ["image", "text"])
@pytest.mark.parametrize("name", ["small", "vit"])
def test_a_locked_tower_stays_as_it_is_and_its_heads_learn(build, step, name, tower):
    model = build(name)
    lock_tower(model, tower)
    before = {n: b.clone() for n, b in model.clip.visual.named_buffers()}
    model.train()
    _, gradients = step(model)
    held = {f"clip.{n}" for n, _ in parameters_of(model, tower)}
    other = {f"clip.{n}" for n, _ in parameters_of(model, "text" if tower == "image" else "image")}
    assert held and not held & set(gradients) and other <= set(gradients)
    assert {"heads.names.weight", "heads.captions.weight", "log_scales.names"} <= set(gradients)
    assert any("text_projection" in n for n in gradients)
    moved = any(not torch.equal(before[n], b) for n, b in model.clip.visual.named_buffers())
    assert moved == (tower == "text" and name == "small")  # batch statistics


def test_modes_of_a_locked_model(build):
    model = build("small")
    lock_tower(model, "image")
    assert not model.clip.visual.training and model.clip.text.training
    assert not model.eval().clip.text.training
    assert model.train().clip.text.training and not model.clip.visual.training


@pytest.mark.parametrize("name", ["small", "vit"])
def test_memory_is_saved_without_another_result(build, step, name):
    plain, saving = build(name).train(), build(name).train()
    saving.load_state_dict(plain.state_dict())
    save_memory(saving)
    loss, gradients = step(plain)
    other_loss, others = step(saving)
    assert torch.equal(loss, other_loss)
    assert gradients.keys() == others.keys()
    for key in gradients:
        torch.testing.assert_close(others[key], gradients[key], atol=1e-6, rtol=1e-5)
    buffers, others = dict(plain.named_buffers()), dict(saving.named_buffers())
    assert all(torch.equal(buffers[k], others[k]) for k in buffers)


@pytest.mark.parametrize("name", ["small", "vit"])
def test_activations_are_not_kept(build, name):
    def kept(model: DomainClip) -> int:
        found: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x: found.append(x.numel()) or x, lambda x: x
        ):
            model.encode_image(torch.randn(16, 3, 32, 32))
        return sum(found)

    plain, saving = build(name).train(), build(name).train()
    save_memory(saving)
    assert kept(saving) < 0.7 * kept(plain)


@pytest.fixture
def active():
    """Build a model whose batch norms hold the activation, as those of many timm models do."""
    open_clip.factory._MODEL_CONFIGS["active"] = {
        **VIT,
        "vision_cfg": {"image_size": 32, "timm_model_name": "mobilenetv2_035", "timm_pool": "avg",
                       "timm_model_pretrained": False, "timm_proj": "linear"},
    }  # fmt: skip
    yield lambda: create_model("active", image_size=32)[0]
    del open_clip.factory._MODEL_CONFIGS["active"]


def test_norms_of_several_gpus_keep_activations_and_hooks(active):
    torch.manual_seed(0)
    plain, together = active(), active()
    together.load_state_dict(plain.state_dict())
    asked = Model(lora=4, grad_checkpointing=True)
    adapt(plain, asked, True)
    adapt(together, asked, True, together=True)
    norms = [m for m in together.clip.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    together.load_state_dict(plain.state_dict())
    together.train()
    assert all(norm.training for norm in norms)
    assert all(norm._forward_pre_hooks for norm in norms)
    pixels = torch.randn(4, 3, 32, 32)
    assert torch.equal(plain.eval().pool(pixels), together.eval().pool(pixels))


def test_a_tower_that_cannot_save_memory_is_named(build):
    with pytest.raises(UsageError, match=r"image tower \(ModifiedResNet\) cannot"):
        save_memory(build("resnet"))
    model = build("resnet")
    lock_tower(model, "image")
    save_memory(model)  # a tower that is not trained keeps nothing anyway
    assert model.clip.transformer.grad_checkpointing


def test_patches_are_left_out_in_training_only(build):
    model = build("vit").train()
    drop_patches(model, 0.75)
    seen: list[int] = []
    model.clip.visual.transformer.register_forward_hook(lambda m, a, out: seen.append(out.shape[1]))
    pixels = torch.randn(2, 3, 32, 32)
    model.pool(pixels)
    model.eval().pool(pixels)
    assert seen == [1 + 4, 1 + 16]  # the class token stays


class TimmTowers(nn.Module):
    """What the functions here need of a model, with an image tower of timm's."""

    def __init__(self, name: str, pool: str, **more: object) -> None:
        super().__init__()
        vision = {"timm_model_name": name, "timm_pool": pool, "timm_proj": "linear",
                  "image_size": 224, **more}  # fmt: skip
        self.clip = open_clip.CustomTextCLIP(32, vision, VIT["text_cfg"])


@pytest.mark.parametrize(("pool", "prefix"), [("token", 1), ("map", 0)])
def test_a_timm_vit_leaves_patches_out_too(pool, prefix):
    if pool == "map":
        model = TimmTowers("vit_base_patch16_siglip_224", pool, timm_proj="none").train()
    else:
        model = TimmTowers("vit_tiny_patch16_224", pool).train()
    drop_patches(model, 0.75)
    visual = model.clip.visual
    seen: list[int] = []
    visual.trunk.blocks[0].register_forward_hook(lambda m, a, out: seen.append(out.shape[1]))
    pixels = torch.randn(2, 3, 224, 224)
    visual(pixels)
    model.eval().clip.visual(pixels)
    assert seen == [prefix + 49, prefix + 196]


@pytest.mark.parametrize(("name", "kind"), [("small", "ResNet"), ("resnet", "ModifiedResNet")])
def test_only_a_vit_leaves_patches_out(build, name, kind):
    with pytest.raises(UsageError, match=f"not {kind}"):
        drop_patches(build(name), 0.5)


def test_eva_is_refused_rather_than_broken():
    with pytest.raises(UsageError, match="not Eva"):
        drop_patches(TimmTowers("eva02_tiny_patch14_224", "token"), 0.5)


def test_depths_of_a_vit(build):
    found = depths(build("vit"))
    assert {n: d for n, d in found.items() if "visual" in n and "resblocks" not in n} == {
        "clip.visual.class_embedding": 3,
        "clip.visual.positional_embedding": 3,
        "clip.visual.conv1.weight": 3,
        "clip.visual.ln_pre.weight": 3,
        "clip.visual.ln_pre.bias": 3,
        "clip.visual.ln_post.weight": 0,
        "clip.visual.ln_post.bias": 0,
    }
    blocks = "clip.visual.transformer.resblocks"
    assert [found[f"{blocks}.{i}.mlp.c_fc.weight"] for i in range(2)] == [2, 1]
    text = "clip.transformer.resblocks"
    assert [found[f"{text}.{i}.attn.in_proj_weight"] for i in range(3)] == [3, 2, 1]
    assert found["clip.token_embedding.weight"] == found["clip.positional_embedding"] == 4
    assert found["clip.ln_final.weight"] == found["clip.text_projection"] == 0
    assert found["heads.names.weight"] == found["log_scales.captions"] == 0


@pytest.mark.parametrize("name", ["small", "resnet"])
def test_depths_of_residual_networks(build, name):
    found = depths(build(name))
    trunk = "clip.visual.trunk" if name == "small" else "clip.visual"
    stages = [
        {d for n, d in found.items() if n.startswith(f"{trunk}.layer{i}.")} for i in (1, 2, 3, 4)
    ]
    assert stages == [{4}, {3}, {2}, {1}]
    stem = {d for n, d in found.items() if n.startswith((f"{trunk}.conv1", f"{trunk}.bn1"))}
    assert stem == {5}
    assert {d for n, d in found.items() if "attnpool" in n} <= {0}


def test_depths_of_a_timm_vit_and_a_hugging_face_text_tower():
    from transformers import BertConfig, BertModel

    model = TimmTowers("vit_tiny_patch16_224", "", image_size=32)
    bert = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                      intermediate_size=32, vocab_size=99)  # fmt: skip
    model.clip.text = nn.Module()
    model.clip.text.transformer = BertModel(bert, add_pooling_layer=False)
    model.clip.text.proj = nn.Linear(32, 32)
    found = depths(model)
    trunk, text = "clip.visual.trunk", "clip.text.transformer"
    assert [found[f"{trunk}.blocks.{i}.attn.qkv.weight"] for i in (0, 10, 11)] == [12, 2, 1]
    assert found[f"{trunk}.patch_embed.proj.weight"] == found[f"{trunk}.pos_embed"] == 13
    layers = [found[f"{text}.encoder.layer.{i}.attention.self.query.weight"] for i in (0, 1)]
    assert layers == [2, 1]
    assert found[f"{text}.embeddings.word_embeddings.weight"] == 3
    assert found[f"{text}.embeddings.LayerNorm.weight"] == 3
    assert found["clip.text.proj.weight"] == 0
