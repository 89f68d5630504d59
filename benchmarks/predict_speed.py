"""From JPEG files to the names of custom labels, against pybioclip, with a ViT-B/16.

    python benchmarks/predict_speed.py --out runs/predict
    python benchmarks/predict_speed.py --model ViT-B-32 --pictures 16 --large 4

The weights are random, which costs the same as trained ones. Pictures are drawn by seed: smooth
colours with noise, saved as JPEGs of 640 x 480 pixels and of 12 megapixels. Both sides get the same
twenty labels in OpenAI's eighty templates, batches of 32, and a process of their own; timed is one
call from paths to rows, models and labels ready. Probabilities are compared with the pictures
prepared alike (theirs is given our `prepare`), the speed with each side's own way.

It needs `pip install pybioclip`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from turns import MISSED, Figures, Job, describe_machine, do_job, print_table, take_turn

LABELS = (
    "cat", "dog", "horse", "cow", "oak", "fern", "moss", "beetle", "butterfly", "moth", "spider",
    "trout", "salmon", "frog", "newt", "owl", "heron", "sparrow", "fox", "badger",
)  # fmt: skip
SHAPES = {"640 x 480": (640, 480), "12 megapixels": (4000, 3000)}
BATCH = 32
SAME, AGREE = 1e-5, 0.99
BARS = {"float32": {"640 x 480": 1.0, "12 megapixels": 1.3}, "bfloat16": {"640 x 480": 1.5}}
"""Least ratio of pictures per second."""


def make_pictures(folder: Path, shape: tuple[int, int], count: int) -> list[str]:
    """Write made-up JPEGs unless they are there, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i in range(count):
        path = folder / f"{i:04d}.jpg"
        if not path.is_file():
            rng = np.random.default_rng(i)
            small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
            pixels = np.asarray(small.resize(shape, Image.Resampling.BICUBIC)).astype(np.int16)
            pixels += rng.integers(-12, 13, pixels.shape, dtype=np.int16)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(str(path))
    return paths


def make_model(folder: Path, name: str) -> None:
    """Write a model of random weights, unless it is there."""
    import torch

    from domainclip.model.folder import create_model, save_model

    if not (folder / "domainclip.json").is_file():
        torch.manual_seed(0)
        model, _ = create_model(name, heads=("names",))
        save_model(model.eval(), folder, tree=None, card={"heads": ["names"]})


def paths_of(job: Job) -> list[str]:
    """Return the pictures of a job."""
    return [str(path) for path in sorted(Path(job["pictures"]).glob("*.jpg"))]


def run_theirs(job: Job, folder: Path) -> Figures:
    """Name pictures by pybioclip's custom labels."""
    from bioclip import CustomLabelsClassifier

    from domainclip.inference.encoding import prepare
    from domainclip.model.folder import load_model

    classifier = CustomLabelsClassifier([*LABELS], model_str=f"local-dir:{job['model']}")
    paths = paths_of(job)
    if job["alike"]:
        pre = load_model(job["model"]).preprocess
        classifier.preprocess = lambda image: prepare(image, pre)
    classifier.predict(paths[:2], batch_size=BATCH)
    start = time.perf_counter()
    rows = classifier.predict(paths, batch_size=BATCH, callback=lambda *_: None)
    return {"seconds": time.perf_counter() - start, "scores": _scores(rows)}


def run_ours(job: Job, folder: Path) -> Figures:
    """Name pictures as anybody does."""
    from bioclip._constants import OPENA_AI_IMAGENET_TEMPLATE

    from domainclip import ZeroShotClassifier
    from domainclip.domains.contract import PromptSet

    prompts = PromptSet(templates=tuple(say("{}") for say in OPENA_AI_IMAGENET_TEMPLATE))
    classifier = ZeroShotClassifier(
        job["model"], prompts=prompts, device="cpu", batch_size=BATCH, precision=job["precision"]
    ).fit([*LABELS])
    paths = paths_of(job)
    [*classifier.predict_rows(paths[:2])]
    start = time.perf_counter()
    rows = [*classifier.predict_rows(paths, k=len(LABELS))]
    return {"seconds": time.perf_counter() - start, "scores": _scores(rows)}


def _scores(rows: list[dict[str, Any]]) -> list[list[float]]:
    """Return the score of each label, in their order, for each picture."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        found.setdefault(row["file_name"], {})[row["classification"]] = row["score"]
    return [[one[label] for label in LABELS] for one in found.values()]


def take_rounds(folder: Path, job: Job, rounds: int) -> list[Figures]:
    """Return the figures of each round of one side; a side that fails ends it all."""
    found = [
        take_turn(__file__, {**job, "round": i}, folder.with_name(f"{folder.name}-{i}"))
        for i in range(rounds)
    ]
    if not all(found):
        sys.exit(1)
    return [one for one in found if one is not None]


def main() -> None:
    """Run all sides, round by round, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="ViT-B-16")
    parser.add_argument("--pictures", type=int, default=128, help="of 640 x 480")
    parser.add_argument("--large", type=int, default=64, help="of 12 megapixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", nargs="+", default=["float32", "bfloat16"], choices=[*BARS])
    parser.add_argument("--out", type=Path, default=Path("runs/predict"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        do_job(args.job, {"theirs": run_theirs, "ours": run_ours})
        return
    place = args.out.resolve()
    model = place / args.model
    make_model(model, args.model)
    rows, missed = [], False
    for title, shape in SHAPES.items():
        count = args.large if shape[0] > 1000 else args.pictures
        pictures = place / f"pictures-{title.replace(' ', '')}-{count}"
        make_pictures(pictures, shape, count)
        common: Job = {"model": str(model), "pictures": str(pictures)}
        name = pictures.name
        plain, same = ({**common, "side": "theirs", "alike": alike} for alike in (False, True))
        theirs = take_rounds(place / f"{name}-theirs", plain, args.rounds)
        alike = take_rounds(place / f"{name}-alike", same, 1)[0]
        for precision in args.precision:
            job = {**common, "side": "ours", "precision": precision}
            ours = take_rounds(place / f"{name}-{precision}", job, args.rounds)
            rates = [count / min(one["seconds"] for one in side) for side in (theirs, ours)]
            a, b = (np.array(one["scores"]) for one in (alike, ours[0]))
            apart, agree = np.abs(a - b).max(), (a.argmax(1) == b.argmax(1)).mean()
            bar = BARS[precision].get(title)
            right = apart <= SAME if precision == "float32" else agree >= AGREE
            good = right and (bar is None or rates[1] >= bar * rates[0])
            missed |= not good
            rows.append([
                title, count, precision, f"{rates[0]:.2f}", f"{rates[1]:.2f}",
                f"{rates[1] / rates[0]:.2f}", f"{bar:g}" if bar else "", f"{apart:.1e}",
                f"{agree:.3f}", "holds" if good else MISSED,
            ])  # fmt: skip
    print(f"\n{args.model} of random weights, batches of {BATCH}, {len(LABELS)} labels in 80 "
          f"templates, best of {args.rounds} rounds; {describe_machine()}\n")  # fmt: skip
    print_table(
        ["JPEGs", "pictures", "ours in", "pybioclip, pictures/s", "domainclip, pictures/s",
         "ratio", "bar", "probabilities apart", "same best", "verdict"],
        rows,
    )  # fmt: skip
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
