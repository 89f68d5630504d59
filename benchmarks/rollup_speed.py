"""Roll-up to a rank over hundreds of thousands of labels, against pybioclip's own.

    python benchmarks/rollup_speed.py --out runs/rollup
    python benchmarks/rollup_speed.py --labels 20000 --pictures 100 --theirs 5

Labels are made up: seven ranks, as many labels as BioCLIP's tree of life has, 768 numbers each,
drawn anew by seed. Features of pictures are made up too and given to both sides. The logit scale
decides how many labels pass pybioclip's threshold of 1e-9, over which it loops in Python: about
700,000 at a scale of 83, about 10,000 at 185. Each side runs in a process of its own; what is timed
is from features to rows of five families a picture. pybioclip keeps its labels in single precision
and ours are kept in half; so the best family has to be the same, or both within a thousandth.

It needs `pip install pybioclip`.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from turns import MISSED, Figures, Job, describe_machine, do_job, print_table, take_turn

RANKS = ("kingdom", "phylum", "class", "order", "family", "genus", "species")
SIZES = (12, 100, 400, 1_700, 12_000, 150_000)
"""Groups at each rank above the labels, about as many as catalogues of life have."""
CASES = {83.0: 200.0, 185.0: 10.0}
"""Logit scale -> least ratio of pictures per second."""
MEMORY = 4.0
"""Gigabytes that 10,000 pictures may take."""
BLOCK = 1 << 14
DIM = 768


def draw_lineages(labels: int) -> list[np.ndarray]:
    """Return for each rank the group of each label, shape (labels,); groups lie in one above."""
    rng = np.random.default_rng(0)
    line = np.arange(labels)
    lines = [line]
    for size in SIZES[::-1]:
        parents = np.sort(rng.integers(0, min(size, labels), line.max() + 1))
        line = np.unique(parents, return_inverse=True)[1][line]
        lines.insert(0, line)
    return lines


def make(folder: Path, labels: int) -> None:
    """Write labels, their vectors in both layouts, and a small model, unless they are there."""
    from domainclip.model.folder import create_model, save_model

    if (folder / "done").is_file():
        return
    (folder / "embeddings").mkdir(parents=True, exist_ok=True)
    lines = draw_lineages(labels)
    names = [[f"{rank[0].upper()}{group}" for group in line.tolist()]
             for rank, line in zip(RANKS, lines, strict=True)]  # fmt: skip
    names[-1] = [f"s{i}" for i in range(labels)]
    theirs = [[list(row), ""] for row in zip(*names, strict=True)]
    (folder / "embeddings" / "txt_emb_species.json").write_text(json.dumps(theirs))
    rng = np.random.default_rng(1)
    single = np.lib.format.open_memmap(
        folder / "embeddings" / "txt_emb_species.npy", "w+", np.float32, (DIM, labels)
    )
    half = np.lib.format.open_memmap(folder / "half.npy", "w+", np.float16, (labels, DIM))
    for start in range(0, labels, BLOCK):
        block = rng.standard_normal((min(BLOCK, labels - start), DIM), dtype=np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        single[:, start : start + len(block)] = block.T
        half[start : start + len(block)] = block
    single.flush()
    half.flush()
    model, _ = create_model("small", image_size=32)
    save_model(model.eval(), folder / "model", tree=None, card={})
    (folder / "done").touch()


def draw_features(count: int) -> np.ndarray:
    """Return unit vectors of made-up pictures, shape (count, DIM)."""
    features = np.random.default_rng(2).standard_normal((count, DIM), dtype=np.float32)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def run_theirs(job: Job, folder: Path) -> Figures:
    """Name families by pybioclip's own functions."""
    import bioclip.predict as peer
    import torch

    source, model = Path(job["source"]), f"local-dir:{Path(job['source']) / 'model'}"
    peer.TreeOfLifeClassifier.get_cached_datafile = lambda self, name: str(source / name)
    peer.TOL_MODELS[model] = "none/none"
    classifier = peer.TreeOfLifeClassifier(model_str=model)
    classifier.model.logit_scale.data.fill_(math.log(job["scale"]))
    features = torch.from_numpy(draw_features(job["pictures"]))
    start, best, passed = time.perf_counter(), [], []
    with torch.no_grad():
        for i in range(0, len(features), 10):
            rows = classifier.create_probabilities(
                features[i : i + 10], classifier.get_txt_embeddings()
            )
            for j, row in enumerate(rows):
                passed.append(int((row > 1e-9).sum()))
                named = classifier.format_grouped_probs(str(i + j), row, peer.Rank.FAMILY)
                best.append([named[0]["family"], named[0]["score"]])
    took = time.perf_counter() - start
    return {"seconds": took, "best": best, "passed": float(np.mean(passed)), **peak()}


def run_ours(job: Job, folder: Path) -> Figures:
    """Name families by the classifier as anybody calls it."""
    from domainclip import ZeroShotClassifier
    from domainclip.domains.labels import LabelTree

    source = Path(job["source"])
    rows = json.loads((source / "embeddings" / "txt_emb_species.json").read_text())
    columns = {rank: [row[0][i] for row in rows] for i, rank in enumerate(RANKS)}
    tree = LabelTree.from_columns(columns, RANKS)
    del rows, columns
    classifier = ZeroShotClassifier(source / "model", device="cpu")
    vectors = np.load(source / "half.npy", mmap_mode="r")
    classifier.fit(tree, vectors=vectors)
    classifier.encoder.network.log_scales["names"].data.fill_(math.log(job["scale"]))
    features = draw_features(job["pictures"])
    classifier.predict_rows(features[:1], rank="family")  # what is found out once
    start = time.perf_counter()
    found = classifier.predict_rows(features, rank="family", k=5)
    best = [[row["family"], row["score"]] for i, row in enumerate(found) if i % 5 == 0]
    took = time.perf_counter() - start
    return {"seconds": took, "best": best[: job["compared"]], **peak()}


def peak() -> dict[str, Any]:
    """Return the most memory that this process has held, in gigabytes."""
    return {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}


def main() -> None:
    """Make what is needed, run both sides at each scale, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--labels", type=int, default=867_455)
    parser.add_argument("--pictures", type=int, default=10_000, help="for ours")
    parser.add_argument("--theirs", type=int, default=10, help="pictures for pybioclip")
    parser.add_argument("--out", type=Path, default=Path("runs/rollup"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        do_job(args.job, {"theirs": run_theirs, "ours": run_ours})
        return
    source = args.out.resolve() / f"labels-{args.labels}"
    make(source, args.labels)
    rows, missed = [], False
    for scale, bar in CASES.items():
        place = args.out.resolve() / f"{args.labels}-{scale:g}"
        common = {"source": str(source), "scale": scale, "compared": args.theirs}
        theirs = take_turn(
            __file__, {"side": "theirs", **common, "pictures": args.theirs}, place / "theirs"
        )
        ours = take_turn(
            __file__, {"side": "ours", **common, "pictures": args.pictures}, place / "ours"
        )
        if theirs is None or ours is None:
            sys.exit(1)
        rates = args.theirs / theirs["seconds"], args.pictures / ours["seconds"]
        same = sum(
            a[0] == b[0] or abs(a[1] - b[1]) < 1e-3
            for a, b in zip(theirs["best"], ours["best"], strict=True)
        )
        good = rates[1] >= bar * rates[0] and same == args.theirs and ours["memory"] < MEMORY
        missed |= not good
        rows.append([
            f"{theirs['passed']:,.0f}", f"{rates[0]:.3g}", f"{rates[1]:.3g}",
            f"{rates[1] / rates[0]:.0f}", f"{bar:g}", f"{same}/{args.theirs}",
            f"{theirs['memory']:.1f}", f"{ours['memory']:.1f}", "holds" if good else MISSED,
        ])  # fmt: skip
    print(
        f"\n{args.labels:,} made-up labels of {DIM} numbers, features given, rank family; ours "
        f"{args.pictures:,} pictures, pybioclip {args.theirs}; {describe_machine()}\n"
    )
    print_table(
        ["labels above 1e-9", "pybioclip, pictures/s", "domainclip, pictures/s", "ratio",
         "bar", "same family", "pybioclip, GB", "domainclip, GB", "verdict"],
        rows,
    )  # fmt: skip
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
