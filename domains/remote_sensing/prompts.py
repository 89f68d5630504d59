"""How a class name is cleaned and said at zero-shot time."""

from __future__ import annotations

import re

from domainclip.domains.contract import PromptSet


def clean_name(name: str) -> str:
    """Return a class name as words: `AnnualCrop` and `annual_crop` both become `annual crop`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.sub(r"[_/]+", " ", words).split()).lower()


PROMPTS = {
    "default": PromptSet(
        templates=(
            "a satellite photo of {}.",
            "a satellite image of {}.",
            "an aerial image of {}.",
            "{} seen from above.",
        ),
        clean=clean_name,
    ),
    "single": PromptSet(templates=("a satellite photo of {}.",), clean=clean_name),
    "pair": PromptSet(
        templates=("a satellite photo of {}.", "a satellite image of {}"), clean=clean_name
    ),
}
"""`single` and `pair` are the templates that published satellite models were tested with."""
