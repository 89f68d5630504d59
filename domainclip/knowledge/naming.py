"""The names by which a site may know a label, and when two spellings are of one name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from domainclip.domains.contract import WikiRules
from domainclip.domains.labels import LabelTree
from domainclip.domains.names import fold

_NO_TITLE = re.compile(r"[|#<>\[\]{}\n:]")
_BRACKET = re.compile(r"\s*\([^()]*\)$")
_MARKS = re.compile(r"[†×?\"'“”‘’]|\bx(?= )")
_SPELLINGS = (("ae", "e"), ("oe", "e"), ("ph", "f"), ("th", "t"), ("rh", "r"), ("ch", "c"),
              ("y", "i"), ("j", "i"), ("k", "c"))  # fmt: skip
"""Ways in which old languages are written; the first is read as the second."""
_SHORTEST = 3
"""Letters that have to be left of a name whose ending is cut."""


class Names:
    """The names of one label.

    A finest rank of bare epithets, such as "machaon" under "Papilio", is read with its parent.

    Attributes:
        formal: Formal name and synonyms, the formal one first.
        all: Those and the common name.
        carried: Ancestors whose name is the first word of a formal name: they say nothing more.
    """

    def __init__(self, tree: LabelTree, node: int) -> None:
        own, parent = str(tree.names[node]), int(tree.parent[node])
        above = str(tree.names[parent]) if parent >= 0 else ""
        epithet = own.islower() and " " not in own and above[:1].isupper() and " " not in above
        first = f"{above} {own}" if epithet else own
        common = tree.name(node, "common")
        self.formal = tuple(dict.fromkeys((first, *tree.synonyms(node))))
        self.all = tuple(dict.fromkeys((*self.formal, *((common,) if common else ()))))
        begins = {fold(name.split()[0]) for name in self.formal if " " in name}
        line = tree.ancestors[node]
        self.carried = frozenset(
            int(n) for n in line if n >= 0 and n != node and fold(tree.names[n]) in begins
        )

    def titles(self) -> tuple[str, ...]:
        """Return what can be the title of a page, the formal name first."""
        return tuple(name for name in self.all if not _NO_TITLE.search(name) and len(name) < 200)

    def is_spelling(self, title: str, endings: Iterable[str]) -> bool:
        """Return whether a title is a formal name in another spelling."""
        return any(" " in name and is_same(title, name, endings) for name in self.formal)

    def head(self, title: str) -> bool:
        """Return whether a title is one of the names, in the singular or the plural."""
        return any(is_title(title, name) for name in self.all)


def is_title(title: str, name: str) -> bool:
    """Return whether a title is a name; what stands in brackets after it is left out.

    Case counts where the name is in lower case after its first letter: "Golden Rain" is the name of
    something else than golden rain.
    """
    bare = _BRACKET.sub("", title).replace("_", " ")
    same = fold(bare) == fold(name) or bool(_forms(fold(bare)) & _forms(fold(name)))
    return same and not (name[1:] == name[1:].lower() and bare[1:] != bare[1:].lower())


def is_same(said: str, name: str, endings: Iterable[str] = ()) -> bool:
    """Return whether two spellings are of one name.

    What is said may go on after the name ("Papilio Linnaeus").
    """
    one, other = plain(said), plain(name)
    if one == other or one.startswith(f"{other} "):
        return True
    ends = tuple(endings)
    begins = " ".join(one.split()[: len(other.split())])
    return _spelled(other, ends) in (_spelled(one, ends), _spelled(begins, ends))


def plain(name: str) -> str:
    """Return a name in lower case without accents, daggers and marks of hybrids."""
    text = unicodedata.normalize("NFKD", _MARKS.sub("", name))
    return fold("".join(c for c in text if not unicodedata.combining(c)))


def _spelled(name: str, endings: tuple[str, ...]) -> str:
    """Return what spellings of one name share: "charitonia" and "charithonia"."""
    for ending in sorted(endings, key=len, reverse=True):
        if name.endswith(ending) and len(name.split()[-1]) - len(ending) >= _SHORTEST:
            name = name[: len(name) - len(ending)]
            break
    for old, new in _SPELLINGS:
        name = name.replace(old, new)
    return re.sub(r"(\w)\1", r"\1", name)


def _forms(name: str) -> set[str]:
    forms = {name}
    if name.endswith("ies"):
        forms.add(name[:-3] + "y")
    if name.endswith("es"):
        forms.add(name[:-2])
    if name.endswith("s") and not name.endswith("ss"):
        forms.add(name[:-1])
    return {form for form in forms if len(form) >= _SHORTEST}


def line_of(tree: LabelTree, node: int) -> list[int]:
    """Return the ancestors of a label, the nearest first."""
    return [int(n) for n in tree.ancestors[node][::-1] if n >= 0 and n != node]


def rank_endings(rules: WikiRules, tree: LabelTree, node: int) -> tuple[str, ...]:
    """Return the endings that are cut from names at a label's rank."""
    return rules.endings.get(tree.ranks[int(tree.rank[node])], ())
