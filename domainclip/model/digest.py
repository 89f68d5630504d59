"""What tells one model from another: a digest of its weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path

import torch
from torch import nn

from domainclip import paths

from .folder import CONFIG, HEADS, WEIGHTS, model_folder, read_card

_FILES = (CONFIG, WEIGHTS, HEADS)


def digest_weights(model: nn.Module) -> str:
    """Return a digest of the weights of a loaded model.

    Position embeddings are left out: where they are fitted to another size, two processors may
    differ in the last bit.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, value in model.state_dict().items():
        if not any(p.startswith("pos") or "position" in p for p in name.split(".")):
            digest.update(name.encode())
            digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def digest_folder(path: str | Path) -> str:
    """Return a digest of what a model folder computes: its weights, and how it is spoken to.

    It is kept in the cache folder by path, size and time of each file, so that large weights are
    read once only.

    Raises:
        UsageError: If there is no model in the folder.
    """
    folder = model_folder(path).resolve()
    files = [file for name in _FILES if (file := folder / name).is_file()]
    stamps = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    card = read_card(folder)
    spoken = [card.get("prefixes"), card.get("resize")]
    told = json.dumps([str(folder), stamps, spoken])
    note = paths.cache_dir("digests") / hashlib.sha256(told.encode()).hexdigest()[:20]
    with contextlib.suppress(OSError):
        return note.read_text(encoding="ascii")
    digest = hashlib.blake2b(json.dumps(spoken).encode(), digest_size=16)
    for file in files:
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "blake2b").digest())
    said = digest.hexdigest()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        note.parent.mkdir(parents=True, exist_ok=True)
        partial = note.with_suffix(f".{os.getpid()}")
        partial.write_text(said, encoding="ascii")
        partial.replace(note)
    return said
