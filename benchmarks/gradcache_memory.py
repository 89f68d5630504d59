"""Memory of a large batch taken in parts against a small one taken whole: one real step of each.

    python benchmarks/gradcache_memory.py --precision bfloat16
    python benchmarks/gradcache_memory.py --small

By default ViT-B/16 at 224 pixels: a batch of 4,096 by `train.micro_batch` may peak at 1.3 times the
memory of a plain batch of 128. Each side is a process of its own that draws uint8 pixels and a text
of random words for each picture, and does one step: loss, backward, optimizer. Its figure is the
peak of resident memory above what the process took after its imports, so weights, gradients, both
moments of AdamW and all pixels count. `figures.json` below `--out` is written after each side; a
side that is done is read, not repeated. The full form takes up to hours on a few cores: a side's
`log.txt` tells how far it is.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from turns import MISSED, Figures, Job, describe_machine, do_job, print_table, take_turn, tell

BAR = 1.3
FULL = {"model": "ViT-B-16", "size": 224, "batch": 4096, "micro": 32, "plain": 128}
SMALL = {"model": "ViT-S-16", "size": 64, "batch": 512, "micro": 16, "plain": 64}
WORDS, LABELS = 60, 100
"""Random words of a text, more than fit, and labels to draw from."""


def step(job: Job, folder: Path) -> Figures:
    """Do one training step of a job, and return what it took."""
    import numpy as np
    import torch

    from domainclip.data.batches import Batch
    from domainclip.domains.contract import PromptSet
    from domainclip.domains.labels import LabelTree
    from domainclip.model.cpu import speed_up
    from domainclip.model.folder import create_model
    from domainclip.recipe.schema import Recipe
    from domainclip.texts.views import TextViews
    from domainclip.training.memory import peak_memory_mb
    from domainclip.training.module import ContrastiveModule
    from domainclip.training.optimizer import build_optimizer

    resident, began = resident_mb(), time.perf_counter()
    peaks: dict[str, float] = {}

    def note(what: str) -> None:
        peaks[what] = round(peak_memory_mb("cpu") - resident, 1)
        print(f"{time.perf_counter() - began:7.0f} s  {peaks[what]:9.1f} MB  {what}", flush=True)

    rng, n, size = np.random.default_rng(0), job["batch"], job["size"]
    torch.manual_seed(0)
    model, _ = create_model(job["model"], image_size=size)
    model.to(memory_format=torch.channels_last)  # as a run prepares it
    speed_up(model)
    model.start_logits(1 / 0.07)
    note("model")
    recipe = Recipe.model_validate({
        "domain": "none",
        "data": {"batch_size": n},
        "text": {"captions": 1.0},
        "optim": {"lr": 1e-4, "warmup": 0.0},
        "train": {"micro_batch": job["micro"]},
    })  # fmt: skip
    names = [f"label {i}" for i in range(LABELS)]
    tree = LabelTree.from_columns({"group": [f"group {i % 10}" for i in range(LABELS)],
                                   "label": names})  # fmt: skip
    said = [(" ".join(f"w{word}" for word in rng.integers(0, 10_000, WORDS)),) for _ in range(n)]
    views = TextViews(tree, PromptSet(), {"formal": 1.0}, said, caption_share=1.0)
    module = ContrastiveModule(
        model, views, recipe, 1,
        embed_classes=lambda m: torch.zeros(1, 1), classes=tree.leaves.tolist(),
    ).train()  # fmt: skip
    pixels = np.frombuffer(rng.bytes(n * size * size * 3), np.uint8).reshape(n, size, size, 3)
    leaves = np.array([tree.find(name)[0] for name in names])
    batch = Batch(
        torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2),
        torch.from_numpy(leaves[np.arange(n) % LABELS].astype(np.int64)),
        torch.arange(n),
        0,
    )
    del pixels
    note("pixels and texts")
    optimizer, _ = build_optimizer(model, recipe.optim, 2)
    passes = 2 * math.ceil(n / job["micro"]) if job["micro"] else 1
    tell_passes(model.clip.visual, passes, note)
    half = job["precision"] == "bfloat16"
    loss = module.backpropagate(batch, partial(torch.autocast, "cpu", torch.bfloat16, enabled=half))
    note("loss and backward")
    optimizer.step()
    note("optimizer")
    trained = [p for p in model.parameters() if p.requires_grad]
    missing = sum(p.grad is None or not bool(p.grad.isfinite().all()) for p in trained)
    if missing or not bool(loss.isfinite()):
        raise RuntimeError(f"loss {float(loss)}; {missing} parameters without a finite gradient")
    return {
        "peak_mb": peaks["optimizer"],
        "peaks_mb": peaks,
        "resident_mb": round(resident, 1),
        "pixels_mb": round(batch.pixels.nbytes / 2**20, 1),
        "weights_mb": round(sum(p.nbytes for p in model.parameters()) / 2**20, 1),
        "seconds": round(time.perf_counter() - began, 1),
        "loss": float(loss.detach()),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def resident_mb() -> float:
    """Return the memory of this process in MB, as it is now."""
    import resource

    statm = Path("/proc/self/statm")
    if statm.is_file():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    from domainclip.training.memory import peak_memory_mb

    return peak_memory_mb("cpu")


def tell_passes(tower: Any, passes: int, note: Callable[[str], None]) -> None:
    """Note the memory after each eighth of a tower's passes."""
    done = 0

    def count(*_: object) -> None:
        nonlocal done
        done += 1
        if done % max(1, passes // 8) == 0:
            note(f"image tower, pass {done} of {passes}")

    tower.register_forward_hook(count)


def main() -> None:
    """Run both sides, or one side's job, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a minute, to see that it works")
    parser.add_argument("--model", help="an open_clip name")
    parser.add_argument("--size", type=int, help="side of a picture in pixels")
    parser.add_argument("--batch", type=int, help="pictures of the batch taken in parts")
    parser.add_argument("--micro", type=int, help="pictures of a part")
    parser.add_argument("--plain", type=int, help="pictures of the batch taken whole")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--out", type=Path, default=Path("runs/gradcache_memory"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        do_job(args.job, {"plain": step, "parts": step})
        return
    asked = {k: v for k in FULL if (v := getattr(args, k)) is not None}
    form = {**(SMALL if args.small else FULL), **asked}
    same = {"model": form["model"], "size": form["size"], "precision": args.precision}
    jobs: dict[str, Job] = {
        "plain": {**same, "side": "plain", "batch": form["plain"], "micro": 0},
        "parts": {**same, "side": "parts", "batch": form["batch"], "micro": form["micro"]},
    }
    name = f"{form['model']}-{form['size']}-{args.precision}".replace("/", "-")
    done: dict[str, Figures] = {}
    for side, job in jobs.items():
        folder = args.out / name / f"{side}-{job['batch']}-{job['micro']}"
        tell(f"{side}: progress in {folder / 'log.txt'}")
        found = take_turn(__file__, job, folder)
        if found is not None:
            done[side] = {**job, **found}
            write(args.out / name, done)
    print(f"\n{form['model']} at {form['size']} pixels, {args.precision}, one step; "
          f"{describe_machine()}\n")  # fmt: skip
    print_table(
        ["batch", "in parts of", "peak MB", "of it pixels", "weights", "s"],
        [[f["batch"], f["micro"] or "–", *(f"{f[key]:,.0f}" for key in
          ("peak_mb", "pixels_mb", "weights_mb", "seconds"))] for f in done.values()],
    )  # fmt: skip
    if len(done) < len(jobs):
        sys.exit("a side failed")
    ratio = done["parts"]["peak_mb"] / done["plain"]["peak_mb"]
    verdict = "holds" if ratio <= BAR else MISSED
    print(f"\nratio of the peaks {ratio:.2f}; bar {BAR}: {verdict}")
    write(args.out / name, {**done, "ratio": ratio})
    if args.small:
        print("--small: the bar means nothing here")
    elif ratio > BAR:
        sys.exit(1)


def write(place: Path, figures: dict[str, Any]) -> None:
    """Write the figures so far."""
    from domainclip.model.folder import write_json

    write_json(place / "figures.json", {"machine": describe_machine(), **figures})


if __name__ == "__main__":
    main()
