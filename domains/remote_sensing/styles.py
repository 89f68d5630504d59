"""Who captions views from above and what counts: caption styles and example captions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from domainclip.domains.contract import CaptionStyle

TABLE = Path(__file__).parent / "data" / "examples.yaml"

_AVOID = (
    "compass directions, since the tile may be turned; say 'along one edge' or 'diagonally'",
    "names of places, countries and owners",
    "distances, areas, heights and exact counts",
    "dates, sensors, resolution and the height of the camera",
    "what people do there, past and future change, and causes",
    "clouds as ground cover",
)

STYLES: Mapping[str, CaptionStyle] = {
    "default": CaptionStyle(
        role="You are an analyst of aerial and satellite pictures who reports only what the tile "
        "itself shows",
        goal="Write a caption by which this tile can be found among tiles of similar cover",
        attend=(
            "what covers most of the ground, with its colour and texture",
            "buildings: size, roofs, how close they stand",
            "roads and tracks: straight, curved, in a grid",
            "water: shape and place in the tile",
            "plants: closed, scattered, in rows",
            "objects such as cars, boats and panels, and how they are arranged",
            "light, season and haze as far as they are seen",
        ),
        avoid=_AVOID,
        names="omit",
    ),
    "map": CaptionStyle(
        role="You draw land-cover maps and write their legends",
        goal="Write a legend entry for the cover of this tile, as one would to draw its outline",
        attend=(
            "the main cover and its share: all, most, half",
            "the second cover, and how the two meet",
            "lines that cross: roads, rails, channels",
            "texture that tells this cover from a similar one",
        ),
        avoid=(*_AVOID, "single small objects", "light and season"),
        names="say",
        form="line",
        max_words=15,
        excerpt=400,
    ),
    "survey": CaptionStyle(
        role="You survey tiles one by one for people who cannot see them",
        goal="Describe the tile so completely that it could be sketched from your words",
        attend=(
            "the ground, its colour and texture",
            "every kind of thing on it, with shape and arrangement",
            "where each lies: centre, corner, along an edge, across the tile",
            "what is plainly absent, such as water, roads or buildings",
        ),
        avoid=_AVOID,
        names="omit",
        form="dense",
        max_words=80,
        excerpt=900,
    ),
}


@cache
def examples() -> Mapping[str, tuple[str, ...]]:
    """Read the example captions that ship with the plug, by group."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: tuple(captions) for name, captions in table.items()}
