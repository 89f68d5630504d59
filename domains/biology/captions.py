"""Says a butterfly in words, never by its name: captions of a picture, descriptions of a label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from domainclip.domains.contract import Traits

MARKS = {
    "plain": "",
    "banded": "a broad {} band",
    "striped": "{} stripes",
    "spotted": "{} spots",
    "checkered": "{} checks",
    "patched": "{} patches",
}
PRESENT: Mapping[str, Mapping[str, str]] = {
    "wing tips": {
        "black": "black wingtips",
        "orange": "orange wingtips",
        "white-spotted": "white-spotted black wingtips",
    },
    "margin": {
        "black": "a black margin",
        "white-spotted": "a white-spotted black margin",
        "blue-spotted": "a blue-spotted black margin",
        "orange-spotted": "an orange-spotted margin",
    },
    "veins": {"dark": "dark veins"},
    "eyespots": {
        "forewing": "an eyespot on each forewing",
        "hindwing row": "a row of eyespots on the hindwings",
        "large": "large eyespots on all wings",
        "red": "a red spot on each hindwing",
    },
    "tails": {"short": "short tails", "long": "long tails", "thread": "thread-like tails"},
}
ABSENT = {
    "wing tips": "no coloured wingtips",
    "margin": "a plain margin",
    "veins": "no dark veins",
    "eyespots": "no eyespots",
    "tails": "no tails",
}
PLACES = {
    "green leaf": "on a green leaf",
    "pink flower": "on a pink flower",
    "bare soil": "on bare soil",
    "grey rock": "on a grey rock",
    "white sheet": "on a white sheet",
    "blue sky": "against a blue sky",
}


def captions(traits: Traits, rng: np.random.Generator) -> tuple[str, ...]:
    """Say one picture: the reference caption, then four shorter or partial ones.

    Args:
        traits: The traits of the sheet and of the individual.
        rng: Picks what the partial captions say.
    """
    who = f"{traits['wear']} {traits['sex']}"
    where = f"{traits['pose']} {PLACES[traits['background']]}"
    ground, shape = traits["ground colour"], traits["wing shape"]
    shown, whole = _shown(traits), _whole(traits)
    some = [shown[i] for i in sorted(rng.choice(len(shown), min(2, len(shown)), replace=False))]
    more = [whole[i] for i in sorted(rng.choice(len(whole), 3, replace=False))]
    ways = describe(traits)
    said = (
        f"{_article(who)} {who} with {_listing([_wings(traits), *shown])}, {where}",
        ways[int(rng.integers(len(ways)))],
        f"{_article(ground)} {ground} butterfly with {_listing(some)}",
        f"{shape} wings with {_listing(more)}",
        f"{_article(who)} {who} butterfly with {ground} wings, {where}",
    )
    return tuple(map(_sentence, said))


def describe(traits: Traits) -> tuple[str, ...]:
    """Say a label by all traits of its sheet, in four ways; traits of an individual are ignored."""
    wings, whole, ground = _wings(traits), _whole(traits), traits["ground colour"]
    said = (
        f"a butterfly with {_listing([wings, *whole])}",
        _listing([wings, *whole]),
        f"a butterfly with {_listing([wings, *reversed(whole)])}",
        f"{_article(ground)} {ground} butterfly with "
        + _listing([wings.replace(f" {ground}", ""), *whole]),
    )
    return tuple(map(_sentence, said))


def _wings(traits: Traits) -> str:
    plain = "plain " if traits["pattern"] == "plain" else ""
    return f"{plain}{traits['wing shape']} {traits['ground colour']} wings"


def _marks(traits: Traits) -> list[str]:
    said = MARKS[traits["pattern"]].format(traits["marking colour"])
    return [said] if said else []


def _shown(traits: Traits) -> list[str]:
    """Say the traits that stand out, and whether there are tails."""
    said = [says[traits[name]] for name, says in PRESENT.items() if traits[name] in says]
    return _marks(traits) + said + ([ABSENT["tails"]] if traits["tails"] == "none" else [])


def _whole(traits: Traits) -> list[str]:
    """Say every trait but shape and ground colour, those that are absent too."""
    return _marks(traits) + [says.get(traits[n], ABSENT[n]) for n, says in PRESENT.items()]


def _listing(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."
