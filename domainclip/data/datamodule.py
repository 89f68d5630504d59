"""The data of a run: from a recipe to splits, label tree and loaders."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError
from domainclip.recipe.schema import Recipe

from .batches import Augment, Batch, PictureSet, StepLoader, StepSampler, TrainBatches, whole_loader
from .builtin import SPLITS, load_builtin, split_sheets
from .decoding import Decoded, Decoder, find_unreadable, pack
from .joining import join_captions
from .packed import Packed, Pictures, fingerprint
from .parallel import cpu_count

if TYPE_CHECKING:
    from .sources import Source


@dataclass(frozen=True, kw_only=True)
class Opened:
    """Everything that was found out about the data."""

    tree: LabelTree
    splits: dict[str, PictureSet]
    """`train`, `val`, `test`, and `test_unseen` where there is one."""
    fingerprint: str
    """Changes with the pictures, their labels, captions and splits, and with the packing."""
    messages: list[str] = field(default_factory=list)
    """What people should know: guessed columns, made splits, warnings."""
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    """(sample id, reason) of pictures that were left out."""
    descriptions: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """Label node -> sentences that describe it without its name."""
    unseen: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    """Label nodes that no training picture has."""
    licences: tuple[str, ...] = ()
    """Licences of the pictures, where the source says them."""
    stored: Mapping[str, Sequence[Sequence[tuple[str, ...]]]] = field(default_factory=dict)
    """Split -> source of stored captions -> captions of each picture."""
    caption_sources: tuple[str, ...] = ()
    """Where they came from, `folder@generation`."""


class PictureData(L.LightningDataModule):
    """The pictures of a run, for training and for tests.

    Set `steps` before training; it is the length of the whole run. Texts are drawn elsewhere, from
    the sample indices of a batch.

    Args:
        opened: What was found.
        size: Side of a picture in pixels as the model takes it.
        seed: Seeds the order and the augmentation.
        batch_size: Pictures per training step.
        eval_batch_size: Pictures per batch of the other loaders.
        workers: Processes that prepare batches; None for none where pictures are packed, which
            costs less than a process, and one for each core where they are decoded at every use.
        augment: The domain's augmentation factory; None for none.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        size: int,
        seed: int = 0,
        batch_size: int = 128,
        eval_batch_size: int = 256,
        workers: int | None = None,
        augment: Callable[[int], Augment] | None = None,
    ) -> None:
        super().__init__()
        self.opened = opened
        self.tree, self.splits = opened.tree, opened.splits
        self.fingerprint, self.messages = opened.fingerprint, opened.messages
        self.unreadable, self.descriptions = opened.unreadable, opened.descriptions
        self.unseen, self.licences = opened.unseen, opened.licences
        self.stored, self.caption_sources = opened.stored, opened.caption_sources
        self.side = self.splits["train"].pictures.side
        self.captions = {name: split.captions for name, split in self.splits.items()}
        self.groups = {name: split.groups for name, split in self.splits.items()}
        self.ids = {name: split.ids for name, split in self.splits.items()}
        self.size, self.seed = size, seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        if workers is None:
            packed = all(isinstance(split.pictures, Packed) for split in self.splits.values())
            workers = 0 if packed else cpu_count()
        self.workers, self.augment = workers, augment
        self.steps = self.steps_per_epoch
        self.blind = False
        """True where training pictures are not needed, only which ones they are."""

    def reference_captions(self, split: str) -> list[str]:
        """Return one caption of each picture of a split: its first own one, else a stored one."""
        own, stored = self.captions[split], self.stored.get(split, ())
        every = [captions + sum(more, ()) for captions, *more in zip(own, *stored, strict=True)]
        return [captions[0] if captions else "" for captions in every]

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show every training picture once, rounded up."""
        return -(-len(self.splits["train"]) // self.batch_size)

    def train_dataloader(self) -> StepLoader:
        """Return the batches of steps 0 to `steps`; Lightning takes it up again by itself."""
        train = self.splits["train"]
        augment = self.augment(self.size) if self.augment else None
        batches = TrainBatches(train, augment, 0 if self.blind else self.size, self.seed)
        sampler = StepSampler(len(train), self.batch_size, self.seed, self.steps)
        return StepLoader(batches, sampler, self.workers)

    def loader(self, split: str) -> DataLoader[Batch]:
        """Return the pictures of a split as they are, in order."""
        pictures = self.splits[split]
        packed = isinstance(pictures.pictures, Packed)  # then a batch costs less than a process
        workers = 0 if packed else self.workers
        return whole_loader(pictures, self.size, self.eval_batch_size, workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the validation split as it is, in order."""
        return self.loader("val")

    def test_dataloaders(self) -> dict[str, DataLoader[Batch]]:
        """Return the test splits as they are, in order, by name."""
        return {name: self.loader(name) for name in self.splits if name.startswith("test")}


def open_data(recipe: Recipe, domain: Domain, size: int) -> PictureData:
    """Open the data that a recipe names, drawing or packing it where that has not been done.

    Args:
        recipe: The recipe.
        domain: The domain it names.
        size: Side of a picture in pixels as the model takes it.

    Raises:
        DataError: If the data cannot be used as it is.
        UsageError: If the recipe asks for what the data does not have.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # before a domain imports it
    if recipe.data.source == "builtin":
        opened = _open_builtin(recipe, domain, size)
    else:
        opened = _open_source(recipe, domain, size)
    if recipe.data.captions:
        opened = _join(opened, recipe)
    return PictureData(
        opened,
        size=size,
        seed=recipe.seed,
        batch_size=recipe.data.batch_size,
        eval_batch_size=recipe.evaluate.batch_size,
        workers=recipe.data.workers,
        augment=domain.augment if recipe.train.augment else None,
    )


def _join(opened: Opened, recipe: Recipe) -> Opened:
    seed = recipe.seed if recipe.data.source == "builtin" else None
    joined = join_captions(
        recipe.data.captions, opened.tree, opened.splits, seed, limited=recipe.data.limit > 0
    )
    return replace(
        opened,
        stored=joined.captions,
        caption_sources=joined.sources,
        fingerprint=fingerprint(opened.fingerprint, joined.digest),
        messages=[*opened.messages, *joined.messages],
    )


def packed_side(recipe: Recipe, size: int) -> int:
    """Return the side that pictures are packed at: with a margin where training takes crops.

    Tests cut the centre out of the same margin: random crops enlarge what they show, and a model
    tested on whole pictures would see everything smaller than it learned it (arXiv:1906.06423).
    """
    return round(size * (1 + recipe.data.margin)) if recipe.train.augment else size


def _open_builtin(recipe: Recipe, domain: Domain, size: int) -> Opened:
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
        fingerprint=fingerprint(tree.digest(), folders),
        messages=[f"built-in pictures of {domain.title.lower()}: schematic, not photographs"],
        descriptions={tree.node(s.label): builtin.describe(s.traits) for s in builtin.sheets()},
        unseen=np.array([tree.node(sheet.label) for sheet in unseen], dtype=np.int32),
    )


def _open_source(recipe: Recipe, domain: Domain, size: int) -> Opened:
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
    _check_enough(asked.source, splits, unreadable)
    _check_val(asked.source, splits)
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
        fingerprint=fingerprint(
            source.tree.digest(),
            source.stamps,
            source.dataset.remove_columns("image").to_dict(),
            side,
        ),
        messages=messages,
        unreadable=unreadable,
        unseen=np.array(sorted(unseen - trained), dtype=np.int32),
        licences=tuple(sorted(set(source.dataset["licence"]) - {""})),
    )


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
    return PictureSet(
        name,
        pictures,
        good,
        source.nodes[rows[good]].astype(np.int64),
        tuple(columns["id"]),
        [tuple(captions) for captions in columns["captions"]],
        tuple(columns["group"]),
    )


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
