"""Who captions clinical pictures and what counts: caption styles and example captions."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

from domainclip.domains.contract import CaptionStyle

TABLE = Path(__file__).parent / "data" / "examples.yaml"

_AVOID = (
    "diagnoses, causes, grades, stages, outlook and treatment",
    "the patient: age, sex, history, symptoms",
    "measures in units, magnification, and counts that the picture cannot settle",
    "comparison with pictures that are not here",
    "'normal' or 'abnormal' without the finding that is meant",
    "text, names and dates burned into the picture",
)

STYLES: Mapping[str, CaptionStyle] = {
    "default": CaptionStyle(
        role="You are a morphologist, a haematologist before a blood smear and a pathologist or "
        "radiologist before other pictures, and you describe findings without interpreting them",
        goal="Write a caption of the findings that another reader could confirm point by point",
        attend=(
            "what is shown: cell, tissue, organ, view",
            "shape and outline of the main structure, and of the nucleus where there is one",
            "inner texture: chromatin, granules, vacuoles, opacity, glands",
            "colour as stained, or brightness against the surroundings",
            "where a finding lies, and on which side if the picture marks it",
            "what is plainly absent although it is looked for",
        ),
        avoid=_AVOID,
        names="omit",
    ),
    "plain": CaptionStyle(
        role="You explain medical pictures to people without medical training",
        goal="Write a caption in everyday words that says what can be seen and alarms nobody",
        attend=(
            "what kind of picture it is",
            "the shape, colour and size of the main thing against what lies around it",
            "where it lies in the picture",
        ),
        avoid=(*_AVOID, "technical terms that have an everyday word", "reassurance and warning"),
        names="omit",
        max_words=25,
        excerpt=400,
    ),
    "report": CaptionStyle(
        role="You write the findings section of a report, and leave the impression to others",
        goal="Write the findings in the order in which a careful reader goes through the picture",
        attend=(
            "kind of picture, stain or view, and its quality",
            "each structure from the outside in, or along the path of the eye",
            "form, texture, colour or density of each",
            "what is looked for and not there",
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
