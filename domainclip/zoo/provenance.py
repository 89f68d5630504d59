"""Where a model comes from: step by step from a fine-tuned run to the weights it all began with.

A run writes into `domainclip.json` what it started from, with all that was known of that. So the
chain travels with the folder: the models below need not lie on this disk any more.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from domainclip import paths
from domainclip.errors import DataError, UsageError

from .licences import Licence, narrow, read_licence

CARD, RECORD, MODEL = "domainclip.json", "zoo.json", "model"
LEFT_OUT = ("about.", "out", "device", "domain", "data.workers", "data.cache_gb", "train.loggers")
"""Keys of a recipe that do not change what a model is, or that are told elsewhere."""

Kind = Literal["run", "zoo", "pretrained", "nothing"]


@dataclass(frozen=True)
class Step:
    """One model of a chain."""

    name: str
    """What people call it: its folder, its name in the zoo, or what the recipe named."""
    kind: Kind
    """Trained by a `run`, pulled into the `zoo`, `pretrained` elsewhere, or `nothing`: the chain
    begins with weights that were drawn at random."""
    domain: str = ""
    licence: str = ""
    """As it is said; "" where it is not."""
    commercial: Literal["yes", "no", "unknown"] = "unknown"
    derivatives: Literal["yes", "no", "unknown"] = "unknown"
    notice: str = ""
    """What a user must be told before use."""
    source: str = ""
    """Hub id that it was pulled from."""
    revision: str = ""
    """Commit of that."""
    checksums: Mapping[str, str] = field(default_factory=dict)
    """File -> sha256."""
    data: tuple[str, ...] = ()
    """What it was trained on; pictures that were replayed come second."""
    hub_data: tuple[str, ...] = ()
    """Those of them that are data sets of a Hub."""
    fingerprint: str = ""
    schematic: bool = False
    """Whether the pictures were drawn by code."""
    pictures: Mapping[str, int] = field(default_factory=dict)
    """Split -> pictures."""
    data_licences: Mapping[str, int] = field(default_factory=dict)
    """Licence -> training pictures under it; "" for those whose source says none."""
    captions: tuple[str, ...] = ()
    """Stored captions, `folder@generation`."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """The keys that differ from the defaults."""
    domainclip: str = ""
    """Version that made it."""
    commit: str = ""
    """Commit of the checkout that made it, where it was one."""
    made: str = ""
    """When, in UTC."""
    device: str = ""
    precision: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the step as JSON can say it, without what is not known."""
        return {key: value for key, value in asdict(self).items() if value not in ("", {}, ())}

    def terms(self) -> Licence:
        """Return what its licence and its card allow."""
        return narrow(
            read_licence(self.licence), commercial=self.commercial, derivatives=self.derivatives
        )

    def say(self) -> str:
        """Say the step in a line."""
        if self.kind == "nothing":
            return self.name
        facts = [f"{self.source}@{self.revision[:12]}".strip("@")] if self.source else []
        if self.kind == "run":
            facts += [f"trained on {' and '.join(self.data) or 'unknown data'}"]
            facts += [f"fingerprint {self.fingerprint}"] * bool(self.fingerprint)
            facts += [f"captions {', '.join(self.captions)}"] * bool(self.captions)
            code = f"domainclip {self.domainclip}" if self.domainclip else ""
            facts += [f"{code} ({self.commit[:12]})" if self.commit else code] * bool(code)
        facts += [f"licence {self.licence}" if self.licence else "licence not known"]
        return f"{self.name}: {'; '.join(facts)}"


def walk(folder: str | Path) -> list[Step]:
    """Return the chain of a model: itself first, the weights it all began with last.

    Args:
        folder: A model folder or a run folder.

    Raises:
        UsageError: If there is no model in it.
        DataError: If its record is not JSON.
    """
    place = find_model(folder)
    name = place.parent.name if place.name == MODEL else place.name
    return list(_steps(name, {"card": read_json(place / CARD), "zoo": read_json(place / RECORD)}))


def note_base(name: str) -> dict[str, Any] | None:
    """Return what is known of a model that training starts from, as a run keeps it.

    Args:
        name: As a recipe says it: a run or model folder, a model of the zoo, a Hub id, or an
            open_clip name with a tag.
    """
    place = _locate(name)
    if place is None:
        return _known_elsewhere(name)
    card = read_json(place / CARD)
    for heavy in ("candidates", "prefixes_note", "heads"):
        card.pop(heavy, None)
    return {"card": card, "zoo": read_json(place / RECORD)}


def recipe_differences(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a recipe, dotted, whose values are not the defaults, with the values."""
    from domainclip.recipe.schema import Recipe

    usual = _flat(Recipe(domain="x").model_dump(mode="json"))
    return {
        key: value
        for key, value in _flat(recipe).items()
        if usual.get(key) != value and not key.startswith(LEFT_OUT)
    }


def find_model(folder: str | Path) -> Path:
    """Return the model folder that a path means, without loading anything.

    Raises:
        UsageError: If there is none.
    """
    place = Path(folder).expanduser()
    for found in (place, place / MODEL):
        if (found / "open_clip_config.json").is_file():
            return found.resolve()
    raise UsageError(
        f"no model in {place}",
        "a model folder holds open_clip_config.json; a run folder holds it in model/",
    )


def _steps(name: str, note: Mapping[str, Any]) -> Iterator[Step]:
    card, record = note.get("card") or {}, note.get("zoo") or {}
    origin = card.get("provenance") or {}
    yield _step(name, card, record, origin)
    recipe = origin.get("recipe")
    if not recipe:
        return  # made elsewhere: what it began with, its publishers know
    base = origin.get("base")
    if base is None:
        seed = recipe.get("seed", 0)
        model = (recipe.get("model") or {}).get("name", "a model")
        yield Step(f"{model}, weights drawn at random (seed {seed})", "nothing")
        return
    below = origin.get("base_note")
    if below is None:  # older runs kept the name alone
        below = note_base(str(base))
    yield from _steps(str(base), below or {})


def _step(
    name: str, card: Mapping[str, Any], record: Mapping[str, Any], origin: Mapping[str, Any]
) -> Step:
    recipe = origin.get("recipe") or {}
    told = {**({} if recipe else origin), **(record.get("source") or {}), **record}
    licences = card.get("data_licences") or {}
    if not isinstance(licences, dict):  # older runs kept the words alone
        licences = {str(word): 0 for word in licences}
    asked = recipe.get("data") or {}
    first = "built-in pictures" if origin.get("schematic") else asked.get("source")
    data = [str(one) for one in (first or told.get("trained_on"), asked.get("replay")) if one]
    return Step(
        name=str(told.get("name") or name),
        kind="run" if recipe else "zoo" if told.get("name") else "pretrained",
        domain=str(card.get("domain") or ""),
        licence=str(card.get("licence") or told.get("licence") or ""),
        commercial=_allowed(told.get("commercial")),
        derivatives=_allowed(told.get("derivatives")),
        notice=str(card.get("notice") or told.get("notice") or ""),
        source=str(told.get("repo") or ""),
        revision=str(told.get("revision") or ""),
        checksums=dict(told.get("sha256") or {}),
        data=tuple(data),
        hub_data=tuple(origin.get("hub_data") or ()),
        fingerprint=str(origin.get("data") or "") if recipe else "",
        schematic=bool(origin.get("schematic")),
        pictures=dict(origin.get("pictures") or {}),
        data_licences=licences,
        captions=tuple(origin.get("captions") or ()),
        recipe=recipe_differences(recipe) if recipe else {},
        domainclip=str(origin.get("domainclip") or ""),
        commit=str(origin.get("commit") or "") if recipe else "",
        made=str(origin.get("started") or told.get("pulled") or ""),
        device=str(origin.get("processor") or "")
        if origin.get("device") == "cpu"
        else str(origin.get("device") or ""),
        precision=str(origin.get("precision") or ""),
    )


def _locate(name: str) -> Path | None:
    """Return the folder of a model on this disk, or None where it is named otherwise."""
    said = Path(name.removeprefix("local-dir:")).expanduser()
    pulled = paths.home_dir() / "zoo" / name
    with contextlib.suppress(UsageError, OSError):
        return find_model(said if said.is_dir() else pulled)
    return None


def _known_elsewhere(name: str) -> dict[str, Any] | None:
    """Return what a card of the zoo says of a model that is named by its Hub id."""
    if not name.startswith("hf-hub:"):
        return None
    repo, _, revision = name.removeprefix("hf-hub:").partition("@")
    told = _cards_by_repo().get(repo, {})
    return {"zoo": {**told, "repo": repo, "revision": revision or told.get("revision", "")}}


@cache
def _cards_by_repo() -> dict[str, dict[str, Any]]:
    from .catalogue import find_cards

    found = {}
    for entry in find_cards().values():
        with contextlib.suppress(DataError):  # a wrong card of another model is not ours to tell
            card = entry.read()
            found[card.source.repo] = {
                "licence": card.licence,
                "commercial": card.commercial,
                "derivatives": card.derivatives,
                "notice": card.notice,
                "revision": card.source.revision,
            }
    return found


def _allowed(said: Any) -> Literal["yes", "no", "unknown"]:
    return said if said in ("yes", "no") else "unknown"


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        nested = isinstance(value, dict) and key != "columns"
        flat |= _flat(value, f"{before}{key}.") if nested else {f"{before}{key}": value}
    return flat


def read_json(path: Path) -> dict[str, Any]:
    """Return the keys and values of a file beside a model; {} where there is none.

    Raises:
        DataError: If it is not such a file.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(said, dict):
        raise DataError(f"{path}: keys and values are expected")
    return said
