"""Training throughput against open_clip's own trainer: same towers, pictures, batch and precision.

    python benchmarks/throughput.py --data FOLDER [--epochs 20] [--precision float32]

FOLDER is an image folder with `metadata.csv` (file_name, label, split), such as a copy of EuroSAT.
Both sides run in processes of their own, one after the other, twice. Counted is everything from
the first picture read to the last step: decoding (ours: packing) included, imports and model
building not.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def theirs(data: Path, epochs: int, precision: str, batch: int) -> dict[str, float]:
    """Train with open_clip_train on a CSV of paths and captions, and return its figures."""
    import open_clip
    import open_clip_train.main as trainer

    import domainclip.model.folder as folder

    open_clip.add_model_config(folder.CONFIGS)
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "train.csv"
        n = write_pairs(data, table)
        spent: list[float] = []
        inner = trainer.train_one_epoch

        def timed(*args, **kwargs):
            start = time.perf_counter()
            inner(*args, **kwargs)
            spent.append(time.perf_counter() - start)

        trainer.train_one_epoch = timed
        trainer.main([
            "--model", "small", "--train-data", str(table), "--dataset-type", "csv",
            "--csv-separator", ",", "--csv-img-key", "filepath", "--csv-caption-key", "title",
            "--batch-size", str(batch), "--epochs", str(epochs), "--workers", "1", "--warmup", "10",
            "--lr", "1e-3", "--device", "cpu", "--logs", scratch, "--save-frequency", "0",
            "--precision", "fp32" if precision == "float32" else "amp_bf16",
        ])  # fmt: skip
    return {"images": n // batch * batch * epochs, "seconds": sum(spent)}


def ours(data: Path, epochs: int, precision: str, batch: int) -> dict[str, float]:
    """Train with domainclip, with an empty cache, and return its figures."""
    import domainclip.training.run as run
    from domainclip.recipe.schema import Recipe

    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DOMAINCLIP_HOME"] = scratch
        steps = epochs * (len(training_rows(data)) // batch)
        recipe = Recipe.model_validate(
            {
                "domain": "remote_sensing",
                "out": f"{scratch}/run",
                "data": {"source": str(data), "batch_size": batch},
                "train": {"steps": steps, "validations": 1, "precision": precision},
                "evaluate": {"bootstrap": 0},
            }
        )
        packing = [0.0]
        opened = run.open_data

        def timed(*args, **kwargs):
            start = time.perf_counter()
            data = opened(*args, **kwargs)
            packing[0] = time.perf_counter() - start
            return data

        run.open_data = timed
        result = run.train(recipe, progress=False)
        seconds = run.read_metrics(result.folder)["train_seconds"]
    return {"images": steps * batch, "seconds": seconds + packing[0], "packing": packing[0]}


def training_rows(data: Path) -> list[dict[str, str]]:
    """Return the rows of the training split."""
    with (data / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "train"]


def write_pairs(data: Path, table: Path) -> int:
    """Write the CSV that open_clip's trainer reads, and return the number of pairs."""
    rows = training_rows(data)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "title"])
        for row in rows:
            name = row.get("class_text") or row["label"]
            writer.writerow([data / row["file_name"], f"a satellite photo of {name}."])
    return len(rows)


def main() -> None:
    """Run both sides in turn and print a row each, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=["theirs", "ours"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    data = args.data.resolve()
    if args.side:
        side = theirs if args.side == "theirs" else ours
        figures = side(data, args.epochs, args.precision, args.batch_size)
        print(json.dumps(figures))
        return
    ratios = []
    print("side,images,seconds,images_per_second")
    for _ in range(args.rounds):
        rate = {}
        for side in ("theirs", "ours"):
            command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr[-2000:])
            figures = json.loads(done.stdout.strip().splitlines()[-1])
            rate[side] = figures["images"] / figures["seconds"]
            print(
                f"{side},{figures['images']},{figures['seconds']:.1f},{rate[side]:.0f}", flush=True
            )
        ratios.append(rate["ours"] / rate["theirs"])
    print(f"ratio ours / theirs: {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
