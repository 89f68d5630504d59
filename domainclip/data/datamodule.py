"""The data of a run: from a recipe to splits, label tree and loaders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import lightning as L
import numpy as np
from torch.utils.data import DataLoader

from domainclip.domains.contract import Domain
from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe

from .batches import Augment, Batch, StepLoader, TrainBatches, whole_loader
from .joining import join_captions
from .opening import Opened, open_builtin, open_own, packed_side
from .packed import Packed
from .parallel import cpu_count
from .replay import append_replay, hold_out, open_replay
from .sampling import StepSampler, even_out, find_parents, group_for_balance, say_sisters


class PictureData(L.LightningDataModule):
    """The pictures of a run, for training and for tests.

    Before training set `steps`, the length of the whole run, and where several processes share each
    batch `rank` and `world`: the number of this one, and how many they are. Texts are drawn
    elsewhere, from the sample indices of a batch.

    Args:
        opened: What was found.
        recipe: Says batch sizes, seed, workers, and which pictures a step takes.
        size: Side of a picture in pixels as the model takes it.
        augment: Gives the augmentation for a side in pixels; None for none.

    Raises:
        UsageError: If `data.balance` is no rank of the data.
    """

    def __init__(
        self,
        opened: Opened,
        recipe: Recipe,
        size: int,
        augment: Callable[[int], Augment] | None = None,
    ) -> None:
        super().__init__()
        self.opened = opened
        self.tree, self.splits = opened.tree, opened.splits
        self.fingerprint, self.parts = opened.fingerprint, opened.parts
        self.messages = opened.messages
        self.unreadable, self.descriptions = opened.unreadable, opened.descriptions
        self.unseen, self.licences = opened.unseen, opened.licences
        self.stored, self.caption_sources = opened.stored, opened.caption_sources
        self.side = self.splits["train"].pictures.side
        self.captions = {name: split.captions for name, split in self.splits.items()}
        self.groups = {name: split.groups for name, split in self.splits.items()}
        self.ids = {name: split.ids for name, split in self.splits.items()}
        self.size, self.seed, self.augment = size, recipe.seed, augment
        self.batch_size, self.eval_batch_size = recipe.data.batch_size, recipe.evaluate.batch_size
        self.replay, self.replayed = opened.replay, recipe.data.replayed
        self.held = opened.held
        train = self.splits["train"]
        self.drawn = train if self.replay is None else append_replay(train, self.replay)
        """What steps draw from: the training pictures, and the replayed ones after them."""
        sets = [*self.splits.values(), *([self.replay] if self.replay else [])]
        packed = all(isinstance(one.pictures, Packed) for one in sets)
        workers = recipe.data.workers
        if workers is None:  # a packed picture costs less than a process
            workers = 0 if packed else cpu_count()
        self.workers = workers
        self.often = None
        if recipe.data.balance:
            groups = group_for_balance(self.tree, train.nodes, recipe.data.balance)
            self.often = even_out(groups, recipe.data.balance_at)
            least, most = self.often.min(), self.often.max()
            said = f"data.balance: a picture comes {least:.2g} to {most:.2g} times in an epoch"
            self.messages = [*self.messages, said]
        own = self.batch_size - self.replayed
        self.sisters, self.labels = recipe.data.sisters, None
        if self.sisters:
            self.labels = np.stack([train.nodes, find_parents(self.tree, train.nodes)], axis=1)
            self.messages = [*self.messages, say_sisters(self.labels, self.sisters, own)]
        self.steps, self.rank, self.world = self.steps_per_epoch, 0, 1
        self.blind = False
        """True where training pictures are not needed, only which ones they are."""

    def reference_captions(self, split: str) -> list[str]:
        """Return one caption of each picture of a split: its first own one, else a stored one."""
        own, stored = self.captions[split], self.stored.get(split, ())
        every = [captions + sum(more, ()) for captions, *more in zip(own, *stored, strict=True)]
        return [captions[0] if captions else "" for captions in every]

    @property
    def labelled(self) -> bool:
        """Whether labels tell training pictures apart; else only captions do."""
        return len(np.unique(self.splits["train"].nodes)) > 1

    @property
    def steps_per_epoch(self) -> int:
        """Steps that show every training picture once, rounded up."""
        return -(-len(self.splits["train"]) // (self.batch_size - self.replayed))

    def train_dataloader(self) -> StepLoader:
        """Return the batches of steps 0 to `steps`; Lightning takes it up again by itself."""
        train = self.splits["train"]
        batches = TrainBatches(
            self.drawn,
            self.augment(self.size) if self.augment else None,
            0 if self.blind else self.size,
            self.seed,
            rank=self.rank,
            world=self.world,
        )
        again = None
        if self.replay is not None and self.replayed:
            seed = int(np.random.SeedSequence([self.seed, 4]).generate_state(1)[0])
            again = StepSampler(len(self.replay), self.replayed, seed, self.steps)
        sampler = StepSampler(
            len(train),
            self.batch_size - self.replayed,
            self.seed,
            self.steps,
            often=self.often,
            labels=self.labels,
            sisters=self.sisters,
            replay=again,
        )
        return StepLoader(batches, sampler, self.workers)

    def loader(self, split: str, rows: range | None = None) -> DataLoader[Batch]:
        """Return the pictures of a split, `drawn` or `held`, as they are and in order.

        Args:
            split: The split.
            rows: Which of its pictures; None for all.
        """
        others = {"drawn": self.drawn, "held": self.held}
        pictures = others.get(split) or self.splits[split]
        packed = isinstance(pictures.pictures, Packed)  # then a batch costs less than a process
        workers = 0 if packed else self.workers
        return whole_loader(pictures, self.size, self.eval_batch_size, workers, rows)

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
    _check(recipe)
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # before a domain imports it
    if recipe.data.source == "builtin":
        opened = open_builtin(recipe, domain, size)
    else:
        opened = open_own(recipe, domain, size)
    if recipe.data.replay:
        opened = _add_replay(opened, recipe, domain, packed_side(recipe, size))
    if recipe.data.captions:
        opened = _join(opened, recipe)
    return PictureData(opened, recipe, size, _find_augment(recipe, domain))


def _find_augment(recipe: Recipe, domain: Domain) -> Callable[[int], Augment] | None:
    if not recipe.train.augment:
        return None
    if recipe.train.crop is None:
        return domain.augment
    return partial(domain.augment, crop=recipe.train.crop)


def _add_replay(opened: Opened, recipe: Recipe, domain: Domain, side: int) -> Opened:
    replay = open_replay(recipe, domain, side)
    pictures, held = replay.pictures, None
    if recipe.train.wise_ft:
        pictures, held = hold_out(pictures, recipe.seed)
    return replace(
        opened,
        replay=pictures,
        held=held,
        parts={**opened.parts, "replay": replay.digest},
        messages=[*opened.messages, *replay.messages],
        licences=dict(sorted((Counter(opened.licences) + Counter(replay.licences)).items())),
    )


def _check(recipe: Recipe) -> None:
    """Refuse what does not go together, before anything is opened."""
    data = recipe.data
    if data.builtin != "standard" and data.source != "builtin":
        raise UsageError(
            f"data.builtin: {data.builtin} is for built-in pictures, not for {data.source}",
            "leave out data.builtin, or data.source",
        )
    if data.replay and not 0 < data.replayed < data.batch_size:
        raise UsageError(
            f"data.replay_share {data.replay_share:g} of a batch of {data.batch_size} is "
            f"{data.replayed} pictures; both sources need one at least",
            "0.1 is usual; leave out data.replay to replay nothing",
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
        parts={**opened.parts, "stored captions": joined.digest},
        messages=[*opened.messages, *joined.messages],
    )
