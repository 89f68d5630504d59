"""The model folder: what stock open_clip loads, plus what only domainclip knows.

open_clip_config.json, open_clip_model.safetensors   open_clip's `local-dir:` layout, names head in
heads.safetensors                                    every head on the pooled feature
labels.csv                                           the label tree
tokenizer.json and others, text_tower/config.json    where transformers has the text tower's parts
domainclip.json                                      domain, heads, candidates, digests, provenance
"""

from __future__ import annotations

import contextlib
import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import load_file, save_file

from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, UsageError, suggest

from .building import TEXT_TOWER, load_clip, quiet
from .building import WEIGHTS as WEIGHTS
from .clip import DomainClip, Preprocess
from .tokenizing import find_tokenizer

CONFIGS = Path(__file__).parent / "configs"
CONFIG, HEADS = "open_clip_config.json", "heads.safetensors"
CARD, LABELS = "domainclip.json", "labels.csv"


def create_model(
    name: str,
    *,
    heads: Sequence[str] = ("names", "captions"),
    context_length: int = 0,
    image_size: int = 0,
    prefixes: Mapping[str, str] | None = None,
) -> tuple[DomainClip, bool]:
    """Build a model from a name.

    Args:
        name: A built-in config (`small`), an open_clip name with or without a tag (`ViT-B-32`,
            `ViT-B-32/openai`), `hf-hub:org/name`, `local-dir:path`, or the path of a model folder.
        heads: The projection heads to have.
        context_length: Tokens per text; 0 for the model's own. Learned positions are cut.
        image_size: Side of the input in pixels; 0 for the model's own.
        prefixes: Head -> word that its texts begin with; None for the model's own.

    Returns:
        The model in train mode, and whether its weights are pretrained.

    Raises:
        UsageError: If there is no such model, or its weights cannot be had.
    """
    if Path(name).expanduser().is_dir():
        name = f"local-dir:{Path(name).expanduser()}"
    if name.startswith("local-dir:"):
        name = f"local-dir:{model_folder(name.removeprefix('local-dir:'))}"
    architecture, tag = (name, None) if ":" in name else _split_tag(name)
    if ":" not in name:
        register_configs()
        if architecture not in open_clip.list_models():
            raise UsageError(
                f"no model {name!r}",
                suggest(architecture, open_clip.list_models())
                or "name a built-in config, an open_clip model, hf-hub:… or local-dir:…",
            )
    pretrained = ":" in name or tag is not None
    try:
        with quiet():
            if name.startswith("local-dir:"):
                clip = load_clip(Path(name.removeprefix("local-dir:")), image_size)
            else:
                clip = open_clip.create_model(
                    architecture,
                    pretrained=tag,
                    force_image_size=image_size or None,
                    require_pretrained=pretrained,
                )
            tokenizer = find_tokenizer(architecture, name)
    except Exception as error:
        raise UsageError(
            f"the model {name!r} cannot be loaded: {' '.join(str(error).split())[:300]}",
            "check the name, the tag and the network; a model folder on disk is loaded by its path",
        ) from error
    config = _config_of(architecture)
    if image_size:
        config["vision_cfg"]["image_size"] = image_size
    if context_length:
        shorten_context(clip, context_length)
        config["text_cfg"]["context_length"] = int(clip.context_length)
    preprocess = _preprocess_of(clip)
    model = DomainClip(clip, tokenizer, preprocess, config, heads, prefixes)
    if name.startswith("local-dir:"):
        _load_heads(model, Path(name.removeprefix("local-dir:")))
    return model, pretrained


def load_model(path: str | Path, device: str = "cpu") -> DomainClip:
    """Load a model folder, a run folder or any named model, ready for inference.

    Raises:
        UsageError: If there is no such model.
    """
    folder = model_folder(path) if Path(path).expanduser().is_dir() else None
    if folder is None:
        _check_named(path)
    heads = read_card(folder).get("heads", ["names"]) if folder else ["names"]
    model, _ = create_model(f"local-dir:{folder}" if folder else str(path), heads=heads)
    return (model if str(device) == "cpu" else model.to(device)).eval()


def _check_named(path: str | Path) -> None:
    """Refuse what is neither a folder nor the name of a model.

    Raises:
        UsageError: With a folder beside it that was probably meant.
    """
    register_configs()
    name, place = str(path), Path(path).expanduser()
    if ":" in name or _split_tag(name)[0] in open_clip.list_models():
        return
    models: list[str] = []
    with contextlib.suppress(OSError):
        beside = place.parent.iterdir()
        models += (p.name for p in beside if any((p / i / CONFIG).is_file() for i in ("", "model")))
    near = suggest(place.name, models)
    raise UsageError(
        f"no model {name!r}: no such folder",
        near or "name a run folder, as `domainclip train` prints it, or a model folder",
    )


def save_model(
    model: DomainClip, path: str | Path, *, tree: LabelTree | None, card: dict[str, Any]
) -> Path:
    """Write a model folder that stock open_clip loads with `local-dir:`.

    Args:
        model: The model; its names head is folded into the stock weights.
        path: The folder; made if needed, its files replaced.
        tree: The label tree, or None for a model without one.
        card: What `domainclip.json` says of the model: domain, candidates, licence, provenance.
    """
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    pre = model.preprocess
    config = {
        "model_cfg": model.config,
        "preprocess_cfg": {
            "size": pre.size,
            "mean": list(pre.mean),
            "std": list(pre.std),
            "interpolation": pre.interpolation,
            "resize_mode": pre.mode,
        },
    }
    write_json(folder / CONFIG, config)
    _write_text_parts(model, folder)
    _write_weights(model.stock_state(), folder / WEIGHTS)
    _write_weights(model.heads_state(), folder / HEADS)
    card = {"heads": list(model.heads), "resize": pre.resize, **card}
    if model.prefixes:
        card["prefixes"] = model.prefixes
        card["prefixes_note"] = say_prefixes(model.prefixes)
    if tree is not None:
        tree.to_csv(folder / LABELS)
        card |= {"ranks": list(tree.ranks), "labels": tree.digest()}
    write_json(folder / CARD, card)
    return folder


def say_prefixes(prefixes: Mapping[str, str]) -> str:
    """Say what other programs have to do for a model whose texts begin with a word."""
    words = ", ".join(f"{head} with {word!r}" for head, word in prefixes.items())
    return (
        f"this model was trained on texts that begin with a word: {words}. domainclip puts it "
        "there; where open_clip loads the folder, write it and a space before each text"
    )


def model_folder(path: str | Path) -> Path:
    """Return the model folder that a path means: itself, or `model/` of a run folder.

    Raises:
        UsageError: If neither holds a model.
    """
    folder = Path(path).expanduser()
    for candidate in (folder, folder / "model"):
        if (candidate / CONFIG).is_file():
            return candidate
    raise UsageError(
        f"no model in {folder}",
        f"a model folder holds {CONFIG}; a run folder holds it in model/ once the run has ended",
    )


def read_labels(path: str | Path) -> LabelTree | None:
    """Return the label tree of a model folder, or None where it has none."""
    folder = model_folder(path)
    if not (folder / LABELS).is_file():
        return None
    return LabelTree.from_csv(folder / LABELS, ranks=read_card(folder).get("ranks"))


def read_card(path: str | Path) -> dict[str, Any]:
    """Return what `domainclip.json` of a model folder says; {} where there is none.

    Raises:
        DataError: If the file is not JSON.
    """
    card = model_folder(path) / CARD
    if not card.is_file():
        return {}
    try:
        return dict(json.loads(card.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError(f"{card} is not JSON: {error}") from error


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    partial = path.with_suffix(path.suffix + ".partial")
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def _write_text_parts(model: DomainClip, folder: Path) -> None:
    """Write what a text tower or a tokenizer of transformers needs, so that no hub is asked."""
    tower = getattr(model.clip, "text", None)
    if isinstance(tower, HFTextEncoder):
        tower.config.save_pretrained(folder / TEXT_TOWER)
    if isinstance(model.tokenizer, HFTokenizer):
        model.tokenizer.save_pretrained(folder)


def _write_weights(state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors, readable by whom the files beside them are: safetensors' own are private."""
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, partial)
    partial.replace(path)
    with contextlib.suppress(OSError):  # some mounted disks know no rights
        path.chmod(stat.S_IMODE((path.parent / CONFIG).stat().st_mode))


def shorten_context(clip: Any, length: int) -> None:
    """Cut an open_clip text tower to `length` tokens, so that it computes no more than those.

    Raises:
        UsageError: If the tower is shorter already, or has no learned positions to cut.
    """
    text = getattr(clip, "text", clip)
    positions = getattr(text, "positional_embedding", None)
    if length == clip.context_length:
        return
    if positions is None:
        raise UsageError(
            "model.context_length is fixed for this text tower", "leave it at 0, the model's own"
        )
    if length > positions.shape[0]:
        raise UsageError(
            f"model.context_length = {length} is more than the model's {positions.shape[0]} tokens",
            f"use at most {positions.shape[0]}",
        )
    text.positional_embedding = torch.nn.Parameter(positions.data[:length].clone())
    mask = getattr(text, "attn_mask", None)
    if mask is not None:
        text.attn_mask = mask[:length, :length].clone()
    clip.context_length = text.context_length = length


def _load_heads(model: DomainClip, folder: Path) -> None:
    if not (folder / HEADS).is_file():
        return
    state = load_file(folder / HEADS)
    wanted = {k: v for k, v in state.items() if k.split(".")[1] in model.heads}
    _, unknown = model.load_state_dict(wanted, strict=False)
    if unknown:
        raise DataError(f"{folder / HEADS} does not fit the model: {', '.join(unknown[:5])}")
    card = read_card(folder)
    model.prefixes = model.prefixes or dict(card.get("prefixes", {}))
    resize = int(card.get("resize", 0))
    if resize >= model.preprocess.size:
        model.preprocess = replace(model.preprocess, resize=resize)


def _split_tag(name: str) -> tuple[str, str | None]:
    architecture, _, tag = name.rpartition("/")
    return (architecture, tag) if architecture else (tag, None)


def built_in_configs() -> tuple[str, ...]:
    """Return the names of the small configs that ship with the package."""
    return tuple(sorted(path.stem for path in CONFIGS.glob("*.json")))


def register_configs() -> None:
    """Let open_clip know the configs that ship with the package."""
    if not set(built_in_configs()) <= set(open_clip.list_models()):
        open_clip.add_model_config(CONFIGS)


def _config_of(architecture: str) -> dict[str, Any]:
    """Return open_clip's model_cfg as plain JSON, with no leave to download a tower."""
    config = json.loads(json.dumps(open_clip.get_model_config(architecture)))
    config["vision_cfg"].pop("timm_model_pretrained", None)
    return dict(config)


def _preprocess_of(clip: Any) -> Preprocess:
    given = getattr(clip.visual, "preprocess_cfg", None) or {}
    size = given.get("size", clip.visual.image_size)
    return Preprocess(
        size=int(size[0] if isinstance(size, (tuple, list)) else size),
        mean=tuple(given.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(given.get("std", open_clip.OPENAI_DATASET_STD)),
        interpolation=given.get("interpolation", "bicubic"),
        mode="squash" if given.get("resize_mode") == "squash" else "shortest",
    )
