"""Checks of captions: an ordered table of small functions, each with a verdict and a reason."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from domainclip.captioning.requests import Request
from domainclip.captioning.rewrite import drop_claims
from domainclip.domains.contract import CaptionStyle
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Claim
from domainclip.knowledge.mentions import NAME, replace_names
from domainclip.knowledge.samples import SOURCES
from domainclip.knowledge.sentences import split_statements

from .claims import check_contradiction, check_possible, check_unsupported, values_nearby
from .context import CheckContext, Outcome, Verdict
from .excerpt import check_copied
from .names import check_names
from .text import (
    check_empty,
    check_garbled,
    check_language,
    check_length,
    check_loop,
    check_refusal,
)

if TYPE_CHECKING:
    from domainclip.knowledge.lookup import KnowledgeBase

__all__ = [
    "CHECKS",
    "CheckContext",
    "Checked",
    "Checks",
    "Outcome",
    "Verdict",
    "check_caption",
    "drop",
    "take_out",
]

CHECKS: tuple[Callable[[CheckContext], Verdict], ...] = (
    check_empty,
    check_garbled,
    check_refusal,
    check_loop,
    check_language,
    check_copied,
    check_names,
    check_contradiction,
    check_possible,
    check_unsupported,
    check_length,
)
"""The checks in their order; each one sees the text as the checks before it left it."""

_ROUNDS = 4
"""Times that one check may have a caption rewritten."""
_WORD = re.compile(r"[^\W\d_]{3,}")
_SPACE = re.compile(r"[^\S\x1c-\x1f\x85]+")
"""White space but for control characters, which a caption is rejected for."""
_LITTLE = 3
"""Words, other than the commonest ones, that a caption without any claim has to have."""
_EMPTY_WORDS = {"the", "and", "with", "this", "that", "has", "have", "are", "from", "seen", "its"}


@dataclass(frozen=True)
class Checked:
    """A caption after all checks."""

    text: str
    """The caption to store; "" for one that was rejected."""
    outcome: Literal["kept", "rewritten", "rejected"]
    verdicts: tuple[Verdict, ...]
    """Of every check that was asked, in order; those after a rejection were not."""
    dropped: tuple[Claim, ...] = ()
    """The claims that were taken out, by where they lay in the text before each rewriting."""

    @property
    def notes(self) -> list[dict[str, str]]:
        """The verdicts other than "pass", as they are stored beside the caption."""
        return [
            {"check": v.check, "outcome": v.outcome, "reason": v.reason}
            for v in self.verdicts
            if v.outcome != "pass"
        ]


def check_caption(context: CheckContext) -> Checked:
    """Run all checks over one caption, and rewrite it where claims have to go."""
    text = _SPACE.sub(" ", context.text).strip(" ")
    verdicts: list[Verdict] = []
    dropped: list[Claim] = []
    for check in CHECKS:
        for _ in range(_ROUNDS):
            verdict = check(replace(context, text=text))
            if verdict.outcome == "drop-claim":
                text, verdict = drop(replace(context, text=text), verdict)
                dropped += verdict.claims
            if verdict.outcome != "pass" or not (verdicts and verdicts[-1].check == verdict.check):
                verdicts.append(verdict)
            if verdict.outcome == "reject":
                return Checked("", "rejected", tuple(verdicts), tuple(dropped))
            if verdict.outcome != "drop-claim" or not text:
                break
        else:
            text = ""
        if not text:
            verdicts.append(Verdict("empty", "reject", "nothing is left without the wrong claims"))
            return Checked("", "rejected", tuple(verdicts), tuple(dropped))
    return Checked(text, "rewritten" if dropped else "kept", tuple(verdicts), tuple(dropped))


def drop(context: CheckContext, verdict: Verdict) -> tuple[str, Verdict]:
    """Rewrite a caption as a verdict has it; return the rest, "" where nothing is left.

    The verdict that is returned also names the claims that could not stay without the dropped ones.
    """
    rest = take_out(context, verdict.claims)
    left = {_said(claim) for claim in replace(context, text=rest).claims}
    bad = {_said(claim) for claim in verdict.claims}
    along = [claim for claim in context.claims if rest and _said(claim) not in left | bad]
    if not along:
        return rest, verdict
    said = ", ".join(dict.fromkeys(repr(claim.text) for claim in along))
    reason = f"{verdict.reason}; {said} is no longer said"
    return rest, replace(verdict, reason=reason, claims=(*verdict.claims, *along))


def take_out(context: CheckContext, bad: Iterable[Claim]) -> str:
    """Rewrite a caption without some of its claims and names; "" where nothing is left.

    The gentlest way that leaves none of them behind is taken: their words alone, else their whole
    statements.
    """
    bad = list(bad)
    names = [claim for claim in bad if claim.trait == NAME]
    if names:
        rest = replace_names(context.text, names, context.noun)
        bad = [claim for claim in bad if claim.trait != NAME]
        if bad:
            moved = [c for c in replace(context, text=rest).claims if _said(c) in map(_said, bad)]
            return take_out(replace(context, text=rest), moved)
        return "" if _says_nothing(context, rest) else rest
    wrong = {_said(claim) for claim in bad}
    others = [claim for claim in context.claims if _said(claim) not in wrong]
    statements = [
        Claim("", "", s.start, s.end, s.text, phrase=(s.start, s.end))
        for s in split_statements(context.text)
        if any(s.start < c.end and c.start < s.end for c in bad)
    ]
    wanted = Counter(map(_said, others))
    best, most = "", -1
    for claims, keep in ((bad, others), (bad, []), (statements, others), (statements, [])):
        rest = drop_claims(context.text, claims, keep=keep, noun=context.noun)
        if rest == context.text:
            continue
        left = Counter(_said(claim) for claim in replace(context, text=rest).claims)
        if left - wanted:  # a wrong claim is still there, or a new one came about
            continue
        if left.total() > most:
            best, most = rest, left.total()
        if left == wanted:
            break
    return "" if _says_nothing(context, best) else best


class Checks:
    """The checks of one run: knows where each label's facts are, and gathers them once.

    Args:
        tree: The tree of the requests' nodes.
        knowledge: What is known of its labels; None to check no claims.
        style: The caption style, for its name policy.
        noun: What a picture shows, in the place of names that are taken out.
        language: Code of the language that captions should be in.
        max_tokens: Tokens that the text tower reads; 0 for no limit.
        count_tokens: Counts the tokens of a text as the text tower does.
        strict: Drop claims about which nothing is known.
    """

    def __init__(
        self,
        tree: LabelTree,
        knowledge: KnowledgeBase | None = None,
        *,
        style: CaptionStyle | None = None,
        noun: str = "one",
        language: str = "en",
        max_tokens: int = 0,
        count_tokens: Callable[[str], int] | None = None,
        strict: bool = False,
    ) -> None:
        self.tree = tree
        self.knowledge = knowledge
        self.style = style
        self.noun = noun
        self.language = language
        self.max_tokens = max_tokens
        self.count_tokens = count_tokens
        self.strict = strict
        self._known: dict[int, Mapping[str, frozenset[str]]] = {}
        self._nearby: dict[int, Mapping[str, frozenset[str]]] = {}

    def __call__(self, request: Request, text: str) -> Checked:
        """Check one caption."""
        return check_caption(self.context(request, text))

    def context(self, request: Request, text: str) -> CheckContext:
        """Return what the checks go by for one caption."""
        knowledge, style, node = self.knowledge, self.style, request.node
        if knowledge and node not in self._nearby:
            nearby = values_nearby(self._known_of, self.tree, node)
            without = knowledge.open_traits(node)  # what is told of some, the label can have
            self._nearby[node] = {t: told for t, told in nearby.items() if t not in without}
        return CheckContext(
            text=text,
            request=request,
            lexicon=knowledge.lexicon if knowledge else None,
            known=self._known_with(request),
            can_have=self._nearby.get(node, {}),
            tree=self.tree,
            names=style.names if style else None,
            noun=self.noun,
            max_tokens=self.max_tokens,
            count_tokens=self.count_tokens,
            language=self.language,
            # a captioner without a prompt says the knowledge in its own words: nothing is copied
            excerpt=request.prompt.excerpt if request.prompt else "",
            strict=self.strict,
        )

    def _known_with(self, request: Request) -> Mapping[str, frozenset[str]]:
        """Return what is known of the label, and what the picture's own columns and tags add."""
        known = self._known_of(request.node)
        own = [trait.text for trait in request.traits if trait.source in SOURCES]
        if self.knowledge is None or not own:
            return known
        values = {trait: set(told) for trait, told in known.items()}
        for claim in (claim for text in own for claim in self.knowledge.lexicon.claims(text)):
            if not claim.negated:
                values.setdefault(claim.trait, set()).add(claim.value)
        return {trait: frozenset(told) for trait, told in values.items()}

    def _known_of(self, node: int) -> Mapping[str, frozenset[str]]:
        if self.knowledge is None:
            return {}
        if node not in self._known:
            self._known[node] = self.knowledge.known(node)
        return self._known[node]


def _said(claim: Claim) -> tuple[str, str, bool]:
    return claim.trait, claim.value, claim.negated


def _says_nothing(context: CheckContext, text: str) -> bool:
    """Whether a rewritten caption names the thing and no more."""
    if replace(context, text=text).claims:
        return False
    words = {word.lower() for word in _WORD.findall(text)} - _EMPTY_WORDS
    words -= {*context.noun.lower().split()}
    if context.tree is not None:
        names = context.tree.all_names(context.request.node)
        words -= {word for name in names for word in name.lower().split()}
    return len(words) < _LITTLE
