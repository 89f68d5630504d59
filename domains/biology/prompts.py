"""Sentences that label names are put into, and how names are cleaned for them."""

from __future__ import annotations

from domainclip.domains.contract import PromptSet


def clean_name(name: str) -> str:
    """Return a name with spaces for underscores; capitals stay, since a genus has one.

    >>> clean_name("Danaus_plexippus")
    'Danaus plexippus'
    """
    return " ".join(name.replace("_", " ").split())


PROMPTS = {
    "default": PromptSet(
        templates=("{}", "a photo of {}.", "a picture of {}.", "a close-up photo of {}."),
        clean=clean_name,
    ),
    "plain": PromptSet(clean=clean_name),
    "single": PromptSet(templates=("a photo of {}.",), clean=clean_name),
}
"""`plain` and `single` say a name once: fewer texts, for very many labels."""
