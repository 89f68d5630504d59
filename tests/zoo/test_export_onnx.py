"""Graphs that onnxruntime runs, in every number format, and what lies beside them."""

import json
import shutil
import sys

import exported
import families
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from domainclip.errors import UsageError
from domainclip.zoo.export import onnx as onnx_export
from domainclip.zoo.export.compact import compact
from domainclip.zoo.export.onnx import OnnxTowers
from domainclip.zoo.export.run import export_model
from domainclip.zoo.export.samples import draw_texts
from domainclip.zoo.export.stock import fold_head


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return exported.make(tmp_path_factory.mktemp("model"), "ViT, QuickGELU")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    """An export of the captions head; tracing both towers takes most of the time of these tests."""
    out = tmp_path_factory.mktemp("onnx") / "out"
    return out, export_model(model, "onnx", out, head="captions")


def run(path, **given):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(["vectors"], given)
    return torch.from_numpy(found)


@pytest.mark.slow
@torch.inference_mode()
def test_onnxruntime_computes_the_same_for_any_number(model, made):
    out, record = made
    pixels, tokens = families.pixels(32), model.tokenize(families.sentences())
    images, texts = model.encode_image(pixels, "captions"), model.encode_text(tokens)
    for count in (1, 5, 64):
        found = run(out / "image.onnx", pixels=pixels[:count].numpy())
        assert found.shape == images[:count].shape
        assert (found - images[:count]).abs().max() < 1e-4
        told = run(out / "text.onnx", tokens=tokens[:count].numpy())
        assert (told - texts[:count]).abs().max() < 1e-4
    assert record["check"]["tool"].startswith("onnxruntime")
    assert record["check"]["largest_difference"]["images"] < 1e-4


@pytest.mark.slow
def test_the_file_beside_says_what_is_needed_without_domainclip(model, made):
    out, _ = made
    told = json.loads((out / "export.json").read_text())
    assert told["mean"] == pytest.approx(families.MEAN)
    assert told["std"] == pytest.approx(families.STD)
    assert (told["size"], told["context_length"], told["dimension"]) == (32, 77, 24)
    assert told["logit_scale"] == pytest.approx(np.exp(3.0))
    reader, texts = Tokenizer.from_file(str(out / told["tokenizer"])), draw_texts()
    assert [one.ids for one in reader.encode_batch(texts)] == model.tokenize(texts).tolist()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "size", "most"),
    [("float16", 0.52, 2e-3), ("bfloat16", 0.52, 2e-2), ("int8", 0.3, 0.1)],
)
def test_smaller_formats_make_smaller_files(model, made, tmp_path, dtype, size, most):
    whole = made[0]
    for file in ("image.onnx", "text.onnx", "tokenizer.json"):
        shutil.copy(whole / file, tmp_path / file)
    for file in ("image.onnx", "text.onnx"):
        compact(tmp_path / file, dtype)
        onnx.checker.check_model(tmp_path / file)
    assert not [p.name for p in tmp_path.iterdir() if "whole" in p.name]
    text = (tmp_path / "text.onnx").stat().st_size
    assert text < size * (whole / "text.onnx").stat().st_size
    stock = fold_head(model, "captions")
    before, after = OnnxTowers(whole, stock), OnnxTowers(tmp_path, stock)
    pixels, tokens = families.pixels(32), before.tokenize(families.sentences())
    assert torch.equal(tokens, model.tokenize(families.sentences()))
    for one, other in (
        (before.encode_image(pixels), after.encode_image(pixels)),
        (before.encode_text(tokens), after.encode_text(tokens)),
    ):
        assert 1e-6 < (one - other).abs().max() < most


@pytest.mark.slow
def test_convolutions_are_kept_as_bytes(tmp_path):
    model = exported.make(tmp_path / "model", "timm")
    record = export_model(model, "onnx", tmp_path / "out", dtype="int8")
    graph = onnx.load(tmp_path / "out" / "image.onnx").graph
    kernels = {node.input[1] for node in graph.node if node.op_type == "Conv"}
    widened = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    assert len(kernels & widened) >= 10
    weights = sum(p.numel() for p in model.clip.visual.parameters())
    assert (tmp_path / "out" / "image.onnx").stat().st_size < 1.1 * weights
    assert 1e-5 < record["check"]["largest_difference"]["images"] < record["check"]["limit"] == 0.1


@pytest.mark.slow
def test_weights_too_large_for_a_graph_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "WHOLE", 0)
    model = exported.make(tmp_path / "model")
    record = export_model(model, "onnx", tmp_path / "out", dtype="int8")
    sizes = {file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()}
    assert sizes["text.onnx.data"] > 1e6 > sizes["text.onnx"] and "image.onnx.data" in sizes
    assert record["check"]["largest_difference"]["texts"] < 0.1


@pytest.mark.parametrize("package", ["onnx", "onnxscript"])
def test_a_missing_package_is_named_with_the_extra(model, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=f"the export to onnx needs {package}$") as told:
        export_model(model, "onnx", tmp_path / "out")
    assert told.value.hint == "pip install 'domainclip[export]'"
    assert not (tmp_path / "out").exists()


def test_without_onnxruntime_int8_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs onnxruntime$"):
        export_model(model, "onnx", tmp_path / "out", dtype="int8")


@pytest.mark.slow
def test_without_onnxruntime_it_is_said_that_nothing_was_checked(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    record = export_model(model, "onnx", tmp_path / "out")
    assert record["check"]["checked"] is False
    assert "onnxruntime is not installed" in record["check"]["reason"]


@pytest.mark.slow
def test_a_tower_that_cannot_be_traced_is_refused_with_the_reason(tmp_path):
    model = exported.make(tmp_path / "model")

    class Looping(torch.nn.Module):
        def forward(self, pixels):
            return pixels.flatten(1)[:, : 1 + int(pixels.sum().item() > 0)]

    model.clip.visual.ln_post = torch.nn.Sequential(Looping())
    with pytest.raises(UsageError, match=r"image: the tower cannot be written as ONNX: \w+:"):
        export_model(model, "onnx", tmp_path / "out")
    assert not (tmp_path / "out").exists()
