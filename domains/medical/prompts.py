"""Sentences that label names are put into, and how names are cleaned for them."""

from __future__ import annotations

from domainclip.domains.contract import PromptSet


def clean_name(name: str) -> str:
    """Write a class name as a sentence would: spaces, lower case, acronyms kept.

    >>> clean_name("Band_Neutrophil"), clean_name("NRBC")
    ('band neutrophil', 'NRBC')
    """
    words = name.replace("_", " ").split()
    return " ".join(w if len(w) > 1 and w.isupper() else w.lower() for w in words)


PROMPTS = {
    "default": PromptSet(
        templates=(
            "{}",
            "a medical picture of {}",
            "a microscope picture showing {}",
            "this picture shows {}",
        ),
        clean=clean_name,
    ),
    "plain": PromptSet(clean=clean_name),
}
