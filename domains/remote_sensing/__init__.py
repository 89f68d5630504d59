"""Remote sensing: land-cover and scene tiles seen from above."""

from __future__ import annotations

from domainclip.domains.contract import Domain

from .augment import augment
from .builtin import BUILTIN
from .knowledge import KNOWLEDGE
from .labels import RANKS, labels
from .prompts import PROMPTS
from .styles import STYLES, examples

DOMAIN = Domain(
    name="remote_sensing",
    title="Remote sensing",
    summary="Aerial and satellite tiles; built in are schematic land-cover tiles of 24 scenes.",
    ranks=RANKS,
    labels=labels,
    vocabularies={"formal": "class name", "common": "plain name"},
    prompts=PROMPTS,
    noun="tile",
    augment=augment,
    builtin=BUILTIN,
    knowledge=KNOWLEDGE,
    styles=STYLES,
    examples=examples,
    columns={
        "label": ("scene", "class_name", "land_cover", "landcover", "land_use"),
        "common": ("class_text", "plain_name"),
        "cover": ("land_cover_group", "category", "superclass"),
        "group": ("tile", "tile_id", "cell", "utm_cell", "grid_cell", "region"),
    },
)
