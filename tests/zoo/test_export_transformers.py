"""A CLIPModel and its pipeline say what the model says; other towers are refused."""

import exported
import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, CLIPModel, CLIPProcessor, pipeline

from domainclip.domains.contract import PromptSet
from domainclip.errors import UsageError
from domainclip.inference.classify import ZeroShotClassifier
from domainclip.zoo.export.run import export_model
from domainclip.zoo.export.samples import draw_texts

LABELS = ["a red forest", "the grey town near the river", "old cell", "dog"]


@pytest.fixture
def pictures():
    rng = np.random.default_rng(3)
    return [Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)) for _ in range(6)]


def ask(folder, pictures, template, **rest):
    """Return the probabilities of the pipeline, shape (n, labels)."""
    classify = pipeline("zero-shot-image-classification", str(folder), device="cpu", **rest)
    rows = classify(pictures, candidate_labels=LABELS, hypothesis_template=template)
    found = [{one["label"]: one["score"] for one in row} for row in rows]
    return np.array([[row[label] for label in LABELS] for row in found])


def answer(model, pictures, template, head):
    prompts = PromptSet(templates=(template,))
    classifier = ZeroShotClassifier(model, prompts=prompts, device="cpu").fit(LABELS, head=head)
    return classifier.predict_proba(pictures)


@pytest.mark.parametrize(
    ("name", "head"),
    [("ViT", "names"), ("ViT, QuickGELU", "captions"), ("ViT, text apart", "captions")],
)
def test_the_pipeline_gives_the_same_probabilities(tmp_path, pictures, name, head):
    model = exported.make(tmp_path / "model", name)
    record = export_model(model, "transformers", tmp_path / "out", head=head)
    wanted = answer(model, pictures, "a photo of {}.", head)
    assert np.ptp(wanted, axis=1).max() > 0.2  # labels are told apart
    found = ask(tmp_path / "out", pictures, "a photo of {}.")
    assert np.abs(found - wanted).max() < 1e-5
    assert set(record["check"]["largest_difference"]) == {"images", "texts", "scale", "pixels"}


def test_pictures_that_are_scaled_differ_by_that_alone(tmp_path):
    """Those that are not square are cut at whole pixels: up to half of one of 32 here."""
    model = exported.make(tmp_path / "model")
    export_model(model, "transformers", tmp_path / "out")
    rng = np.random.default_rng(1)
    small = [Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(4)]
    for side, most in (((120, 120), 1e-3), ((160, 120), 0.05)):
        large = [one.resize(side, Image.Resampling.BICUBIC) for one in small]
        difference = ask(tmp_path / "out", large, "{}") - answer(model, large, "{}", "names")
        assert np.abs(difference).max() < most


def test_a_prefix_is_part_of_the_template(tmp_path, pictures):
    model = exported.make(tmp_path / "model", prefixes={"names": "name:"})
    record = export_model(model, "transformers", tmp_path / "out")
    wanted = answer(model, pictures, "{}", "names")
    found = ask(tmp_path / "out", pictures, record["hypothesis_template"])
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(ask(tmp_path / "out", pictures, "{}") - wanted).max() > 1e-3


def test_the_processor_reads_texts_as_the_model_does(tmp_path):
    model = exported.make(tmp_path / "model", context_length=20)
    export_model(model, "transformers", tmp_path / "out")
    texts = draw_texts()
    for tokenizer in (
        AutoTokenizer.from_pretrained(tmp_path / "out"),
        CLIPProcessor.from_pretrained(tmp_path / "out").tokenizer,
    ):
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        ours = model.tokenize(texts)
        assert ids.shape == ours.shape == (64, 20)
        assert torch.equal(torch.where(ours == 0, 49407, ours), ids)


def test_half_precision_is_what_transformers_loads(tmp_path):
    model = exported.make(tmp_path / "model")
    record = export_model(model, "transformers", tmp_path / "out", dtype="bfloat16")
    assert CLIPModel.from_pretrained(tmp_path / "out").dtype == torch.bfloat16
    assert 1e-4 < record["check"]["largest_difference"]["images"] < 2e-2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("ResNet", "its image tower is a ModifiedResNet, no ViT of open_clip"),
        ("timm", "its image tower is the resnet10t of timm, no ViT of open_clip"),
    ],
)
def test_other_towers_are_refused_with_the_reason(tmp_path, name, reason):
    model = exported.make(tmp_path / "model", name)
    with pytest.raises(UsageError, match=f"no export to transformers: {reason}") as told:
        export_model(model, "transformers", tmp_path / "out")
    assert "--to onnx" in told.value.hint and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "more", "reason"),
    [
        ("vision_cfg", {"pool_type": "avg"}, "does not read the class token"),
        ("vision_cfg", {"ls_init_value": 0.1}, "its blocks are not those of CLIP"),
        ("vision_cfg", {"no_ln_pre": True}, "begins in another way"),
        ("text_cfg", {"no_causal_mask": True}, "sees what comes after a word"),
        ("text_cfg", {"pool_type": "last"}, "CLIP's projection of the end token"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "whitespace"}}, "tokenizer is not that of"),
    ],
)
def test_a_vit_unlike_clips_is_refused(tmp_path, monkeypatch, part, more, reason):
    config = exported.families.vit(custom_text=True)
    config[part] = {**config[part], **more}
    monkeypatch.setitem(exported.CONFIGS, "odd", config)
    model = exported.make(tmp_path / "model", "odd")
    with pytest.raises(UsageError, match=reason):
        export_model(model, "transformers", tmp_path / "out")
