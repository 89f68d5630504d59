"""Pictures and texts as unit vectors: read by threads, a batch ahead of the one computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from domainclip.data.batches import as_input
from domainclip.data.images import Reader, UnreadableImage
from domainclip.domains.registry import get_domain
from domainclip.model.clip import DomainClip, Preprocess
from domainclip.model.device import pick_device
from domainclip.model.digest import digest_folder, digest_weights
from domainclip.model.folder import load_model, read_card
from domainclip.zoo.resolving import find_model

from .pictures import Picture, is_one, read_picture
from .prompts import embed_labels

Precision = Literal["float32", "bfloat16"]


class Encoder:
    """A model that turns pictures and texts into unit vectors; it is loaded when first needed.

    Args:
        model: A model folder, a run folder, the name of a model, of the zoo or elsewhere, or a
            loaded model.
        device: `auto`, `cpu`, `cuda` or `mps`.
        batch_size: Pictures per forward pass.
        precision: The number format of the image tower.
    """

    def __init__(
        self,
        model: str | Path | DomainClip,
        *,
        device: str = "auto",
        batch_size: int = 64,
        precision: Precision = "float32",
    ) -> None:
        self.model, self.device = model, device
        self.batch_size, self.precision = batch_size, precision

    @cached_property
    def folder(self) -> Path | None:
        """The folder that the model lies in; None for one that is loaded or has a name.

        Raises:
            UsageError: If a model of the zoo is not pulled yet.
        """
        if isinstance(self.model, DomainClip):
            return None
        path = Path(find_model(self.model)).expanduser()
        return path if path.is_dir() else None

    @cached_property
    def card(self) -> dict[str, Any]:
        """What the model folder says of itself; {} where there is none."""
        return read_card(self.folder) if self.folder else {}

    @cached_property
    def network(self) -> DomainClip:
        """The loaded model, in eval mode.

        Raises:
            UsageError: If there is no such model or device.
        """
        if isinstance(self.model, DomainClip):
            return self.model.eval()
        return load_model(self.folder or self.model, device=pick_device(self.device))

    @cached_property
    def digest(self) -> str:
        """What tells this model from any other; weights in a folder need not be loaded for it."""
        return digest_folder(self.folder) if self.folder else digest_weights(self.network)

    @property
    def reader(self) -> Reader | None:
        """Opens what Pillow cannot, where the model's domain has such a reader."""
        return get_domain(self.card["domain"]).read_image if "domain" in self.card else None

    @property
    def lasts(self) -> bool:
        """Whether the model can be loaded again, so that what it computed is worth keeping."""
        return not isinstance(self.model, DomainClip)

    @property
    def name(self) -> str:
        """What people call the model."""
        return "a loaded model" if isinstance(self.model, DomainClip) else str(self.model)

    @property
    def place(self) -> torch.device:
        """The device that the weights are on."""
        return next(iter(self.network.parameters())).device

    def head(self, wanted: str) -> str:
        """Return the head that serves `wanted`: itself where the model has it, else `names`."""
        if not self.folder:
            return self.network.head(wanted)
        return wanted if wanted in self.card.get("heads", ()) else "names"

    def stream(
        self,
        images: Iterable[Picture],
        head: str = "names",
        skip: Callable[[Any, UnreadableImage], None] | None = None,
    ) -> Iterator[tuple[list[Any], Tensor]]:
        """Yield pictures with their unit vectors, shape (n, dim), float32, batch by batch.

        Args:
            images: The pictures; one alone is taken for itself.
            head: The projection head.
            skip: Told of each picture that cannot be read, which is then left out; None to raise.

        Raises:
            UnreadableImage: If a picture cannot be read and nobody is told.
        """
        for kept, pixels in self._read(images, skip):
            yield kept, self.encode_pixels(pixels, head)

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor, head: str = "names") -> Tensor:
        """Return unit vectors, shape (n, dim), of normalised pixels, shape (n, 3, size, size)."""
        half = self.precision == "bfloat16"
        with torch.autocast(self.place.type, torch.bfloat16, enabled=half):
            features = self.network.encode_image(pixels.to(self.place), head=head)
        return features.float()

    def encode(self, images: Iterable[Picture], head: str = "names") -> NDArray[np.float32]:
        """Return unit vectors of pictures, shape (n, dim).

        Raises:
            UnreadableImage: If a picture cannot be read.
        """
        parts = [features.cpu().numpy() for _, features in self.stream(images, head)]
        empty = np.zeros((0, int(self.network.config["embed_dim"])), np.float32)
        return np.concatenate(parts) if parts else empty

    def encode_texts(self, texts: Sequence[str], head: str = "captions") -> NDArray[np.float32]:
        """Return unit vectors of texts as they are, shape (n, dim)."""
        found = embed_labels(self.network, [[text] for text in texts], head=head)
        return found.cpu().numpy()

    def _read(
        self, images: Iterable[Any], skip: Callable[[Any, UnreadableImage], None] | None
    ) -> Iterator[tuple[list[Any], Tensor]]:
        """Yield batches of readable pictures; the next one is read while this one is computed."""
        pre = self.network.preprocess
        reader = self.reader

        def read(image: Picture) -> Tensor:
            return prepare(read_picture(image, reader=reader, side=pre.shortest), pre)

        source = iter([images] if is_one(images) else images)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:

            def start() -> list[tuple[Any, Future[Tensor]]]:
                return [(i, pool.submit(read, i)) for i in islice(source, self.batch_size)]

            waiting = start()
            while waiting:
                current, waiting = waiting, start()
                kept, pixels = [], []
                for image, future in current:
                    try:
                        pixels.append(future.result())
                        kept.append(image)
                    except UnreadableImage as error:
                        if skip is None:
                            raise
                        skip(image, error)
                if kept:
                    yield kept, torch.stack(pixels)


def prepare(image: Image.Image, preprocess: Preprocess) -> Tensor:
    """Return the image tower's input for an RGB picture, shape (3, size, size), normalised.

    The shortest side becomes `preprocess.shortest`, then the centre is cut out: the scale at which
    the model was tested. A model that was trained on squashed pictures gets one.
    """
    pre = preprocess
    if pre.mode == "squash" and image.width != image.height:
        image = image.resize((pre.shortest, pre.shortest), Image.Resampling.BICUBIC)
    return as_input(image, pre.shortest, pre.size, pre.mean, pre.std)
