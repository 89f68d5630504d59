"""Converts a published model into a model folder that every later load reads alone."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from domainclip.domains.registry import find_domains
from domainclip.errors import DataError, DomainclipError
from domainclip.model.building import TEXT_TOWER, build_empty, fill
from domainclip.model.clip import DomainClip, Preprocess
from domainclip.model.folder import CONFIG, save_model, write_json
from domainclip.zoo.card import Card

from .agreement import find_differences, refuse_another
from .heads import set_heads, take_heads
from .keep import keep_folder
from .keys import check_fit, follow_card, follow_versions
from .published import Published
from .reading import read_published
from .texts import check_kept, collect_tokenizer, find_text_tower, is_clips_own, open_tokenizer


def convert(
    card: Card,
    files: Path,
    out: Path,
    *,
    text_files: Path | None = None,
    provenance: Mapping[str, Any],
) -> Path:
    """Convert a published model into a model folder.

    Args:
        card: What is known of the model.
        files: The folder of its files, as they lie in its repository; or its one file.
        out: The model folder to write.
        text_files: The folder of the files of its `text_source`.
        provenance: Where the files are from; it is written into domainclip.json.

    Returns:
        The model folder.

    Raises:
        DataError: If files are missing or broken, would run code, or do not fit the card.
    """
    if card.blocked:
        raise DataError(f"{card.name} cannot be loaded: {card.blocked}")
    begun = not out.exists()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if card.kind == "domainclip":
            return keep_folder(card, files, out, provenance)
        with tempfile.TemporaryDirectory(prefix=".domainclip-", dir=out.parent) as scratch:
            found = read_published(card, files, Path(scratch))
            places = (text_files, files if files.is_dir() else files.parent)
            model, notes = _build(card, found, places, Path(scratch))
        save_model(model, out, tree=None, card=_describe(card, model, provenance, notes))
        check_kept(model.tokenizer, out, card)
    except BaseException as error:
        if begun:
            shutil.rmtree(out, ignore_errors=True)
        if isinstance(error, DomainclipError) or not isinstance(error, Exception):
            raise
        said = " ".join(str(error).split())[:300] or type(error).__name__
        full = isinstance(error, (OSError, SafetensorError))
        raise DataError(
            f"{card.name} cannot be converted: {said}",
            f"is there room in {out.parent}? `DOMAINCLIP_HOME` names another place" if full else "",
        ) from error
    return out


def _build(
    card: Card, found: Published, places: tuple[Path | None, Path], scratch: Path
) -> tuple[DomainClip, list[str]]:
    """Return the model, and what its files say otherwise than the card."""
    config, text = found.config, found.config["text_cfg"]
    preprocess = found.preprocess or _said_by(card, config)
    if card.kind != "checkpoint":  # of bare weights the card itself says the towers
        refuse_another(card, config, found.where)
    notes = find_differences(card, config, preprocess)
    if text.get("hf_model_name"):
        told = find_text_tower(card, places[1], places[0])
        (scratch / TEXT_TOWER).mkdir()
        for at in (scratch / TEXT_TOWER, scratch):  # beside the tokenizer it tells its kind
            write_json(at / "config.json", told)
        text["hf_model_pretrained"] = False
        text.setdefault("hf_tokenizer_name", text["hf_model_name"])
    # open_clip's configs say which tokenizer they need, those of transformers do not
    if card.kind == "transformers" and is_clips_own(places) is False:
        text["hf_tokenizer_name"] = (card.text_source or card.source).repo or card.name
    if text.get("hf_tokenizer_name"):
        collect_tokenizer(places, scratch)
    if any(name.rpartition(".")[2] == "logit_bias" for name in found.state):
        config.setdefault("init_logit_bias", 0.0)  # open_clip then expects one
    write_json(scratch / CONFIG, {"model_cfg": config, "preprocess_cfg": _as_told(preprocess)})
    clip = build_empty(scratch, json.loads(json.dumps(config)))
    expected = clip.state_dict()
    wanted = {*expected, *(h.projection for h in card.heads.values())}
    state = follow_card(found.state, card.drop_keys, card.rename_keys, wanted)
    state = follow_versions(state, {n: v for n, v in state.items() if n in wanted} | expected)
    state, heads, missing = take_heads(state, card)
    notes += missing
    check_fit(state, expected, found.where)
    state = {name: _as(state[name], value) for name, value in expected.items()}
    if not fill(clip, state):
        clip.load_state_dict(state)
    for parameter in clip.parameters():
        parameter.requires_grad_(True)
    tokenizer = open_tokenizer(card, scratch, _vocabulary(clip))
    model = DomainClip(clip, tokenizer, preprocess, config, ["names", *heads])
    set_heads(model, heads)
    return model.eval(), notes


def _as(value: Tensor, own: Tensor) -> Tensor:
    """Return a tensor in the number format of the model, which is float32."""
    return value.to(own.dtype).contiguous()


def _vocabulary(clip: Any) -> int:
    tower = getattr(clip, "text", clip)
    embedding = getattr(tower, "token_embedding", None)
    if isinstance(embedding, torch.nn.Embedding):
        return embedding.num_embeddings
    return int(tower.vocab_size)


def _said_by(card: Card, config: Mapping[str, Any]) -> Preprocess:
    size = card.image_size or config["vision_cfg"].get("image_size", 224)
    return Preprocess(int(size), card.mean, card.std)


def _as_told(pre: Preprocess) -> dict[str, Any]:
    return {
        "size": pre.size, "mean": list(pre.mean), "std": list(pre.std),
        "interpolation": pre.interpolation, "resize_mode": pre.mode,
    }  # fmt: skip


def _describe(
    card: Card, model: DomainClip, provenance: Mapping[str, Any], notes: list[str]
) -> dict[str, Any]:
    """Return what domainclip.json says of a model of the zoo."""
    told: dict[str, Any] = {
        "zoo": card.name,
        "title": card.title,
        "licence": card.licence,
        "commercial": card.commercial,
        "derivatives": card.derivatives,
        "notice": card.notice,
        "image_size": model.preprocess.size,
        "context": model.context_length,
        "mean": list(model.preprocess.mean),
        "std": list(model.preprocess.std),
        "provenance": dict(provenance),
    }
    if card.domain in find_domains():
        told["domain"] = card.domain
    if card.prompts:
        told["prompts"] = card.prompts
    if notes:
        told["card_differs"] = notes
    return told
