"""What made vectors, and the table that they are kept in: one row a picture, box or text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from domainclip.errors import DataError, UsageError

from .encoding import Encoder
from .pictures import BOX, Crop

NAME, TEXT, VECTOR = "file_name", "text", "embedding"
"""Columns of a table of vectors; that of pictures has those of their boxes too."""
ORIGIN = b"domainclip"
"""Key of the origin in the metadata of a table."""

Kind = Literal["pictures", "texts"]


@dataclass(frozen=True)
class Origin:
    """What made vectors. Those of another model or head lie in another space."""

    model: str
    digest: str
    head: str
    dim: int
    kind: Kind = "pictures"

    @classmethod
    def of(cls, encoder: Encoder, head: str, kind: Kind = "pictures") -> Origin:
        """Return the origin of what a model computes under a head, or under `names` without it."""
        dim = int(encoder.network.config["embed_dim"])
        return cls(encoder.name, encoder.digest, encoder.head(head), dim, kind)

    @classmethod
    def parse(cls, said: bytes | str | None, where: str) -> Origin:
        """Return the origin that a file tells.

        Raises:
            DataError: If it tells none.
        """
        try:
            return cls(**json.loads(said or "{}"))
        except (ValueError, TypeError):
            raise DataError(
                f"{where} does not say which model made its vectors",
                "embed the pictures with domainclip embed",
            ) from None

    def check(self, asked: Origin, where: str, way_on: str) -> None:
        """Refuse to mix vectors.

        Args:
            asked: What is to be added to, or compared with, what is there.
            where: What has this origin.
            way_on: The hint of the error.

        Raises:
            UsageError: If model, head or kind differ; both are named.
        """
        if (self.digest, self.head, self.kind) != (asked.digest, asked.head, asked.kind):
            raise UsageError(f"{where} holds {self}, and not {asked}", way_on)

    def __str__(self) -> str:
        return f"{self.kind} by {self.model} ({self.digest[:8]}), head {self.head}"

    def dump(self) -> bytes:
        """Return what `parse` reads."""
        return json.dumps(asdict(self)).encode()

    def schema(self, boxed: bool = True) -> pa.Schema:
        """Return the columns of a table of vectors; the schema's metadata holds the origin."""
        boxes = [(name, pa.float64()) for name in BOX if boxed and self.kind == "pictures"]
        name = NAME if self.kind == "pictures" else TEXT
        vector = pa.list_(pa.float32(), self.dim)
        columns = [(name, pa.string()), *boxes, (VECTOR, vector)]
        return pa.schema(columns, metadata={ORIGIN: self.dump()})

    def rows(self, items: Iterable[str | Path | Crop], vectors: NDArray[np.float32]) -> pa.Table:
        """Return pictures or texts with their vectors, shape (n, dim), as a table."""
        items = list(items)
        columns: list[pa.Array] = [pa.array([plain(str(item)) for item in items], pa.string())]
        if self.kind == "pictures":
            for side in BOX:
                columns.append(
                    pa.array([getattr(item, side, None) for item in items], pa.float64())
                )
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, self.dim))
        return pa.Table.from_arrays(columns, schema=self.schema())


def plain(text: str) -> str:
    """Return a text as UTF-8 can hold it: names of files need not be valid."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def say_key(item: str | Path | Crop) -> str:
    """Return what tells a picture or text from the others.

    A box is told as a fragment, `a.jpg#xywh=10,20,30,40` (W3C Media Fragments URI 1.0, 4.2.2).
    """
    if not isinstance(item, Crop):
        return plain(str(item))
    return f"{plain(item.file)}#xywh={item.x:g},{item.y:g},{item.w:g},{item.h:g}"


def keys_of(table: pa.Table | pa.RecordBatch) -> list[str]:
    """Return the key of each row of a table of vectors."""
    names: list[str] = table.column(NAME if NAME in table.schema.names else TEXT).to_pylist()
    if BOX[0] not in table.schema.names:
        return names
    boxes = zip(*(table.column(side).to_pylist() for side in BOX), strict=True)
    return [
        name if box[0] is None else say_key(Crop(name, *box))
        for name, box in zip(names, boxes, strict=True)
    ]


def vectors_of(table: pa.Table | pa.RecordBatch) -> NDArray[np.float32]:
    """Return the vectors of a table of them, shape (n, dim)."""
    column = table.column(VECTOR)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat: NDArray[np.float32] = column.flatten().to_numpy()
    return flat.reshape(len(column), -1 if len(column) else 0)
