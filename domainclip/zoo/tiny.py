"""The small models that are our own: folders made ready to publish, and their cards of the zoo."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .card import read_card_file
from .facts import gather
from .push import Plan

ORGANISATION, SUFFIX = "domainclip", "-tiny"


@dataclass(frozen=True)
class Made:
    """A model that is ready to be published."""

    repo: str
    folder: Path
    size: int
    """Bytes in all."""
    card: Path
    """Its card of the zoo."""


def write_tiny(run: Path, plan: Plan, out: Path) -> Made:
    """Write what would be sent into a folder, and the card that finds it once it is.

    Args:
        run: The run that made the model.
        plan: What would be sent.
        out: Gets a folder and a card, named as the model is.
    """
    name = plan.repo.rpartition("/")[2]
    folder = plan.write(out / name)
    card = out / f"{name}.yaml"
    text = yaml.safe_dump(_describe(run, plan, folder), sort_keys=False, allow_unicode=True)
    card.write_text(text, encoding="utf-8")
    read_card_file(card)
    return Made(plan.repo, folder, plan.size, card)


def _describe(run: Path, plan: Plan, folder: Path) -> dict[str, Any]:
    facts = gather(run)
    pre, towers = facts.config["preprocess_cfg"], facts.config["model_cfg"]
    field = facts.domain.title if facts.domain else facts.own.domain
    weights = [piece.name for piece in plan.pieces if piece.name.endswith(".safetensors")]
    tops = [row for row in facts.metrics.get("rows", ()) if row["metric"] == "top1"]
    finest = {(row["split"], row["candidates"]): row for row in tops}
    return {
        "name": f"{facts.own.domain}/tiny",
        "title": f"{field}, tiny",
        "summary": "A CLIP of a few megabytes, trained from nothing on built-in schematic pictures "
        "to try and to test things with.",
        "kind": "domainclip",
        "source": {
            "repo": plan.repo,
            "files": [piece.name for piece in plan.pieces],
            "sha256": {
                name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in weights
            },
        },
        "image_size": pre["size"],
        "context": towers["text_cfg"]["context_length"],
        "dimension": towers["embed_dim"],
        "mean": pre["mean"],
        "std": pre["std"],
        "licence": plan.licence,
        "commercial": "yes",
        "derivatives": "yes",
        "notice": json.loads((folder / "domainclip.json").read_text("utf-8")).get("notice", ""),
        "trained_on": "built-in schematic pictures, no photographs",
        "scores": [
            {
                "on": f"built-in {split}, candidates: {candidates}",
                "metric": f"top-1 at {row['rank']}",
                "value": round(row["value"], 3),
                "source": f"{plan.repo}, README.md",
            }
            for (split, candidates), row in finest.items()
        ],
    }
