"""A small field of its own, lamps, for tests of checks: words, labels, requests."""

from domainclip.captioning.checks import CheckContext
from domainclip.captioning.requests import Request
from domainclip.domains.contract import TraitWords
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Lexicon

WORDS = TraitWords(
    phrases={
        "shape": {"tall": ("tall shades",), "round": ("round shades",)},
        "colour": {
            "red": ("red shades",), "green": ("green shades",), "orange": ("orange shades",),
        },
        "band": {"broad": ("a broad {band colour} band",), "none": ("no bands",)},
        "band colour": {"black": ("black markings",), "white": ("white markings",)},
        "rim": {"black": ("a black rim",), "plain": ("a plain rim",)},
        "cracks": {"dark": ("dark cracks",), "none": ("no dark cracks",)},
        "legs": {"short": ("short legs",), "none": ("no legs",)},
        "place": {"desk": ("on a bare desk",), "wall": ("against a white wall",)},
        "state": {"new": ("new lamp",), "worn": ("worn lamp",)},
    },
    parts={"shade": ("shade",), "foot": ("foot", "feet"), "leg": ("leg",), "hook": ("hook",)},
    qualities={"colour": ("red", "green", "blue", "black", "white"), "size": ("large", "small")},
    only={"foot": ("standing",), "hook": ("hanging",)},
)  # fmt: skip
LEXICON = Lexicon(WORDS)
NAMES = ["Ardo magna", "Ardo minor", "Belis alta", "Belis rubra", "Belis pura", "Belis dura"]
TREE = LabelTree.from_columns(
    {
        "kind": ["hanging"] * 2 + ["standing"] * 4,
        "genus": ["Ardo", "Ardo", "Belis", "Belis", "Belis", "Belis"],
        "label": NAMES,
    },
    ["kind", "genus", "label"],
    common=["great lamp", "small white", None, None, None, None],
)


def request(name="Ardo magna", id="a", prompt=None):
    node = TREE.find(name)[0]
    return Request(id, node, TREE.key(node), lambda: None, 0, prompt=prompt)


def context(text, name="Ardo magna", **rest):
    given = {"lexicon": LEXICON, "tree": TREE, "noun": "lamp"} | rest
    return CheckContext(text=text, request=request(name), **given)


def sets(**known):
    """Known values of traits: `sets(colour="red", shape={"tall", "round"})`."""
    return {
        trait: frozenset({values} if isinstance(values, str) else values)
        for trait, values in known.items()
    }
