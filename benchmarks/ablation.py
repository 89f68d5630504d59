"""What each training method is worth: arms of equal steps on built-in data, one change each.

    python benchmarks/ablation.py --domain biology --seeds 0 1 2
    python benchmarks/ablation.py --domain biology --tiny

Each arm is `domainclip train` with the options of its base and a few more; it is compared with
that base on the same pictures. All take the same steps in one number format, `auto` being found
out once by a step of the first. What is found below `--out` is read or gone on with, not repeated,
and an arm that fails is reported and leaves the others be. All figures lie in `figures.json`
there, written after each run; the seconds of a run that was killed are those of its last part.
Options that are not known here go to every arm.

Intervals come from pictures drawn anew, the same draw for both arms, and from seeds where there
are several.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from captions_help import interval
from method_runs import (
    Bench,
    RunFailed,
    find_precision,
    keep_arrays,
    read_arrays,
    read_recipe,
    train,
)
from numpy.typing import NDArray
from turns import describe_machine, print_table, tell

from domainclip.data.builtin import split_sheets
from domainclip.domains.registry import get_domain
from domainclip.evaluation.retrieval import DIRECTIONS
from domainclip.model.folder import load_model, write_json

SEEN, UNSEEN, ALL = "seen", "unseen", "unseen among all"
DISTANCE = "error distance"
SHOWN = (SEEN, UNSEEN, ALL, DISTANCE)
SPLITS = ("test", "test_unseen")
RECALLS = {
    f"{split} {direction}": (split, f"recall@5 {direction}")
    for split in SPLITS
    for direction in DIRECTIONS
}


class Arm(NamedTuple):
    """A method: another one, and what it changes in it."""

    title: str
    base: str
    options: dict[str, object]


ONE_NAME = {f"text.{view}": 0 for view in ("formal", "common", "path", "path_common")}
ARMS = {
    "clip": Arm(
        "one name, one head, own targets", "",
        {**ONE_NAME, "text.captions": 0, "model.heads": "names", "loss.targets": "own"},
    ),
    "bioclip": Arm("clip, five name views", "clip", dict.fromkeys(
        ("text.formal", "text.common", "text.path", "text.path_common"), 1)),
    "biocap": Arm("bioclip, captions under a head of their own", "bioclip",
                  {"text.captions": 0.5, "model.heads": "names,captions"}),
    "biocap-batch": Arm("biocap, a view for each batch, captions a sixth", "biocap",
                        {"text.draw": "batch", "text.captions": 0.1667}),
    "siglip": Arm("biocap by sigmoid", "biocap", {"loss.kind": "siglip"}),
    "multi": Arm("biocap + multi-positive", "biocap", {"loss.targets": "label"}),
    "siglip-multi": Arm("siglip + multi-positive", "siglip", {"loss.targets": "label"}),
    "tree": Arm("multi, tree targets instead", "multi", {"loss.targets": "tree"}),
    "hard": Arm("multi + hard negatives", "multi",
                {"data.sisters": 0.5, "text.negatives": 1, "text.nameless": 0.25}),
    "parts": Arm("multi + sub-captions", "multi", {"text.parts": 0.5, "text.caption_draws": 2}),
    "prefix": Arm("multi + prefix", "multi", {"text.prefix": "true"}),
    "both": Arm("multi + both", "multi", {"text.both": "true"}),
    "gates": Arm("both + gates", "both", {"loss.gates": "true"}),
    "ema": Arm("multi + EMA", "multi", {"train.ema": 0.99}),
    "balance": Arm("multi + balance", "multi", {"data.balance": ""}),  # the rank: see `options_of`
}  # fmt: skip


class Result(NamedTuple):
    """What one run gave."""

    pictures: dict[str, NDArray[np.float64]]
    """Measure -> what each picture adds to it."""
    figures: dict[str, float | None]
    """Everything that tables show, by name."""


def options_of(arm: str, domain: str) -> dict[str, object]:
    """Return the recipe keys of an arm, those of its bases included."""
    _, base, own = ARMS[arm]
    if arm == "balance":
        own = {"data.balance": coarsest(domain)}
    return {**(options_of(base, domain) if base else {}), **own}


def coarsest(name: str) -> str:
    """Return the coarsest rank that tells built-in labels apart, the only one that is uneven."""
    domain = get_domain(name)
    tree = domain.labels()
    nodes = [tree.node(sheet.label) for sheet in split_sheets(domain.builtin, "train")]
    return next(rank for rank in tree.ranks if len(tree.groups(rank, nodes).names) > 1)


def measure(folder: Path, metrics: dict[str, Any]) -> Result:
    """Return what a run's model does with each test picture; kept beside the run."""
    arrays = read_arrays(folder / "pictures.npz")
    if arrays is None:
        model = load_model(folder)
        # As it was trained, so that --tiny stays small.
        bench = Bench(read_recipe(folder), model.preprocess.size)
        seen = bench.by_name(model, "test")
        arrays = {SEEN: seen.right, DISTANCE: np.array(seen.distance)}
        if len(bench.unseen):
            arrays[UNSEEN] = bench.by_description(model, among_all=False).right
            arrays[ALL] = bench.by_description(model, among_all=True).right
        keep_arrays(folder / "pictures.npz", arrays)
    figures: dict[str, float | None] = {}
    for key, values in arrays.items():
        mean = float(values.mean())
        figures[key] = None if np.isnan(mean) else mean
    rows = {(row["split"], row["metric"]): row["value"] for row in metrics["rows"]
            if row["candidates"] == "captions"}  # fmt: skip
    figures |= {key: rows.get(where) for key, where in RECALLS.items()}
    figures |= {"steps": metrics["steps"], "seconds": metrics["train_seconds"]}
    return Result({k: v for k, v in arrays.items() if k != DISTANCE}, figures)


def compare(arm: list[Result], base: list[Result], key: str) -> dict[str, float] | None:
    """Return gain and interval of an arm over its base; None where one was not measured."""
    if not all(key in one.pictures for one in [*arm, *base]):
        return None
    gains = [a.pictures[key] - b.pictures[key] for a, b in zip(arm, base, strict=True)]
    low, high = interval(gains, 2000)
    return {"gain": float(np.mean([g.mean() for g in gains])), "low": low, "high": high}


def spread(values: list[float | None], digits: int) -> str:
    """Return a mean, and with several values their range."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    said = f"{np.mean(known):.{digits}f}"
    if len(known) > 1:
        said += f" ({min(known):.{digits}f}–{max(known):.{digits}f})"
    return said


def said_gain(found: dict[str, float] | None) -> str:
    """Return a gain in points with its interval."""
    if found is None:
        return "–"
    gain, low, high = (100 * found[key] for key in ("gain", "low", "high"))
    return f"{gain:+.1f} ({low:+.1f} to {high:+.1f})"


def report(found: dict[str, dict[int, Result]], failed: dict[str, str]) -> dict[str, Any]:
    """Print the tables, and return the gains."""
    figures = {arm: [one.figures for one in runs.values()] for arm, runs in found.items()}
    print_table(
        ["method", "what it is", "seen top-1", "unseen top-1", "unseen among all",
         "distance of errors", "steps", "s"],
        [[arm, ARMS[arm].title, *(spread([f.get(key) for f in several], 3) for key in SHOWN),
          spread([f["steps"] for f in several], 0), spread([f["seconds"] for f in several], 0)]
         for arm, several in figures.items()],
    )  # fmt: skip
    print("\nRecall@5 of captions and pictures, both ways.\n")
    print_table(
        ["method", *RECALLS],
        [[arm, *(spread([f.get(key) for f in several], 3) for key in RECALLS)]
         for arm, several in figures.items()],
    )  # fmt: skip
    print("\nGains over the base, in points, with 95% intervals.\n")
    gains: dict[str, Any] = {}
    for arm, runs in found.items():
        base = found.get(ARMS[arm].base, {})
        common = [seed for seed in runs if seed in base]
        if common:
            pair = [runs[s] for s in common], [base[s] for s in common]
            gains[arm] = {"base": ARMS[arm].base, "seeds": common}
            gains[arm] |= {key: compare(*pair, key) for key in (SEEN, UNSEEN, ALL)}
    print_table(
        ["method", "base", "seeds", SEEN, UNSEEN, ALL],
        [[arm, g["base"], *[" ".join(map(str, g["seeds"]))],
          *(said_gain(g[key]) for key in (SEEN, UNSEEN, ALL))] for arm, g in gains.items()],
    )  # fmt: skip
    for run, why in failed.items():
        print(f"\nFAILED: {run}: {why}")
    return gains


def main() -> None:
    """Run what is left to run, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--domain", default="biology")
    parser.add_argument("--recipe", default="quickstart", help="what arms put their options on")
    parser.add_argument("--methods", nargs="+", choices=ARMS, default=list(ARMS), metavar="METHOD",
                        help=", ".join(ARMS))  # fmt: skip
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--tiny", action="store_true", help="seconds, to see that it works")
    args, rest = parser.parse_known_args()
    place = args.out / f"{args.domain}-{'tiny' if args.tiny else args.steps}"
    every = ["--domain", args.domain, "--recipe", args.recipe, *rest]
    every += ["--tiny"] if args.tiny else []
    try:
        precision = find_precision(place / "precision", args.precision, *every)
    except RunFailed as failure:
        sys.exit(f"the number format cannot be found out: {failure}")
    every += [] if args.tiny else ["--train.steps", args.steps]
    found: dict[str, dict[int, Result]] = {arm: {} for arm in args.methods}
    failed: dict[str, str] = {}
    head = {
        "machine": describe_machine(), "domain": args.domain, "recipe": args.recipe,
        "steps": None if args.tiny else args.steps, "precision": precision, "seeds": args.seeds,
        "further options": rest,
    }  # fmt: skip

    def keep(**more: Any) -> None:
        runs = {arm: {seed: r.figures for seed, r in several.items()}
                for arm, several in found.items()}  # fmt: skip
        options = {arm: options_of(arm, args.domain) for arm in args.methods}
        figures = {**head, "options": options, "runs": runs, "failed": failed, **more}
        write_json(place / "figures.json", figures)

    for seed in args.seeds:
        for arm in args.methods:
            options = [o for k, v in options_of(arm, args.domain).items() for o in (f"--{k}", v)]
            folder = place / f"{precision}-{arm}-{seed}"
            try:
                metrics = train(
                    folder, *every, "--seed", seed, "--train.precision", precision, *options
                )
                found[arm][seed] = measure(folder, metrics)
            except Exception as failure:  # whatever it is, the other arms are worth their time
                failed[f"{arm}-{seed}"] = f"{type(failure).__name__}: {failure}"
                tell(f"FAILED: {arm}-{seed}: {failure}")
            keep()
    found = {arm: runs for arm, runs in found.items() if runs}
    length = "--tiny" if args.tiny else f"{args.steps} steps"
    print(
        f"\n{args.domain}, built-in data (schematic), {args.recipe}, {length}, {precision}, seeds "
        f"{' '.join(map(str, args.seeds))}; {describe_machine()}\n"
    )
    keep(gains=report(found, failed))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
