"""Asks a second model whether the picture shows what a caption claims, one yes or no a claim."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from domainclip.domains.labels import LabelTree
from domainclip.endpoints.answers import drop_thoughts
from domainclip.endpoints.chat import Endpoints
from domainclip.endpoints.questions import Question
from domainclip.errors import UsageError
from domainclip.knowledge.lexicon import Claim, Lexicon
from domainclip.knowledge.mentions import own_names
from domainclip.knowledge.sentences import split_statements

from .checks import CheckContext, Checked, Verdict, drop
from .pictures import encode_picture, put_picture
from .requests import Request

Answer: TypeAlias = Literal["yes", "no", "unclear"]

STATEMENT = "statement"
"""The trait of a claim that is a whole statement, where the lexicon can read nothing in it."""
_ASK = (
    'A caption of this picture says "{phrase}". Going by the picture alone, is "{claim}" true of '
    "it? Answer with one word: yes, no or unclear."
)
_ANSWER = re.compile(r"\W*(yes|no|unclear)(?:\W*\Z|\s*[.,!;:\n](?!\s*(?:but|and|however)\b))", re.I)
_FAMILY = re.compile(r"[a-z]+")


def read_answer(text: str) -> Answer:
    """Read an answer: yes or no only where it begins so and takes nothing back, else unclear."""
    match = _ANSWER.match(drop_thoughts(text).strip("*"))
    said = match.group(1).lower() if match else ""
    return "yes" if said == "yes" else "no" if said == "no" else "unclear"


def check_judge(
    judge: str, writer: str, *, judge_urls: Sequence[str] = (), writer_urls: Sequence[str] = ()
) -> str:
    """Refuse a judge that is the writer, and warn of one that is its kin.

    Args:
        judge: Name of the model that judges.
        writer: Name of the model that wrote; "" for none.
        judge_urls: Its addresses.
        writer_urls: The writer's addresses.

    Returns:
        A warning, "" where there is none.

    Raises:
        UsageError: If both are one model at one address.
    """
    if not writer:
        return ""
    judges, writers = (
        {url.strip().rstrip("/").removesuffix("/v1") for url in urls}  # as `Endpoints` reads them
        for urls in (judge_urls, writer_urls)
    )
    shared = judges & writers
    if judge == writer and (shared or not (judge_urls and writer_urls)):
        raise UsageError(
            f"the verifier {judge} is the model that writes: a judge prefers its own words",
            "name another model as verifier",
        )
    if family(judge) == family(writer):
        return (
            f"the verifier {judge} is of the same family as the writer {writer}: "
            "a judge prefers words like its own"
        )
    return ""


def family(model: str) -> str:
    """Return the family of a model by its name: "qwen" of "Qwen/Qwen2.5-VL-7B-Instruct"."""
    match = _FAMILY.search(model.lower().rstrip("/").rpartition("/")[2])
    return match.group() if match else model.lower()


@dataclass
class _Pending:
    """A caption of which not every claim has been answered."""

    request: Request
    checked: Checked
    claims: tuple[Claim, ...]
    answers: dict[int, Answer] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


class Verifier:
    """Asks a second model about every claim of checked captions and drops what it denies.

    What it cannot tell stays; a claim without an answer stays too and is flagged.

    Args:
        endpoints: The servers of the judge; closed by whoever made them.
        lexicon: Reads the claims of a caption.
        tree: The tree of the requests' nodes: names of labels are not asked about.
        noun: What a picture shows.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        lexicon: Lexicon,
        *,
        tree: LabelTree | None = None,
        noun: str = "one",
    ) -> None:
        self.endpoints, self.lexicon, self.tree, self.noun = endpoints, lexicon, tree, noun

    @property
    def made_of(self) -> Mapping[str, Any]:
        """What makes captions that it judged a generation of their own."""
        return {"model": self.endpoints.model, "question": _ASK}

    def verify(
        self, captions: Iterable[tuple[Request, Checked]]
    ) -> Iterator[tuple[Request, Checked]]:
        """Yield every caption once all its claims are answered, rewritten without the denied ones.

        Captions are pulled as the servers can take more questions; rejected ones pass through.

        Raises:
            EndpointsDown: If no server answers any more.
        """
        pending: dict[str, _Pending] = {}
        ready: deque[tuple[Request, Checked]] = deque()
        for reply in self.endpoints.ask_many(self._questions(captions, pending, ready)):
            while ready:
                yield ready.popleft()
            number, _, id = reply.id.partition(":")
            one = pending[id]
            one.answers[int(number)] = "unclear" if reply.error else read_answer(reply.text)
            one.errors += [reply.error] if reply.error else []
            if len(one.answers) == len(one.claims):
                yield one.request, self._judged(pending.pop(id))
        while ready:
            yield ready.popleft()

    def claims(self, request: Request, text: str) -> tuple[Claim, ...]:
        """Return what is asked about a caption: its claims, and statements without any.

        Statements that say the label's name, or no more than what a picture shows, are left out.
        """
        claims = self.lexicon.claims(text)
        names = own_names(self.tree, request.node) if self.tree is not None else ()
        rest = []
        for span in split_statements(text):
            low = span.text.lower()
            if any(span.start < c.end and c.start < span.end for c in claims):
                continue
            bare = re.sub(r"^(?:an?|the|this)\s+", "", low)
            if bare != self.noun.lower() and not any(name.lower() in low for name in names):
                place = (span.start, span.end)
                rest.append(Claim(STATEMENT, low, *place, span.text, phrase=place))
        return tuple(sorted((*claims, *rest), key=lambda claim: claim.start))

    def _questions(
        self,
        captions: Iterable[tuple[Request, Checked]],
        pending: dict[str, _Pending],
        ready: deque[tuple[Request, Checked]],
    ) -> Iterator[Question]:
        for request, checked in captions:
            claims = self.claims(request, checked.text) if checked.text else ()
            if not claims:
                ready.append((request, checked))
                continue
            pending[request.id] = _Pending(request, checked, claims)
            for number, claim in enumerate(claims):
                yield self._question(request, checked.text, number, claim)

    def _question(self, request: Request, text: str, number: int, claim: Claim) -> Question:
        start, end = claim.phrase if claim.phrase != (0, 0) else (claim.start, claim.end)
        asked = _ASK.format(phrase=text[start:end], claim=claim.text)
        # the picture first: servers that cache beginnings then read it once a caption
        content = [{"type": "image"}, {"type": "text", "text": asked}]
        messages = [{"role": "user", "content": content}]

        def make() -> list[dict[str, Any]]:
            return put_picture(messages, encode_picture(request.picture()))

        return Question(f"{number}:{request.id}", make, max_tokens=64, temperature=0.0)

    def _judged(self, one: _Pending) -> Checked:
        """Return a caption after the judge's answers."""
        checked = one.checked
        denied = tuple(c for i, c in enumerate(one.claims) if one.answers[i] == "no")
        unclear = [c.text for i, c in enumerate(one.claims) if one.answers[i] == "unclear"]
        verdicts = list(checked.verdicts)
        if one.errors:
            missing = f"{len(one.errors)} of {len(one.claims)} claims got no answer: "
            verdicts.append(Verdict("verifier", "flag", missing + one.errors[0]))
        elif unclear:
            said = ", ".join(map(repr, dict.fromkeys(unclear)))
            verdicts.append(Verdict("verifier", "flag", f"cannot tell: {said}"))
        if not denied:
            if not one.errors and not unclear:
                verdicts.append(Verdict("verifier", "pass"))
            return replace(checked, verdicts=tuple(verdicts))
        said = ", ".join(dict.fromkeys(repr(claim.text) for claim in denied))
        verdict = Verdict("verifier", "drop-claim", f"not in the picture: {said}", denied)
        context = CheckContext(
            text=checked.text,
            request=one.request,
            lexicon=self.lexicon,
            tree=self.tree,
            noun=self.noun,
        )
        text, verdict = drop(context, verdict)
        verdicts.append(verdict)
        if not text:
            verdicts.append(Verdict("empty", "reject", "nothing is left that the picture shows"))
        return Checked(
            text,
            "rewritten" if text else "rejected",
            tuple(verdicts),
            (*checked.dropped, *verdict.claims),
        )
