"""Largest differences between a model and its exports, each loaded by the tool it is for.

    python benchmarks/exports.py
    python benchmarks/exports.py --families ViT BERT --to onnx --dtypes float32 int8

Small models of random weights, one of each family; 64 random pictures and 64 random texts. Numbers
are of unit vectors; "answers" are probabilities of labels.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from turns import describe_machine, print_table, tell

from domainclip.errors import DomainclipError
from domainclip.model.clip import DomainClip
from domainclip.zoo.export import DTYPES, TARGETS
from domainclip.zoo.export.run import export_model
from domainclip.zoo.export.target import LabelVectors, find_target

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "zoo"))
import exported
import families

RANKS = tuple("abcdefg")


def make_bert(folder: Path) -> DomainClip:
    """Return a model whose text tower is a BERT of transformers."""
    from transformers import AutoTokenizer, BertConfig

    text = folder / "text"
    family = families.of_bert(folder / "files", text)
    path = family.files / "open_clip_config.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    told["model_cfg"]["text_cfg"] |= {"hf_model_name": str(text), "hf_tokenizer_name": str(text)}
    path.write_text(json.dumps(told), encoding="utf-8")
    AutoTokenizer.from_pretrained(text).save_pretrained(family.files)
    BertConfig.from_pretrained(text).save_pretrained(family.files / "text_tower")
    return exported.split_heads(exported.create_model(f"local-dir:{family.files}")[0])


MAKERS: dict[str, Callable[[Path], DomainClip]] = {
    **{name: lambda folder, n=name: exported.make(folder, n) for name in exported.CONFIGS},
    "BERT": make_bert,
}


def make_labels(model: DomainClip, count: int = 20) -> LabelVectors:
    """Return random labels of seven ranks."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(count, model.config["embed_dim"])).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lines = tuple(("", "", "", "", "", "one", f"one {i}") for i in range(count))
    return LabelVectors(vectors, RANKS, lines, ("",) * count)


def measure(model: DomainClip, to: str, dtype: str, head: str, folder: Path) -> list[Any]:
    """Export once and return a row of the table."""
    start = time.perf_counter()
    labels = make_labels(model) if to == "pybioclip" else None
    try:
        record = export_model(model, to, folder, head=head, dtype=dtype, labels=labels)
    except DomainclipError as error:
        return ["refused", error.message[:60], "", "", "", ""]
    check = record["check"]
    found = check.get("largest_difference", {})
    numbers = [f"{found[n]:.0e}" if n in found else "" for n in ("images", "texts", "answers")]
    took = time.perf_counter() - start
    return [check.get("tool", "not checked"), *numbers, f"{record['bytes'] / 1e6:.2f}",
            f"{took:.0f}"]  # fmt: skip


def main() -> None:
    """Export all that is asked for, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--families", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--to", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES), choices=DTYPES)
    parser.add_argument("--heads", nargs="+", default=["names", "captions"])
    args = parser.parse_args()
    rows: list[list[Any]] = []
    with tempfile.TemporaryDirectory() as place:
        for number, family in enumerate(args.families):
            model = MAKERS[family](Path(place) / f"model-{number}")
            for to in args.to:
                for dtype in [d for d in args.dtypes if d in find_target(to, "float32").dtypes]:
                    # The heads differ in one matrix, and tracing takes long: one is enough there.
                    for head in args.heads[-1:] if to == "onnx" else args.heads:
                        out = Path(place) / f"out-{len(rows)}"
                        row = [family, to, dtype, head, *measure(model, to, dtype, head, out)]
                        tell("  ".join(map(str, row)))
                        rows.append(row)
    print(f"\n{describe_machine()}\n")
    print_table(
        ["family", "to", "weights", "head", "read by", "images", "texts", "answers", "MB", "s"],
        [row for row in rows if row[4] != "refused"],
    )
    refused = dict.fromkeys((row[0], row[1], row[2], row[5]) for row in rows if row[4] == "refused")
    print("\nrefused:")
    for family, to, dtype, why in refused:
        print(f"  {family} to {to} in {dtype}: {why}")


if __name__ == "__main__":
    main()
