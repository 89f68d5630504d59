"""Real pictures and captions at equal wall time: our recipe against open_clip's own trainer.

    python benchmarks/pairs_retrieval.py --data FOLDER --domain remote_sensing
    python benchmarks/pairs_retrieval.py --data FOLDER --domain remote_sensing --text.captions 0.8
    python benchmarks/pairs_retrieval.py --data FOLDER --domain remote_sensing --tiny

FOLDER has pictures with captions, in splits. Both sides train the same towers (our config `small`)
from nothing, one process at a time. Theirs trains on one row of its CSV for each caption that was
written, equal ones included (settings as in `real_images.py`), ours in the time that theirs took,
packing, probe and validations counted. On the test split all captions are looked for by the
pictures, and the pictures by their captions; whatever was written of a picture is right for it.
Theirs is scored on pictures prepared in our way and in its own, and the better stands.

Differences are of the same pictures and captions under both models. Their 95% intervals come from
pictures (with their captions) and seeds drawn anew together, the same draw for both sides.

Finished runs are read from `--out`, not repeated. Options that are not known here go to our recipe.
It needs what open_clip's trainer needs: `pip install 'open_clip_torch[training]'`.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from domainclip_side import pin_recipe
from numpy.typing import NDArray
from turns import (
    MISSED,
    SEEDS,
    Figures,
    Job,
    describe_machine,
    do_job,
    print_table,
    read_figures,
    take_turn,
    tell,
)

from domainclip.data.table import CAPTION_SEPARATOR
from domainclip.model.folder import write_json

QUIET = 240.0
"""Seconds for ours where the other side has not run."""


def train_theirs(job: Job, folder: Path) -> Figures:
    """Train by open_clip's trainer and score what comes out."""
    import model_scores as scores
    from open_clip_side import train_stock

    from domainclip.model.folder import load_model

    source = Path(job["data"])
    data = scores.open_plain(source, job["domain"], job["size"])
    train = data.splits["train"]
    written = read_written(source)
    pairs = [
        (source / name, text)
        for name, captions in zip(train.ids, train.captions, strict=True)
        for text in written.get(name, captions)
    ][: job["rows"]]
    found = train_stock(
        pairs,
        epochs=max(1, round(job["steps"] / max(1, len(pairs) // job["batch"]))),
        size=job["size"],
        batch=job["batch"],
        lr=2e-3,
        seed=job["seed"],
        scale=(0.5, 1.0),
        keep=folder / "model",
    )
    write_json(folder / "trained.json", found)
    model = load_model(folder / "model")
    ways = {
        "our pixels": scores.by_loader(model, data),
        "its pixels": scores.by_open_clip(model, data, source, folder / "model"),
    }
    scored = {way: scores.find_pairs(model, data, embed) for way, embed in ways.items()}
    means = {way: _means(sums, counts) for way, (_, sums, counts) in scored.items()}
    best = max(means, key=lambda way: float(means[way].mean()))
    kept = {way: [round(float(v), 4) for v in several] for way, several in means.items()}
    return {**found, **_keep(folder, *scored[best]), "ways": kept}


def train_ours(job: Job, folder: Path) -> Figures:
    """Train by our recipe in the time that the job names, and score what comes out."""
    import model_scores as scores
    from domainclip_side import resolve_recipe, train_timed

    from domainclip.model.folder import load_model

    flags: dict[str, Any] = {
        "domain": job["domain"], "data.source": job["data"], "seed": job["seed"],
        "model.image_size": job["size"], "evaluate.bootstrap": 0,
        "train.minutes": job["seconds"] / 60,
    }  # fmt: skip
    loaded = resolve_recipe(job["recipe"], flags, job["options"], job["tiny"])
    found = train_timed(loaded, folder, job["seconds"])
    write_json(folder / "trained.json", found)
    model = load_model(folder / found["run"])
    data, _ = scores.open_as_run(folder / found["run"], model)
    if job["tiny"]:  # trained on few pictures, scored on all
        data = scores.open_plain(Path(job["data"]), job["domain"], job["size"])
    scored = scores.find_pairs(model, data, scores.by_loader(model, data))
    return {**found, "recipe": job["recipe"], **_keep(folder, *scored)}


def read_written(source: Path) -> dict[str, list[str]]:
    """Return the captions of each picture as they were written, those that come twice included."""
    with (source / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get("captions")]
    return {row["file_name"]: row["captions"].split(CAPTION_SEPARATOR) for row in rows}


def _means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(sums.sum(axis=0) / counts.sum(axis=0))


def _keep(
    folder: Path, names: list[str], sums: NDArray[np.float64], counts: NDArray[np.float64]
) -> Figures:
    """Write down what each picture adds, and return the recalls."""
    np.savez(folder / "pictures.npz", sums=sums, counts=counts)
    recalls = dict(zip(names, _means(sums, counts).tolist(), strict=True))
    return {"recalls": recalls, "pictures": len(sums)}


def interval(
    theirs: Sequence[Path], ours: Sequence[Path], resamples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return low and high of each gain, shape (6,): pictures and seeds drawn anew, in pairs.

    Args:
        theirs: Folder of each seed.
        ours: Folder of the same seed.
        resamples: Number of draws.
    """
    gains, counts = [], np.zeros(0)
    for one, other in zip(theirs, ours, strict=True):
        with np.load(one / "pictures.npz") as before, np.load(other / "pictures.npz") as after:
            gains.append(after["sums"] - before["sums"])
            counts = after["counts"]
            assert np.array_equal(counts, before["counts"]), "the sides saw different pictures"
    rng = np.random.default_rng(0)
    n, seeds = len(counts), len(gains)
    weights = rng.multinomial(n, np.full(n, 1 / n), resamples).astype(np.float64)
    drawn = np.stack([(weights @ gain) / (weights @ counts) for gain in gains])
    which = rng.integers(0, seeds, (seeds, resamples))
    means = drawn[which, np.arange(resamples)].mean(axis=0)
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    return low, high


def main() -> None:
    """Run what is left to run, side by side, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="pictures with captions")
    parser.add_argument("--domain", default="remote_sensing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--recipe", default="real_pairs")
    parser.add_argument("--size", type=int, default=96, help="side of the input in pixels")
    parser.add_argument(
        "--steps", type=int, default=280, help="of the other side; about 4 minutes on two cores"
    )
    parser.add_argument("--ours-only", action="store_true", help="do not run the other side")
    parser.add_argument("--resamples", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=Path("runs/pairs_retrieval"))
    parser.add_argument("--tiny", action="store_true", help="a few steps, to see that it works")
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args, options = parser.parse_known_args()
    if args.job:
        do_job(args.job, {"theirs": train_theirs, "ours": train_ours})
        return
    if args.data is None:
        parser.error("--data FOLDER is needed")
    out = args.out / "tiny" if args.tiny else args.out
    name = args.data.resolve().name
    recipe, said, digest = pin_recipe(args.recipe, args.domain, options)
    place = out / f"{recipe.replace('/', '-')}-{digest}"
    found: dict[str, dict[str, Figures]] = {}
    folders: list[tuple[Path, Path]] = []
    failed = False
    for seed in args.seeds:
        both = {
            "data": str(args.data.resolve()), "domain": args.domain, "size": args.size,
            "seed": seed,
        }  # fmt: skip
        length = {"steps": 3, "batch": 32, "rows": 96} if args.tiny else {
            "steps": args.steps, "batch": 128, "rows": None
        }  # fmt: skip
        there = out / "theirs" / f"{name}-{args.size}-{args.steps}-{seed}"
        here = place / f"{name}-{args.size}-{seed}"
        their_job = {"side": "theirs", **both, **length}
        if args.ours_only:
            theirs = read_figures(their_job, there)
        else:
            theirs = take_turn(__file__, their_job, there)
            if theirs is None:
                failed = True
                continue  # there is no time to give to ours
        seconds = QUIET if theirs is None else theirs["seconds"]
        our_job = {
            "side": "ours", **both, "recipe": recipe, "said": said, "options": options,
            "tiny": args.tiny,
            "seconds": 30.0 if args.tiny else seconds,
        }  # fmt: skip
        ours = take_turn(__file__, our_job, here)
        failed |= ours is None
        sides = {"theirs": theirs, "ours": ours}
        found[str(seed)] = {side: some for side, some in sides.items() if some is not None}
        if theirs is not None and ours is not None:
            folders.append((there, here))
        for side, some in found[str(seed)].items():
            recalls = ", ".join(f"{value:.3f}" for value in some["recalls"].values())
            tell(f"{name} seed {seed}, {side} in {some['seconds']:.0f} s: {recalls}")
        summary = {"recipe": recipe, "options": options, "seeds": found}
        write_json(out / f"summary-{name}-{digest}.json", summary)
    missed = report(args, options, found, folders) == MISSED
    sys.exit(failed or missed)


def report(
    args: argparse.Namespace,
    options: list[str],
    found: dict[str, dict[str, Figures]],
    folders: Sequence[tuple[Path, Path]],
) -> str:
    """Print times and six recalls of both sides, with gains and intervals; return the verdict."""
    print(f"\n{describe_machine()}; {args.data.resolve().name} at {args.size} px; recipe "
          f"{args.recipe} {' '.join(options)}; seeds {args.seeds}\n")  # fmt: skip
    sides = ("theirs", "ours")
    for side in sides:
        took = [f"{some[side]['seconds']:.0f}" for some in found.values() if side in some]
        print(f"{side}: {', '.join(took) or 'no'} seconds of training")
    print()
    some = [seed for seed in found.values() if len(seed) == 2 or args.ours_only]
    if not some:
        return ""
    means = {
        side: np.mean([list(s[side]["recalls"].values()) for s in some if side in s], axis=0)
        for side in sides
        if any(side in s for s in some)
    }
    measures = list(next(iter(some[0].values()))["recalls"])
    if len(means) < 2 or not folders:
        print_table(["measure", *means], [
            [measure, *(f"{mean[i]:.3f}" for mean in means.values())]
            for i, measure in enumerate(measures)
        ])  # fmt: skip
        return ""
    low, high = interval(*zip(*folders, strict=True), args.resamples)
    gain = means["ours"] - means["theirs"]
    print_table(
        ["measure", "theirs", "ours", "gain", "95% interval", "ratio", ""],
        [
            [
                measure, f"{means['theirs'][i]:.3f}", f"{means['ours'][i]:.3f}",
                f"{100 * gain[i]:+.1f}", f"{100 * low[i]:+.1f} to {100 * high[i]:+.1f}",
                f"{means['ours'][i] / max(means['theirs'][i], 1e-9):.2f}",
                "better" if low[i] > 0 else "better, by chance?" if gain[i] > 0 else "NOT better",
            ]
            for i, measure in enumerate(measures)
        ],
    )  # fmt: skip
    verdict = "holds" if (gain > 0).all() else MISSED
    if len(folders) < max(SEEDS, len(args.seeds)):
        verdict = "not all runs are there"
    print(
        f"\nbetter on {int((gain > 0).sum())} of 6, beyond chance on {int((low > 0).sum())}, "
        f"{len(folders)} seeds (bar: better on each of the six, {SEEDS} seeds; {verdict})"
    )
    if args.tiny:
        print("--tiny: the figures mean nothing")
        return ""
    return verdict


if __name__ == "__main__":
    main()
