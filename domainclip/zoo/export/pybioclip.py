"""A folder of stock open_clip, and beside it label vectors in the two files that pybioclip reads.

pybioclip's `TreeOfLifeClassifier` takes `embeddings/txt_emb_species.npy`, shape (dim, labels), and
`.json`, a list of `[[names of seven ranks], common name]`; the last name is what stands behind that
of the rank above (read in pybioclip 2.1.6). It multiplies unit vectors by both and the logit scale,
and takes the softmax.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from domainclip.errors import UsageError

from . import open_clip
from .stock import Stock
from .target import LabelVectors, Target, version_of
from .towers import ClipTowers, Towers

VECTORS, NAMES = "embeddings/txt_emb_species.npy", "embeddings/txt_emb_species.json"
RANKS = 7


def write(stock: Stock, folder: Path, dtype: str, labels: LabelVectors | None) -> dict[str, Any]:
    """Write the model and its label vectors.

    Raises:
        UsageError: If there are no labels, or none of seven ranks.
    """
    if labels is None:
        raise UsageError("the export to pybioclip needs labels", "give a model that has some")
    if len(labels.ranks) != RANKS:
        raise UsageError(
            f"pybioclip reads labels of {RANKS} ranks, and these have {len(labels.ranks)}: "
            f"{', '.join(labels.ranks)}",
            "--to open_clip gives a model for its --cls",
        )
    open_clip.write(stock, folder, dtype, None)
    (folder / VECTORS).parent.mkdir()
    np.save(folder / VECTORS, np.ascontiguousarray(labels.vectors.T, dtype=np.float32))
    told = [
        [_split(line), common] for line, common in zip(labels.lines, labels.common, strict=True)
    ]
    (folder / NAMES).write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return {
        "how_to_load": "a subclass of bioclip.TreeOfLifeClassifier whose get_cached_datafile "
        "returns the path of a file below FOLDER, made with model_str='local-dir:FOLDER'",
        "labels": len(told),
    }  # fmt: skip


def _split(line: tuple[str, ...]) -> list[str]:
    """Return names with the last one short of that of the rank above, as pybioclip joins them."""
    above, last = line[-2:]
    return [*line[:-1], last.removeprefix(f"{above} ") if above else last]


class PybioclipTowers(ClipTowers):
    """What pybioclip makes of a folder: an open_clip model, and probabilities of labels."""

    def __init__(self, folder: Path, stock: Stock) -> None:
        before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
        import bioclip

        if before is None:  # set at its import, and no concern of what comes after
            os.environ.pop("TORCH_FORCE_WEIGHTS_ONLY_LOAD", None)

        class Local(bioclip.TreeOfLifeClassifier):  # type: ignore[misc]
            def get_cached_datafile(self, filename: str) -> str:
                return str(folder / filename)

        with contextlib.redirect_stdout(io.StringIO()):
            self.classifier = Local(model_str=f"local-dir:{folder}", device="cpu")
        clip = getattr(self.classifier.model, "_orig_mod", self.classifier.model)
        super().__init__(clip, stock.tokenizer, version_of("pybioclip"))

    @torch.inference_mode()
    def answer(self, pixels: Tensor) -> Tensor:
        """Return the probabilities of all labels, shape (n, labels)."""
        found: Tensor = self.classifier(pixels)
        return found.float()


def read(folder: Path, stock: Stock) -> ClipTowers:
    """Load a folder with pybioclip or, where it is not installed, with open_clip alone."""
    if find_spec("bioclip") is None:
        found = open_clip.read(folder, stock)
        found.tool = f"{found.tool}, pybioclip is not installed"
        found.vectors = torch.from_numpy(np.load(folder / VECTORS))
        return found
    return PybioclipTowers(folder, stock)


def answer(towers: Towers, pixels: Tensor) -> Tensor:
    """Return pybioclip's probabilities of all labels; without it, those by its arithmetic."""
    if isinstance(towers, PybioclipTowers):
        return towers.answer(pixels)
    assert isinstance(towers, ClipTowers) and towers.vectors is not None
    return (towers.scale * towers.encode_image(pixels) @ towers.vectors).softmax(dim=-1)


TARGET = Target(write, read, dtypes=("float32",), needs_text=True, answer=answer)
