"""Vectors of many labels, against open_clip's own way; and how soon kept ones are at hand.

    python benchmarks/label_speed.py
    python benchmarks/label_speed.py --names 2000 --rounds 1

Names are made up of syllables, two words each, and put through seven templates; the model is the
built-in `small` of random weights. open_clip's `build_zero_shot_classifier` is given ten classes at
a time, as is its default, and a hundred, and the faster counts. Ours computes them as `fit` does,
with an empty cache; then, in new processes, with a warm one. All sides take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from turns import MISSED, Figures, Job, describe_machine, do_job, print_table, take_turn

TEMPLATES = (
    "{}", "a photo of {}.", "a photo of the {}.", "a close-up of {}.", "a picture of a {}.",
    "one {} in the wild.", "{} seen from above.",
)  # fmt: skip
BAR, READY, IMPORT = 1.5, 0.3, 0.2
"""Least ratio; most seconds to kept labels; most seconds of `import domainclip`."""
IMPORTED = "import time; t = time.perf_counter(); import domainclip; print(time.perf_counter() - t)"


def make_names(count: int) -> list[str]:
    """Return made-up names of two words, none twice."""
    rng = np.random.default_rng(0)
    parts = [
        a + b
        for a in ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v"]
        for b in ("a", "e", "i", "o", "u")
    ]
    names: dict[str, None] = {}
    while len(names) < count:
        one, two = ("".join(rng.choice(parts, n)) for n in rng.integers(2, 5, 2))
        names[f"{one.title()} {two}"] = None
    return [*names]


def run_theirs(job: Job, folder: Path) -> Figures:
    """Embed by open_clip's function."""
    import open_clip

    source = f"local-dir:{job['model']}"
    model, _ = open_clip.create_model_from_pretrained(source)
    tokenizer = open_clip.get_tokenizer(source)
    said = [lambda name, t=template: t.replace("{}", name) for template in TEMPLATES]
    names = make_names(job["names"])

    def embed(some: list[str]) -> object:
        return open_clip.build_zero_shot_classifier(
            model.eval(), tokenizer, some, said, num_classes_per_batch=job["at_once"]
        )

    embed(names[:20])
    start = time.perf_counter()
    found = embed(names)
    took = time.perf_counter() - start
    np.save(folder / "vectors.npy", found.numpy().T)
    return {"seconds": took}


def run_ours(job: Job, folder: Path) -> Figures:
    """Embed as `fit` does, or read what is kept."""
    os.environ["DOMAINCLIP_HOME"] = job["home"]
    from domainclip import ZeroShotClassifier
    from domainclip.domains.contract import PromptSet

    names = make_names(job["names"])
    prompts = PromptSet(templates=TEMPLATES)
    classifier = ZeroShotClassifier(job["model"], prompts=prompts, device="cpu")
    if not job["warm"]:
        _ = classifier.encoder.network  # theirs is loaded, too
        ZeroShotClassifier(job["model"], prompts=prompts, device="cpu").fit(names[:20])
    start = time.perf_counter()
    classifier.fit(names)
    took = time.perf_counter() - start
    if not job["warm"]:
        np.save(folder / "vectors.npy", classifier.label_features_.numpy())
    return {"seconds": took}


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/labels"))
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.job:
        do_job(args.job, {"theirs": run_theirs, "ours": run_ours})
        return
    import torch

    from domainclip.model.folder import create_model, save_model

    place = args.out.resolve()
    model = place / "model"
    if not (model / "domainclip.json").is_file():
        torch.manual_seed(0)
        save_model(create_model("small")[0].eval(), model, tree=None, card={})
    times: dict[str, list[float]] = {}
    for i in range(args.rounds):
        common = {"model": str(model), "names": args.names, "round": i}
        ours = {"side": "ours", "home": str(place / f"home-{args.names}-{i}")}
        jobs: dict[str, Job] = {
            "theirs, 10 at a time": {"side": "theirs", "at_once": 10},
            "theirs, 100 at a time": {"side": "theirs", "at_once": 100},
            "ours": {**ours, "warm": False},
            "ours, kept": {**ours, "warm": True},
        }
        for name, job in jobs.items():
            folder = place / f"{name.replace(' ', '').replace(',', '-')}-{args.names}-{i}"
            done = take_turn(__file__, {**common, **job}, folder)
            if done is None:
                sys.exit(1)
            times.setdefault(name, []).append(done["seconds"])
    files = [place / f"{name}-{args.names}-0" / "vectors.npy" for name in
             ("theirs-10atatime", "ours")]  # fmt: skip
    apart = float(np.abs(np.subtract(*map(np.load, files))).max())
    best = {name: statistics.median(several) for name, several in times.items()}
    theirs = min(best["theirs, 10 at a time"], best["theirs, 100 at a time"])
    ratio = theirs / best["ours"]
    run = [sys.executable, "-c", IMPORTED]
    imports = [float(subprocess.check_output(run)) for _ in range(5)]
    print(f"\n{args.names:,} names in {len(TEMPLATES)} templates, model `small`, median of "
          f"{args.rounds} rounds; {describe_machine()}\n")  # fmt: skip
    good = [ratio >= BAR, best["ours, kept"] <= READY, statistics.median(imports) <= IMPORT]
    said = ["holds" if one else MISSED for one in good]
    print_table(
        ["what", "seconds", "bar", ""],
        [
            *([name, f"{best[name]:.1f}", "", ""] for name in [*times][:2]),
            ["ours", f"{best['ours']:.1f}", f"{ratio:.2f} times as fast, bar {BAR:g}", said[0]],
            ["ours, kept: `fit` after the imports", f"{best['ours, kept']:.3f}", READY, said[1]],
            ["`import domainclip`", f"{statistics.median(imports):.3f}", IMPORT, said[2]],
        ],
    )  # fmt: skip
    print(f"\nvectors apart by {apart:.1e} at most")
    if not all(good):
        sys.exit(1)


if __name__ == "__main__":
    main()
