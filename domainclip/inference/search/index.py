"""An index of pictures in a folder: opened, made, and asked by words, by a picture, or by both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from domainclip.errors import UsageError
from domainclip.inference.encoding import Encoder
from domainclip.inference.pictures import Crop, Picture
from domainclip.model.clip import DomainClip

from .build import index_pictures
from .matches import Match, Matches
from .metadata import Metadata
from .planning import plan
from .query import Vector, compose
from .store import Store

Model = str | Path | DomainClip | Encoder


class SearchIndex:
    """Pictures that can be found by what they show and by what is known of them.

    Args:
        store: The folder with its table.
        model: What turns queries into vectors; unset, the model that the index says made it. It is
            loaded when first needed.
        device: `auto`, `cpu`, `cuda` or `mps`.

    Example:
        >>> index = SearchIndex.open("my-index")  # doctest: +SKIP
        >>> index.search("a red beetle", where="year > 2010", k=5)  # doctest: +SKIP
    """

    def __init__(self, store: Store, *, model: Model | None = None, device: str = "auto") -> None:
        self.store, self.device = store, device
        self._model = model

    @classmethod
    def open(
        cls, folder: str | Path, *, model: Model | None = None, device: str = "auto"
    ) -> SearchIndex:
        """Open the index of a folder.

        Raises:
            UsageError: If there is none, or a model is given that did not make it.
            DataError: If it cannot be read.
        """
        index = cls(Store.open(folder), model=model, device=device)
        if model is not None:
            index.encoder  # noqa: B018 - refused before anything is asked
        return index

    @classmethod
    def build(
        cls,
        folder: str | Path,
        model: Model,
        pictures: Iterable[str | Path | Crop],
        *,
        head: str = "captions",
        metadata: Sequence[str | Path] = (),
        device: str = "auto",
    ) -> SearchIndex:
        """Make an index, or add to it, and open it; `index_pictures` tells what came of it.

        Args:
            folder: The index.
            model: A model folder, a run folder, the name of a model, or a loaded one.
            pictures: Files, and boxes cut out of them.
            head: The projection head: `captions` to search by descriptions.
            metadata: Tables with a row for each picture.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            UsageError: If the index was made by another model or head.
            DataError: If the metadata does not fit.
        """
        encoder = _as_encoder(model, device)
        known = Metadata([Path(table) for table in metadata])
        index_pictures(folder, encoder, pictures, head=head, metadata=known)
        return cls.open(folder, model=encoder, device=device)

    def __len__(self) -> int:
        return self.store.count()

    @property
    def columns(self) -> list[str]:
        """What is known of each picture, and can be filtered by."""
        return list(self.store.columns)

    @cached_property
    def encoder(self) -> Encoder:
        """The model that made the index.

        Raises:
            UsageError: If it is not there any more, or another one is; both are named.
        """
        made = self.store.origin
        encoder = _as_encoder(made.model if self._model is None else self._model, self.device)
        try:
            digest = encoder.digest
        except UsageError as error:
            if self._model is not None:
                raise
            raise UsageError(
                f"the index {self.store.folder} was made by {made.model}: {error.message}",
                "--model RUN says where that model is now",
            ) from error
        if digest != made.digest:
            raise UsageError(
                f"the index {self.store.folder} was made by {made.model} ({made.digest[:8]}), and "
                f"{encoder.name} is another model ({digest[:8]})",
                "search with the model that made it, or index the pictures with the other",
            )
        return encoder

    def search(
        self,
        text: str | None = None,
        *,
        image: Picture | None = None,
        vector: ArrayLike | None = None,
        minus: str | None = None,
        weight: float = 0.5,
        where: str | None = None,
        k: int = 10,
        exact: bool = False,
    ) -> Matches:
        """Return the pictures that are nearest to what is asked, best first.

        Args:
            text: What they show; with a picture, how they differ from it.
            image: A picture that they are like.
            vector: In place of both, a vector like those of pictures, shape (dim,).
            minus: What they do not show, such as what a text change takes the place of.
            weight: How much the change counts beside the picture, from 0 to 1; see `compose`.
            where: Condition on the metadata in SQL, such as "year > 2010 AND place = 'Rome'".
            k: How many, at most.
            exact: Compare with all of them, however many there are.

        Raises:
            UsageError: If nothing is asked, the condition is wrong, or the model does not fit.
            UnreadableImage: If the picture cannot be read.
        """
        if k < 1:
            raise UsageError(f"k = {k}", "ask for at least one picture")
        rows = len(self)
        kept = rows if where is None else self.store.count(where)
        given = None if vector is None else self._check(vector)
        query = self._encode(text, image, minus, weight) if given is None else given
        worded = vector is None and (text is not None or minus is not None)
        chosen = plan(rows, kept, self.store.partitions, of_pictures=not worded, exact=exact)
        found = self.store.nearest(query, chosen, min(k, kept), where) if kept else []
        return Matches(
            tuple(Match.read(rank, row) for rank, row in enumerate(found, 1)),
            asked=_say(text, image, minus, where),
            how=chosen.said,
            query=image,
            reader=self.encoder.reader if vector is None else None,
        )

    def _encode(
        self, text: str | None, image: Picture | None, minus: str | None, weight: float
    ) -> Vector:
        """Return the vector of a query."""
        head = self.store.origin.head
        texts = [said for said in (text, minus) if said is not None]
        if any(not said.strip() for said in texts):
            raise UsageError("an empty text", "say what to look for")
        seen = None if image is None else self.encoder.encode([image], head)[0]
        read = iter(self.encoder.encode_texts(texts, head) if texts else ())
        wanted = None if text is None else next(read)
        return compose(seen, wanted, None if minus is None else next(read), weight)

    def _check(self, vector: ArrayLike) -> Vector:
        query = np.asarray(vector, dtype=np.float32).reshape(-1)
        if len(query) != self.store.origin.dim or not np.isfinite(query).all() or not query.any():
            raise UsageError(
                f"a vector of {len(query)} numbers has no direction among those of "
                f"{self.store.origin.dim}",
                "give one that the same model made",
            )
        return query


def _as_encoder(model: Model, device: str) -> Encoder:
    return model if isinstance(model, Encoder) else Encoder(model, device=device)


def _say(text: str | None, image: Any, minus: str | None, where: str | None) -> str:
    named = isinstance(image, str | Path | Crop)
    parts = [str(image) if named else "a picture"] if image is not None else []
    parts += [] if text is None else [f"“{text}”"]
    said = " + ".join(parts) or "a vector"
    said += "" if minus is None else f" − “{minus}”"
    return said if where is None else f"{said}, where {where}"
