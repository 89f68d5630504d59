"""Models that are read from a folder without being drawn first are those that open_clip reads."""

import json

import open_clip
import pytest
import torch
from open_clip.utils import to_2tuple
from safetensors.torch import load_file, save_file

from domainclip.errors import DomainclipError
from domainclip.model.building import build_empty, fill, load_clip, reading
from domainclip.model.folder import create_model, load_model, save_model
from domainclip.model.safetensor_file import read_places

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
CONFIGS = {
    "ViT": {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64,
            "head_width": 32, "patch_size": 16}, "text_cfg": TEXT},
    "ResNet": {"embed_dim": 16, "text_cfg": TEXT, "vision_cfg": {
            "image_size": 32, "layers": [1, 1, 1, 1], "width": 8}},
    "timm": {"embed_dim": 16, "text_cfg": {**TEXT, "no_causal_mask": True, "pool_type": "last"},
             "custom_text": True, "init_logit_bias": -10, "vision_cfg": {
            "image_size": 160, "timm_model_name": "test_vit", "timm_pool": "",
            "timm_proj": "linear"}},
    "attention": {"embed_dim": 16, "text_cfg": TEXT, "custom_text": True, "vision_cfg": {
            "image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16,
            "attentional_pool": True, "attn_pooler_heads": 2, "pos_embed_type": "sin_cos_2d"}},
}  # fmt: skip


@pytest.fixture(scope="module", params=CONFIGS)
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    config = {"model_cfg": CONFIGS[request.param], "preprocess_cfg": {}}
    (path / "open_clip_config.json").write_text(json.dumps(config))
    clip = open_clip.create_model(f"local-dir:{path}", load_weights=False)
    save_file(clip.state_dict(), path / "open_clip_model.safetensors")
    return path


def test_weights_and_buffers_are_those_that_open_clip_reads(folder):
    stock, own = open_clip.create_model(f"local-dir:{folder}"), load_clip(folder)
    assert stock.state_dict().keys() == own.state_dict().keys()
    told = dict(stock.named_parameters()) | dict(stock.named_buffers())  # those no file holds too
    here = dict(own.named_parameters()) | dict(own.named_buffers())
    assert told.keys() == here.keys()
    for name, value in told.items():
        assert torch.equal(value, here[name]), name
        assert value.requires_grad == here[name].requires_grad, name
    pixels = torch.randn(2, 3, *to_2tuple(own.visual.image_size))
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(["a cat", "two dogs on a hill"])
    for one, other in zip(stock.eval()(pixels, tokens), own.eval()(pixels, tokens), strict=True):
        assert torch.equal(one, other)


def test_a_model_of_its_own_memory(folder, tmp_path):
    """The file may be replaced while the model is in use: it is not mapped."""
    model = load_model(folder)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    save_model(model, tmp_path / "m", tree=None, card={})
    model = load_model(tmp_path / "m")
    path = tmp_path / "m" / "open_clip_model.safetensors"
    path.write_bytes(bytes(path.stat().st_size))
    for key, value in model.state_dict().items():
        assert torch.equal(before[key], value), key


def test_parameters_are_trained_alone(folder):
    model, _ = create_model(str(folder), heads=["names"])
    pixels = torch.randn(2, 3, model.preprocess.size, model.preprocess.size)
    loss = model.encode_image(pixels, normalize=False).square().sum()
    (loss + model.encode_text(model.tokenize(["a cat"]), normalize=False).sum()).backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(p.isfinite().all() for p in model.parameters())
    places = {p.data_ptr() for p in model.parameters()}
    assert len(places) == len([*model.parameters()])


def test_weights_in_half_precision_are_read_as_open_clip_does(folder, tmp_path):
    name = "open_clip_config.json"
    (tmp_path / name).write_bytes((folder / name).read_bytes())
    state = load_file(folder / "open_clip_model.safetensors")
    halves = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    save_file(halves, tmp_path / "open_clip_model.safetensors")
    for name, value in load_clip(tmp_path).state_dict().items():
        assert torch.equal(value, halves[name].to(value.dtype)), name


def test_other_weights_are_not_filled_in(folder):
    config = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
    clip = build_empty(folder, config)
    with reading(folder / "open_clip_model.safetensors") as state:
        pass
    name = next(iter(state))
    assert not fill(clip, {k: v for k, v in state.items() if k != name})
    assert not fill(clip, state | {"more": torch.ones(1)})
    assert not fill(clip, state | {name: torch.ones(1, 2, 3)})
    assert fill(clip, state)


def test_a_file_that_is_cut_off(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DomainclipError, match="no whole safetensors file"):
        load_model(tmp_path)


def test_places_of_tensors(tmp_path):
    state = {
        "a": torch.arange(6, dtype=torch.int16).reshape(2, 3),
        "b": torch.ones(0, 4),
        "c": torch.tensor(2.0, dtype=torch.bfloat16),
        "d": torch.tensor([True, False]),
    }
    save_file(state, tmp_path / "w.safetensors", metadata={"format": "pt"})
    places = read_places(tmp_path / "w.safetensors")
    assert {n: (p.dtype, p.shape) for n, p in places.items()} == {
        n: (v.dtype, tuple(v.shape)) for n, v in state.items()
    }
    with reading(tmp_path / "w.safetensors") as found:
        pass
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_a_tokenizer_is_its_own_though_its_tables_are_shared(folder):
    one, other = load_model(folder).tokenizer, load_model(folder).tokenizer
    one.context_length = 5
    assert other.context_length == 16
    assert one.encoder is other.encoder
    assert torch.equal(other(["a cat"]), open_clip.get_tokenizer(f"local-dir:{folder}")(["a cat"]))
