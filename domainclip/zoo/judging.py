"""Whether a model that was made from several works may be published under a licence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .licences import Licence, read_licence


@dataclass(frozen=True)
class Work:
    """Something that a model was made from."""

    what: str
    """In words that an error can begin with: "the base model biology/bioclip-2"."""
    licence: Licence
    kind: Literal["data", "model"] = "data"


@dataclass(frozen=True)
class Verdict:
    """Whether a model may be published."""

    refused: tuple[str, ...] = ()
    """What forbids it, each naming the work and its licence."""
    unknown: tuple[str, ...] = ()
    """Works whose licence is not known, which a person has to answer for."""
    warnings: tuple[str, ...] = ()
    way_on: str = ""
    """What would help."""


def judge(chosen: Licence, works: Iterable[Work]) -> Verdict:
    """Say whether a model made from some works may be published under a licence.

    Weights count as a changed work of what they were made from: whether they are one is not
    settled, and a publisher should not be the one to find out. Share-alike terms of pictures are
    warned of; those of a model that was trained further bind.
    """
    refused, unknown, warnings, ways = [], [], [], []
    for work in works:
        named = f"{work.what} ({work.licence.id})"
        terms = work.licence
        if terms.passed_on == "no" or terms.derivatives == "no":
            verb = "passed on" if terms.passed_on == "no" else "passed on when changed"
            refused.append(f"{named} may not be {verb}")
            ways.append(
                "train without those pictures"
                if work.kind == "data"
                else "start from a model whose licence allows it"
            )
            continue
        if not terms.known:
            unknown.append(f"{work.what}: {terms.id}")
        if terms.commercial == "no" and chosen.commercial != "no":
            refused.append(f"{named} forbids commercial use, which {chosen.id} would allow")
            same = terms.id if terms.share_alike and work.kind == "model" else "CC-BY-NC-4.0"
            ways.append(f"publish under --licence {same}")
        if terms.share_alike and terms.family != chosen.family:
            if work.kind == "model":
                refused.append(f"{named} may be passed on under its own terms only")
                ways.append(f"publish under --licence {terms.id}")
            else:
                warnings.append(
                    f"{named} asks that what is made from it be shared alike; {chosen.id} does not"
                )
    return Verdict(tuple(refused), tuple(unknown), tuple(warnings), "; ".join(dict.fromkeys(ways)))


def propose_licence(works: Sequence[Work]) -> str:
    """Return the widest licence that a model made from some works can have, as far as is known.

    "" where none is known to be right.
    """
    if any(not w.licence.known for w in works):
        return ""
    bound = [w.licence.id for w in works if w.kind == "model" and w.licence.share_alike]
    models = [w.licence.id for w in works if w.kind == "model"]
    narrow = ["CC-BY-NC-4.0"] if any(w.licence.commercial == "no" for w in works) else []
    for said in [*bound, *narrow, *models[:1], "MIT"]:
        if not judge(read_licence(said), works).refused:
            return said
    return ""
