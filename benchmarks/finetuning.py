"""Fine-tuning to a new look without forgetting the old one: which way is best for both.

    python benchmarks/finetuning.py --domain biology --seeds 0 1 2
    python benchmarks/finetuning.py --domain biology --seeds 0 --tiny

For each seed a model is trained from nothing on built-in pictures, then fine-tuned on 500 others
drawn under shifted light, haze, focus and pose, and tested on both kinds: the whole test split of
the first, as it is and shifted. The pictures to tune on are drawn by another seed, so that no arm
has seen them before. All arms take the same steps on the same pictures, at the learning rate of
those on offer that does best on shifted validation pictures; ties go to the gentler one.

plain          all weights, on names alone: cross-entropy over the labels of a batch
flyp           all weights, by the recipe without its mixing: names in templates (FLYP,
               arXiv:2212.00638)
lora           low-rank adapters, norms and heads, by the recipe without its mixing
flyp-replay    flyp with old pictures mixed in, said by their names, 500 of them as well
...-wise       the recipe as it is: mixed with its start as much as validation likes
...-half       the same, mixed half and half with its start, which is WiSE-FT's default
               (arXiv:2109.01903)

Validation knows the shifted pictures alone, and with replay the old ones held out of it too.
Finished runs are read, killed ones gone on with, a failed one is reported and leaves the others be;
`figures.json` below `--out` is written after each arm.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from captions_help import interval
from domainclip_side import pin_recipe
from method_runs import (
    Bench,
    RunFailed,
    change_data,
    find_precision,
    keep_arrays,
    read_arrays,
    read_recipe,
    train,
)
from numpy.typing import NDArray
from turns import MISSED, SEEDS, describe_machine, print_table, tell

from domainclip.data.builtin import load_builtin
from domainclip.data.opening import packed_side
from domainclip.domains.registry import get_domain
from domainclip.model.clip import DomainClip
from domainclip.model.folder import load_model, write_json
from domainclip.recipe.schema import Recipe
from domainclip.texts.labels import say_label
from domainclip.training.mixing import copy_weights, set_mixture

OLD, NEW, VAL = "old", "new", "val"
Scores = dict[str, NDArray[np.float64]]
"""Test -> 1 for each picture that is named right, else 0; `VAL`: shifted validation pictures."""
OTHER = 1000
"""Added to a seed: draws the pictures to tune on."""
FLYP: dict[str, object] = {"recipe": "flyp", "train.wise_ft": "false"}
WHOLE = (1e-3, 3e-3, 6e-3)
ADAPTERS = (6e-3, 1.2e-2, 2.4e-2)
"""Adapters want a larger learning rate than whole weights do."""
ARMS: dict[str, tuple[dict[str, object], tuple[float, ...]]] = {
    "plain": ({"text.captions": 0}, WHOLE),
    "flyp": (FLYP, WHOLE),
    "lora": ({"recipe": "lora", "train.wise_ft": "false"}, ADAPTERS),
    "flyp-replay": ({**FLYP, "data.replay": "", "data.replay_share": 0.25}, WHOLE),
}
RECIPES = ("flyp", "lora")
RIVALS = ("zero-shot", "plain")
BARRED = ("flyp-wise", "lora-wise")


class Place(NamedTuple):
    """Where the runs of one seed lie, and what they are called with."""

    folder: Path
    seed: int
    common: list[object]
    """Options of every training."""
    length: list[object]
    """Options that say how long to tune."""
    rates: int
    """Learning rates of each arm to try."""


class Tuned(NamedTuple):
    """One arm of one seed."""

    scores: Scores
    figures: dict[str, float | None]


class Testing:
    """The test pictures of one seed, old and new, and validation pictures to tune by."""

    def __init__(self, base: Recipe, tuned: Recipe, size: int) -> None:
        self.old, self.new = (
            Bench(change_data(base, builtin=look), size) for look in ("standard", "shifted")
        )
        self.val = Bench(tuned, size)

    def score(self, model: DomainClip) -> Scores:
        """Return how a model does on all three."""
        return {
            OLD: self.old.by_name(model, "test").right,
            NEW: self.new.by_name(model, "test").right,
            VAL: self.val.by_name(model, "val").right,
        }


def tune(place: Place, base: Path, name: str, rate: float, *options: object) -> tuple[Path, Any]:
    """Fine-tune a base, unless that has been done; return the run folder and its metrics."""
    folder = place.folder / f"{name}-{rate:g}-{place.seed}"
    metrics = train(
        folder, *place.common, *place.length, "--seed", OTHER + place.seed,
        "--model.name", base, "--data.builtin", "shifted", "--optim.lr", rate, *options,
    )  # fmt: skip
    return folder, metrics


def score_run(folder: Path, testing: Testing, start: Path | None = None) -> Scores:
    """Return how the model of a run does, or one half way to it from a start; kept beside it."""
    file = folder / ("half.npz" if start else "scores.npz")
    scores = read_arrays(file)
    if scores is None:
        model = load_model(folder)
        if start:
            ends = copy_weights(load_model(start)), copy_weights(model)
            set_mixture(model, *ends, 0.5)
        scores = testing.score(model)
        keep_arrays(file, scores)
    return scores


def tuned(scores: Scores, **figures: float | None) -> Tuned:
    """Return an arm with its figures; both tests count alike."""
    old, new, val = (float(scores[key].mean()) for key in (OLD, NEW, VAL))
    return Tuned(scores, {OLD: old, NEW: new, "mean": (old + new) / 2, VAL: val, **figures})


def write_replay(base: Path, folder: Path) -> Path:
    """Write pictures that a base was trained on as a folder with their names, and return it."""
    if (folder / "metadata.csv").is_file():
        return folder
    from PIL import Image

    recipe, partial = read_recipe(base), folder.with_name(f"{folder.name}.partial")
    domain, model = get_domain(recipe.domain), load_model(base)
    tree, count = domain.labels(), recipe.data.limit or domain.builtin.sizes["train"]
    drawn = load_builtin(
        domain, "train", size=packed_side(recipe, model.preprocess.size), seed=recipe.seed,
        count=count,
    )  # fmt: skip
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows = [("file_name", "caption")]
    for i, label in enumerate(drawn.labels):
        views = say_label(tree, tree.node(label))
        Image.fromarray(drawn.pictures.read([i])[0]).save(partial / f"{i:06d}.png")
        rows.append((f"{i:06d}.png", views.get("formal_common", views["formal"])))
    with (partial / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    partial.replace(folder)
    return folder


def run_arm(place: Place, base: Path, arm: str, testing: Testing) -> dict[str, Tuned]:
    """Return an arm at its best learning rate, mixed by validation, and half and half."""
    own, rates = ARMS[arm]
    if "data.replay" in own:
        own = {**own, "data.replay": write_replay(base, place.folder / f"replay-{place.seed}")}
    options, mixing = typed(own), typed({**own, "train.wise_ft": "true"})
    rates = rates[: place.rates]
    tried = [(rate, *tune(place, base, arm, rate, *options)) for rate in rates]
    scores = [score_run(folder, testing) for _, folder, _ in tried]
    vals = [float(one[VAL].mean()) for one in scores]
    best = int(np.argmax(vals))  # the first, and so the gentlest, among equals
    rate, folder, metrics = tried[best]
    told = {f"val at {r:g}": val for r, val in zip(rates, vals, strict=True)}
    seconds = metrics["train_seconds"]
    found = {arm: tuned(scores[best], share=1.0, lr=rate, seconds=seconds, **told)}
    if arm == "plain":
        return found
    half = score_run(folder, testing, start=base)
    found[f"{arm}-half"] = tuned(half, share=0.5, lr=rate)
    folder, metrics = tune(place, base, f"{arm}-wise", rate, *mixing)
    kept, seconds = metrics["wise_ft"]["kept"], metrics["train_seconds"]
    found[f"{arm}-wise"] = tuned(
        score_run(folder, testing), share=kept, lr=rate, seconds=seconds
    )  # fmt: skip
    return found


def typed(options: dict[str, object]) -> list[object]:
    """Return options as they are typed."""
    return [said for key, value in options.items() for said in (f"--{key}", value)]


def gain(arm: list[Tuned], rival: list[Tuned]) -> dict[str, float]:
    """Return the gain of an arm over another on the mean of old and new, with its interval."""
    each = [
        sum(a.scores[test] - b.scores[test] for test in (OLD, NEW)) / 2
        for a, b in zip(arm, rival, strict=True)
    ]
    low, high = interval(each, 2000)  # type: ignore[arg-type]
    return {"gain": float(np.mean([g.mean() for g in each])), "low": low, "high": high}


def report(found: dict[str, dict[int, Tuned]], failed: dict[str, str]) -> dict[str, Any]:
    """Print the tables, and return the gains."""

    def shown(arm: str, key: str, digits: int = 3) -> str:
        values = [one.figures.get(key) for one in found[arm].values()]
        known = [value for value in values if value is not None]
        if not known:
            return "–"
        if key in ("lr", "share"):
            return " ".join(f"{value:g}" for value in known)
        said = f"{np.mean(known):.{digits}f}"
        ends = f" ({min(known):.{digits}f}–{max(known):.{digits}f})"
        return said + ends * (len(known) > 1)

    print_table(
        ["arm", "old test", "new test", "mean", "new val", "learning rate", "share of the end",
         "s"],
        [[arm, *(shown(arm, key) for key in (OLD, NEW, "mean", VAL, "lr", "share")),
          shown(arm, "seconds", 0)] for arm in found],
    )  # fmt: skip
    print("\nGains on the mean of old and new, in points, with 95% intervals.\n")
    gains: dict[str, Any] = {}
    for arm, runs in found.items():
        for rival in RIVALS:
            common = [seed for seed in runs if seed in found.get(rival, {})]
            if common and arm not in RIVALS[: RIVALS.index(rival) + 1]:
                pair = [runs[s] for s in common], [found[rival][s] for s in common]
                gains.setdefault(arm, {})[rival] = {"seeds": common, **gain(*pair)}

    def told(arm: str, rival: str) -> str:
        one = gains[arm].get(rival)
        if one is None:
            return "–"
        said = [100 * one[key] for key in ("gain", "low", "high")]
        return f"{said[0]:+.1f} ({said[1]:+.1f} to {said[2]:+.1f})"

    print_table(
        ["arm", *(f"over {rival}" for rival in RIVALS), "bar: both above 0"],
        [[arm, *(told(arm, rival) for rival in RIVALS), verdict(arm, gains)]
         for arm in gains],
    )  # fmt: skip
    for run, why in failed.items():
        print(f"\nFAILED: {run}: {why}")
    return gains


def verdict(arm: str, gains: dict[str, Any]) -> str:
    """Return whether an arm beats both of its rivals over enough seeds; "" where nobody asks."""
    if arm not in BARRED:
        return ""
    over = [gains.get(arm, {}).get(rival) for rival in RIVALS]
    if not all(one and one["gain"] > 0 for one in over):
        return MISSED
    return "holds" if min(len(one["seeds"]) for one in over) >= SEEDS else "too few seeds"


def main() -> None:
    """Run what is left to run, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--domain", default="biology")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS), metavar="ARM",
                        help=", ".join(ARMS))  # fmt: skip
    parser.add_argument("--base-steps", type=int, default=600, help="steps from nothing")
    parser.add_argument("--steps", type=int, default=120, help="steps of each fine-tuning")
    parser.add_argument("--pictures", type=int, default=500, help="to tune on")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/finetuning"))
    parser.add_argument("--tiny", action="store_true", help="minutes, to see that it works")
    args = parser.parse_args()
    digests = "".join(pin_recipe(one, args.domain, ["--model.name", "x"])[2] for one in RECIPES)
    name = f"{args.domain}-{args.base_steps}-{args.steps}-{args.pictures}-{digests}"
    place = args.out.resolve() / (f"{args.domain}-tiny" if args.tiny else name)
    common: list[object] = ["--domain", args.domain, "--recipe", args.recipe]
    common += ["--tiny"] if args.tiny else []
    try:
        precision = find_precision(place / "precision", args.precision, *common)
    except RunFailed as failure:
        sys.exit(f"the number format cannot be found out: {failure}")
    common += ["--train.precision", precision]
    length: list[object] = ["--train.steps", args.steps, "--data.limit", args.pictures]
    length = [] if args.tiny else [*length, "--train.validations", 5]
    found: dict[str, dict[int, Tuned]] = {}
    failed: dict[str, str] = {}
    head = {
        **{k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
        "machine": describe_machine(), "precision": precision,
    }  # fmt: skip

    def keep(**more: Any) -> None:
        runs = {arm: {seed: one.figures for seed, one in several.items()}
                for arm, several in found.items()}  # fmt: skip
        write_json(place / "figures.json", {**head, "runs": runs, "failed": failed, **more})

    for seed in args.seeds:
        here = Place(place, seed, common, length, 1 if args.tiny else len(WHOLE))
        base, testing = place / f"base-{seed}", None
        for arm in ["base", *args.arms]:
            try:
                if arm == "base":
                    steps = [] if args.tiny else ["--train.steps", args.base_steps]
                    train(base, *common, "--seed", seed, *steps)
                    model = load_model(base)
                    recipe = read_recipe(base)
                    tuned_on = change_data(
                        recipe.model_copy(update={"seed": OTHER + seed}),
                        builtin="shifted",
                        limit=recipe.data.limit or args.pictures,
                    )
                    testing = Testing(recipe, tuned_on, model.preprocess.size)
                    found.setdefault("zero-shot", {})[seed] = tuned(score_run(base, testing))
                elif testing is not None:
                    for title, one in run_arm(here, base, arm, testing).items():
                        found.setdefault(title, {})[seed] = one
            except Exception as failure:  # whatever it is, the other arms are worth their time
                failed[f"{arm}-{seed}"] = f"{type(failure).__name__}: {failure}"
                tell(f"FAILED: {arm}-{seed}: {failure}")
            keep()
    steps = "--tiny" if args.tiny else (
        f"{args.base_steps} steps from nothing, {args.steps} of fine-tuning on {args.pictures} "
        "shifted pictures"
    )  # fmt: skip
    print(
        f"\n{args.domain}, built-in data (schematic), {args.recipe}, {steps}, {precision}, seeds "
        f"{' '.join(map(str, args.seeds))}; {describe_machine()}\n"
    )
    gains = report(found, failed)
    keep(gains=gains)
    if args.tiny:
        print("\n--tiny: the bar means nothing here")
    elif failed or any(verdict(arm, gains) == MISSED for arm in BARRED):
        sys.exit(1)


if __name__ == "__main__":
    main()
