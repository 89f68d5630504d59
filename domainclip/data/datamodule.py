"""The data of a run: from a recipe to splits, label tree and loaders."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import lightning as L
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from domainclip.domains.contract import Domain
from domainclip.domains.labels import LabelTree
from domainclip.errors import DataError
from domainclip.recipe.schema import Recipe

from .batches import Augment, Batch, PictureSet, StepLoader, StepSampler, TrainBatches, whole_loader
from .builtin import load_builtin, split_sheets
from .packed import Packed, fingerprint


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
        workers: Processes that prepare training batches.
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
        workers: int = 1,
        augment: Callable[[int], Augment] | None = None,
    ) -> None:
        super().__init__()
        self.opened = opened
        self.tree, self.splits = opened.tree, opened.splits
        self.fingerprint, self.messages = opened.fingerprint, opened.messages
        self.unreadable, self.descriptions = opened.unreadable, opened.descriptions
        self.unseen = opened.unseen
        self.captions = {name: split.captions for name, split in self.splits.items()}
        self.groups = {name: split.groups for name, split in self.splits.items()}
        self.ids = {name: split.ids for name, split in self.splits.items()}
        self.size, self.seed = size, seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.workers, self.augment = workers, augment
        self.steps = self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show every training picture once, rounded up."""
        return -(-len(self.splits["train"]) // self.batch_size)

    def train_dataloader(self) -> StepLoader:
        """Return the batches of steps 0 to `steps`; Lightning takes it up again by itself."""
        train = self.splits["train"]
        batches = TrainBatches(
            train, self.augment(self.size) if self.augment else None, self.size, self.seed
        )
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
        raise DataError(f"{recipe.data.source}: only built-in data can be opened yet")
    return PictureData(
        opened,
        size=size,
        seed=recipe.seed,
        batch_size=recipe.data.batch_size,
        eval_batch_size=recipe.evaluate.batch_size,
        workers=recipe.data.workers,
        augment=domain.augment if recipe.train.augment else None,
    )


def packed_side(recipe: Recipe, split: str, size: int) -> int:
    """Return the side that a split is packed at: training pictures have a margin for crops."""
    if split != "train" or not recipe.train.augment:
        return size
    return round(size * (1 + recipe.data.margin))


def _open_builtin(recipe: Recipe, domain: Domain, size: int) -> Opened:
    builtin, tree = domain.builtin, domain.labels()
    names = [name for name in ("train", "val", "test", "test_unseen") if builtin.sizes.get(name)]
    splits = {}
    for name in names:
        drawn = load_builtin(
            domain,
            name,
            size=packed_side(recipe, name, size),
            seed=recipe.seed,
            count=recipe.data.train or None if name == "train" else None,
        )
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
        fingerprint=fingerprint(
            tree.digest(), *((n, _folder_name(split)) for n, split in splits.items())
        ),
        messages=[f"built-in pictures of {domain.title.lower()}: schematic, not photographs"],
        descriptions={tree.node(s.label): builtin.describe(s.traits) for s in builtin.sheets()},
        unseen=np.array([tree.node(sheet.label) for sheet in unseen], dtype=np.int32),
    )


def _folder_name(split: PictureSet) -> str:
    pictures = split.pictures
    return pictures.folder.name if isinstance(pictures, Packed) else ""
