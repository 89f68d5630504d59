"""What a recipe asks of texts that the data cannot give, found out before the first step."""

from __future__ import annotations

from collections.abc import Sequence

from domainclip.errors import UsageError
from domainclip.recipe.schema import Recipe
from domainclip.recipe.yaml12 import dump_value

from .labels import NAME_VIEWS

_WAYS = (
    "give the data a column of captions, or write some by `domainclip caption` and join them by "
    "--data.captions FOLDER"
)


def has_captions(*sources: Sequence[Sequence[str]]) -> bool:
    """Return whether any picture has a caption in any source."""
    return any(captions for source in sources for captions in source)


def check_texts(recipe: Recipe, labelled: bool, *sources: Sequence[Sequence[str]]) -> list[str]:
    """Refuse a recipe that wants captions which are not there, or leaves nothing to say.

    `text.captions` and `text.both` alone are no demands: they speak of what there is.

    Args:
        recipe: The recipe.
        labelled: Whether labels tell the pictures apart; else captions do.
        sources: Sources of captions, each with the captions of every training picture.

    Returns:
        Lines on what comes to nothing without captions, or without labels.

    Raises:
        UsageError: With the key, and the way on.
    """
    text = recipe.text
    there = has_captions(*sources)
    demands = {
        "text.negatives": (text.negatives, 0),
        "text.parts": (text.parts, 0),
        "text.caption_draws": (text.caption_draws, 1),
        "text.nameless": (text.nameless, 0),
        "loss.gates": (recipe.loss.gates, False),
    }
    for key, (asked, least) in demands.items():
        if asked <= least:
            continue
        value, without = (dump_value(v) for v in (asked, least))
        if not there:
            raise UsageError(
                f"{key} is {value}, but no training picture has a caption",
                f"{_WAYS}; or go without: --{key} {without}",
            )
        if not text.captions:
            raise UsageError(
                f"{key} is {value}, but text.captions is 0: no caption is ever drawn",
                f"give it a share, such as --text.captions 0.5, or go without: --{key} {without}",
            )
    if there and labelled:
        return []
    if there and not text.captions:
        raise UsageError(
            "text.captions is 0, but no label tells the pictures apart: only captions do",
            "give it a share, such as --text.captions 0.8, or a column of labels by "
            "data.columns.label",
        )
    if there and text.prefix:
        raise UsageError(
            "text.prefix tells names from captions, but no label tells the pictures apart: there "
            "are no names",
            "go without: --text.prefix false",
        )
    if there:
        keys = {
            "text.both": text.both, "text.nameless": text.nameless, "loss.gates": recipe.loss.gates
        }  # fmt: skip
        said = "no label tells the pictures apart: pictures are paired with captions alone"
        if asked_for := ", ".join(key for key, wanted in keys.items() if wanted):
            said += f"; {asked_for} {'do' if ',' in asked_for else 'does'} nothing"
        return [said]
    if "names" not in recipe.model.heads:
        raise UsageError(
            "model.heads has captions alone, but no training picture has a caption",
            f"{_WAYS}; or train on names: --model.heads names",
        )
    if not any(getattr(text, view) for view in NAME_VIEWS):
        raise UsageError(
            f"text.{', text.'.join(NAME_VIEWS)} are all 0, and no training picture has a caption: "
            "nothing is left to say",
            f"give a view of names a weight, such as --text.formal 1; or {_WAYS}",
        )
    if not text.captions:
        return []
    idle = [f"text.captions {text.captions:g}"] + ["text.both"] * text.both
    if "captions" in recipe.model.heads:
        idle.append("the captions head")
    does = "does" if len(idle) == 1 else "do"
    return [
        "no training picture has a caption: pictures are paired with names alone; "
        f"{', '.join(idle)} {does} nothing"
    ]
