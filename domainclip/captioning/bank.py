"""Captions without a language model: picks statements known of a label and joins them.

Which of them fit the picture is told by image-text similarity where a model is given (GIST,
arXiv:2307.11315, matches texts of a class to its pictures in this way), else drawn by seed.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from domainclip.data.images import UnreadableImage
from domainclip.domains.contract import COMMON, CaptionStyle, Domain
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.counting import add_article
from domainclip.knowledge.mentions import own_names
from domainclip.knowledge.nouns import find_noun
from domainclip.knowledge.traits import holds_for_some

from .examples import is_blank
from .prompts import Form, Names, word_limit
from .requests import Request, Written
from .statements import FRAMES, Frame, Statement, is_fluent, join_statements, read_statement

if TYPE_CHECKING:
    from torch import Tensor

    from domainclip.knowledge.lexicon import Lexicon
    from domainclip.model.clip import DomainClip

Said: TypeAlias = frozenset[tuple[str, str, bool]]
"""What a text claims: trait, value, and whether it is denied."""

BATCH = 32
"""Pictures that a model looks at at a time."""
KEPT = 4096
"""Labels and texts that stay in memory."""
STANDARD = 0.8
"""Share of statements that are said in their own wording where there are others."""
LINE = 3
"""Statements that a line may have."""
SEEDED = "seeded choice"

_FRAME_WEIGHTS = (0.45, 0.15, 0.2, 0.2)
_IN_ORDER = 0.5
"""Share of captions that keep the order in which the statements were given."""


@dataclass(frozen=True)
class _Item:
    """One statement of a label with the ways to say it, its own first."""

    text: str
    ways: tuple[Statement, ...]
    said: Said


class BankCaptioner:
    """Writes what is known of the label, as much of it as a draw of the request's seed says.

    Captions differ in length, order and wording, so that a model learns each trait by itself.

    Args:
        model: Chooses by its caption head what fits the picture; None draws by seed.
        lexicon: The words of the domain: other wordings of a statement, and what a caption claims.
        domain: Its noun is said where it holds.
        tree: The label tree of the data.
        style: Form, name policy and length where they are not given; None for one sentence of 30
            words that leaves the name out.
        form: A line, a sentence, or several.
        names: Whether the label's name is said.
        max_words: Longest caption.
    """

    name = "bank"
    uses_prompt = False

    def __init__(
        self,
        model: DomainClip | None,
        lexicon: Lexicon,
        *,
        domain: Domain,
        tree: LabelTree,
        style: CaptionStyle | None = None,
        form: Form | None = None,
        names: Names | None = None,
        max_words: int | None = None,
    ) -> None:
        style = style or CaptionStyle(role="", goal="", attend=(), names="omit")
        self.clip, self.lexicon, self.domain, self.tree = model, lexicon, domain, tree
        self.form: Form = form or style.form
        self.names: Names = names or style.names
        self.max_words = max_words or word_limit(style, self.form)
        self.model, self.revision = SEEDED, ""
        if model is not None:
            from .scoring import weights_digest

            self.model, self.revision = "clip", weights_digest(model)
        kinds = lexicon.words.qualities
        self._places = dict.fromkeys(kinds.get("colour", ()), 1)
        self._places |= dict.fromkeys(kinds.get("size", ()), -1)
        self._items = lru_cache(KEPT)(self._read)
        self._features: OrderedDict[str, Tensor] = OrderedDict()

    @property
    def settings(self) -> Mapping[str, Any]:
        """What changes what is written."""
        return {
            "choice": SEEDED if self.clip is None else f"similarity under {self.revision}",
            "form": self.form,
            "names": self.names,
            "max_words": self.max_words,
        }

    def write(self, requests: Iterable[Request]) -> Iterator[Written]:
        """Yield a caption for each request, in order.

        Pictures are read only for a model, a batch at a time.
        """
        if self.clip is None:
            for request in requests:
                yield self._write(request, None)
            return
        several = iter(requests)
        while batch := list(islice(several, BATCH)):
            yield from self._write_batch(self.clip, batch)

    def _write_batch(self, clip: DomainClip, batch: Sequence[Request]) -> Iterator[Written]:
        from .scoring import picture_features

        started = time.perf_counter()
        pictures, broken = {}, {}
        for request in batch:
            try:
                pictures[request.id] = request.picture()
            except UnreadableImage as error:
                broken[request.id] = error.reason
        seen: dict[str, Tensor] = {}
        if pictures:
            seen = dict(zip(pictures, picture_features(clip, [*pictures.values()]), strict=True))
        share = (time.perf_counter() - started) / len(batch)
        for request in batch:
            if request.id in broken:
                yield self._failed(request, broken[request.id])
            else:
                yield self._write(request, seen[request.id], share)

    def _write(self, request: Request, picture: Tensor | None, spent: float = 0.0) -> Written:
        started = time.perf_counter()
        known, about = _statements(request, self.lexicon)
        items = self._items(request.node, known)
        if not items:
            label = " > ".join(self.tree.path(request.node))
            some = any(holds_for_some(trait, self.lexicon) for trait in request.traits)
            reason = f"what is known of {label} holds for some individuals only"
            return self._failed(request, reason if some else f"nothing is known of {label}")
        rng = np.random.default_rng(request.seed)
        scores = self._score(items, picture)
        most = min(LINE, len(items)) if self.form == "line" else len(items)
        wanted = int(rng.integers(min(2, most), most + 1))
        order = rng.permutation(len(items)).tolist()
        if scores is not None:
            order.sort(key=lambda i: -scores[i])
        picked = self._pick(items, order, wanted)
        if rng.random() < _IN_ORDER:
            picked.sort()
        else:
            picked = [picked[i] for i in rng.permutation(len(picked))]
        text, picked = self._say(request.node, items, picked, rng)
        if not text:
            return self._failed(
                request, f"every statement is longer than {self.max_words} words with its sentence"
            )
        details: dict[str, Any] = {"statements": [items[i].text for i in picked]}
        if about:
            details["about"] = about
        if scores is not None:
            details["scores"] = [round(scores[i], 4) for i in picked]
        seconds = spent + time.perf_counter() - started
        return Written(
            request.id, text, model=self.model, revision=self.revision, seconds=seconds,
            details=details,
        )  # fmt: skip

    def _failed(self, request: Request, reason: str) -> Written:
        return Written(request.id, error=reason, model=self.model, revision=self.revision)

    def _read(self, node: int, texts: tuple[str, ...]) -> tuple[_Item, ...]:
        """Return the statements of a label that can be said, without those that say it again."""
        noun = find_noun(self.domain, self.tree, node)
        found: list[_Item] = []
        for text in dict.fromkeys(" ".join(text.split()) for text in texts):
            statement = None if is_blank(text) else read_statement(text, noun)
            if statement is None or (self.names == "omit" and self._gives_away(node, text)):
                continue
            if statement.kind == "part":
                statement = replace(statement, text=add_article(statement.text, self.lexicon))
            said = self._said(text)
            if not said or not any(said <= other.said for other in found):
                found.append(_Item(text, (statement, *self._ways(text, said, noun)), said))
        return tuple(found)

    def _gives_away(self, node: int, text: str) -> bool:
        """Return whether a statement says a name, other than by plain words of what is seen."""
        found = any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text, re.IGNORECASE)
            for name in own_names(self.tree, node)
        )
        return found and not (text.islower() and bool(self._said(text)))

    def _ways(self, text: str, said: Said, noun: str) -> list[Statement]:
        """Return other wordings that claim exactly what a statement claims."""
        values = {trait: value for trait, value, _ in said}
        ways = [
            re.sub(r"\{([^{}]+)\}", lambda place: values.get(place[1], place[0]), way)
            for trait, value, denied in sorted(said)
            if not denied
            for way in self.lexicon.words.phrases.get(trait, {}).get(value, ())
        ]
        fluent = (w for w in ways if w != text and "{" not in w and is_fluent(w, text, noun))
        same = (w for w in dict.fromkeys(fluent) if self._said(w) == said)
        return [s for s in (read_statement(way, noun) for way in same) if s is not None]

    def _said(self, text: str) -> Said:
        return frozenset((c.trait, c.value, c.negated) for c in self.lexicon.claims(text))

    def _score(self, items: Sequence[_Item], picture: Tensor | None) -> list[float] | None:
        """Return the similarity of each statement to the picture."""
        if picture is None or self.clip is None:
            return None
        import torch

        from .scoring import text_features

        texts = [join_statements(item.ways[:1], form="sentence") for item in items]
        new = [text for text in dict.fromkeys(texts) if text not in self._features]
        if new:
            self._features.update(zip(new, text_features(self.clip, new), strict=True))
        features = torch.stack([self._features[text] for text in texts])
        while len(self._features) > KEPT:
            self._features.popitem(last=False)
        scores: list[float] = (features @ picture).tolist()
        return scores

    def _pick(self, items: Sequence[_Item], order: Sequence[int], wanted: int) -> list[int]:
        """Return the first statements that do not contradict each other, `wanted` at most.

        One that is said by the others too is left out.
        """
        picked: list[int] = []
        values: dict[str, set[str]] = {}
        for i in order:
            own: dict[str, set[str]] = {}
            for trait, value, denied in items[i].said:
                own.setdefault(trait, set()).add(f"not {value}" if denied else value)
            if any(values.get(trait, told) != told for trait, told in own.items()):
                continue
            said = items[i].said
            if said and any(said <= items[j].said for j in picked):
                continue
            values |= own
            picked = [j for j in picked if not items[j].said or not items[j].said < said]
            picked.append(i)
            if len(picked) == wanted:
                break
        return picked

    def _say(
        self, node: int, items: Sequence[_Item], picked: Sequence[int], rng: np.random.Generator
    ) -> tuple[str, list[int]]:
        """Join statements into a caption that claims no more than they do, and is not too long.

        Words that stand beside each other may read as something else; then the plainest way is
        taken, and in the end fewer statements.
        """
        noun, name = find_noun(self.domain, self.tree, node), self._name(node, rng)
        frame = FRAMES[int(rng.choice(len(FRAMES), p=_FRAME_WEIGHTS))]
        varied = {i: self._vary(items[i].ways, rng) for i in picked}
        left = list(picked)
        while left:
            said = frozenset[tuple[str, str, bool]]().union(*(items[i].said for i in left))
            plainer: tuple[tuple[dict[int, Statement], bool, Frame], ...] = (
                (varied, True, frame), ({}, True, frame), ({}, False, frame), ({}, False, "list"),
            )  # fmt: skip
            for ways, merge, framed in plainer:
                statements = [ways.get(i, items[i].ways[0]) for i in left]
                body, text = (
                    join_statements(
                        statements, noun=noun, name=shown, form=self.form, frame=framed,
                        places=self._places, merge=merge,
                    )
                    for shown in ("", name)
                )  # fmt: skip
                if len(text.split()) <= self.max_words and self._said(body) <= said:
                    return text, left
            left.pop()
        return "", []

    def _vary(self, ways: Sequence[Statement], rng: np.random.Generator) -> Statement:
        other = rng.random() >= STANDARD and len(ways) > 1
        return ways[int(rng.integers(1, len(ways)))] if other else ways[0]

    def _name(self, node: int, rng: np.random.Generator) -> str:
        """Return one of the label's names where it is to be said."""
        if self.names == "omit":
            return ""
        both = (self.tree.name(node, COMMON), self.tree.name(node))
        names = [name for name in both if name and not is_blank(name)]
        return names[int(rng.integers(len(names)))] if names else ""


def _statements(request: Request, lexicon: Lexicon) -> tuple[tuple[str, ...], str]:
    """Return the statements to say, and the group that they are about if it is not the label.

    What holds for a group need not hold for each label in it, so that a group's statements are
    said only of labels that have none of their own. What holds for some individuals is never said:
    nothing tells whether the picture shows one of them.
    """
    inherited = {
        trait.text: " > ".join(filter(None, record.subject))
        for record in request.records
        if record.inherited
        for trait in record.traits
    }
    for record in request.records:
        if not record.inherited:
            for trait in record.traits:
                inherited.pop(trait.text, None)
    texts = tuple(t.text for t in request.traits if not holds_for_some(t, lexicon))
    own = tuple(text for text in texts if text not in inherited and not is_blank(text))
    if own or not texts:
        return own, ""
    return texts, next((inherited[text] for text in texts if text in inherited), "")
