"""Opens the pictures that a recipe names: drawn or packed, in splits, with their label tree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError
from domainclip.recipe.schema import Recipe

from .batches import PictureSet
from .builtin import SPLITS, load_builtin, split_sheets
from .decoding import Decoded, Decoder, find_unreadable, pack
from .packed import Packed, Pictures, fingerprint

if TYPE_CHECKING:
    from .sources import Source


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Everything that was found out about the data."""

    tree: LabelTree
    splits: dict[str, PictureSet]
    """`train`, `val`, `test`, and `test_unseen` where there is one."""
    parts: Mapping[str, str]
    """Digests by what they change with: pictures and their packing, labels, captions, splits..."""
    messages: list[str] = field(default_factory=list)
    """What people should know: guessed columns, made splits, warnings."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(sample id, reason) of pictures that were left out."""
    descriptions: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Label node -> sentences that describe it without its name."""
    unseen: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Label nodes that no training picture has."""
    licences: Mapping[str, int] = field(default_factory=dict)
    """Licence -> training pictures under it; "" for those whose source says none."""
    stored: Mapping[str, Sequence[Sequence[tuple[str, ...]]]] = field(default_factory=dict)
    """Split -> source of stored captions -> captions of each picture."""
    caption_sources: tuple[str, ...] = ()
    """Where they came from, `folder@generation`."""

    replay: PictureSet | None = None
    """General pictures that are mixed into training, with captions; their nodes are negative."""
    held: PictureSet | None = None
    """General pictures that are not, where it is asked at the end what was forgotten."""

    @property
    def fingerprint(self) -> str:
        """Changes with any of the parts."""
        return fingerprint(dict(self.parts))


def packed_side(recipe: Recipe, size: int) -> int:
    """Return the side that pictures are packed at: with a margin where training takes crops.

    Tests cut the centre out of the same margin: random crops enlarge what they show, and a model
    tested on whole pictures would see everything smaller than it learned it (arXiv:1906.06423).
    """
    return round(size * (1 + recipe.data.margin)) if recipe.train.augment else size


def open_builtin(recipe: Recipe, domain: Domain, size: int) -> Opened:
    """Open the domain's built-in pictures, drawn where that has not been done."""
    builtin, tree = domain.builtin, domain.labels()
    names = [name for name in SPLITS if builtin.sizes.get(name)]
    splits, folders = {}, {}
    for name in names:
        drawn = load_builtin(
            domain,
            name,
            size=packed_side(recipe, size),
            seed=recipe.seed,
            count=min(recipe.data.limit or builtin.sizes[name], builtin.sizes[name]),
            shifted=recipe.data.builtin == "shifted",
        )
        folders[name] = drawn.pictures.folder.name
        nodes = {label: tree.node(label) for label in set(drawn.labels)}
        splits[name] = PictureSet(
            name,
            drawn.pictures,
            np.arange(len(drawn)),
            np.array([nodes[label] for label in drawn.labels], dtype=np.int64),
            drawn.ids,
            drawn.captions,
            ("",) * len(drawn),
        )
    unseen = split_sheets(builtin, "test_unseen") if "test_unseen" in splits else ()
    return Opened(
        tree=tree,
        splits=splits,
        parts={"pictures": fingerprint(folders), "labels": tree.digest()},
        messages=[f"built-in pictures of {domain.title.lower()}: schematic, not photographs"],
        descriptions={tree.node(s.label): builtin.describe(s.traits) for s in builtin.sheets()},
        unseen=np.array([tree.node(sheet.label) for sheet in unseen], dtype=np.int32),
        licences={builtin.licence: len(splits["train"])},
    )


def open_own(recipe: Recipe, domain: Domain, size: int) -> Opened:
    """Open the user's own pictures, packed where that has not been done.

    Raises:
        DataError: If they cannot be used as they are.
    """
    from .sources import open_source

    asked = recipe.data
    source = open_source(
        asked.source,
        domain,
        columns=asked.columns,
        val_share=asked.val_share,
        test_share=asked.test_share,
        seed=recipe.seed,
        streaming=asked.streaming,
        pairs=True,
    )
    where = np.asarray(source.dataset["split"])
    rows = {name: np.flatnonzero(where == name) for name in SPLITS if (where == name).any()}
    if asked.limit:
        rows = _draw_rows(rows, source.nodes, asked.limit, recipe.seed)
    side = packed_side(recipe, size)
    takes = sum(map(len, rows.values())) * 3 * side**2 / 1e9
    messages = [*source.guesses, *source.problems]
    if takes > asked.cache_gb:
        messages.append(
            f"packed, the pictures would take {takes:.1f} GB, more than data.cache_gb = "
            f"{asked.cache_gb:g}: they are decoded at every use instead, which is slower"
        )
    images = source.dataset.select_columns(["image"])
    splits, unreadable, digests = {}, list(source.unreadable), {}
    for name in rows:
        decoder = Decoder(images, rows[name], side, domain.read_image, asked.max_pixels)
        pictures: Packed | Decoded
        if takes > asked.cache_gb:
            pictures = Decoded(decoder, find_unreadable(decoder))
        else:
            stamps = [source.stamps[row] for row in rows[name].tolist()]
            pictures = pack(decoder, stamps, title=f"packing {name.replace('_', ' ')}")
            digests[name] = [note["digest"] if note else "" for note in pictures.notes]
        ids = source.dataset.select_columns(["id"])[rows[name]]["id"]
        unreadable += [(ids[i], reason) for i, reason in pictures.unreadable.items()]
        splits[name] = _take(source, name, rows[name], pictures)
    splits = _scale_weights(asked.source, splits)
    _check_enough(asked.source, splits, unreadable)
    _check_val(asked.source, splits)
    if (weights := splits["train"].weights) is not None:
        least, most = weights.min(), weights.max()
        messages.append(f"pairs are weighed from {least:.2g} to {most:.2g}, 1 on average")
    if broken := len(unreadable) - len(source.unreadable):
        first = unreadable[len(source.unreadable)]
        messages.append(
            f"{broken} picture{'s' * (broken > 1)} could not be read and "
            f"{'are' if broken > 1 else 'is'} left out; the first is {first[0]}: {first[1]}"
        )
    messages += _leaks(digests)
    trained = set(splits["train"].nodes.tolist())
    unseen = set(splits["test_unseen"].nodes.tolist()) if "test_unseen" in splits else set()
    return Opened(
        tree=source.tree,
        splits=splits,
        parts=_digest(source, side),
        messages=messages,
        unreadable=unreadable,
        unseen=np.array(sorted(unseen - trained), dtype=np.int32),
        licences=_count_licences(source, rows["train"][splits["train"].rows]),
    )


def _count_licences(source: Source, rows: NDArray[np.int64]) -> dict[str, int]:
    said = source.dataset.select_columns(["licence"])[rows]["licence"]
    return dict(sorted(Counter(said).items()))


def _digest(source: Source, side: int) -> dict[str, str]:
    """Return digests of a source by what they change with."""
    columns = source.dataset.remove_columns("image").to_dict()
    weights = {"weights": [columns.pop("weight")]} if "weight" in columns else {}
    kept = weights | {
        "captions": [columns.pop("captions")],
        "splits": [columns.pop("split"), columns.pop("group")],
        "pictures": [columns.pop("id"), columns.pop("licence"), source.stamps, side],
        "labels": [source.tree.digest(), columns],  # the ranks, labels and common names
    }
    return {part: fingerprint(*values) for part, values in kept.items()}


def _draw_rows(
    rows: Mapping[str, NDArray[np.intp]], nodes: NDArray[np.int32], limit: int, seed: int
) -> dict[str, NDArray[np.intp]]:
    """Return at most `limit` rows of each split; val prefers labels that are still trained on."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, NDArray[np.intp]] = {}
    for name, every in rows.items():
        order = rng.permutation(every)
        if name == "val":
            untrained = ~np.isin(nodes[order], nodes[drawn["train"]])
            order = order[np.argsort(untrained, kind="stable")]
        drawn[name] = np.sort(order[:limit])
    return drawn


def _take(source: Source, name: str, rows: NDArray[np.int64], pictures: Pictures) -> PictureSet:
    """Return the readable pictures of one split."""
    good = np.array([i for i in range(len(rows)) if i not in pictures.unreadable], dtype=np.int64)
    columns = source.dataset.select_columns(["id", "captions", "group"])[rows[good]]
    weights = None
    if "weight" in source.dataset.column_names:
        weights = np.asarray(source.dataset.select_columns(["weight"])[rows[good]]["weight"])
    return PictureSet(
        name,
        pictures,
        good,
        source.nodes[rows[good]].astype(np.int64),
        tuple(columns["id"]),
        [tuple(captions) for captions in columns["captions"]],
        tuple(columns["group"]),
        weights,
    )


def _scale_weights(name: str, splits: Mapping[str, PictureSet]) -> dict[str, PictureSet]:
    """Return the splits with weights of mean 1 over the training pictures."""
    trained = splits["train"].weights if "train" in splits else None
    if trained is None or not len(trained):
        return dict(splits)
    mean = trained.mean()
    if not mean:
        raise DataError(
            f"{name}: all training pictures have the weight 0",
            "give those to learn from a greater one, or drop the column",
        )
    return {
        split: replace(pictures, weights=(pictures.weights / mean).astype(np.float32))
        for split, pictures in splits.items()
        if pictures.weights is not None
    }


def _check_enough(
    name: str, splits: Mapping[str, PictureSet], unreadable: Sequence[tuple[str, str]]
) -> None:
    for split in ("train", "val", "test"):
        if split in splits and len(splits[split]):
            continue
        if split in splits and unreadable:
            first = f"{unreadable[-1][0]}: {unreadable[-1][1]}"
            raise DataError(
                f"{name}: no picture of the split {split} can be read; one is {first}",
                "domainclip data inspect lists them all",
            )
        raise DataError(
            f"{name}: no picture is left for the split {split}",
            "give every label three pictures at least, or a split column that has all three",
        )


def _check_val(name: str, splits: Mapping[str, PictureSet]) -> None:
    if not np.isin(splits["val"].nodes, splits["train"].nodes).any():
        raise DataError(
            f"{name}: no label of the split val is trained on, so it cannot choose a checkpoint",
            "give it pictures of trained labels, or leave it out: it is then held out of train",
        )


def _leaks(digests: Mapping[str, Sequence[str]]) -> list[str]:
    """Say which splits share the same file."""
    found = {name: {one for one in several if one} for name, several in digests.items()}
    said = []
    for one, other in combinations(found, 2):
        if shared := len(found[one] & found[other]):
            said.append(
                f"{shared} picture{'s are' if shared > 1 else ' is'} both in {one} and in {other}; "
                "domainclip data inspect names them"
            )
    return said
