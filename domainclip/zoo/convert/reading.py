"""Reads the files of a published model, by their kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip

from domainclip.errors import DataError, suggest
from domainclip.model.clip import Preprocess
from domainclip.model.folder import register_configs
from domainclip.zoo.card import Card
from domainclip.zoo.needed import WEIGHTS

from . import clip, siglip
from .published import Published, read_json
from .weights import find_weights, read_state

_RENAMED = {"proj": "hf_proj_type", "pooler_type": "hf_pooler_type"}
"""Keys of `text_cfg` that open_clip renamed in version 2.20, for towers of transformers."""
_RESAMPLING = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as image processors save them."""


def read_published(card: Card, files: Path, scratch: Path) -> Published:
    """Return a model as its files describe it.

    Args:
        card: The card of the model.
        files: The folder of its files.
        scratch: A folder for what is taken out of pickles and archives, gone again on return.

    Raises:
        DataError: If files are missing, broken or of something else.
    """
    readers = {"open_clip": _open_clip, "checkpoint": _checkpoint, "transformers": _transformers}
    return readers[card.kind](card, files, scratch)


def _open_clip(card: Card, files: Path, scratch: Path) -> Published:
    path = files / "open_clip_config.json"
    told = read_json(path)
    config = told.get("model_cfg")
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= {*config}:
        raise DataError(f"{path} describes no model of open_clip")
    weights = find_weights(files, card.source.files, WEIGHTS[card.kind])
    pictures = told.get("preprocess_cfg") or {}
    return Published(
        read_state(weights, scratch),
        _settle(config, card),
        _read_preprocess(pictures, config) if "mean" in pictures else None,
        where=str(weights),
    )


def _checkpoint(card: Card, files: Path, scratch: Path) -> Published:
    register_configs()
    config = open_clip.get_model_config(card.architecture)
    if config is None:
        raise DataError(
            f"the card of {card.name} names an architecture that open_clip does not know: "
            f"{card.architecture!r}",
            suggest(card.architecture, open_clip.list_models()),
        )
    if card.image_size:
        config["vision_cfg"]["image_size"] = card.image_size
    if card.context:
        config["text_cfg"]["context_length"] = card.context
    weights = find_weights(files, card.source.files, ())
    return Published(read_state(weights, scratch), _settle(config, card), None, where=str(weights))


def _transformers(card: Card, files: Path, scratch: Path) -> Published:
    path = files / "config.json"
    told = read_json(path)
    kind = told.get("model_type")
    known = {"clip": ("CLIPConfig", clip), "siglip": ("SiglipConfig", siglip)}
    if kind not in known:
        why = ": its pictures keep their own sizes, which open_clip has no tower for"
        raise DataError(
            f"{path} is of a model of type {kind!r}, and those of {' and '.join(known)} can be "
            f"converted{why if kind == 'siglip2' else ''}"
        )
    import transformers

    name, family = known[kind]
    config = getattr(transformers, name).from_dict(told)
    weights = find_weights(files, card.source.files, WEIGHTS[card.kind])
    return Published(
        family.map_weights(read_state(weights, scratch)),
        family.map_config(config, str(path)),
        _read_processor(files, config.vision_config.image_size),
        where=str(weights),
    )


def _settle(config: dict[str, Any], card: Card) -> dict[str, Any]:
    """Return a `model_cfg` in today's words, with what the card adds to it."""
    config = json.loads(json.dumps(config))
    if config["text_cfg"].get("hf_model_name"):
        for old, new in _RENAMED.items():
            if old in config["text_cfg"]:
                config["text_cfg"].setdefault(new, config["text_cfg"].pop(old))
    config["vision_cfg"].pop("timm_model_pretrained", None)
    if card.quick_gelu:
        config["quick_gelu"] = True
    return dict(config)


def _read_preprocess(told: dict[str, Any], config: dict[str, Any]) -> Preprocess:
    size = config["vision_cfg"].get("image_size", told.get("size", 224))
    return Preprocess(
        size=int(size[0] if isinstance(size, (list, tuple)) else size),
        mean=tuple(map(float, told["mean"])),
        std=tuple(map(float, told["std"])),
        interpolation=str(told.get("interpolation", "bicubic")),
        mode="squash" if told.get("resize_mode") == "squash" else "shortest",
    )


def _read_processor(files: Path, size: int) -> Preprocess | None:
    """Return how the image processor of a transformers folder prepares pictures."""
    told: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if (files / name).is_file():
            found = read_json(files / name)
            told |= found.get("image_processor", found)
    if "image_mean" not in told:
        return None
    asked = told.get("size")
    edge = asked.get("shortest_edge") if isinstance(asked, dict) else asked
    squash = edge is None and told.get("do_resize", True)
    cut = isinstance(edge, int) and edge > size and told.get("do_center_crop", True)
    return Preprocess(
        size=size,
        mean=tuple(map(float, told["image_mean"])),
        std=tuple(map(float, told["image_std"])),
        interpolation=_RESAMPLING.get(told.get("resample", 3), "bicubic"),
        resize=int(edge) if cut and edge else 0,
        mode="squash" if squash else "shortest",
    )
