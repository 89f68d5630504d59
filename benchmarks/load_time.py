"""Times loading a model folder against reading its weights: `python benchmarks/load_time.py`.

A model of random weights is saved as a model folder. With the file in the system's cache and the
libraries imported, reading the bytes of the weights and `load_model` are timed in turn, so that
both see the machine alike; stock open_clip's loading of the folder stands beside them. Medians and
the ratio to reading are printed. What the process does first is not counted: it opens tables that
later loads share.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip

from domainclip.model.folder import WEIGHTS, create_model, load_model, save_model


def main() -> int:
    """Print what each takes; exit 1 where loading is over 1.2 times reading."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--bound", type=float, default=1.2)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        model, _ = create_model(asked.model, heads=["names"])
        save_model(model, folder, tree=None, card={})
        del model
        weights = folder / WEIGHTS
        ways: dict[str, Callable[[], Any]] = {
            "read the file": weights.read_bytes,
            "load_model": lambda: load_model(folder),
            "open_clip.create_model": lambda: open_clip.create_model(f"local-dir:{folder}"),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        load_model(folder)
        for _ in range(asked.repeats):
            for name, way in ways.items():
                begun = time.perf_counter()
                found = way()
                taken[name].append(time.perf_counter() - begun)
                del found
        size = weights.stat().st_size
    base = statistics.median(taken["read the file"])
    print(f"{asked.model}, {size / 1e6:.0f} MB, {asked.repeats} repeats, median (fastest) seconds")
    for name, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"{name:<24} {middle:7.3f} ({min(seconds):.3f})  {middle / base:5.2f} x reading")
    ratio = statistics.median(
        b / a for a, b in zip(taken["read the file"], taken["load_model"], strict=True)
    )
    print(f"load_model / reading, median of the pairs: {ratio:.2f} (bound {asked.bound:g})")
    return int(ratio > asked.bound)


if __name__ == "__main__":
    sys.exit(main())
