"""How honest calibrated probabilities are, on built-in pictures made harder: dim and blurred.

    python benchmarks/calibration.py --domain biology --out runs/calibration
    python benchmarks/calibration.py --domain medical --model runs/medical --pictures 8000

A model is trained on the domain's built-in pictures as they are, unless one is given. Two sets of
other pictures of the labels that it was trained on are dimmed, blurred and given noise: everything
is fitted to the first and measured on the second. The rival is a threshold on the softmax as it is,
fitted to the same pictures in the same way. Then the same for labels that were never trained on,
told by descriptions, with all labels to choose from: once fitted to pictures of trained labels
alone, and once to pictures of the others. Bars are set for the trained labels; the command ends
with 1 where one is missed.

"+-" is two standard errors. Depth is the mean number of ranks told, of those that tell labels
apart. The area is that under risk against the share of ranks told. The calibration error is that of
15 bins of equal mass; beside it stands what perfect probabilities would show, by chance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from method_runs import RunFailed, train
from numpy.typing import NDArray
from torch import Tensor
from turns import MISSED, describe_machine, print_table, tell

from domainclip.data.batches import cut_centre
from domainclip.data.builtin import load_builtin, split_sheets
from domainclip.domains.registry import get_domain
from domainclip.inference.calibration.backoff import BackOff, find_rank, fit_backoff
from domainclip.inference.calibration.conformal import find_sets
from domainclip.inference.calibration.fit import Seen, fit_calibration, look
from domainclip.inference.calibration.hierarchy import Hierarchy
from domainclip.inference.calibration.picture import draw_reliability
from domainclip.inference.calibration.rejection import measure_separation
from domainclip.inference.calibration.reliability import find_floor, measure_area
from domainclip.inference.calibration.store import Fitted
from domainclip.inference.encoding import Encoder
from domainclip.inference.prompts import embed_labels, label_texts
from domainclip.model.folder import write_json

ERROR, LEVEL = 0.03, 0.95
"""The greatest calibration error, and the level at which back-off is judged."""
BATCH = 250
LIGHT, BLUR, NOISE = (0.25, 0.9), (0.003, 0.018), (0.005, 0.02)
"""Ranges that each picture's light, blur (sigma over side) and noise are drawn from."""
SEEDS = {"fit": 101, "test": 202}
ANSWERED = ("right", "answered", "depth")
Row = dict[str, Any]


@dataclass(frozen=True)
class Pictures:
    """Features of pictures under each head, shape (n, dim), and their label nodes."""

    features: dict[str, Tensor]
    nodes: NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """What is chosen from, what it is fitted to and what it is measured on."""

    name: str
    hierarchy: Hierarchy
    head: str
    classes: Tensor
    scale: float
    fitted_on: Pictures
    tested_on: Pictures
    judged: bool = False

    def logits(self, pictures: Pictures) -> Iterator[Tensor]:
        """Yield the logits of pictures, batch by batch."""
        for part in pictures.features[self.head].split(BATCH):
            yield self.scale * part @ self.classes.T


def make_harder(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a picture as if taken in low light and out of focus, shape (side, side, 3)."""
    blurred = cv2.GaussianBlur(
        pixels.astype(np.float32) / 255, (0, 0), rng.uniform(*BLUR) * len(pixels)
    )
    dim = blurred * rng.uniform(*LIGHT) + rng.normal(0, rng.uniform(*NOISE), pixels.shape)
    return np.asarray(np.clip(dim * 255 + 0.5, 0, 255), dtype=np.uint8)


class Bench:
    """A model and the built-in pictures of its domain.

    Args:
        run: Its run folder or model folder.
        domain: The domain's name.
        count: Pictures that are drawn of each set.
    """

    def __init__(self, run: Path, domain: str, count: int) -> None:
        self.encoder, self.domain, self.count = Encoder(run), get_domain(domain), count
        self.tree, builtin = self.domain.labels(), self.domain.builtin
        self.trained, self.others = (
            [self.tree.node(sheet.label) for sheet in split_sheets(builtin, split)]
            for split in ("test", "test_unseen")
        )
        self.described = {
            self.tree.node(sheet.label): builtin.describe(sheet.traits)
            for sheet in builtin.sheets()
        }

    def draw(self, split: str, use: str) -> Pictures:
        """Draw harder pictures of a split, and look at them."""
        network, seed = self.encoder.network, SEEDS[use]
        pre = network.preprocess
        drawn = load_builtin(self.domain, split, size=pre.shortest, seed=seed, count=self.count)
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (pre.mean, pre.std))
        parts: dict[str, list[Tensor]] = {head: [] for head in network.heads}
        for start in range(0, self.count, BATCH):
            rows = range(start, min(start + BATCH, self.count))
            harder = np.stack([
                make_harder(picture, np.random.default_rng([seed, row]))
                for row, picture in zip(rows, drawn.pictures.read(rows), strict=True)
            ])  # fmt: skip
            pixels = torch.from_numpy(cut_centre(harder, pre.size).copy()).permute(0, 3, 1, 2)
            pixels = (pixels.float() / 255 - mean) / std
            for head, found in parts.items():
                found.append(self.encoder.encode_pixels(pixels, head).cpu())
        nodes = np.array([self.tree.node(label) for label in drawn.labels], dtype=np.int64)
        return Pictures({head: torch.cat(found) for head, found in parts.items()}, nodes)

    def case(
        self, name: str, nodes: Sequence[int], described: bool, fit: Pictures, test: Pictures,
        judged: bool = False,
    ) -> Case:  # fmt: skip
        """Return a case; labels are told by descriptions without a name, or by their names."""
        network, prompts = self.encoder.network, self.domain.prompts["default"]
        head = network.head("captions" if described else "names")
        texts = [
            self.described[node] if described else label_texts(self.tree, node, prompts)
            for node in nodes
        ]
        classes = embed_labels(network, texts, prompts.pooling, head=head).cpu()
        scale = float(network.scale(head).detach())
        hierarchy = Hierarchy(self.tree, nodes)
        return Case(name, hierarchy, head, classes, scale, fit, test, judged)


class Measured:
    """A case fitted and measured; rows of each table, numbers as they are."""

    def __init__(self, case: Case) -> None:
        self.case, hierarchy = case, case.hierarchy
        fit, test = case.fitted_on, case.tested_on
        self.outcome = fit_calibration(
            hierarchy, lambda: case.logits(fit), fit.nodes, Fitted(case.name, "", case.head)
        )
        calibration = self.outcome.calibration
        self.told = calibration.temperatures
        plain = look(hierarchy, lambda: case.logits(fit), fit.nodes).ladder
        self.rivals = fit_backoff(plain, [one.level for one in calibration.backoff])
        self.before = look(hierarchy, lambda: case.logits(test), test.nodes)
        self.after = look(
            hierarchy, lambda: case.logits(test), test.nodes,
            lambda logits, _: self.told.apply(hierarchy, logits),
        )  # fmt: skip

    def errors(self) -> Iterator[Row]:
        """Yield how honest the best answer is at each rank, before and after."""
        for number, rank in enumerate(self.after.ranks):
            (right, said), (_, was) = self.after.answers(number), self.before.answers(number)
            error = self.after.measure(number).error
            yield {
                "case": self.case.name, "rank": rank, "pictures": len(said),
                "right": float(right.mean()), "said before": float(was.mean()),
                "error before": self.before.measure(number).error,
                "said after": float(said.mean()), "error after": error,
                "by chance": find_floor(said), "bar": self._judge(error <= ERROR),
            }  # fmt: skip

    def backoff(self) -> Iterator[Row]:
        """Yield what answers at each level come to, those of the softmax first."""
        for theirs, ours in zip(self.rivals, self.outcome.calibration.backoff, strict=True):
            rival, answered = _answer(self.before, theirs), _answer(self.after, ours)
            error = 2 * (ours.level * (1 - ours.level) / max(answered["known"], 1)) ** 0.5
            honest = answered["known"] == 0 or answered["right"] >= ours.level - error
            kept = honest and answered["depth"] >= rival["depth"]
            yield {
                "case": self.case.name, "asked": ours.level,
                **{f"softmax {name}": rival[name] for name in ANSWERED},
                "right": answered["right"], "+-": error, "answered": answered["answered"],
                "depth": answered["depth"], "assured": "yes" if ours.assured else "no",
                "bar": self._judge(kept) if ours.level == LEVEL else "",
            }  # fmt: skip

    def areas(self) -> Iterator[Row]:
        """Yield the areas under risk against the share of ranks told."""
        before, after = measure_area(self.before.ladder), measure_area(self.after.ladder)
        yield {"case": self.case.name, "softmax": before, "calibrated": after,
               "bar": self._judge(after <= before)}  # fmt: skip

    def sets(self) -> Iterator[Row]:
        """Yield how often sets of labels hold the true one, and how large they are."""
        hierarchy, test = self.case.hierarchy, self.case.tested_on
        own = torch.from_numpy(hierarchy.locate(test.nodes)[:, -1:])
        p = torch.cat([self.told.apply(hierarchy, z).softmax(-1) for z in self.case.logits(test)])
        for one in self.outcome.calibration.conformal:
            if one.rank == hierarchy.ranks[-1].name:
                sets = find_sets(p, one.threshold)
                covered = float(sets.gather(1, own).float().mean())
                error = 2 * (one.error * (1 - one.error) / len(p)) ** 0.5
                yield {
                    "case": self.case.name, "asked": 1 - one.error, "covered": covered,
                    "+-": error, "mean size": float(sets.sum(-1).float().mean()),
                    "labels": len(hierarchy), "bar": self._judge(covered >= 1 - one.error - error),
                }  # fmt: skip

    def none(self, strangers: Pictures) -> Iterator[Row]:
        """Yield how many pictures are told to show none of the labels, and how well that is told.

        Args:
            strangers: Pictures of labels that the model was not trained on.
        """
        unknown = torch.cat([z.amax(-1) for z in self.case.logits(strangers)]).numpy()
        known, held_out = self.before.best, self.before.held_out
        for one in self.outcome.calibration.rejection:
            shares = [
                float((scores < (one.threshold or -np.inf)).mean())
                for scores in (known, held_out, unknown)
            ]
            names = ("rejected, known", "found, held out", "found, never trained on")
            yield {"case": self.case.name, "asked": one.rate,
                   **dict(zip(names, shares, strict=True)),
                   "ROC, held out": measure_separation(known, held_out),
                   "ROC, never trained on": measure_separation(known, unknown)}  # fmt: skip

    def _judge(self, kept: bool) -> str:
        return ("kept" if kept else MISSED) if self.case.judged else ""


def _answer(seen: Seen, one: BackOff) -> dict[str, Any]:
    """Return what answers at a threshold come to."""
    place = find_rank(seen.ladder.probabilities, one.threshold)
    right = seen.ladder.right[np.arange(len(place)), place][place >= 0]
    known = right[right >= 0]
    return {
        "right": float((known == 1).mean()) if len(known) else None, "known": len(known),
        "answered": float((place >= 0).mean()), "depth": float((place + 1).mean()),
    }  # fmt: skip


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows of a table."""
    print(f"\n{title}\n")
    said = [
        [
            "-" if cell is None else f"{cell:.4g}" if isinstance(cell, float) else cell
            for cell in row.values()
        ]
        for row in rows
    ]
    print_table([*rows[0]], said)


def main() -> int:
    """Measure, print the tables, and tell whether every bar is kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--domain", default="biology")
    parser.add_argument("--model", type=Path, help="a run folder; one is trained without it")
    parser.add_argument("--minutes", type=float, default=3.0, help="of that training")
    parser.add_argument("--pictures", type=int, default=4000, help="of each set")
    parser.add_argument("--out", type=Path, default=Path("runs/calibration"))
    args = parser.parse_args()
    place = args.out.resolve() / args.domain
    run = args.model or place / f"run-{args.minutes:g}"
    if args.model is None:
        try:
            train(run, "--domain", args.domain, "--train.minutes", args.minutes,
                  "--evaluate.bootstrap", 0)  # fmt: skip
        except RunFailed as failure:
            tell(f"FAILED: {failure}")
            return 1
    bench = Bench(run, args.domain, args.pictures)
    sets = {(split, use): bench.draw(split, use)
            for split in ("test", "test_unseen") for use in SEEDS}  # fmt: skip
    every = [*bench.trained, *bench.others]
    fit, test = sets["test", "fit"], sets["test", "test"]
    new_fit, new = sets["test_unseen", "fit"], sets["test_unseen", "test"]
    measured = [
        Measured(bench.case("trained labels", bench.trained, False, fit, test, judged=True)),
        Measured(bench.case("new labels, fitted to trained ones", every, True, fit, new)),
        Measured(bench.case("new labels, fitted to new ones", every, True, new_fit, new)),
    ]
    tables = {
        "Probabilities of the best answer": [row for one in measured for row in one.errors()],
        "Backing off": [row for one in measured for row in one.backoff()],
        "Area under risk and ranks told": [row for one in measured for row in one.areas()],
        "Prediction sets": [row for one in measured for row in one.sets()],
        "None of these": [*measured[0].none(new)],
    }
    print(f"\n{args.domain}, {args.pictures} pictures a set, {run}; {describe_machine()}")
    for title, rows in tables.items():
        show(title, rows)
    place.mkdir(parents=True, exist_ok=True)
    write_json(place / "figures.json", {
        "machine": describe_machine(), "run": str(run), "pictures": args.pictures, **tables,
        "calibrations": [one.outcome.calibration.as_dict() for one in measured],
    })  # fmt: skip
    first = measured[0].outcome
    title = f"{args.domain}, built-in pictures, dim and blurred"
    picture = place / "reliability.png"
    draw_reliability(first.before, first.after, title).savefig(picture, dpi=110)
    tell(f"{place / 'figures.json'}, {picture}")
    return int(any(row.get("bar") == MISSED for rows in tables.values() for row in rows))


if __name__ == "__main__":
    sys.exit(main())
