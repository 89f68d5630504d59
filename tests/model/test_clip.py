"""Towers, heads and the model folder, against stock open_clip."""

import json
import os

import open_clip
import pytest
import torch

from domainclip.errors import UsageError
from domainclip.model.clip import MAX_LOG_SCALE, DomainClip
from domainclip.model.folder import (
    CARD,
    CONFIG,
    HEADS,
    WEIGHTS,
    create_model,
    load_model,
    read_card,
    save_model,
)

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 48, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
TEXTS = ["a photo of a monarch.", "", "a much longer text with many more words than the others"]


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """An open_clip model that has nothing of ours: a plain ViT, saved in open_clip's own layout."""
    folder = tmp_path_factory.mktemp("stock")
    torch.manual_seed(0)
    model = open_clip.CLIP(**json.loads(json.dumps(VIT)))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    preprocess = {"size": 32, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    config = {"model_cfg": VIT, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return folder


def pixels(model: DomainClip, n: int = 3) -> torch.Tensor:
    size = model.preprocess.size
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def nudge(model: DomainClip) -> DomainClip:
    """Move every weight a little, so that heads and scales no longer look as they began."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_files_of_a_model_follow_the_umask(tmp_path, umask, mode):
    model, _ = create_model("small")
    before = os.umask(umask)
    try:
        save_model(model, tmp_path, tree=None, card={})
    finally:
        os.umask(before)
    assert {p.name: oct(p.stat().st_mode & 0o777) for p in tmp_path.iterdir()} == dict.fromkeys(
        (CARD, CONFIG, HEADS, WEIGHTS), oct(mode)
    )


def test_a_model_that_is_not_there_is_told_with_folders_and_no_built_in_name(tmp_path):
    (tmp_path / "first" / "model").mkdir(parents=True)
    (tmp_path / "first" / "model" / CONFIG).write_text("{}")
    with pytest.raises(UsageError) as caught:
        load_model(tmp_path / "frist")
    assert caught.value.hint == "did you mean 'first'?"
    with pytest.raises(UsageError) as caught:
        load_model("runs/nope")
    assert "no model 'runs/nope'" in caught.value.message and "run folder" in caught.value.hint


@pytest.mark.parametrize("name", ["small", "vit"])
def test_stock_open_clip_loads_the_folder_with_equal_features(name, vit, tmp_path):
    model, _ = create_model(str(vit) if name == "vit" else name)
    nudge(model)
    save_model(model, tmp_path, tree=None, card={"domain": "test"})
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    stock.eval()
    x, tokens = pixels(model), tokenizer(TEXTS)
    with torch.no_grad():
        torch.testing.assert_close(
            stock.encode_image(x, normalize=True), model.encode_image(x), atol=1e-5, rtol=0
        )
        torch.testing.assert_close(
            stock.encode_text(tokens, normalize=True),
            model.encode_text(model.tokenize(TEXTS)), atol=1e-5, rtol=0,
        )  # fmt: skip
    assert stock.logit_scale.exp().item() == pytest.approx(model.scale().item(), rel=1e-6)


@pytest.mark.parametrize("name", ["small", "vit"])
def test_our_folder_round_trips_with_every_head(name, vit, tmp_path):
    model, _ = create_model(str(vit) if name == "vit" else name)
    nudge(model)
    save_model(model, tmp_path, tree=None, card={"domain": "test"})
    again = load_model(tmp_path)
    assert not again.training
    assert read_card(tmp_path)["heads"] == ["names", "captions"]
    x = pixels(model)
    with torch.no_grad():
        for head in ("names", "captions"):
            torch.testing.assert_close(again.encode_image(x, head), model.encode_image(x, head))
            assert again.scale(head).item() == pytest.approx(model.scale(head).item())
    assert again.preprocess == model.preprocess


def test_pretrained_weights_keep_their_preprocessing_and_features(vit):
    model, pretrained = create_model(str(vit))
    model.eval()
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{vit}")
    stock.eval()
    assert pretrained and model.preprocess.mean == (0.1, 0.2, 0.3)
    with torch.no_grad():
        x = pixels(model)
        torch.testing.assert_close(model.encode_image(x), stock.encode_image(x, normalize=True))


def test_heads_start_alike_and_a_missing_head_falls_back():
    both, _ = create_model("small")
    assert torch.equal(both.heads["names"].weight, both.heads["captions"].weight)
    one, _ = create_model("small", heads=("names",))
    x = pixels(one.eval())
    assert torch.equal(one.encode_image(x, "captions"), one.encode_image(x, "names"))


@pytest.mark.parametrize("inside", ["", "model"])
def test_a_run_is_taken_with_its_heads_to_be_fine_tuned(tmp_path, inside):
    begun, _ = create_model("small")
    save_model(nudge(begun), tmp_path / "model", tree=None, card={})
    model, pretrained = create_model(str(tmp_path / inside))
    assert pretrained
    before, after = begun.state_dict(), model.state_dict()
    assert all(torch.equal(before[name], value) for name, value in after.items())
    assert not torch.equal(after["heads.names.weight"], after["heads.captions.weight"])


def test_text_is_computed_only_as_far_as_the_longest():
    model, _ = create_model("small")
    model.eval()
    tokens = model.tokenize(TEXTS)
    with torch.no_grad():
        ours = model.encode_text(tokens, normalize=False)
        whole = model.clip.text(tokens)
    torch.testing.assert_close(ours, whole, atol=1e-5, rtol=0)


def test_short_context_shortens_the_tower_and_keeps_short_texts(vit):
    full, _ = create_model(str(vit))
    short, _ = create_model(str(vit), context_length=16)
    assert short.tokenize(TEXTS).shape == (3, 16)
    assert short.clip.positional_embedding.shape[0] == 16
    with torch.no_grad():
        torch.testing.assert_close(
            short.encode_text(short.tokenize(TEXTS)), full.encode_text(full.tokenize(TEXTS)),
            atol=1e-6, rtol=0,
        )  # fmt: skip


def test_short_context_survives_the_folder(vit, tmp_path):
    short, _ = create_model(str(vit), context_length=16)
    save_model(short, tmp_path, tree=None, card={})
    assert load_model(tmp_path).context_length == 16


def test_longer_context_than_the_model_has_is_refused(vit):
    with pytest.raises(UsageError, match="more than the model's 77"):
        create_model(str(vit), context_length=100)


def test_scales_are_clamped():
    model, _ = create_model("small")
    with torch.no_grad():
        model.log_scales["names"].fill_(9.0)
        model.log_scales["captions"].fill_(-1.0)
    model.clamp_scales()
    assert model.log_scales["names"].item() == pytest.approx(MAX_LOG_SCALE)
    assert model.log_scales["captions"].item() == 0.0


@pytest.mark.parametrize(
    ("name", "said"),
    [("smalll", "small"), ("ViT-B-31", "ViT-B-32"), ("ViT-B-32/openaii", "cannot be loaded")],
)
def test_unknown_models_are_refused_with_a_way_on(name, said):
    with pytest.raises(UsageError) as caught:
        create_model(name)
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no model in"):
        load_model(tmp_path)
