"""From what a user calls a model to what can be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from domainclip.domains.registry import find_domains
from domainclip.errors import UsageError

from .catalogue import find_cards, get_card, refuse_blocked
from .store import CONFIG, Place, find_pulled, get_pulled

if TYPE_CHECKING:
    from domainclip.model.clip import DomainClip

GENERAL = "general"


def find_model(name: str | Path, domain: str = "") -> str:
    """Return the folder of a model of the zoo; whatever else a model is named by, as it is.

    Folders that hold a model come first, then names of open_clip and of built-in configs, then the
    zoo: a name is looked up there where it is a whole one, or a short one that says which is meant.

    Args:
        name: A model folder, a run folder, a name of open_clip, `hf-hub:…`, `local-dir:…`,
            `domain/model`, or `model` alone.
        domain: The field to look in first for a short name.

    Raises:
        UsageError: If a model of the zoo is not pulled yet, cannot be loaded, or is one of several
            of that short name.
    """
    if _is_folder(name):
        return str(name)
    said = whole_name(name, domain)
    pulled = find_pulled()
    if said in pulled:
        return str(pulled[said])
    cards = find_cards()
    if said not in cards:
        return said
    card = cards[said].read()
    refuse_blocked(card)
    way = "import" if card.by_hand else "pull"
    file = " FILE" * card.by_hand
    raise UsageError(
        f"{card.name} is not on this machine yet", f"domainclip zoo {way} {card.name}{file}"
    )


def whole_name(name: str | Path, domain: str = "") -> str:
    """Return `domain/model` of a model of the zoo; whatever else a model is named by, as it is.

    Raises:
        UsageError: If several models of the zoo have a short name, or a whole one is mistyped.
    """
    said = str(name)
    if ":" in said or _is_folder(said):
        return said
    known = {*find_cards(), *find_pulled()}
    for one in (said, f"{domain}/{said}"):
        if one in known:
            return one
    field, slash, _ = said.partition("/")
    if slash and (field == GENERAL or field in find_domains()):
        get_card(said)  # raises with the nearest
    same = sorted(one for one in known if one.partition("/")[2] == said)
    if not same or _is_open_clip(said):
        return said
    if len(same) > 1:
        raise UsageError(f"{said!r} is one of {', '.join(same)}", "give the whole name")
    return same[0]


def load_model(path: str | Path, device: str = "cpu", *, domain: str = "") -> DomainClip:
    """Load a model folder, a run folder, a model of the zoo or any named model, for inference.

    Args:
        path: The folder or the name.
        device: `cpu`, `cuda` or `mps`.
        domain: The field to look in first for a short name of the zoo.

    Raises:
        UsageError: If there is no such model, or it has to be pulled first.
    """
    from domainclip.model.folder import load_model as load

    return load(find_model(path, domain), device)


def place_of(name: str, domain: str = "") -> Place:
    """Return the place of a pulled model, by `domain/model` or `model` alone.

    Raises:
        UsageError: If it is not there; it says how to get it.
    """
    pulled = find_pulled()
    for one in (name, f"{domain}/{name}"):
        if one in pulled:
            return Place(one)
    if [one.partition("/")[2] for one in pulled].count(name) == 1:
        return get_pulled(name)
    whole = get_card(name, domain).name
    find_model(whole)  # raises with the way to get it
    return Place(whole)


def _is_folder(name: str | Path) -> bool:
    """Return whether a model lies there; a folder of pictures takes no name from the zoo."""
    place = Path(name).expanduser()
    return any((place / part / CONFIG).is_file() for part in ("", "model"))


def _is_open_clip(name: str) -> bool:
    """Return whether a name is one of open_clip's or of a built-in config."""
    import open_clip

    from domainclip.model.folder import built_in_configs

    return name in {*built_in_configs(), *open_clip.list_models()}
