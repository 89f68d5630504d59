"""Which image tower learns most in the time that there is: small ones, from nothing, by one recipe.

    python benchmarks/towers.py --data FOLDER --domain remote_sensing --size 64 --minutes 3
    python benchmarks/towers.py --data FOLDER --domain biology --size 96 --towers resnet10t vit

Each is trained from random weights beside the text tower of our config `small`, which has the first
of them, for the same minutes at the same learning rate, one process at a time, and tested on the
test split. Finished runs are read from `--out`, killed ones are gone on with.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

import open_clip
import torch
from method_runs import RunFailed, train
from turns import describe_machine, mean_of, print_table, tell

from domainclip.model.folder import CARD, CONFIGS, create_model, save_model
from domainclip.training.metrics import read_history

PLAIN_VIT = {"layers": 6, "width": 192, "head_width": 64, "patch_size": 8}
TOWERS = ("resnet10t", "resnet14t", "resnet18", "regnety_002", "convnext_atto", "vit")
"""Names of timm, and a ViT of six layers on patches of 8 pixels."""
RATE, HISTORY = 2e-3, "metrics.jsonl"


def write_start(tower: str, size: int, seed: int, folder: Path) -> int:
    """Write a model of random weights as a model folder, and return its number of weights."""
    config = json.loads((CONFIGS / "small.json").read_text(encoding="utf-8"))
    if tower == "vit":
        config["vision_cfg"] = {**PLAIN_VIT, "image_size": size}
    else:
        config["vision_cfg"] |= {"timm_model_name": tower, "image_size": size}
    configs = folder / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    (configs / f"small-{tower}.json").write_text(json.dumps(config), encoding="utf-8")
    open_clip.add_model_config(configs)
    torch.manual_seed(seed)
    model, _ = create_model(f"small-{tower}")
    if not (folder / "model" / CARD).is_file():  # it is written last
        save_model(model, folder / "model", tree=None, card={})
    return sum(p.numel() for p in model.clip.visual.parameters())


def main() -> None:
    """Run what is left to run, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--size", type=int, default=64, help="side of the input in pixels")
    parser.add_argument("--towers", nargs="+", default=list(TOWERS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=3.0, help="of training, each")
    parser.add_argument("--recipe", default="real_images")
    parser.add_argument("--out", type=Path, default=Path("runs/towers"))
    args = parser.parse_args()
    place = args.out.resolve() / f"{args.data.resolve().name}-{args.size}-{args.minutes:g}"
    rows: list[list[Any]] = []
    for tower in args.towers:
        found: list[dict[str, Any]] = []
        weights = 0
        for seed in args.seeds:
            start, folder = place / f"start-{tower}-{seed}", place / f"{tower}-{seed}"
            weights = write_start(tower, args.size, seed, start)
            try:
                metrics = train(
                    folder, "--domain", args.domain, "--recipe", args.recipe, "--seed", seed,
                    "--data", args.data.resolve(), "--model.name", start / "model",
                    "--optim.lr", RATE, "--optim.warmup", 0.05,
                    "--train.minutes", args.minutes, "--evaluate.bootstrap", 0,
                )  # fmt: skip
            except RunFailed as failure:
                tell(f"FAILED: {failure}")
                continue
            top1 = [row["value"] for row in metrics["rows"] if row["metric"] == "top1"][-1]
            speeds = [line.get("images_per_second") for line in read_history(folder / HISTORY)]
            speed = statistics.median([one for one in speeds if one] or [float("nan")])
            found.append({"top1": top1, "pictures": speed})
        if found:
            tops, speeds = ([one[key] for one in found] for key in ("top1", "pictures"))
            shown = (f"{top:.3f}" for top in (mean_of(tops), min(tops), max(tops)))
            rows.append([tower, f"{weights / 1e6:.1f}", f"{mean_of(speeds):.0f}", *shown])
    print(
        f"\n{args.data.resolve().name}, {args.size} pixels, {args.minutes:g} minutes, recipe "
        f"{args.recipe}, seeds {' '.join(map(str, args.seeds))}; {describe_machine()}\n"
    )
    head = ["image tower", "million weights", "pictures/s", "top-1, mean", "lowest", "highest"]
    print_table(head, rows)


if __name__ == "__main__":
    main()
