"""The other side of a comparison: open_clip's own trainer, as its users run it."""

from __future__ import annotations

import csv
import json
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import open_clip
import open_clip_train.main as trainer
import torch
from safetensors.torch import save_file

from domainclip.model.folder import CONFIG, CONFIGS, WEIGHTS, write_json


def write_pairs(table: Path, pairs: Iterable[tuple[Path, str]]) -> int:
    """Write the CSV that the trainer reads, and return its number of rows."""
    count = 0
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["filepath", "title"])
        for path, text in pairs:
            writer.writerow([path, text])
            count += 1
    return count


def train_stock(
    pairs: Sequence[tuple[Path, str]],
    *,
    epochs: int,
    size: int,
    batch: int,
    lr: float,
    seed: int = 0,
    precision: str = "amp_bf16",
    scale: tuple[float, float] = (0.9, 1.0),
    workers: int = 1,
    channels_last: bool = False,
    keep: Path | None = None,
) -> dict[str, Any]:
    """Train our config `small` with open_clip_train, from nothing.

    What is not said here is left as the trainer has it: weight decay 0.2, AdamW's betas, a cosine
    down to zero.

    Args:
        pairs: Path and text of each row of the CSV; an epoch shows each row once.
        epochs: Passes over the rows; the last rows that fill no batch are dropped.
        size: Side of the input in pixels.
        batch: Pairs per step.
        lr: Peak learning rate, after warm-up over a tenth of the run.
        seed: The trainer's.
        precision: The trainer's name of it.
        scale: Share of a picture's area that random crops take.
        workers: Processes that decode.
        channels_last: Lay weights out by pixel; the trainer itself has no such option.
        keep: Write the trained model there, as a folder that open_clip and domainclip load.

    Returns:
        `seconds` of its training loop with data loading, `steps` and `images`; imports, building
        the model and saving it are not timed.
    """
    open_clip.add_model_config(CONFIGS)
    steps = len(pairs) // batch * epochs
    if not steps:
        raise ValueError(f"{len(pairs)} rows fill no batch of {batch}")
    spent: list[float] = []
    one_epoch, build = trainer.train_one_epoch, trainer.create_model_and_transforms

    def timed(*args, **kwargs):
        start = time.perf_counter()
        one_epoch(*args, **kwargs)
        spent.append(time.perf_counter() - start)

    def laid_out(*args, **kwargs):
        model, *transforms = build(*args, **kwargs)
        return model.to(memory_format=torch.channels_last), *transforms

    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "train.csv"
        write_pairs(table, pairs)
        trainer.train_one_epoch = timed
        trainer.create_model_and_transforms = laid_out if channels_last else build
        try:
            trainer.main([
                "--model", "small", "--force-image-size", str(size), "--seed", str(seed),
                "--train-data", str(table), "--dataset-type", "csv", "--csv-separator", ",",
                "--csv-img-key", "filepath", "--csv-caption-key", "title",
                "--batch-size", str(batch), "--epochs", str(epochs), "--workers", str(workers),
                "--lr", str(lr), "--warmup", str(max(1, round(0.1 * steps))),
                "--aug-cfg", f"scale=({scale[0]},{scale[1]})", "--precision", precision,
                "--device", "cpu", "--logs", scratch, "--name", "run", "--save-frequency", "0",
            ])  # fmt: skip
        finally:
            trainer.train_one_epoch, trainer.create_model_and_transforms = one_epoch, build
        if keep is not None:
            _export(Path(scratch, "run", "checkpoints", f"epoch_{epochs}.pt"), keep, size)
    return {"seconds": sum(spent), "steps": steps, "images": steps * batch}


def _export(checkpoint: Path, folder: Path, size: int) -> None:
    """Write a checkpoint of the trainer as a model folder, open_clip's `local-dir:`."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(json.dumps(open_clip.get_model_config("small")))
    config["vision_cfg"]["image_size"] = size
    seen = {
        "size": size, "mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD,
        "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    save_file({name: t.float().contiguous() for name, t in state.items()}, folder / WEIGHTS)
    write_json(folder / CONFIG, {"model_cfg": config, "preprocess_cfg": seen})
