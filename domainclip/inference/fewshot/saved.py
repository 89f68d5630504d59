"""A few-shot classifier on disk.

fewshot.safetensors   what the method learned, array by array
fewshot.json          method, settings, labels with their lineages, the model it goes with, what it
                      was learned from and chosen by
"""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from domainclip import __version__
from domainclip.data.packed import fingerprint
from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError, UsageError
from domainclip.inference.candidates import Candidates, choose_from_names, choose_from_tree
from domainclip.inference.encoding import Encoder
from domainclip.model.digest import digest_weights
from domainclip.model.folder import write_json

from .choosing import METHODS, Chosen, Tried
from .galleries import BOTH
from .learning import Asked, Learned

ABOUT, ARRAYS = "fewshot.json", "fewshot.safetensors"
FORMAT = 1


def check_folder(path: str | Path) -> None:
    """Refuse to write a classifier where something else lies.

    Raises:
        UsageError: If the folder holds other files, or is a file.
    """
    folder = Path(path).expanduser()
    if not folder.exists() or (folder / ABOUT).is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        what = "holds something else" if folder.is_dir() else "is a file"
        raise UsageError(f"{folder} {what}", "name a new folder by --out")


def write_saved(path: str | Path, chosen: Chosen, about: Mapping[str, Any]) -> Path:
    """Write a chosen method and what is said of it; a classifier that lies there is replaced.

    Raises:
        UsageError: If the folder holds something else.
        DataError: If it cannot be written.
    """
    check_folder(path)
    folder = Path(path).expanduser()
    values = {f.name: getattr(chosen.fitted, f.name) for f in fields(chosen.fitted)}  # type: ignore[arg-type]
    arrays = {
        name: np.ascontiguousarray(value)
        for name, value in values.items()
        if isinstance(value, np.ndarray)
    }
    told = {
        "format": FORMAT,
        "method": chosen.method,
        "temperature": chosen.temperature,
        "numbers": {name: value for name, value in values.items() if name not in arrays},
        "chosen_by": [vars(tried) for tried in chosen.table],
        **about,
    }
    partial = folder / f"{ARRAYS}.partial"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABOUT).unlink(missing_ok=True)  # no old words beside new arrays
        save_file(arrays, partial)
        partial.replace(folder / ARRAYS)
        write_json(folder / ABOUT, told)
        # Arrays that whoever may read the words may read too: safetensors' own are private.
        (folder / ARRAYS).chmod(stat.S_IMODE((folder / ABOUT).stat().st_mode))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
    return folder


def read_saved(path: str | Path) -> tuple[Chosen, dict[str, Any]]:
    """Return the method that a folder holds, and everything that is said of it.

    Raises:
        UsageError: If there is no few-shot classifier.
        DataError: If it is damaged, or of another version.
    """
    folder = Path(path).expanduser()
    if not (folder / ABOUT).is_file():
        raise UsageError(
            f"no few-shot classifier in {folder}", "`domainclip fewshot --out FOLDER` makes one"
        )
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise DataError(
                f"{folder} is of format {about['format']}, this version reads {FORMAT}",
                "make it anew, or use the version that made it",
            )
        arrays: dict[str, NDArray[Any]] = load_file(folder / ARRAYS)
        fitted = METHODS[about["method"]].kind(**arrays, **about["numbers"])
        table = tuple(Tried(**tried) for tried in about["chosen_by"])
        return Chosen(about["method"], fitted, float(about["temperature"]), table), about
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{folder} cannot be read: {said}", "make it anew") from error


def describe(encoder: Encoder, asked: Asked, learned: Learned, method: str) -> dict[str, Any]:
    """Return what is said of a classifier, as JSON can hold it: model, labels and pictures.

    Args:
        encoder: The model.
        asked: How it was to learn.
        learned: What it learned from.
        method: The method that was chosen.
    """
    found, seen = learned.candidates, learned.support
    both = learned.head == BOTH and "captions" in METHODS[method].needs
    lines: dict[str, Any] = {}
    if found.tree is not None and found.nodes is not None:
        lines = _tell_tree(found.tree, found.nodes)
    return {
        "domainclip": __version__,
        "asked": asked.method,
        "head": learned.head if both else "names",
        "width": (seen if both else seen.by_names()).features.shape[1],
        "model": {
            "name": str(encoder.folder.resolve()) if encoder.folder else encoder.name,
            "digest": encoder.digest,
            "lasts": encoder.lasts,
        },
        "classes": [str(name) for name in found.names],
        **lines,
        "notice": str(encoder.card.get("notice", "")),
        "learned_from": {
            "pictures": len(seen),
            "shots": asked.shots,
            "seed": asked.seed,
            "fingerprint": fingerprint(sorted(learned.ids)),
        },
    }


def check_model(folder: str | Path, made: Mapping[str, Any], encoder: Encoder) -> None:
    """Refuse a model that a classifier was not made with.

    Args:
        folder: The classifier.
        made: What it says of its model.
        encoder: The model that is there.

    Raises:
        UsageError: If its digest is another one.
    """
    digest = encoder.digest
    if digest != made["digest"] and not made["lasts"]:
        digest = digest_weights(encoder.network)  # it was told by its weights, not by its files
    if digest != made["digest"]:
        raise UsageError(
            f"{folder} was made with {made['name']} ({made['digest'][:12]}), not with "
            f"{encoder.name} ({digest[:12]})",
            "its vectors mean nothing to another model: name the one it was made with, or make it "
            "anew",
        )


def read_candidates(about: Mapping[str, Any]) -> Candidates:
    """Return the labels that `describe` told, those of a tree with everything above them."""
    if "ranks" not in about:
        return choose_from_names(about["classes"], PromptSet())
    tree = LabelTree.from_columns(about["labels"], about["ranks"])
    nodes = [tree.node(tuple(key)) for key in about["lineages"]]
    return choose_from_tree(tree, nodes, PromptSet())


def _tell_tree(tree: LabelTree, nodes: NDArray[np.int64]) -> dict[str, Any]:
    above = np.unique(tree.ancestors[nodes])
    kept = above[above >= 0].tolist()
    columns = tree.to_columns()
    return {
        "ranks": list(tree.ranks),
        "labels": {name: [cells[node] for node in kept] for name, cells in columns.items()},
        "lineages": [list(tree.key(int(node))) for node in nodes],
    }
