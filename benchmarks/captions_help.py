"""What captions are worth: names only against names and captions of the `bank`, by equal steps.

    python benchmarks/captions_help.py --domain biology --seeds 0 1 2
    python benchmarks/captions_help.py --domain biology --tiny

On built-in data. For each seed `domainclip caption --captioner bank` writes a caption for each
training picture out of what is known of its label, with no language model; then `domainclip train`
trains once with names only, and once with these captions beside the names: every step says each
picture by a name, and a quarter of them by their caption too (captions that the data brings are not
used). What is found there already is taken up, not repeated: captions, runs and scores. Options
that are not known here go to both trainings, such as `--train.precision float32`.

The model of names only has one head, so that its descriptions and captions are compared through
the head that was trained. Differences are of the same pictures under both models; intervals come
from seeds and pictures drawn anew together, the same draw for both.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from domainclip.data.datamodule import PictureData, open_data
from domainclip.domains.contract import Domain
from domainclip.domains.registry import get_domain
from domainclip.evaluation.retrieval import DIRECTIONS, find_hits
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.model.clip import DomainClip
from domainclip.model.device import pick_device
from domainclip.model.folder import load_model
from domainclip.recipe.schema import Recipe

ARMS = ("names", "captions")
SEEN, UNSEEN = "test, seen names, top-1", "test_unseen, described, among unseen, top-1"
BARS = {SEEN: 0.0, UNSEEN: 0.20} | {
    f"test, descriptions of the label, recall@5 {direction}": 0.15 for direction in DIRECTIONS
}
"""Least gain by captions; 0 for no significant loss."""
Scores = dict[str, NDArray[np.float64]]
"""Measure -> what each picture adds to it, shape (pictures,)."""


def command(*args: object) -> None:
    """Run domainclip in a process of its own; end with it where it fails."""
    done = subprocess.run([sys.executable, "-m", "domainclip", *map(str, args)], check=False)
    if done.returncode:
        sys.exit(f"domainclip {args[0]} ended with {done.returncode}")


def run(args: argparse.Namespace, arm: str, seed: int) -> Path:
    """Train one arm with one seed, unless that has been done, and return its folder."""
    place = Path(args.out, f"{args.domain}-tiny" if args.tiny else f"{args.domain}-{args.steps}")
    folder, captions = place / f"{arm}-{seed}", place / f"stored-{seed}"
    if (folder / "metrics.json").is_file():
        return folder
    options = ["--data.captions", captions, "--text.originals", 0]
    options += ["--text.both", "true", "--text.captions", 0.25]
    if arm == "names":
        options = ["--text.captions", 0, "--model.heads", "names"]
    else:
        some = ["--limit", 64] if args.tiny else []
        command("caption", "--domain", args.domain, "--captioner", "bank", "--seed", seed,
                "--split", "train", "--out", captions, *some)  # fmt: skip
    if (folder / "checkpoints" / "last.ckpt").is_file():
        command("train", "--resume", folder)
        return folder
    if (folder / "recipe.yaml").is_file():  # killed before the first checkpoint
        (folder / "recipe.yaml").unlink()
    length = ["--tiny"] if args.tiny else ["--train.steps", args.steps]
    command("train", "--domain", args.domain, "--recipe", args.recipe, "--seed", seed,
            "--out", folder, *options, *length, *args.set)  # fmt: skip
    return folder


def score(folder: Path) -> Scores:
    """Return what each test picture of a run adds to each measure; kept beside the run."""
    file = folder / "pictures.npz"
    if file.is_file():
        with np.load(file) as kept:
            return dict(kept)
    values = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
    recipe = Recipe.model_validate(values | {"data": values["data"] | {"captions": []}})
    domain = get_domain(recipe.domain)
    model = load_model(folder, device=pick_device("auto"))
    data = open_data(recipe, domain, model.preprocess.size)
    scores = Measured(model, data, domain, recipe).scores()
    with file.with_suffix(".partial").open("wb") as partial:
        np.savez(partial, **scores)  # type: ignore[arg-type]
    file.with_suffix(".partial").replace(file)
    return scores


class Measured:
    """One model measured on the test pictures of its run."""

    def __init__(
        self, model: DomainClip, data: PictureData, domain: Domain, recipe: Recipe
    ) -> None:
        self.model, self.data, self.recipe = model, data, recipe
        self.prompts = domain.prompts[recipe.text.prompts]

    def scores(self) -> Scores:
        """Return what each picture adds to each measure."""
        found: Scores = {}
        seen = np.unique(self.data.splits["train"].nodes)
        unseen = np.unique(self.data.splits["test_unseen"].nodes)
        names = [label_texts(self.data.tree, int(n), self.prompts) for n in seen]
        found[SEEN] = self.top1("test", seen, names, "names")
        described = self.data.descriptions
        for title, labels in {"unseen": unseen, "all": np.concatenate([seen, unseen])}.items():
            texts = [described[int(n)] for n in labels]
            key = f"test_unseen, described, among {title}, top-1"
            found[key] = self.top1("test_unseen", labels, texts, "captions")
        rng = np.random.default_rng(self.recipe.seed)
        for split in ("test", "test_unseen"):
            nodes = self.data.splits[split].nodes
            ways = [described[int(node)] for node in nodes]
            said = [several[int(rng.integers(len(several)))] for several in ways]
            found |= self.recall(split, said, f"{split}, descriptions of the label", nodes)
            said = self.data.reference_captions(split)
            found |= self.recall(split, said, f"{split}, own reference captions", None)
        return found

    def top1(
        self, split: str, labels: NDArray[np.int64], texts: Sequence[Sequence[str]], head: str
    ) -> NDArray[np.float64]:
        """Return whether the best label of each picture is its own."""
        classes = embed_labels(self.model, texts, self.prompts.pooling, head=head)
        best = (self.images(split, head) @ classes.T).argmax(dim=1).cpu().numpy()
        right = labels[best] == self.data.splits[split].nodes
        return np.asarray(right, dtype=np.float64)

    def recall(
        self, split: str, said: Sequence[str], title: str, groups: NDArray[np.int64] | None
    ) -> Scores:
        """Return the hits of each picture and of its text among all pictures and texts."""
        texts = sorted(set(said))
        index = {text: i for i, text in enumerate(texts)}
        pairs = [(i, index[text]) for i, text in enumerate(said)]
        with torch.no_grad():
            encoded = embed_labels(self.model, [[text] for text in texts], head="captions").cpu()
        images = self.images(split, "captions").cpu()
        hits = find_hits(images, encoded, pairs, groups=groups)
        return {
            f"{title}, recall@{k} {direction}": hits.values[:, d, i]
            for i, k in enumerate(hits.ks)
            for d, direction in enumerate(DIRECTIONS)
        }

    @torch.no_grad()
    def images(self, split: str, head: str) -> Tensor:
        """Return unit vectors of the pictures of a split under one head, shape (n, dim)."""
        pre, device = self.model.preprocess, next(self.model.parameters()).device
        mean, std = (torch.tensor(v).view(1, 3, 1, 1).to(device) for v in (pre.mean, pre.std))
        return torch.cat(
            [
                self.model.encode_image((batch.pixels.to(device) / 255 - mean) / std, head)
                for batch in self.data.loader(split)
            ]
        )


def interval(gains: Sequence[NDArray[np.float64]], resamples: int) -> tuple[float, float]:
    """Return the 95% interval of a mean gain, seeds and within them pictures drawn anew.

    Args:
        gains: For each seed the gain of each picture.
        resamples: Number of resamples.
    """
    rng = np.random.default_rng(0)
    # The mean of pictures drawn anew, for each seed as often as it can be drawn.
    seeds = len(gains)
    drawn = np.empty((resamples, seeds))
    for column in range(seeds):
        for row, which in enumerate(rng.integers(0, seeds, resamples)):
            one = gains[which]
            drawn[row, column] = one[rng.integers(0, len(one), len(one))].mean()
    low, high = np.percentile(drawn.mean(axis=1), [2.5, 97.5])
    return float(low), float(high)


def report(found: dict[str, list[Scores]], resamples: int, say: Callable[[str], None]) -> bool:
    """Print every measure with both arms, gain and interval; return whether all bars hold."""
    say("| measure | names | names and captions | gain | 95% interval | bar | |")
    say("|---|---|---|---|---|---|---|")
    passed = True
    for measure in found["names"][0]:
        before, after = ([s[measure] for s in found[arm]] for arm in ARMS)
        gains = [b - a for a, b in zip(before, after, strict=True)]
        gain = float(np.mean([g.mean() for g in gains]))
        low, high = interval(gains, resamples)
        means = [float(np.mean([s.mean() for s in several])) for several in (before, after)]
        bar, verdict = BARS.get(measure), ""
        if bar is not None:
            holds = gain >= bar if bar else high >= 0
            passed &= holds
            verdict = "holds" if holds else "MISSED"
        asked = "" if bar is None else f"+{100 * bar:.0f}" if bar else "no significant loss"
        say(
            f"| {measure} | {means[0]:.3f} | {means[1]:.3f} | {100 * gain:+.1f} | "
            f"{100 * low:+.1f} to {100 * high:+.1f} | {asked} | {verdict} |"
        )
    return passed


def main() -> None:
    """Run what is left to run, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--domain", default="biology")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--out", type=Path, default=Path("runs/captions_help"))
    parser.add_argument("--tiny", action="store_true", help="seconds, to see that it works")
    args, rest = parser.parse_known_args()
    args.set = rest
    found: dict[str, list[Scores]] = {arm: [] for arm in ARMS}
    steps: list[int] = []
    for seed in args.seeds:
        for arm in ARMS:
            folder = run(args, arm, seed)
            metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
            steps.append(metrics["steps"])
            found[arm].append(score(folder))
    if len(set(steps)) > 1:
        sys.exit(f"the runs differ in steps: {steps}")
    pictures = {len(one[SEEN]) for one in found["names"]}
    print(
        f"\n{args.domain}, built-in data (schematic), {args.recipe}, {steps[0]} steps, seeds "
        f"{args.seeds}, {sorted(pictures)} test pictures a seed, {datetime.now(UTC):%Y-%m-%d}\n\n"
        "Descriptions of the label: each picture is said by a description of its label, made of\n"
        "the label's sheet alone in one of a few wordings; all pictures of the label are right,\n"
        "and so are all its wordings. Own reference captions: each picture is said by its own\n"
        "caption, its individual traits included; right are only pictures of the same caption.\n"
    )
    passed = report(found, args.resamples, print)
    if args.tiny:
        print("\n--tiny: the bars mean nothing here")
    elif not passed:
        sys.exit(1)


if __name__ == "__main__":
    main()
