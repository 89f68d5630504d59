"""Batches of pictures: how those that a step takes become a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from domainclip.errors import UsageError

from .images import square
from .packed import Pictures
from .parallel import one_thread
from .sampling import StepSampler

Augment = Callable[..., Mapping[str, Any]]
"""An albumentations transform, called as `augment(image=array)["image"]`."""


@dataclass(frozen=True)
class PictureSet:
    """One split: pictures with their labels and captions; unreadable ones are not in it."""

    name: str
    pictures: Pictures = field(repr=False)
    rows: NDArray[np.int64] = field(repr=False)
    """Shape (n,): number of each picture in `pictures`."""
    nodes: NDArray[np.int64] = field(repr=False)
    """Shape (n,): label node of each picture."""
    ids: tuple[str, ...] = field(repr=False)
    captions: list[tuple[str, ...]] = field(repr=False)
    groups: tuple[str, ...] = field(repr=False)
    """Patient, slide, specimen; "" where none is known."""
    weights: NDArray[np.float32] | None = field(default=None, repr=False)
    """Shape (n,): weight of each picture with its text; 1 on average over the training split."""

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], int, tuple[str, ...]]:
        """Return pixels of shape (side, side, 3), label node and captions of one picture."""
        return self.read([index])[0], int(self.nodes[index]), self.captions[index]

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return whole pictures with their margin, shape (len(indices), side, side, 3)."""
        return self.pictures.read(self.rows[np.asarray(indices, dtype=np.int64)])


class Batch(NamedTuple):
    """What a loader gives."""

    pixels: torch.Tensor
    """uint8, shape (n, 3, size, size), in channels_last order. Of several processes that share a
    batch of n each has its own rows only: from rank * n / world to (rank + 1) * n / world."""
    nodes: torch.Tensor
    """int64, shape (n,): label nodes of the whole batch; -1 and below for replayed pictures."""
    indices: torch.Tensor
    """int64, shape (n,): indices into the `PictureSet`; replayed pictures come after its own."""
    step: int


class StepLoader(DataLoader[Batch]):
    """Training batches that a Lightning checkpoint can take up again at any step.

    Raises:
        UsageError: If the processes cannot share a batch evenly.
    """

    def __init__(self, batches: TrainBatches, sampler: StepSampler, workers: int) -> None:
        size, world = sampler.whole_size, batches.world
        if size % world:
            raise UsageError(
                f"{world} processes cannot share a batch of {size} pictures evenly",
                f"give a data.batch_size that {world} divides, such as {-(-size // world) * world}",
            )
        super().__init__(
            batches,  # type: ignore[arg-type]
            batch_sampler=sampler,  # type: ignore[arg-type]
            collate_fn=_same,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=one_thread,
            pin_memory=torch.cuda.is_available(),
        )
        self.steps_of = sampler
        self.next_step = sampler.start

    def __len__(self) -> int:
        """Return the number of steps of the whole run, those before a resume included."""
        return self.steps_of.steps

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Yield the batches from the next step on."""
        self.steps_of.start = self.next_step
        if self.num_workers:
            one_thread()  # before the fork
        for batch in super().__iter__():
            self.next_step = batch.step + 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the step to go on with."""
        return {"next_step": self.next_step}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on with the step of a checkpoint."""
        self.next_step = int(state["next_step"])


class TrainBatches:
    """Augmented batches of a picture set, one step at a time.

    Args:
        pictures: What steps draw from.
        augment: Gives pictures of the training size; None cuts their centre out.
        size: Side of a training picture in pixels; 0 where nobody looks at the pictures.
        seed: With the step and the rank, seeds the augmentation of a batch.
        rank: Number of this process among those that share a batch.
        world: How many these are; they divide the batch.
    """

    def __init__(
        self,
        pictures: PictureSet,
        augment: Augment | None,
        size: int,
        seed: int,
        *,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.pictures, self.augment, self.size, self.seed = pictures, augment, size, seed
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.pictures)

    def __getitems__(self, request: tuple[int, NDArray[np.int64]]) -> Batch:
        """Return the batch of one (step, indices)."""
        step, indices = request
        nodes, each = self.pictures.nodes[indices], len(indices) // self.world
        if not self.size:
            return _batch(np.empty((each, 0, 0, 3), np.uint8), nodes, indices, step)
        whole = self.pictures.read(indices[self.rank * each : (self.rank + 1) * each])
        if self.augment is None:
            pixels = cut_centre(whole, self.size)
        else:
            pixels = np.empty((len(whole), self.size, self.size, 3), np.uint8)
            self._seed(step)
            for i, picture in enumerate(whole):
                pixels[i] = self.augment(image=picture)["image"]
        return _batch(pixels, nodes, indices, step)

    def _seed(self, step: int) -> None:
        """Seed the augmentation, once a batch: the order within a batch is fixed."""
        words = [self.seed, 1, step, self.rank] if self.rank else [self.seed, 1, step]
        seed = np.random.SeedSequence(words).generate_state(1)[0]
        set_seed = getattr(self.augment, "set_random_seed", None)
        if set_seed is not None:
            set_seed(int(seed))


class _WholeBatches:
    """Batches of the centres of a picture set, in order."""

    def __init__(self, pictures: PictureSet, size: int) -> None:
        self.pictures, self.size = pictures, size

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = np.asarray(indices, dtype=np.int64)
        pixels = cut_centre(self.pictures.read(rows), self.size)
        return _batch(pixels, self.pictures.nodes[rows], rows, 0)


def whole_loader(
    pictures: PictureSet,
    size: int,
    batch_size: int,
    workers: int = 0,
    rows: range | None = None,
) -> DataLoader[Batch]:
    """Return a loader of the centres of pictures, in order and without augmentation.

    Args:
        pictures: The pictures.
        size: Side of a centre in pixels.
        batch_size: Pictures of a batch; the last one may have fewer.
        workers: Processes that prepare batches.
        rows: Which pictures; None for all.
    """
    if workers:
        one_thread()  # before the fork
    return DataLoader(
        _WholeBatches(pictures, size),  # type: ignore[arg-type]
        batch_size=batch_size,
        sampler=rows,
        collate_fn=_same,
        num_workers=workers,
        persistent_workers=workers > 0,
        worker_init_fn=one_thread,
        pin_memory=torch.cuda.is_available(),
    )


def _batch(
    pixels: NDArray[np.uint8], nodes: NDArray[np.int64], indices: NDArray[np.int64], step: int
) -> Batch:
    return Batch(
        torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2),
        torch.from_numpy(nodes.astype(np.int64)),
        torch.from_numpy(indices.astype(np.int64)),
        step,
    )


def as_input(
    picture: Image.Image,
    shortest: int,
    size: int,
    mean: Sequence[float],
    std: Sequence[float],
) -> Tensor:
    """Return an image tower's input for an RGB picture, shape (3, size, size), normalised.

    Args:
        picture: The picture.
        shortest: Pixels that its shortest side becomes.
        size: Side of the centre that is cut out then.
        mean: Mean of each channel, of values from 0 to 1.
        std: Standard deviation of each channel.
    """
    centre = cut_centre(square(picture, shortest), size)
    pixels = torch.from_numpy(centre.copy()).permute(2, 0, 1).float() / 255
    middle, spread = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return (pixels - middle) / spread


def cut_centre(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the centre of pictures of shape (..., side, side, 3): (..., size, size, 3)."""
    start = (pixels.shape[-2] - size) // 2
    return pixels[..., start : start + size, start : start + size, :]


def _same(batch: Any) -> Any:
    return batch
