"""Training throughput against open_clip's own trainer: same towers, pictures, batch and precision.

    python benchmarks/throughput.py --data FOLDER [--precision bfloat16 float32] [--sizes 64]
    python benchmarks/throughput.py --data FOLDER --tiny

FOLDER is an image folder with `metadata.csv` (file_name, label, split), such as a copy of EuroSAT.
From its pictures JPEGs of 150 x 150 and of 1024 x 768 pixels are made (quality 90), and both sides
train on those for ten epochs at each size, one process at a time, in rounds. Counted is everything
from the first picture read to the last step: decoding (ours: packing, once, so a tenth of a run of
ten epochs; and our one validation, on 16 pictures) included, imports and model building not.

Their trainer has no option for channels_last and leaves the number of workers to the user: the
first round tries it with and without, with one worker and with as many as there are cores, and
counts the fastest, which the next rounds repeat. Ours runs as it ships, its augmentations included.

Finished runs are read from `--out`, not repeated; made pictures are kept there.
It needs what open_clip's trainer needs: `pip install 'open_clip_torch[training]'`.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from domainclip_side import pin_recipe
from PIL import Image
from turns import MISSED, Figures, Job, describe_machine, do_job, print_table, take_turn, tell

from domainclip.data.images import read_image
from domainclip.model.folder import write_json

SHAPES = {"150": (150, 150), "1024x768": (1024, 768)}
BARS = {(64, "150"): 1.7, (96, "150"): 1.4, (64, "1024x768"): 3.0, (96, "1024x768"): 3.0}
"""Least ratio of pictures per second by input size and JPEGs."""
HELD = 16
"""Pictures of the validation and of the test split: ours cannot be without."""


def make_pictures(source: Path, folder: Path, shape: tuple[int, int], count: int) -> None:
    """Write JPEGs of one shape from the pictures of an image folder, unless they are there.

    Args:
        source: Pictures with `metadata.csv`.
        folder: Where to write them, with a `metadata.csv` of their own, which comes last.
        shape: Width and height in pixels.
        count: Pictures to train on; pictures are taken again where there are too few.
    """
    if (folder / "metadata.csv").is_file():
        return
    with (source / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    order = np.random.default_rng(0).permutation(len(rows))
    made = []
    for i in range(count + 2 * HELD):
        row = rows[order[i % len(rows)]]
        split = "train" if i < count else "val" if i < count + HELD else "test"
        name = f"{i:06d}.jpg"
        folder.mkdir(parents=True, exist_ok=True)
        picture = read_image(source / row["file_name"])
        picture.resize(shape, Image.Resampling.BICUBIC).save(folder / name, quality=90)
        made.append({"file_name": name, "label": row["label"], "split": split})
    partial = folder / "metadata.partial"
    with partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["file_name", "label", "split"])
        writer.writeheader()
        writer.writerows(made)
    partial.replace(folder / "metadata.csv")


def train_theirs(job: Job, folder: Path) -> Figures:
    """Train with open_clip_train on a CSV of paths and captions."""
    from open_clip_side import train_stock

    source = Path(job["data"])
    with (source / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "train"]
    return train_stock(
        [(source / row["file_name"], f"a satellite photo of {row['label']}.") for row in rows],
        epochs=job["epochs"],
        size=job["size"],
        batch=job["batch"],
        lr=1e-3,
        precision="fp32" if job["precision"] == "float32" else "amp_bf16",
        workers=job["workers"],
        channels_last=job["channels_last"],
    )


def train_ours(job: Job, folder: Path) -> Figures:
    """Train with domainclip, with an empty cache."""
    from domainclip_side import resolve_recipe, train_timed

    flags: dict[str, Any] = {
        "domain": job["domain"], "data.source": job["data"], "data.batch_size": job["batch"],
        "model.image_size": job["size"], "train.precision": job["precision"],
        "train.steps": job["epochs"] * (job["pictures"] // job["batch"]),
        "train.validations": 1, "evaluate.bootstrap": 0,
    }  # fmt: skip
    return train_timed(resolve_recipe(job["recipe"], flags, []), folder)


def main() -> None:
    """Run both sides in turn, and print a row for each size and kind of JPEG, with the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="pictures with metadata.csv")
    parser.add_argument("--domain", default="remote_sensing")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--pictures", type=int, default=1024, help="to train on")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--jpegs", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    kinds = ["bfloat16", "float32"]
    parser.add_argument("--precision", nargs="+", choices=kinds, default=kinds[:1])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/throughput"))
    parser.add_argument("--tiny", action="store_true", help="a few steps, to see that it works")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        do_job(args.job, {"theirs": train_theirs, "ours": train_ours})
        return
    if args.data is None:
        parser.error("--data FOLDER is needed")
    if args.tiny:
        args.out, args.pictures, args.batch_size, args.epochs = args.out / "tiny", 64, 32, 2
    recipe, said, _ = pin_recipe(args.recipe, args.domain, [])
    found: list[Figures] = []
    failed = False
    for precision, size, jpegs in product(args.precision, args.sizes, args.jpegs):
        made = args.out / f"{args.data.resolve().name}-{jpegs}-{args.pictures}"
        make_pictures(args.data, made, SHAPES[jpegs], args.pictures)
        job = {
            "data": str(made.resolve()), "size": size, "precision": precision,
            "epochs": args.epochs, "batch": args.batch_size, "pictures": args.pictures,
        }  # fmt: skip
        ours = {"domain": args.domain, "recipe": recipe, "said": said}
        case = compare(job, ours, args.out / f"{precision}-{size}-{jpegs}", args.rounds)
        failed |= len(case) < args.rounds
        for some in case:
            found.append({"precision": precision, "size": size, "jpegs": jpegs, **some})
        write_json(args.out / "summary.json", {"rounds": found})
    missed = report(args, found)
    sys.exit(failed or missed)


def compare(job: Job, more: Job, place: Path, rounds: int) -> list[Figures]:
    """Run one case on both sides in turn, and return what each round gave.

    Args:
        job: What both sides do.
        more: What our side is told besides.
        place: Where their folders lie.
        rounds: How often.
    """
    cores = os.cpu_count() or 1
    ways = [
        {"workers": workers, "channels_last": layout}
        for workers, layout in product(sorted({1, cores}), (False, True))
    ]
    found: list[Figures] = []
    for number in range(rounds):
        tried: dict[int, Figures] = {}
        for i, way in enumerate(ways):
            name = f"theirs-{way['workers']}{'-channels_last' * way['channels_last']}-{number}"
            got = take_turn(__file__, {"side": "theirs", **job, **way}, place / name)
            if got is not None:
                tried[i] = got
        ours = take_turn(__file__, {"side": "ours", **job, **more}, place / f"ours-{number}")
        if not tried or ours is None:
            continue
        best = max(tried, key=lambda i: rate(tried[i]))
        theirs, way = tried[best], ways[best]
        found.append({"theirs": theirs, "way": way, "ours": ours})
        ways = [way]
        tell(f"{place.name} round {number}: {rate(theirs):.0f} and {rate(ours):.0f} a second")
    return found


def rate(figures: Figures) -> float:
    """Return pictures per second."""
    return float(figures["images"] / figures["seconds"])


def report(args: argparse.Namespace, found: list[Figures]) -> bool:
    """Print a row for each case; return whether one misses its bar."""
    print(
        f"\n{describe_machine()}; {args.data.resolve().name}, {args.pictures} pictures, "
        f"{args.epochs} epochs, batch {args.batch_size}, seed 0\n"
    )
    rows, missed = [], False
    for precision, size, jpegs in product(args.precision, args.sizes, args.jpegs):
        case = [r for r in found if (r["precision"], r["size"], r["jpegs"])
                == (precision, size, jpegs)]  # fmt: skip
        if not case:
            rows.append([precision, size, jpegs, *["", "", "", "", ""], "failed"])
            continue
        ratios = [rate(r["ours"]) / rate(r["theirs"]) for r in case]
        speed = {
            side: sum(r[side]["images"] for r in case) / sum(r[side]["seconds"] for r in case)
            for side in ("theirs", "ours")
        }
        ratio, bar = speed["ours"] / speed["theirs"], BARS.get((size, jpegs))
        way = case[-1]["way"]
        missed |= bar is not None and ratio < bar
        rows.append([
            precision, size, jpegs,
            f"{speed['theirs']:.0f} ({way['workers']} workers"
            f"{', channels_last' * way['channels_last']})",
            f"{speed['ours']:.0f}",
            " ".join(f"{r['ours']['packing']:.1f}" for r in case),
            f"**{ratio:.2f}** ({min(ratios):.2f} to {max(ratios):.2f})",
            bar or "",
            "" if bar is None else "holds" if ratio >= bar else MISSED,
        ])  # fmt: skip
    print_table(
        ["precision", "size", "JPEGs", "theirs, pictures/s", "ours, pictures/s", "our packing, s",
         "ratio", "bar", ""], rows,
    )  # fmt: skip
    if args.tiny:
        print("\n--tiny: the figures mean nothing")
    return missed and not args.tiny


if __name__ == "__main__":
    main()
