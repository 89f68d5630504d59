"""Run folders to publish, made on the spot: a small model, and what a run writes beside it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from domainclip.domains.registry import get_domain
from domainclip.model.clip import DomainClip
from domainclip.model.folder import create_model, save_model, write_json
from domainclip.recipe.load import load_recipe
from domainclip.recipe.show import to_yaml

ROWS = [
    {"split": "test", "candidates": "seen", "rank": "class", "metric": "top1", "value": 0.9,
     "low": 0.8, "high": 0.95, "n": 64, "left_out": 0},
    {"split": "test", "candidates": "seen", "rank": "type", "metric": "top1", "value": 0.625,
     "low": 0.5, "high": 0.74, "n": 64, "left_out": 0},
    {"split": "test", "candidates": "seen", "rank": "type", "metric": "mean_per_class",
     "value": 0.5, "low": None, "high": None, "n": 64, "left_out": 0},
    {"split": "test", "candidates": "captions", "rank": "", "metric": "recall@1 image-to-text",
     "value": 0.25, "low": 0.1, "high": 0.4, "n": 64, "left_out": 0},
]  # fmt: skip


@cache
def small_model() -> DomainClip:
    torch.manual_seed(0)
    return create_model("tiny", image_size=32)[0].eval()


def make_run(folder: Path, *, own: bool = False, **provenance: Any) -> Path:
    """Write a run folder as training leaves it; `own` for pictures of the user's."""
    domain = get_domain("medical")
    flags = {"data.source": "/home/ann/secret/cells", "seed": 3} if own else {}
    recipe = load_recipe("medical", "tiny", {"out": "/home/ann/runs/x", **flags}).recipe
    licences = provenance.pop("data_licences", {"": 40} if own else {"MIT": 40})
    save_model(
        small_model(),
        folder / "model",
        tree=domain.labels(),
        card={
            "domain": "medical",
            "notice": domain.notice,
            "candidates": [["a", "b"], ["a", "c"]],
            "data_licences": licences,
            "provenance": {
                "base": None,
                "base_note": None,
                "recipe": recipe.model_dump(mode="json"),
                "data": "feed" * 5,
                "pictures": {"train": 40, "test": 64},
                "captions": [],
                "hub_data": [],
                "schematic": not own,
                "domainclip": "0.1.0",
                "commit": "c0ffee" * 6 + "c0ff",
                "started": "2026-11-27T10:00:00+00:00",
                "device": "cpu",
                "processor": "Some Processor",
                "precision": "float32",
                "packages": {"torch": "2.9"},
                **provenance,
            },
        },
    )
    (folder / "recipe.yaml").write_text(to_yaml(recipe), encoding="utf-8")
    write_json(
        folder / "metrics.json",
        {"rows": ROWS, "train_seconds": 61.0, "total_seconds": 70.2, "steps": 9, "unreadable": [],
         "texts": {"tested": {"texts": 5, "cut": 1}}},
    )  # fmt: skip
    return folder


def base_note(licence: str = "", **record: Any) -> dict[str, Any]:
    """Return what a run keeps of a model of the zoo that it started from."""
    source = {"repo": "them/model", "revision": "a" * 40}
    said = {"name": "general/them", "licence": licence, "source": source, **record}
    return {"card": {}, "zoo": said}


def card_of(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "model" / "domainclip.json").read_text(encoding="utf-8")))
