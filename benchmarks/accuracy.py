"""What a recipe reaches: top-1 on seen and unseen labels, by seed, as a table for the README.

    python benchmarks/accuracy.py --domain biology --seeds 0 1 2
    python benchmarks/accuracy.py --domain remote_sensing --data FOLDER --minutes 5 --seeds 0 1 2

Each run is `domainclip train` in a process of its own. A run folder that is there already is
read, not repeated, so that the benchmark can be stopped and taken up again. Pictures are packed
before the clock of `train.minutes` starts; validation counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path


def run(args: argparse.Namespace, seed: int) -> dict[str, object]:
    """Train with one seed, unless that has been done, and return the run's metrics."""
    name = args.domain if args.data is None else args.data.resolve().name
    folder = args.out / f"{name}-{args.recipe}-{seed}"
    if not (folder / "metrics.json").is_file():
        command = [
            sys.executable, "-m", "domainclip", "train", "--domain", args.domain,
            "--recipe", args.recipe, "--seed", str(seed), "--out", str(folder),
        ]  # fmt: skip
        command += ["--data", str(args.data)] if args.data is not None else []
        command += ["--train.minutes", str(args.minutes)] if args.minutes is not None else []
        done = subprocess.run([*command, *args.set], check=False)
        if done.returncode not in (0, 1):
            sys.exit(done.returncode)
    return dict(json.loads((folder / "metrics.json").read_text(encoding="utf-8")))


def main() -> None:
    """Run every seed and print the mean and range of each top-1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--domain", required=True)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--data", type=Path, help="an image folder; built-in data without it")
    parser.add_argument("--minutes", type=float, help="in place of the recipe's own")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/accuracy"))
    args, args.set = parser.parse_known_args()
    runs = [run(args, seed) for seed in args.seeds]
    values: dict[tuple[str, str, str], list[float]] = {}
    for metrics in runs:
        for row in metrics["rows"]:  # type: ignore[attr-defined]
            if row["metric"] == "top1":
                key = (row["split"], row["candidates"], row["rank"])
                values.setdefault(key, []).append(row["value"])
    what = "built-in data (schematic)" if args.data is None else args.data.resolve().name
    print(
        f"\n{args.domain}, {args.recipe}, {what}, seeds {args.seeds}, {datetime.now(UTC):%Y-%m-%d}"
    )
    for name in ("steps", "train_seconds", "total_seconds"):
        print(f"{name}: {', '.join(str(metrics[name]) for metrics in runs)}")
    print(
        "| split | candidates | rank | top-1, mean | lowest | highest |\n|---|---|---|---|---|---|"
    )
    for key, found in values.items():
        mean = statistics.fmean(found)
        print(f"| {' | '.join(key)} | {mean:.3f} | {min(found):.3f} | {max(found):.3f} |")


if __name__ == "__main__":
    main()
