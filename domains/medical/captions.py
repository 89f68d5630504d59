"""Says a cell in words by its traits, never by its name.

Every trait has one wording, so that a text tower can learn it on some cell types and understand it
on others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domainclip.domains.contract import Traits

AMOUNTS = {
    "thin": "a thin rim of {} cytoplasm",
    "moderate": "moderate {} cytoplasm",
    "wide": "wide {} cytoplasm",
}
PALLORS = {
    "none": "no pale centre",
    "small": "a small pale centre",
    "ringed": "a dark centre inside a pale ring",
}
FRAMES = (
    "{a_look} cell with {facts}{tail}.",
    "This {look} cell has {facts}{tail}.",
    "{facts} in {a_look} cell{tail}.",
    "Blood smear with {a_look} cell showing {facts}{tail}.",
)
LONGEST = 25
"""Words that a reference caption may have."""


def captions(traits: Traits, rng: np.random.Generator) -> tuple[str, ...]:
    """Say one picture: the reference caption first, then two to four that say some traits only."""
    facts, tails = _facts(traits), _tails(traits)
    if traits["vacuoles"] != "none":
        facts.append(f"{traits['vacuoles']} vacuoles")
    said = [_reference(traits)]
    wanted = int(rng.integers(3, 6))
    while len(said) < wanted:
        some = sorted(rng.choice(len(facts), int(rng.integers(2, 4)), replace=False).tolist())
        look = (_look(traits), traits["size"], traits["outline"])[int(rng.integers(3))]
        tail = tails[int(rng.integers(len(tails)))] if rng.random() < 0.4 else ""
        text = _say(FRAMES[int(rng.integers(len(FRAMES)))], look, [facts[i] for i in some], tail)
        if text not in said:
            said.append(text)
    return tuple(said)


def describe(traits: Traits) -> tuple[str, ...]:
    """Say a cell type by all traits of its sheet, in several wordings."""
    return tuple(_say(frame, _look(traits), _facts(traits)) for frame in FRAMES)


def _reference(traits: Traits) -> str:
    """Say all that is told of a cell, as far as `LONGEST` allows."""
    facts = [fact for fact in _facts(traits) if fact not in ("no nucleus", "no granules")]
    if traits["vacuoles"] != "none":
        facts[-1] += f" with {traits['vacuoles']} vacuoles"
    look = f"{_a(_look(traits))} cell {'without a nucleus, ' * (traits['nucleus'] == 'none')}with"
    text = f"{look} {_list(facts)}"
    for tail in _tails(traits):
        if len(f"{text}{tail}".split()) <= LONGEST:
            text += tail
    return f"{text[0].upper()}{text[1:]}."


def _facts(traits: Traits) -> list[str]:
    """Return what can follow "with", by the traits of the sheet."""
    colour, granules = traits["cytoplasm"], traits["granules"]
    grains = "no granules" if granules == "none" else f"{granules} granules"
    if traits["nucleus"] == "none":
        return ["no nucleus", grains, f"{colour} cytoplasm throughout", PALLORS[traits["pallor"]]]
    nucleus = f"{_a(traits['nucleus position'])} {traits['nucleus']} nucleus"
    return [nucleus, grains, AMOUNTS[traits["cytoplasm amount"]].format(colour)]


def _tails(traits: Traits) -> list[str]:
    """Return what is said of the picture rather than of the cell type, the first always."""
    tails = [f", in a {traits['area']}, {traits['stain']}-stained area"]
    if traits["overlap"] != "none":
        tails.append(f", overlapped by a {traits['overlap']}")
    if traits["focus"] == "soft":
        tails.append(", slightly out of focus")
    return tails


def _look(traits: Traits) -> str:
    return f"{traits['size']} {traits['outline']}"


def _say(frame: str, look: str, facts: Sequence[str], tail: str = "") -> str:
    text = frame.format(a_look=_a(look), look=look, facts=_list(facts), tail=tail)
    return text[0].upper() + text[1:]


def _list(facts: Sequence[str]) -> str:
    *most, last = facts
    return f"{', '.join(most)} and {last}" if most else last


def _a(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
