"""The text views of a picture: the ways to say its label, and its captions, drawn for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.sentences import split_sentences, split_statements

NAME_VIEWS = ("formal", "common", "path", "formal_common", "path_common")
"""The five name views of BioCLIP (arXiv:2311.18803, section 3.2), under neutral names."""

SHORTEST_PART = 3
"""Words that a part of a caption has at least."""


def say_label(tree: LabelTree, node: int) -> dict[str, str]:
    """Return the name views that a label has; those with a common name only where it has one."""
    formal, common = tree.name(node) or "", tree.name(node, "common")
    path = " ".join(_without_repeats(tree.path(node)))
    views = {"formal": formal, "path": path}
    if common:
        views["common"] = common
        views["formal_common"] = f"{formal} with common name {common}"
        views["path_common"] = f"{path} with common name {common}"
    return views


def caption_parts(caption: str) -> tuple[str, ...]:
    """Return the sentences and clauses of a caption, or the caption where it has but one.

    A part has three words at least; a shorter clause stays together with the next one ("dark veins
    and short tails"). Short parts of synthetic captions train better than wholes: CLIPS
    (arXiv:2411.16828).
    """
    sentences = split_sentences(caption)
    parts = [s for s in sentences if len(sentences) > 1 and len(s.split()) >= SHORTEST_PART]
    for sentence in sentences:
        clauses = _join_short(sentence, [(s.start, s.end) for s in split_statements(sentence)])
        parts += clauses if len(clauses) > 1 else []
    return tuple(dict.fromkeys(parts)) or (caption,)


def _join_short(sentence: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """Return the stretches of a sentence, those of too few words joined with the next."""
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and len(sentence[slice(*joined[-1])].split()) < SHORTEST_PART:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    if len(joined) > 1 and len(sentence[slice(*joined[-1])].split()) < SHORTEST_PART:
        (_, end), joined = joined[-1], joined[:-1]
        joined[-1] = (joined[-1][0], end)
    return [sentence[start:end] for start, end in joined]


@dataclass(frozen=True)
class Draw:
    """The texts of one batch: each different text once, and which pictures it was drawn for.

    There are as many draws m as pictures, or more where pictures are said in both ways.
    """

    texts: tuple[str, ...]
    rows: NDArray[np.int64]
    """Shape (m,): for each draw the index of its text."""
    is_caption: NDArray[np.bool_]
    """Shape (m,): whether the text is a caption rather than a name."""
    pictures: NDArray[np.int64]
    """Shape (m,): the row in the batch of the picture that it was drawn for."""
    wrong: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 2), dtype=np.int64))
    """Shape (k, 2): wrong texts, each with the draw that it is wrong for."""


class TextViews:
    """Draws one text for each picture of a batch.

    Args:
        tree: The label tree that the node ids refer to.
        prompts: The templates that names are put into.
        weights: Weight of each name view, keys of `NAME_VIEWS`.
        captions: The data's own captions of every training picture, by its index; empty tuples are
            allowed.
        stored: The same for each further source of captions, such as a caption store.
        caption_share: Probability that a picture with captions is said by one of them.
        original_share: Probability that this is one of its own, where it has stored ones too; all
            sources of stored captions are equally likely.
        both: Say every picture by a name, and those with a caption by one beside it, rather than by
            one of the two.
        part_share: Probability that of a caption one part is taken, see `caption_parts`.
        template_share: Probability that a name is put into a template.
    """

    def __init__(
        self,
        tree: LabelTree,
        prompts: PromptSet,
        weights: Mapping[str, float],
        captions: Sequence[Sequence[str]] = (),
        *,
        stored: Sequence[Sequence[Sequence[str]]] = (),
        caption_share: float = 0.5,
        original_share: float = 0.5,
        part_share: float = 0.0,
        template_share: float = 0.5,
        both: bool = False,
    ) -> None:
        self.tree = tree
        self.prompts = prompts
        self.weights = {view: float(weights.get(view, 0.0)) for view in NAME_VIEWS}
        self.captions = captions
        self.stored = stored
        self.caption_share = caption_share
        self.original_share = original_share
        self.part_share = part_share
        self.template_share = template_share
        self.both = both
        self._parts: dict[str, tuple[str, ...]] = {}
        self._said: dict[int, tuple[tuple[str, ...], NDArray[np.float64]]] = {}

    def draw(
        self, nodes: NDArray[np.int64], indices: NDArray[np.int64], seed: Sequence[int]
    ) -> Draw:
        """Draw a text for each picture, or a name and a caption; equal seeds give equal texts.

        Args:
            nodes: Label node of each picture, shape (n,).
            indices: Index of each picture in the training set, shape (n,).
            seed: What the draw depends on, such as (run seed, step).
        """
        rng = np.random.default_rng(list(seed))
        wants_caption = rng.random(len(nodes)) < self.caption_share
        which = rng.random((len(nodes), 3))
        source = rng.random((len(nodes), 3))
        seen: dict[str, int] = {}
        drawn: list[tuple[int, bool, int]] = []
        for i, (node, index) in enumerate(zip(nodes.tolist(), indices.tolist(), strict=True)):
            captions = self._captions_of(index, source[i]) if wants_caption[i] else ()
            if captions:
                text = captions[int(which[i, 0] * len(captions))]
                if source[i, 2] < self.part_share:
                    parts = self._parts_of(text)
                    text = parts[int(which[i, 1] * len(parts))]
                drawn.append((seen.setdefault(text, len(seen)), True, i))
            if self.both or not captions:
                text = self._say(node, which[i])
                drawn.append((seen.setdefault(text, len(seen)), False, i))
        rows, is_caption, pictures = np.array(drawn, dtype=np.int64).reshape(-1, 3).T
        return Draw(tuple(seen), rows, is_caption.astype(bool), pictures)

    def _captions_of(self, index: int, source: NDArray[np.float64]) -> Sequence[str]:
        """Return the captions of one picture from one source; empty where it has none at all."""
        own = self.captions[index] if self.captions else ()
        stored = [captions[index] for captions in self.stored if captions[index]]
        if not stored or (own and source[0] < self.original_share):
            return own
        return stored[int(source[1] * len(stored))]

    def _parts_of(self, caption: str) -> tuple[str, ...]:
        if caption not in self._parts:
            self._parts[caption] = caption_parts(caption)
        return self._parts[caption]

    def _say(self, node: int, which: NDArray[np.float64]) -> str:
        if node not in self._said:
            views = say_label(self.tree, node)
            texts = tuple(views.values())
            weights = np.array([self.weights[v] for v in views])
            if not weights.sum():
                weights = np.ones(len(texts))
            self._said[node] = texts, np.cumsum(weights) / weights.sum()
        texts, cumulated = self._said[node]
        text = texts[int(np.searchsorted(cumulated, which[0], side="right"))]
        if which[1] < self.template_share:
            templates = self.prompts.templates
            return templates[int(which[2] * len(templates))].replace("{}", self.prompts.clean(text))
        return self.prompts.clean(text)


def _without_repeats(path: Sequence[str]) -> list[str]:
    """Drop what the next rank says again: genus "Danaus" before the binomial "Danaus plexippus"."""
    last = len(path) - 1
    return [
        name for i, name in enumerate(path) if i == last or not path[i + 1].startswith(f"{name} ")
    ]
