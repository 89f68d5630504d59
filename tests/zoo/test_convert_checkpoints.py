"""Bare checkpoints: what wraps them, how versions name their tensors, and what does not fit."""

import json
import zipfile

import families
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from domainclip.errors import DataError
from domainclip.model.folder import load_model
from domainclip.zoo.card import Source
from domainclip.zoo.convert import convert
from domainclip.zoo.convert.archives import extract_checkpoint
from domainclip.zoo.convert.keys import check_fit, follow_card, follow_versions


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """A small architecture under a name that open_clip knows."""
    folder = tmp_path_factory.mktemp("configs")
    for name, config in (
        ("zoo-small", families.vit()),
        ("zoo-small-quickgelu", families.vit(quick_gelu=True)),
    ):
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return families.of_open_clip(tmp_path_factory.mktemp("files"), families.vit())


@pytest.fixture(scope="module")
def state(family):
    return load_file(family.files / "open_clip_model.safetensors")


def checkpoint(name, **more):
    more = {"architecture": "zoo-small", "mean": families.MEAN, "std": families.STD} | more
    return families.card("checkpoint", source=Source(repo="org/small", files=(name,)), **more)


def same(family, model):
    pixels = families.pixels(32, 8)
    with torch.inference_mode():
        told, own = family.images(pixels), model.encode_image(pixels, normalize=False)
        texts = families.sentences(8)
        said, read = family.texts(texts), model.encode_text(model.tokenize(texts), normalize=False)
    return torch.allclose(told, own, atol=1e-4) and torch.allclose(said, read, atol=1e-4)


def test_a_training_checkpoint(tmp_path, family, state):
    """Lightning's own layout: a prefix, the state of the optimizer, and settings."""
    torch.save(
        {
            "epoch": 3, "state_dict": {f"model.{k}": v for k, v in state.items()},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(9)}}}],
        },
        tmp_path / "last.ckpt",
    )  # fmt: skip
    model = load_model(convert(checkpoint("last.ckpt"), tmp_path, tmp_path / "out", provenance={}))
    assert same(family, model)
    assert model.preprocess.mean == families.MEAN


def test_a_checkpoint_in_an_archive(tmp_path, family, state):
    inner = tmp_path / "inner.pt"
    torch.save({"state_dict": {f"module.{k}": v.half() for k, v in state.items()}}, inner)
    with zipfile.ZipFile(tmp_path / "small.zip", "w") as archive:
        archive.write(inner, "run/epoch_20.pt")
        archive.writestr("run/README.txt", "weights")
        archive.writestr("__MACOSX/run/._epoch_20.pt", "attributes")
    inner.unlink()
    model = load_model(convert(checkpoint("small.zip"), tmp_path, tmp_path / "out", provenance={}))
    halved = model.stock_state()["token_embedding.weight"]
    assert halved.dtype == torch.float32
    assert torch.equal(halved, state["token_embedding.weight"].half().float())


def test_quick_gelu_is_of_the_card_or_the_architecture(tmp_path, family, state):
    save_file(state, tmp_path / "w.safetensors")
    out = {}
    for name, more in (
        ("plain", {}), ("card", {"quick_gelu": True}),
        ("name", {"architecture": "zoo-small-quickgelu"}),
    ):  # fmt: skip
        folder = convert(
            checkpoint("w.safetensors", **more), tmp_path, tmp_path / name, provenance={}
        )
        with torch.inference_mode():
            out[name] = load_model(folder).encode_image(families.pixels(32, 4))
        told = json.loads((folder / "open_clip_config.json").read_text())["model_cfg"]
        assert bool(told.get("quick_gelu")) == (name != "plain")
    assert torch.equal(out["card"], out["name"])
    assert not torch.allclose(out["plain"], out["card"], atol=1e-4)


@pytest.mark.parametrize("name", ["../../evil.pt", "/evil.pt", "..\\evil.pt", "C:\\evil.pt"])
def test_a_name_that_leads_out_of_an_archive(tmp_path, name):
    path, into = tmp_path / "a" / "bad.zip", tmp_path / "a" / "into"
    into.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.pt", b"x")
        archive.writestr(name, b"x")
    with pytest.raises(DataError, match="leads out of it"):
        extract_checkpoint(path, into)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["bad.zip"]


def test_archives_that_are_not_what_they_should_be(tmp_path):
    path = tmp_path / "two.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pt", b"x" * 100_000)
        archive.writestr("b.pt", b"y")
    with pytest.raises(DataError, match=r"one checkpoint, and holds a\.pt, b\.pt"):
        extract_checkpoint(path, tmp_path)
    cut = tmp_path / "cut.zip"
    cut.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="cut off"):
        extract_checkpoint(cut, tmp_path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pt", b"x" * 100_000)
    with pytest.raises(DataError, match="100000 bytes"):
        extract_checkpoint(path, tmp_path, limit=1000)


def test_weights_that_do_not_fit_are_told_both_ways(tmp_path, state):
    wrong = {k: v for k, v in state.items() if not k.startswith("visual.ln_post")}
    wrong["visual.extra.weight"] = torch.ones(2)
    wrong["visual.proj"] = torch.ones(64, 99)
    save_file(wrong, tmp_path / "w.safetensors")
    with pytest.raises(DataError) as caught:
        convert(checkpoint("w.safetensors"), tmp_path, tmp_path / "out", provenance={})
    said = caught.value.message
    assert "2 missing in the weights: visual.ln_post.weight, visual.ln_post.bias" in said
    assert "1 unexpected: visual.extra.weight" in said
    assert "visual.proj is (64, 99), and (64, 24) in the model" in said
    assert not (tmp_path / "out").exists()


def test_many_keys_are_counted_and_some_shown(state):
    with pytest.raises(DataError) as caught:
        check_fit({}, state, "w.pt")
    assert f"{len(state)} missing" in caught.value.message and "…" in caught.value.message
    assert caught.value.message.count(",") < 10


def test_a_file_that_is_cut_off(tmp_path, state):
    save_file(state, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"w\.safetensors is no whole safetensors file"):
        convert(checkpoint("w.safetensors"), tmp_path, tmp_path / "out", provenance={})


def test_a_full_disk_leaves_nothing(tmp_path, state):
    resource = pytest.importorskip("resource")
    save_file(state, tmp_path / "w.safetensors")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # files may have 1 MiB, and no more
    try:
        with pytest.raises(DataError, match="cannot be converted") as caught:
            convert(checkpoint("w.safetensors"), tmp_path, tmp_path / "out", provenance={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "is there room" in caught.value.hint
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_keys_that_the_card_drops_and_renames(tmp_path, family, state):
    told = {k.replace("visual.", "image."): v for k, v in state.items()}
    told |= {"image.head2.weight": torch.ones(2), "loss.scale": torch.ones(1)}
    save_file(told, tmp_path / "w.safetensors")
    card = checkpoint(
        "w.safetensors", drop_keys=("image.head2.*", "loss.*"), rename_keys={"image.": "visual."}
    )
    assert same(family, load_model(convert(card, tmp_path, tmp_path / "out", provenance={})))


@pytest.mark.parametrize("prefix", ["module.", "model.", "module.clip."])
def test_what_stands_before_all_keys_is_left_out(state, prefix):
    told = {f"{prefix}{k}": v for k, v in state.items()} | {"steps": torch.ones(1)}
    found = follow_card(told, ["steps"], {}, state)
    assert found.keys() == state.keys()


def test_the_longest_beginning_wins():
    value = torch.ones(1)
    found = follow_card(
        {"a.b.c": value, "a.d": value}, [], {"a.": "x.", "a.b.": "y."}, {"y.c", "x.d"}
    )
    assert found.keys() == {"y.c", "x.d"}


OLD = {
    "text.transformer.encoder.layer.0.attention.output.LayerNorm.gamma":
        "text.transformer.encoder.layer.0.attention.output.LayerNorm.weight",
    "text_encoder.transformer.bert.embeddings.LayerNorm.beta":
        "text.transformer.embeddings.LayerNorm.bias",
    "text_encoder.proj.0.weight": "text.proj.0.weight",
}  # fmt: skip


@pytest.mark.parametrize(("old", "new"), OLD.items())
def test_names_of_older_versions(old, new):
    found = follow_versions({old: torch.ones(2)}, {new: torch.zeros(2)})
    assert found.keys() == {new} and found[new].sum() == 2


def test_a_bert_of_older_versions_is_the_same(tmp_path):
    family = families.of_bert(tmp_path / "files", tmp_path / "text")
    path = family.files / "open_clip_model.safetensors"
    told = load_file(path)
    old = {}
    for key, value in told.items():
        key = key.replace("LayerNorm.weight", "LayerNorm.gamma")
        old[key.replace("LayerNorm.bias", "LayerNorm.beta")] = value
    old["text.transformer.embeddings.position_ids"] = torch.arange(40)[None]
    old["text.transformer.pooler.dense.weight"] = torch.ones(32, 32)
    assert old.keys() != told.keys()
    save_file(old, path)
    config = json.loads((family.files / "open_clip_config.json").read_text())
    text = config["model_cfg"]["text_cfg"]
    text["proj"], text["pooler_type"] = text.pop("hf_proj_type"), text.pop("hf_pooler_type")
    (family.files / "open_clip_config.json").write_text(json.dumps(config))
    model = load_model(
        convert(
            family.card, family.files, tmp_path / "out",
            text_files=family.text_files, provenance={},
        )
    )  # fmt: skip
    assert same(family, model)


def test_position_ids_of_transformers_are_left_out(tmp_path):
    family = families.of_transformers(tmp_path / "files")
    path = family.files / "model.safetensors"
    told = load_file(path)
    told["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    told["vision_model.embeddings.position_ids"] = torch.arange(5)[None]
    halves = dict(list(told.items())[::2]), dict(list(told.items())[1::2])
    path.unlink()
    places = {}
    for number, half in enumerate(halves, 1):
        name = f"model-0000{number}-of-00002.safetensors"
        save_file(half, path.with_name(name))
        places |= dict.fromkeys(half, name)
    index = path.with_name("model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": places}))
    assert same(family, load_model(convert(
        family.card, family.files, tmp_path / "out", provenance={}
    )))  # fmt: skip
    index.write_text(json.dumps({"weight_map": places | {"x": "../x.safetensors"}}))
    with pytest.raises(DataError, match="does not lie beside it"):
        convert(family.card, family.files, tmp_path / "more", provenance={})


def test_text_towers_of_either_layout(tmp_path, family, state):
    """open_clip keeps the text tower in the model itself, or in a part called `text`."""
    text = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
    parted = {f"text.{k}" if k.startswith(text) else k: v for k, v in state.items()}
    save_file(parted, tmp_path / "w.safetensors")
    out = convert(checkpoint("w.safetensors"), tmp_path, tmp_path / "out", provenance={})
    assert same(family, load_model(out))


def test_weights_that_cannot_be_told_apart(tmp_path, state):
    for name in ("a.pt", "b.pt"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"there are a\.pt, b\.pt"):
        convert(checkpoint("w.safetensors"), tmp_path, tmp_path / "out", provenance={})


def test_a_model_that_is_blocked(tmp_path):
    card = families.card("open_clip", blocked="it needs code of its repository")
    with pytest.raises(DataError, match="it needs code of its repository"):
        convert(card, tmp_path, tmp_path / "out", provenance={})
