"""Nearest centroid in bounded memory against the published formula by broadcasting.

    python benchmarks/fewshot_memory.py
    python benchmarks/fewshot_memory.py --classes 50 --queries 2000 --dim 64

Made-up features: each label is a direction, its pictures lie around it. The plain side is
SimpleShot CL2N (arXiv:1911.04623) as it is written: queries x labels x dimensions of differences,
squared and summed. Where that does not fit into `--gb`, it takes as many queries at a time as do,
which favours it. Each side is a process of its own; its figure is the peak of resident memory above
what the process holds with its imports and the features. Both have to name every query alike, and
ours may take a tenth of the memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from gradcache_memory import resident_mb
from turns import MISSED, Figures, Job, describe_machine, do_job, print_table, take_turn, tell

BAR = 0.1
NAMED = "named.npy"
"""What a side named each query, in its folder."""
FEATURES = ("support", "labels", "queries", "asked")
"""Arrays that both sides read."""


def make_features(job: Job, folder: Path) -> None:
    """Write unit vectors and labels of a support and of queries, single precision."""
    rng = np.random.default_rng(job["seed"])
    classes, dim = job["classes"], job["dim"]
    middle = rng.standard_normal(dim, dtype=np.float32) * 2  # all pictures share something
    directions = rng.standard_normal((classes, dim), dtype=np.float32)

    def draw(labels: np.ndarray) -> np.ndarray:
        found = rng.standard_normal((len(labels), dim), dtype=np.float32) * np.float32(job["noise"])
        found += directions[labels] + middle
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return found

    labels = np.repeat(np.arange(classes), job["shots"])
    asked = rng.integers(0, classes, job["queries"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in zip(FEATURES, (draw(labels), labels, draw(asked), asked), strict=True):
        np.save(folder / f"{name}.npy", array)


def name_plainly(
    support: np.ndarray, labels: np.ndarray, queries: np.ndarray, gb: float
) -> np.ndarray:
    """Return the label of each query by the formula as it is written."""
    centre = support.mean(axis=0)
    support, queries = support - centre, queries - centre
    support /= np.linalg.norm(support, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    means = np.stack([support[labels == label].mean(axis=0) for label in np.unique(labels)])
    step = max(1, int(gb * 1e9 / 2 / means.nbytes))  # differences and their squares
    named = []
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        distances = ((part[:, None, :] - means[None, :, :]) ** 2).sum(axis=2)
        named.append(distances.argmin(axis=1))
    return np.concatenate(named)


def name_bounded(
    support: np.ndarray, labels: np.ndarray, queries: np.ndarray, gb: float
) -> np.ndarray:
    """Return the label of each query as the package does."""
    from domainclip.inference.fewshot.centroid import fit_centroid
    from domainclip.inference.fewshot.support import Support, find_best

    return find_best(fit_centroid(Support(support, labels)), queries)


def measure(job: Job, folder: Path) -> Figures:
    """Do one side of a job, and return what it took."""
    from domainclip.inference.fewshot import centroid  # noqa: F401 - imports are no part of it
    from domainclip.training.memory import peak_memory_mb

    name = {"plain": name_plainly, "bounded": name_bounded}[job["side"]]
    support, labels, queries, asked = (
        np.load(Path(job["features"]) / f"{name}.npy") for name in FEATURES
    )
    name(support[: 2 * job["shots"]], labels[: 2 * job["shots"]], queries[:2], job["gb"])
    before, began = resident_mb(), time.perf_counter()
    named = name(support, labels, queries, job["gb"])
    seconds = time.perf_counter() - began
    np.save(folder / NAMED, named)
    return {
        "peak_mb": round(peak_memory_mb("cpu") - before, 1),
        "seconds": round(seconds, 2),
        "accuracy": float((named == asked).mean()),
    }


def main() -> None:
    """Run both sides, or one side's job, and print the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--shots", type=int, default=16, help="pictures of each label")
    parser.add_argument("--queries", type=int, default=5000, help="pictures to name")
    parser.add_argument("--dim", type=int, default=512, help="numbers of a vector")
    parser.add_argument("--noise", type=float, default=4.0, help="spread around a direction of 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gb", type=float, default=4.0, help="most that the plain side may take")
    parser.add_argument("--out", type=Path, default=Path("runs/fewshot_memory"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        do_job(args.job, {"plain": measure, "bounded": measure})
        return
    same: Job = {name: value for name, value in vars(args).items() if name not in ("out", "job")}
    same["features"] = str(args.out / "features")
    make_features(same, args.out / "features")
    done: dict[str, Figures] = {}
    for side in ("plain", "bounded"):
        folder = args.out / f"{side}-{args.classes}-{args.queries}-{args.dim}"
        tell(f"{side}: progress in {folder / 'log.txt'}")
        found = take_turn(__file__, {**same, "side": side}, folder)
        if found is None:
            sys.exit("a side failed")
        done[side] = {**found, "named": np.load(folder / NAMED)}
    print(f"\n{args.classes} labels x {args.shots} pictures, {args.queries} queries, {args.dim} "
          f"numbers each; {describe_machine()}\n")  # fmt: skip
    print_table(
        ["side", "peak MB", "s", "accuracy"],
        [[side, f"{f['peak_mb']:,.1f}", f"{f['seconds']:.2f}", f"{f['accuracy']:.4f}"]
         for side, f in done.items()],
    )  # fmt: skip
    differ = int((done["plain"]["named"] != done["bounded"]["named"]).sum())
    ratio = done["bounded"]["peak_mb"] / done["plain"]["peak_mb"]
    whole = args.queries * args.classes * args.dim * 4 / 2**20
    print(f"\nthe differences alone, all at once: {whole:,.0f} MB")
    print(f"named otherwise: {differ} of {args.queries}; bar 0: {MISSED if differ else 'holds'}")
    print(f"ratio of the peaks {ratio:.3f}; bar {BAR}: {'holds' if ratio <= BAR else MISSED}")
    if differ or ratio > BAR:
        sys.exit(1)


if __name__ == "__main__":
    main()
