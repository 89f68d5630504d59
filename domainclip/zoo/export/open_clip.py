"""A folder that stock open_clip loads with `local-dir:`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from open_clip import create_model_and_transforms, get_tokenizer
from open_clip.hf_model import HFTextEncoder
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file

from domainclip.model.building import TEXT_TOWER, WEIGHTS, local_text
from domainclip.model.folder import CONFIG, write_json

from .stock import Stock
from .target import LabelVectors, Target, version_of
from .towers import ClipTowers


def write(stock: Stock, folder: Path, dtype: str, labels: LabelVectors | None) -> dict[str, Any]:
    """Write configuration, weights and, where it is a file, the tokenizer."""
    pre = stock.preprocess
    write_json(folder / CONFIG, {
        "model_cfg": stock.config,
        "preprocess_cfg": {
            "size": pre.size, "mean": list(pre.mean), "std": list(pre.std),
            "interpolation": pre.interpolation, "resize_mode": pre.mode,
        },
    })  # fmt: skip
    save_file(stock.state(dtype), folder / WEIGHTS, metadata={"format": "pt"})
    if isinstance(stock.tokenizer, HFTokenizer):
        stock.tokenizer.save_pretrained(str(folder))
    notes = []
    text: Any = getattr(stock.clip, "text", None)
    if isinstance(text, HFTextEncoder):
        text.config.save_pretrained(str(folder / TEXT_TOWER))
        notes.append(
            "open_clip asks the Hub for the configuration of its text tower, "
            f"{stock.config['text_cfg'].get('hf_model_name')}; without a network give it "
            f"text_cfg with hf_model_name=FOLDER/{TEXT_TOWER} and hf_model_pretrained=False"
        )
    return {
        "how_to_load": "open_clip.create_model_and_transforms('local-dir:FOLDER') and "
        "open_clip.get_tokenizer('local-dir:FOLDER')",
        "notes": notes,
    }


def read(folder: Path, stock: Stock) -> ClipTowers:
    """Load a folder as its users do."""
    name = f"local-dir:{folder}"
    here = local_text(folder, stock.config)
    clip, _, prepare = create_model_and_transforms(name, require_pretrained=True, **here)
    tokenizer = get_tokenizer(name) if stock.reads else None
    # open_clip knows no larger side that the centre is cut out of: there the run says so.
    exact = stock.preprocess.shortest == stock.preprocess.size
    return ClipTowers(clip, tokenizer, version_of("open_clip_torch"), prepare if exact else None)


TARGET = Target(write, read, dtypes=("float32", "float16", "bfloat16"))
