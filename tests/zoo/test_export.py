"""Exports to open_clip and to one file of weights; what is refused; nothing is half-written."""

import json
from dataclasses import replace

import exported
import families
import open_clip
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from domainclip.errors import DataError, UsageError
from domainclip.model.tokenizing import MissingTokenizer
from domainclip.zoo.export import open_clip as open_clip_export
from domainclip.zoo.export.run import export_model
from domainclip.zoo.export.stock import fold_head

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models by the names of `exported.CONFIGS`, each made once."""
    made = {}

    def get(name="ViT"):
        if name not in made:
            made[name] = exported.make(tmp_path_factory.mktemp("model"), name)
        return made[name]

    return get


@torch.inference_mode()
def say_vectors(model, head):
    size = model.preprocess.size
    texts = model.encode_text(model.tokenize(families.sentences()))
    return model.encode_image(families.pixels(size), head), texts


@pytest.mark.parametrize("head", ["names", "captions"])
@pytest.mark.parametrize("name", ["ViT", "ViT, text apart", "ResNet", "timm"])
@torch.inference_mode()
def test_stock_open_clip_computes_the_same_under_either_head(models, tmp_path, name, head):
    model = models(name)
    record = export_model(model, "open_clip", tmp_path / "out", head=head)
    clip, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'out'}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'out'}")
    images, texts = say_vectors(model, head)
    found = normalize(clip.eval().encode_image(families.pixels(model.preprocess.size)), dim=-1)
    assert (found - images).abs().max() < 1e-5
    told = normalize(clip.encode_text(tokenizer(families.sentences())), dim=-1)
    assert (told - texts).abs().max() < 1e-5
    assert clip.logit_scale.item() == pytest.approx({"names": 2.0, "captions": 3.0}[head])
    other = {"names": "captions", "captions": "names"}[head]
    assert (found - say_vectors(model, other)[0]).abs().max() > 0.05
    assert record["check"]["largest_difference"]["images"] < 1e-5
    assert json.loads((tmp_path / "out" / "export.json").read_text())["head"] == head


def test_the_model_is_left_as_it_was(models, tmp_path):
    model = models("ResNet")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_model(model, "open_clip", tmp_path / "out", head="captions", dtype="bfloat16")
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_file_of_weights_says_what_they_belong_to(models, tmp_path):
    model = models("timm")
    export_model(model, "safetensors", tmp_path / "out", head="captions")
    file = tmp_path / "out" / "model.safetensors"
    with safe_open(file, framework="pt") as opened:
        told = opened.metadata()
    assert json.loads(told["model_cfg"]) == model.config
    assert (told["head"], told["size"], told["context_length"]) == ("captions", "32", "77")
    assert json.loads(told["mean"]) == pytest.approx(families.MEAN)
    weights = load_file(file)
    assert torch.equal(weights["visual.head.proj.weight"], model.heads["captions"].weight)
    assert weights["logit_scale"].item() == 3.0


@torch.inference_mode()
def test_a_head_without_a_place_comes_behind_the_tower(models):
    model = models("timm without projection")
    stock = fold_head(model, "captions")
    found = normalize(stock.clip.encode_image(families.pixels(32)), dim=-1)
    assert not stock.folded and fold_head(model, "names").folded
    assert (found - say_vectors(model, "captions")[0]).abs().max() < 1e-5


@pytest.mark.parametrize(("dtype", "most"), [("float16", 2e-3), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("to", ["open_clip", "safetensors"])
def test_half_precision_halves_the_file_and_says_what_it_costs(models, tmp_path, to, dtype, most):
    model = models("timm")
    whole = export_model(model, to, tmp_path / "whole")
    half = export_model(model, to, tmp_path / "half", dtype=dtype)
    assert half["bytes"] < 0.51 * whole["bytes"]
    cost = half["check"]["largest_difference"]
    assert 1e-5 < cost["images"] < most and 1e-5 < cost["texts"] < most
    assert whole["check"]["largest_difference"]["images"] < 1e-5
    weights = load_file(next((tmp_path / "half").glob("*.safetensors")))
    statistics = [value for name, value in weights.items() if "running_var" in name]
    assert statistics and all(value.dtype == torch.float32 for value in statistics)


def test_weights_too_large_for_a_format_are_named(tmp_path):
    model = exported.make(tmp_path / "model")
    with torch.no_grad():
        model.clip.visual.conv1.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(DataError, match=r"visual\.conv1\.weight does not fit into float16") as told:
        export_model(model, "safetensors", tmp_path / "out", dtype="float16")
    assert "bfloat16" in told.value.hint
    assert export_model(model, "safetensors", tmp_path / "out", dtype="bfloat16")


REFUSED = {
    "no such head": ("ViT", "open_clip", {"head": "caption"}, "no head 'caption'; heads: names"),
    "no place for a head": (
        "timm without projection", "open_clip", {"head": "captions"}, "ends in no projection"
    ),
    "int8 elsewhere": ("ViT", "open_clip", {"dtype": "int8"}, "no export to open_clip in int8"),
    "no such tool": ("ViT", "tensorflow", {}, "no export to 'tensorflow'"),
    "pybioclip without labels": ("ViT", "pybioclip", {}, "needs labels"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_with_the_reason(models, tmp_path, case):
    name, to, rest, reason = REFUSED[case]
    with pytest.raises(UsageError, match=reason) as told:
        export_model(models(name), to, tmp_path / "out", **rest)
    assert told.value.hint
    assert [*tmp_path.iterdir()] == [tmp_path / "home"] * (tmp_path / "home").exists()


def test_a_folder_that_holds_something_is_left_alone(models, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="out is there already"):
        export_model(models(), "open_clip", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]
    (tmp_path / "out" / "mine.txt").unlink()
    export_model(models(), "open_clip", tmp_path / "out")  # an empty one is taken
    assert (tmp_path / "out" / WEIGHTS).is_file()


def test_an_export_that_differs_is_removed(models, tmp_path, monkeypatch):
    def spoil(stock, folder, dtype, labels):
        told = open_clip_export.write(stock, folder, dtype, labels)
        weights = load_file(folder / WEIGHTS)
        weights["visual.proj"][0, 0] += 0.1
        save_file(weights, folder / WEIGHTS)
        return told

    target = replace(open_clip_export.TARGET, write=spoil)
    monkeypatch.setattr(open_clip_export, "TARGET", target)
    with pytest.raises(DataError, match=r"was removed: read by open_clip_torch .* 0\.0001"):
        export_model(models(), "open_clip", tmp_path / "out")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_export_that_is_stopped_leaves_nothing(models, tmp_path, monkeypatch, stop):
    def stopped(stock, folder, dtype, labels):
        open_clip_export.write(stock, folder, dtype, labels)
        raise stop

    target = replace(open_clip_export.TARGET, write=stopped)
    monkeypatch.setattr(open_clip_export, "TARGET", target)
    wanted = KeyboardInterrupt if stop is KeyboardInterrupt else DataError
    with pytest.raises(wanted) as told:
        export_model(models(), "open_clip", tmp_path / "out")
    if wanted is DataError:
        assert told.value.message.endswith("cannot be written: No space left on device")
    assert left_in(tmp_path) == []


def test_a_model_without_a_tokenizer_goes_where_none_is_needed(tmp_path):
    model = exported.make(tmp_path / "model")
    model.tokenizer = MissingTokenizer("mine", "no network")
    for to in ("transformers", "pybioclip"):
        with pytest.raises(UsageError, match=r"no tokenizer.*no network"):
            export_model(model, to, tmp_path / "out")
    record = export_model(model, "open_clip", tmp_path / "out")
    assert record["tokenizer"] is None and record["check"]["largest_difference"]["texts"] < 1e-5
    assert "no tokenizer" in " ".join(record["notes"])


def test_what_the_tool_will_not_do_is_said(tmp_path):
    model = exported.make(tmp_path / "model", prefixes={"names": "name:", "captions": "caption:"})
    model.start_logits(bias=-3.0)
    model.preprocess = replace(model.preprocess, resize=40)
    record = export_model(model, "open_clip", tmp_path / "a", head="captions")
    said = " ".join(record["notes"])
    assert record["prefix"] == "caption:" and "begin with 'caption:'" in said
    assert "shortest side becomes 40 pixels" in said
    assert "pixels" not in record["check"]["largest_difference"]  # they are prepared otherwise
    other = export_model(model, "transformers", tmp_path / "b")
    said = " ".join(other["notes"])
    assert "the logit bias, -3, is left out" in said and "shortest side" not in said
    assert other["hypothesis_template"] == "name: {}"


def test_files_can_be_read_by_whom_the_folder_is_for(models, tmp_path):
    export_model(models(), "safetensors", tmp_path / "out")
    modes = {file.stat().st_mode for file in (tmp_path / "out").iterdir()}
    assert len(modes) == 1


def test_a_text_tower_of_transformers_brings_its_parts(tmp_path):
    family = families.of_bert(tmp_path / "files", tmp_path / "text")
    config = json.loads((family.files / "open_clip_config.json").read_text())
    config["model_cfg"]["text_cfg"] |= {
        "hf_model_name": str(tmp_path / "text"), "hf_tokenizer_name": str(tmp_path / "text")
    }  # fmt: skip
    (family.files / "open_clip_config.json").write_text(json.dumps(config))
    from transformers import AutoTokenizer, BertConfig

    AutoTokenizer.from_pretrained(tmp_path / "text").save_pretrained(family.files)
    BertConfig.from_pretrained(tmp_path / "text").save_pretrained(family.files / "text_tower")
    model = exported.split_heads(exported.create_model(f"local-dir:{family.files}")[0])
    record = export_model(model, "open_clip", tmp_path / "out", head="captions")
    assert record["check"]["largest_difference"]["texts"] < 1e-5
    assert (tmp_path / "out" / "tokenizer.json").is_file()
    assert (tmp_path / "out" / "text_tower" / "config.json").is_file()
    assert "asks the Hub for the configuration of its text tower" in " ".join(record["notes"])
    with pytest.raises(UsageError, match="its text tower is a HFTextEncoder"):
        export_model(model, "transformers", tmp_path / "other")


def left_in(folder):
    return [path.name for path in folder.iterdir() if path.name not in ("home", "hf", "model")]
