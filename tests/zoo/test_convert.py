"""Converted models compute what the libraries that published them computed."""

import json
import shutil

import families
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from domainclip.errors import DataError
from domainclip.model.building import TEXT_TOWER
from domainclip.model.folder import load_model, read_card, save_model
from domainclip.zoo.convert import convert

FAMILIES = {
    "ViT": lambda place: families.of_open_clip(place / "files", families.vit()),
    "ViT, QuickGELU": lambda place: families.of_open_clip(
        place / "files", families.vit(quick_gelu=True)
    ),
    "ResNet": lambda place: families.of_open_clip(place / "files", families.resnet()),
    "CLIPModel, QuickGELU": lambda place: families.of_transformers(place / "files"),
    "CLIPModel, GELU": lambda place: families.of_transformers(place / "files", "gelu", 1e-4),
    "BERT": lambda place: families.of_bert(place / "files", place / "text"),
    "BERT, mean": lambda place: families.of_bert(place / "files", place / "text", "mean_pooler"),
}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Families with the folders they were converted to, by name; each is made once."""
    made = {}

    def get(name):
        if name not in made:
            place = tmp_path_factory.mktemp("family")
            family = FAMILIES[name](place)
            out = convert(
                family.card, family.files, place / "out",
                text_files=family.text_files, provenance={"commit": "0" * 40},
            )  # fmt: skip
            made[name] = family, out
        return made[name]

    return get


@torch.inference_mode()
def compare(family, model, within=1e-4):
    """Hold a model to what its publishers' library computes, on 64 pictures and 64 texts."""
    pixels, texts = families.pixels(family.size), families.sentences()
    images, said = family.images(pixels), family.texts(texts)
    assert said.std(0).mean() > 0.01  # texts are told apart, so that equal means something
    for own, there in (
        (model.encode_image(pixels), images),
        (model.encode_text(model.tokenize(texts)), said),
    ):
        assert (own - normalize(there, dim=-1)).abs().max() < within
    assert model.scale().item() == pytest.approx(family.scale, rel=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_the_same(converted, name):
    family, out = converted(name)
    compare(family, load_model(out))


@pytest.mark.parametrize("name", FAMILIES)
def test_pictures_are_prepared_as_published(converted, name):
    _, out = converted(name)
    preprocess = load_model(out).preprocess
    assert (preprocess.mean, preprocess.std) == (families.MEAN, families.STD)
    assert preprocess.shortest == (36 if "CLIPModel" in name else preprocess.size)


@pytest.mark.parametrize("name", ["ViT", "CLIPModel, QuickGELU", "BERT", "ResNet"])
def test_loading_and_saving_changes_no_bit(converted, tmp_path, name):
    _, out = converted(name)
    model = load_model(out)
    again = load_model(save_model(model, tmp_path / "again", tree=None, card=read_card(out)))
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    for file in sorted(out.rglob("*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "again" / file.relative_to(out)).read_bytes()
    texts = families.sentences()
    assert torch.equal(model.tokenize(texts), again.tokenize(texts))


def test_a_text_tower_of_transformers_needs_no_hub_wherever_the_folder_lies(
    converted, tmp_path, monkeypatch
):
    family, out = converted("BERT")
    moved = tmp_path / "moved"
    shutil.copytree(out, moved)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    compare(family, load_model(moved))
    config = json.loads((moved / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert config["hf_model_name"] == "org/bert"  # what stock open_clip asks the hub for
    told = "".join(p.read_text() for p in moved.rglob("*.json"))
    assert str(family.text_files) not in told and str(out) not in told


def test_stock_open_clip_loads_a_converted_clip_model(converted):
    family, out = converted("CLIPModel, QuickGELU")
    clip = open_clip.create_model(f"local-dir:{out}").eval()
    pixels = families.pixels(32, 8)
    with torch.inference_mode():
        assert torch.allclose(clip.encode_image(pixels), family.images(pixels), atol=1e-4)


def test_the_folder_says_what_the_card_says(converted, tmp_path):
    family, _ = converted("ViT")
    card = families.card(
        "open_clip", name="remote_sensing/small", licence="CC-BY-4.0", notice="For trial.",
        prompts="pair", image_size=48, derivatives="yes",
    )  # fmt: skip
    told = read_card(convert(card, family.files, tmp_path / "out", provenance={"commit": "abc"}))
    assert (told["domain"], told["zoo"]) == ("remote_sensing", "remote_sensing/small")
    assert (told["licence"], told["notice"], told["prompts"]) == ("CC-BY-4.0", "For trial.", "pair")
    assert told["provenance"] == {"commit": "abc"} and told["heads"] == ["names"]
    assert "image_size is 32 in the files, and 48 in the card" in told["card_differs"]


@pytest.mark.slow
@pytest.mark.parametrize(("size", "activation"), [(32, "gelu_pytorch_tanh"), (48, "gelu")])
def test_siglip_is_the_same(tmp_path, size, activation):
    family = families.of_siglip(tmp_path / "files", size, activation)
    out = convert(family.card, family.files, tmp_path / "out", provenance={})
    model = load_model(out)
    compare(family, model, 2e-6)  # another kind of GELU in the image tower would be 1e-5 off
    assert model.bias().item() == -3.0
    assert model.preprocess.mode == "squash" and model.preprocess.size == size
    again = load_model(save_model(model, tmp_path / "again", tree=None, card=read_card(out)))
    for key, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    compare(family, again)


def test_both_heads_are_kept(tmp_path):
    family, state = families.dual_heads(tmp_path / "files")
    out = convert(family.card, family.files, tmp_path / "out", provenance={})
    model = load_model(out)
    compare(family, model)
    pixels = families.pixels(32)
    with torch.inference_mode():
        told = model.pool(pixels) @ state["visual.caption_proj"]
        assert (model.encode_image(pixels, "captions") - normalize(told, dim=-1)).abs().max() < 1e-5
    assert model.scale("captions").item() == pytest.approx(20.0855, rel=1e-4)
    stock = load_file(out / "open_clip_model.safetensors")
    assert torch.equal(stock["visual.proj"], state["visual.proj"])
    assert not any("caption" in key for key in stock)


def test_a_head_that_is_not_there(tmp_path):
    family, state = families.dual_heads(tmp_path / "files")
    del state["visual.caption_proj"], state["logit_scale_caption"]
    save_file(state, family.files / "open_clip_model.safetensors")
    with pytest.raises(DataError, match=r"no visual\.caption_proj.*'captions'"):
        convert(family.card, family.files, tmp_path / "out", provenance={})
    assert not (tmp_path / "out").exists()
    unsure = families.card("open_clip", heads=family.card.heads, unverified=("heads",))
    out = convert(unsure, family.files, tmp_path / "out", provenance={})
    told = read_card(out)
    assert told["heads"] == ["names"] and "visual.caption_proj" in told["card_differs"][-2]
    compare(family, load_model(out))


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    family = families.of_bert(tmp_path / "files", tmp_path / "text")
    many = tuple(f"word{i}" for i in range(50))
    families.words_tokenizer(
        "[CLS]", "[SEP]", "[PAD]", ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *many)
    ).save_pretrained(family.text_files)
    with pytest.raises(DataError, match="another model: it has 80 tokens, and the text tower"):
        convert(
            family.card, family.files, tmp_path / "out",
            text_files=family.text_files, provenance={},
        )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_a_vocabulary_that_is_not_clips_own_needs_its_tokenizer(tmp_path):
    config = families.vit()
    config["text_cfg"]["vocab_size"] = 99
    family = families.of_open_clip(tmp_path / "files", config)
    with pytest.raises(DataError, match=r"another model: it has 49408 tokens.*knows 99"):
        convert(family.card, family.files, tmp_path / "out", provenance={})


def test_a_text_tower_without_its_files_says_what_is_needed(tmp_path):
    family = families.of_bert(tmp_path / "files", tmp_path / "text")
    with pytest.raises(DataError, match="built by transformers") as caught:
        convert(family.card, family.files, tmp_path / "out", provenance={})
    assert "text_source" in caught.value.hint


def test_code_of_a_repository_is_left_behind(tmp_path):
    family = families.of_bert(tmp_path / "files", tmp_path / "text")
    for name in ("config.json", "tokenizer_config.json"):
        path = family.text_files / name
        told = json.loads(path.read_text()) | {"auto_map": {"AutoModel": "evil.Model"}}
        path.write_text(json.dumps(told))
    (family.text_files / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    out = convert(
        family.card, family.files, tmp_path / "out", text_files=family.text_files, provenance={}
    )
    compare(family, load_model(out))
    assert not (tmp_path / "ran").exists() and not list(out.rglob("*.py"))
    assert "auto_map" not in "".join(p.read_text() for p in out.rglob("*.json"))
    told = json.loads((family.text_files / "config.json").read_text()) | {"model_type": "evil"}
    (family.text_files / "config.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="'evil' is not one"):
        convert(
            family.card, family.files, tmp_path / "other",
            text_files=family.text_files, provenance={},
        )  # fmt: skip
    assert (out / TEXT_TOWER / "config.json").is_file()


def test_models_of_other_types_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip2"}))
    with pytest.raises(DataError, match=r"'siglip2'.*clip and siglip"):
        convert(families.card("transformers"), tmp_path, tmp_path / "out", provenance={})
    family = families.of_transformers(tmp_path / "files")
    told = json.loads((family.files / "config.json").read_text())
    told["text_config"]["hidden_act"] = "gelu"
    (family.files / "config.json").write_text(json.dumps(told))
    with pytest.raises(DataError, match="hidden_act 'gelu' in the text tower and 'quick_gelu'"):
        convert(family.card, family.files, tmp_path / "out", provenance={})
