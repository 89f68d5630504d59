"""Image and text towers as ONNX graphs that take any number of pictures and texts."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from domainclip.errors import UsageError

from .stock import Stock
from .target import LabelVectors, Target, version_of
from .words import FILE as TOKENIZER
from .words import write_tokenizer

IMAGE, TEXT = "image.onnx", "text.onnx"
WHOLE = 1 << 30
"""Bytes of weights up to which they lie in the graph itself: protobuf ends at two gigabytes."""
HINT = "pip install 'domainclip[export]'"


class ImageGraph(nn.Module):
    """From normalised pixels (n, 3, size, size) to unit vectors (n, dim)."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, pixels: Tensor) -> Tensor:
        """Return unit vectors."""
        return functional.normalize(self.clip.encode_image(pixels), dim=-1)


class TextGraph(nn.Module):
    """From token ids (n, context) to unit vectors (n, dim)."""

    def __init__(self, clip: Any) -> None:
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        """Return unit vectors."""
        return functional.normalize(self.clip.encode_text(tokens), dim=-1)


def write(stock: Stock, folder: Path, dtype: str, labels: LabelVectors | None) -> dict[str, Any]:
    """Write both graphs and, where it fits into a file, the tokenizer.

    Raises:
        UsageError: If the packages are missing, or a tower cannot be traced.
    """
    wanted = ["onnx", "onnxscript", *["onnxruntime"] * (dtype == "int8")]
    if lost := [package for package in wanted if find_spec(package) is None]:
        raise UsageError(f"the export to onnx needs {' and '.join(lost)}", HINT)
    from .compact import compact

    size = stock.preprocess.size
    two_texts = torch.zeros(2, stock.context, dtype=torch.long)
    _trace(ImageGraph(stock.clip), "pixels", torch.randn(2, 3, size, size), folder / IMAGE)
    _trace(TextGraph(stock.clip), "tokens", two_texts, folder / TEXT)
    for file in (IMAGE, TEXT):
        compact(folder / file, dtype)
    has_tokenizer = stock.reads and write_tokenizer(stock, folder)
    return {
        "how_to_load": f"onnxruntime.InferenceSession('{IMAGE}') takes pixels (n, 3, size, size), "
        f"'{TEXT}' tokens (n, context); both return vectors of length one",
        "tokenizer": TOKENIZER if has_tokenizer else "open_clip's, by model_cfg of this file",
        "model_cfg": stock.config,
    }


def read(folder: Path, stock: Stock) -> OnnxTowers | None:
    """Load both graphs into onnxruntime; None where it is not installed."""
    if find_spec("onnxruntime") is None:
        return None
    return OnnxTowers(folder, stock)


class OnnxTowers:
    """Two graphs in onnxruntime.

    Args:
        folder: Where they lie.
        stock: For the tokenizer, where it is no file.
    """

    prepare = None

    def __init__(self, folder: Path, stock: Stock) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._sessions = {
            file: onnxruntime.InferenceSession(
                str(folder / file), options, providers=["CPUExecutionProvider"]
            )
            for file in (IMAGE, TEXT)
        }
        self.tool, self.scale, self._stock = version_of("onnxruntime"), stock.scale, stock
        self._file = folder / TOKENIZER

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids of shape (n, context)."""
        if not self._file.is_file():
            return self._stock.tokenize(texts)
        from tokenizers import Tokenizer

        found = Tokenizer.from_file(str(self._file)).encode_batch(texts)
        return torch.tensor([encoding.ids for encoding in found])

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return self._run(IMAGE, "pixels", pixels)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Return unit vectors of shape (n, dim)."""
        return self._run(TEXT, "tokens", tokens)

    def _run(self, file: str, name: str, given: Tensor) -> Tensor:
        (found,) = self._sessions[file].run(None, {name: given.numpy()})
        return torch.from_numpy(found)


def _trace(graph: nn.Module, name: str, example: Tensor, path: Path) -> None:
    """Write the graph of a tower, the first dimension of what it takes left open."""
    weights = sum(p.numel() * p.element_size() for p in graph.parameters())
    try:
        with _quiet(), torch.no_grad():
            torch.onnx.export(
                graph.eval(), (example,), str(path), dynamo=True, verbose=False,
                input_names=[name], output_names=["vectors"],
                dynamic_shapes={name: {0: torch.export.Dim("batch")}},
                external_data=weights > WHOLE,
            )  # fmt: skip
    except Exception as error:  # whatever of a model cannot be traced
        kind, said = type(error).__name__, " ".join(str(error.__cause__ or error).split())
        raise UsageError(
            f"{path.stem}: the tower cannot be written as ONNX: {kind}: {said[:300]}",
            "--to open_clip takes every model",
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep notes of the exporter, which nobody can act on, off the user's terminal."""
    logs = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)


TARGET = Target(
    write,
    read,
    dtypes=("float32", "float16", "bfloat16", "int8"),
    tolerance=1e-3,
    takes_any_head=True,
    missing=f"onnxruntime is not installed: {HINT}",
)
