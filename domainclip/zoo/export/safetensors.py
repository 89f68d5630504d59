"""One file of weights under open_clip's names, with what they belong to in its metadata."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from .stock import Stock
from .target import LabelVectors, Target, version_of
from .towers import ClipTowers

FILE = "model.safetensors"


def write(stock: Stock, folder: Path, dtype: str, labels: LabelVectors | None) -> dict[str, Any]:
    """Write the file; its metadata are texts, those of several values JSON."""
    pre = stock.preprocess
    told = {
        "format": "pt",
        "model_cfg": json.dumps(stock.config),
        "head": stock.head,
        "prefix": stock.prefix,
        "size": str(pre.size),
        "resize": str(pre.shortest),
        "resize_mode": pre.mode,
        "mean": json.dumps(pre.mean),
        "std": json.dumps(pre.std),
        "interpolation": pre.interpolation,
        "context_length": str(stock.context),
    }
    save_file(stock.state(dtype), folder / FILE, metadata=told)
    return {
        "how_to_load": f"safetensors.torch.load_file('{FILE}'); the metadata say the architecture"
    }


def read(folder: Path, stock: Stock) -> ClipTowers:
    """Load the file into open_clip's model, all of whose weights it has to bring."""
    clip = copy.deepcopy(stock.clip)
    clip.load_state_dict(load_file(folder / FILE))
    return ClipTowers(clip, stock.tokenizer, version_of("safetensors"))


TARGET = Target(write, read, dtypes=("float32", "float16", "bfloat16"))
