"""Says tiles in words: every value of a trait has wording of its own, and no scene is named.

The same few words always stand for the same value, so that a description of an unseen scene is
made of words that seen scenes were captioned with. Directions are said relative to the tile's own
rim ("set diagonally") and never as compass points, which augmentation by turns would make false.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from domainclip.domains.contract import Traits

COVERS = {"green": "green", "brown": "brown", "grey": "grey", "sandy": "sandy"}
TEXTURES = {
    "smooth": "smooth",
    "speckled": "speckled",
    "furrowed": "furrowed",
    "rippled": "rippled",
    "patchwork": "patchwork",
    "stepped": "stepped",
    "circles": "circle-patterned",
}
PARTS: dict[str, dict[str, tuple[str, str]]] = {
    "buildings": {
        "few houses": ("a few small houses", "few small houses"),
        "packed houses": ("tightly packed small houses", "many packed small houses"),
        "halls": ("large flat halls", "large halls with flat roofs"),
        "arena": ("an oval arena", "one large oval arena"),
    },
    "roads": {
        "straight": ("one straight road", "a single straight road"),
        "grid": ("a road grid", "roads in a grid"),
        "winding": ("a curving road", "one curving road"),
        "double": ("a broad double road", "a double road with marked lanes"),
        "strip": ("a broad paved strip", "one paved strip with white marks"),
    },
    "plants": {
        "scattered": ("scattered trees", "single scattered trees"),
        "rows": ("rows of trees", "trees in straight rows"),
        "clumps": ("clumps of trees", "trees in dark clumps"),
        "canopy": ("a closed tree canopy", "trees in a closed canopy"),
    },
    "objects": {
        "cars": ("parked cars", "many parked cars"),
        "boats": ("white boats", "small white boats"),
        "panels": ("rows of dark panels", "long rows of dark panels"),
        "tracks": ("parallel steel tracks", "a band of parallel steel tracks"),
    },
    "water": {
        "channel": ("a winding water channel", "water in a winding channel"),
        "round": ("a round pool of water", "one round pool of water"),
        "edge": ("open water along one edge", "water along one edge"),
    },
}
"""Two wordings by trait and value; the first is that of the reference caption."""

ABSENT = {
    "water": "no water",
    "buildings": "no buildings",
    "plants": "no trees",
    "roads": "no roads",
}
SEASONS = {"green": "green-season", "dry": "dry-season", "snow": "snow-dusted"}
RUNNING = {"straight", "double", "strip", "grid", "tracks", "rows", "furrowed", "edge", "rippled"}
"""Values whose direction can be seen."""

_LONGEST = 25


def ground(traits: Traits) -> str:
    """Return the words for the ground, such as "speckled brown ground"."""
    return f"{TEXTURES[traits['texture']]} {COVERS[traits['ground']]} ground"


def parts(traits: Traits, wording: int = 0) -> list[str]:
    """Return the words for all that the sheet says is there, buildings first."""
    present = ((trait, traits[trait]) for trait in PARTS)
    return [PARTS[trait][value][wording] for trait, value in present if value != "none"]


def absent(traits: Traits) -> list[str]:
    """Return the words for what the sheet says is not there."""
    return [words for trait, words in ABSENT.items() if traits[trait] == "none"]


def join(items: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def captions(traits: Traits, rng: np.random.Generator) -> tuple[str, ...]:
    """Say one tile: the reference caption of 15 to 25 words first, then its sheet, then less.

    Args:
        traits: All traits of the sheet and of the individual.
        rng: Chooses what the shorter ones say, and how.
    """
    there, lacking = parts(traits), absent(traits)
    some = [str(part) for part in rng.permutation(parts(traits, int(rng.integers(2))))]
    some_lacking = [str(part) for part in rng.permutation(lacking)[:2]]
    shorter = [
        f"{_capital(ground(traits))} with {join(some[-2:] or some_lacking)}.",
        f"An aerial tile with {join([*some[:1], *some_lacking])}.",
        f"A {SEASONS[traits['season']]} tile of {ground(traits)}.",
    ]
    if some:
        shorter.append(f"{_capital(join(some[:2]))} on {ground(traits)}.")
    said = describe(traits)
    whole = said[int(rng.integers(len(said)))]
    return (_reference(traits, there, lacking), *dict.fromkeys([whole, *shorter]))


def describe(traits: Traits) -> tuple[str, ...]:
    """Say a label by all traits of its sheet, in four ways."""
    first, second = parts(traits), parts(traits, 1)
    lacking = absent(traits)
    without = f", {join(lacking)}" if lacking else ""
    return (
        f"An aerial tile of {_with(ground(traits), first)}{without}.",
        f"{_capital(_with(ground(traits), second[::-1]))}{without}.",
        f"{_capital(join([*first[::-1], *lacking]))} on {ground(traits)}.",
        f"A tile seen from above with {join([*second, ground(traits), *lacking])}.",
    )


def _reference(traits: Traits, there: list[str], lacking: list[str]) -> str:
    """Return the full sentence: the sheet's parts, then as much of the individual as fits."""
    season = SEASONS[traits["season"]]
    if there:
        body = f"tile with {join(there)} on {ground(traits)}"
    else:
        body = f"tile of {ground(traits)} with {join(lacking)}"
        lacking = []
    head = f"A {traits['air']} {season} {body}"
    if len(head.split()) > _LONGEST:
        head = f"A {season} {body}"
    room = _LONGEST - len(head.split())
    tail = []
    for words in _extras(traits, lacking):
        if len(words.split()) <= room:
            tail.append(words)
            room -= len(words.split())
    return ", ".join([head, *tail]) + "."


def _extras(traits: Traits, lacking: Iterable[str]) -> list[str]:
    """Return what a caption may add, the most telling first."""
    seen = {traits[trait] for trait in ("texture", "water", "roads", "plants", "objects")}
    extras = []
    if traits["sky"] == "cloudy":
        extras.append("under small clouds")
    if traits["direction"] == "diagonal" and seen & RUNNING:
        extras.append("set diagonally")
    extras.append("long shadows" if traits["sun"] == "low" else "short shadows")
    return [*extras, *list(lacking)[:2]]


def _with(start: str, items: Sequence[str]) -> str:
    return f"{start} with {join(items)}" if items else start


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
