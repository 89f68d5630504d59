"""Who captions living things and what counts: caption styles and example captions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from domainclip.domains.contract import CaptionStyle

TABLE = Path(__file__).parent / "data" / "examples.yaml"

_AVOID = (
    "counts and measures, unless something in the picture gives the scale",
    "behaviour, sound, season, range and habitat beyond what lies around the organism",
    "sex, age or life stage, unless a visible character shows it",
    "guesses about hidden parts, and words of doubt such as 'possibly'",
    "praise, mood and remarks on the photograph",
)

STYLES: Mapping[str, CaptionStyle] = {
    "default": CaptionStyle(
        role="You are a naturalist trained in comparative morphology: an entomologist before an "
        "insect, a botanist before a plant, and so for every group",
        goal="Write a caption that lets a colleague tell this organism from its relatives by what "
        "the picture shows",
        attend=(
            "marks that set it apart from similar kinds",
            "colour and where on the body it lies",
            "pattern: bands, spots, eyespots, veins, margins",
            "shape and proportion of parts, by their proper names",
            "surface: hairs, scales, gloss, ridges",
            "side and pose that are seen, and what it rests on",
        ),
        avoid=_AVOID,
        names="omit",
    ),
    "field_guide": CaptionStyle(
        role="You write the plates of a field guide that beginners carry outdoors",
        goal="Write a caption that points a beginner to the marks to look for, in everyday words",
        attend=(
            "the one or two marks that are seen at a glance",
            "overall colour, size class and build",
            "where the marks lie: head, wing, leaf edge, cap",
            "the setting, as far as it is in the picture",
        ),
        avoid=(*_AVOID, "technical terms that have an everyday word"),
        names="say",
        max_words=25,
    ),
    "museum": CaptionStyle(
        role="You are a curator who describes specimens for a collection catalogue",
        goal="Write a catalogue description of the specimen as it lies before you",
        attend=(
            "aspect: dorsal, ventral, lateral, or the organ shown",
            "form of each visible part in the terms of its group",
            "ground colour, then markings from base to tip or head to tail",
            "condition: worn, faded, broken or missing parts",
            "mount: pin, sheet, slide, drawer, background",
        ),
        avoid=(*_AVOID, "text on labels, numbers of the collection"),
        names="omit",
        form="dense",
        max_words=70,
        excerpt=900,
    ),
}


@cache
def examples() -> Mapping[str, tuple[str, ...]]:
    """Read the example captions that ship with the plug, by group."""
    table = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: tuple(captions) for name, captions in table.items()}
