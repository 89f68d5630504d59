"""The text views of a picture: a name or captions drawn for it at each step of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import PromptSet, Traits, TraitWords
from domainclip.domains.labels import LabelTree
from domainclip.knowledge.lexicon import Lexicon

from .labels import NAME_VIEWS, find_view, say_label
from .nameless import take_names_out
from .parts import caption_parts
from .wrong import KEPT, WrongCaptions

_NONE = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class Draw:
    """The texts of one batch: each different text once, and which pictures it was drawn for.

    There are as many draws m as pictures, or more where pictures are said in several ways. A text
    that is a name of one picture and a caption of another stands twice: each has its own head.
    """

    texts: tuple[str, ...]
    rows: NDArray[np.int64]
    """Shape (m,): for each draw the index of its text."""
    is_caption: NDArray[np.bool_]
    """Shape (m,): whether the text is a caption rather than a name."""
    pictures: NDArray[np.int64]
    """Shape (m,): the row in the batch of the picture that it was drawn for."""
    text_is_caption: NDArray[np.bool_]
    """Shape (len(texts),): whether each text is a caption; negatives are."""
    wrong: NDArray[np.int64] = field(default_factory=_NONE.copy)
    """Shape (k, 2): of each negative the index of its text, and the draw that it is wrong for."""


class TextViews:
    """Draws texts for each picture of a batch.

    Args:
        tree: The label tree that the node ids refer to.
        prompts: The templates that names are put into.
        weights: Weight of each name view, keys of `NAME_VIEWS`.
        captions: The data's own captions of every training picture, by its index; empty tuples are
            allowed.
        stored: The same for each further source of captions, such as a caption store.
        replay: The captions of every replayed picture, none empty. In a batch its node is negative
            and its index follows on those of `captions`. It is given a caption that counts as a
            name, since a general model's own space is that of the names.
        caption_share: Probability that a picture with captions is paired with one of them.
        original_share: Probability that this is one of its own, where it has stored ones too; all
            sources of stored captions are equally likely.
        both: Say every picture by a name, and those with a caption by one beside it, rather than by
            one of the two.
        part_share: Probability that of a caption one part is taken, see `caption_parts`.
        template_share: Probability that a name is put into a template.
        draw: `sample` decides for each picture whether a caption is said, and which name view;
            `batch` once for all; a label without a common name goes without it. BioCLIP
            (arXiv:2311.18803) draws by sample, BioCAP (arXiv:2510.20095) by batch.
        caption_draws: Different captions or parts that a picture is given at once, as in DreamLIP
            (arXiv:2403.17007); fewer where it has fewer.
        nameless: Probability that a drawn caption loses the names of its label, `take_names_out`.
        nouns: What pictures of a label show, by node, said in the place of its names.
        negatives: Wrong captions beside each drawn one, see `WrongCaptions`; fewer where fewer can
            be made.
        words: The words of the field, by which captions are read for names and for what to make
            wrong.
        traits: What is known of labels, by node: it is never said as wrong, and what is known of
            the sisters of a label is said rather than anything else.
    """

    def __init__(
        self,
        tree: LabelTree,
        prompts: PromptSet,
        weights: Mapping[str, float],
        captions: Sequence[Sequence[str]] = (),
        *,
        stored: Sequence[Sequence[Sequence[str]]] = (),
        replay: Sequence[Sequence[str]] = (),
        caption_share: float = 0.5,
        original_share: float = 0.5,
        both: bool = False,
        part_share: float = 0.0,
        template_share: float = 0.5,
        draw: Literal["sample", "batch"] = "sample",
        caption_draws: int = 1,
        nameless: float = 0.0,
        nouns: Mapping[int, str] | None = None,
        negatives: int = 0,
        words: TraitWords | None = None,
        traits: Mapping[int, Traits] | None = None,
    ) -> None:
        self.tree = tree
        self.prompts = prompts
        self.weights = {view: float(weights.get(view, 0.0)) for view in NAME_VIEWS}
        self.captions = captions
        self.stored = stored
        self.replay = replay
        self.caption_share = caption_share
        self.original_share = original_share
        self.both = both
        self.part_share = part_share
        self.template_share = template_share
        self.by_batch = draw == "batch"
        self.caption_draws = caption_draws
        self.nameless = nameless
        self.nouns = nouns or {}
        self.negatives = negatives
        self.traits = traits or {}
        lexicon = Lexicon(words) if words and (negatives or nameless) else None
        self._lexicon = lexicon
        self._wrong = WrongCaptions(lexicon) if negatives else None
        self._bare = lru_cache(maxsize=KEPT)(self._without_names)
        self._sisters: dict[int, dict[str, set[str]]] = {}
        self._parts: dict[str, tuple[str, ...]] = {}
        self._said: dict[int, tuple[dict[str, str], NDArray[np.float64]]] = {}

    def draw(
        self, nodes: NDArray[np.int64], indices: NDArray[np.int64], seed: Sequence[int]
    ) -> Draw:
        """Draw a text for each picture, or a name and captions; equal seeds give equal texts.

        Args:
            nodes: Label node of each picture, shape (n,); negative for a replayed one.
            indices: Index of each picture in the training set, shape (n,).
            seed: What the draw depends on, such as (run seed, step).
        """
        rng = np.random.default_rng(list(seed))
        wants_caption = rng.random(len(nodes)) < self.caption_share
        which = rng.random((len(nodes), 3))
        source = rng.random((len(nodes), 3))
        view = ""
        if self.by_batch:
            wants_caption[:] = wants_caption[:1]
            view = self._view(rng.random())
        seen: dict[tuple[str, bool], int] = {}
        drawn: list[tuple[int, bool, int]] = []
        for i, (node, index) in enumerate(zip(nodes.tolist(), indices.tolist(), strict=True)):
            if node < 0:
                captions = self.replay[index - len(self.captions)]
                said = [(captions[int(which[i, 0] * len(captions))], False)]
            else:
                told = self._captions_of(index, source[i]) if wants_caption[i] else ()
                texts = self._tell(index, told, which[i], source[i], rng)
                if self.nameless:
                    texts = self._take_names(texts, node, rng)
                said = [(text, True) for text in texts]
                if self.both or not said:
                    said.append((self._say(node, view, which[i]), False))
            drawn += [(seen.setdefault(text, len(seen)), text[1], i) for text in said]
        wrong = [*self._draw_wrong(drawn, [*seen], nodes, indices, int(rng.integers(2**63)))]
        negatives = [(seen.setdefault((text, True), len(seen)), row) for text, row in wrong]
        rows, is_caption, pictures = np.array(drawn, dtype=np.int64).reshape(-1, 3).T
        return Draw(
            tuple(text for text, _ in seen),
            rows,
            is_caption.astype(bool),
            pictures,
            np.array([caption for _, caption in seen], dtype=bool),
            np.array(negatives, dtype=np.int64).reshape(-1, 2),
        )

    def _sources(self, index: int) -> tuple[Sequence[str], list[Sequence[str]]]:
        """Return a picture's own captions, and those of every other source that has some."""
        own = self.captions[index] if self.captions else ()
        return own, [captions[index] for captions in self.stored if captions[index]]

    def _captions_of(self, index: int, source: NDArray[np.float64]) -> Sequence[str]:
        """Return the captions of one picture from one source; empty where it has none at all."""
        own, stored = self._sources(index)
        if not stored or (own and source[0] < self.original_share):
            return own
        return stored[int(source[1] * len(stored))]

    def _tell(
        self,
        index: int,
        captions: Sequence[str],
        which: NDArray[np.float64],
        source: NDArray[np.float64],
        rng: np.random.Generator,
    ) -> list[str]:
        """Draw from the captions of one source, then different ones from all of the picture's."""
        if not captions:
            return []
        text = captions[int(which[0] * len(captions))]
        if source[2] < self.part_share:
            parts = self._parts_of(text)
            text = parts[int(which[1] * len(parts))]
        if self.caption_draws == 1:
            return [text]
        chances = {other: p for other, p in self._chances(index).items() if p and other != text}
        # the first to come in a race are a draw without replacement (Efraimidis, Spirakis 2006)
        times = rng.exponential(size=len(chances)) / np.array([*chances.values()])
        others = [*chances]
        return [text, *(others[j] for j in np.argsort(times)[: self.caption_draws - 1])]

    def _chances(self, index: int) -> dict[str, float]:
        """Return all captions and parts of a picture, each with its probability in one draw."""
        own, stored = self._sources(index)
        share = 0.0 if not own else self.original_share if stored else 1.0
        sources = [(share, own), *(((1 - share) / len(stored), captions) for captions in stored)]
        chances: dict[str, float] = {}
        for share, captions in sources:
            for caption in captions:
                p = share / len(captions)
                chances[caption] = chances.get(caption, 0.0) + p * (1 - self.part_share)
                parts = self._parts_of(caption) if self.part_share else ()
                for part in parts:
                    chances[part] = chances.get(part, 0.0) + p * self.part_share / len(parts)
        return chances

    def _take_names(self, texts: Sequence[str], node: int, rng: np.random.Generator) -> list[str]:
        """Take the names of a label out of some of the texts; they stay different."""
        chances = rng.random(len(texts))
        taken = zip(texts, chances, strict=True)
        return [*dict.fromkeys(self._bare(t, node) if p < self.nameless else t for t, p in taken)]

    def _without_names(self, text: str, node: int) -> str:
        return take_names_out(text, self.tree, node, self.nouns.get(node, ""), self._lexicon)

    def _draw_wrong(
        self,
        drawn: Sequence[tuple[int, bool, int]],
        texts: Sequence[tuple[str, bool]],
        nodes: NDArray[np.int64],
        indices: NDArray[np.int64],
        seed: int,
    ) -> Iterator[tuple[str, int]]:
        """Yield wrong captions of each caption that was drawn, with the number of its draw."""
        if self._wrong is None:
            return
        rng = Random(seed)  # shuffles a few things in a tenth of the time that numpy takes
        for row, (text, is_caption, i) in enumerate(drawn):
            if is_caption:
                node = int(nodes[i])
                own, stored = self._sources(int(indices[i]))
                right = [*own, *(caption for captions in stored for caption in captions)]
                known, likely = self.traits.get(node), self._traits_beside(node)
                for wrong in self._wrong.draw(
                    texts[text][0], self.negatives, rng, right=right, own=known, likely=likely
                ):
                    yield wrong, row

    def _traits_beside(self, node: int) -> dict[str, set[str]]:
        """Return the values of each trait among the sisters of a label."""
        if node not in self._sisters:
            beside: dict[str, set[str]] = {}
            for other, traits in self.traits.items():
                if other != node and self.tree.parent[other] == self.tree.parent[node]:
                    for trait, value in traits.items():
                        beside.setdefault(trait, set()).add(value)
            self._sisters[node] = beside
        return self._sisters[node]

    def _parts_of(self, caption: str) -> tuple[str, ...]:
        if caption not in self._parts:
            self._parts[caption] = caption_parts(caption)
        return self._parts[caption]

    def _view(self, chance: float) -> str:
        """Return the name view of a whole batch; "" where none has any weight."""
        cumulated = np.cumsum([*self.weights.values()])
        at = int(np.searchsorted(cumulated, chance * cumulated[-1], side="right"))
        return NAME_VIEWS[at] if cumulated[-1] else ""

    def _say(self, node: int, view: str, which: NDArray[np.float64]) -> str:
        """Say a label by a view, or by one that is drawn where that is ""."""
        if node not in self._said:
            views = say_label(self.tree, node)
            weights = dict.fromkeys(views, 0.0)
            for wanted, weight in self.weights.items():
                weights[find_view(views, wanted)] += weight
            chances = (
                np.array([*weights.values()]) if any(weights.values()) else np.ones(len(views))
            )
            self._said[node] = views, np.cumsum(chances) / chances.sum()
        views, cumulated = self._said[node]
        if not view:
            view = [*views][int(np.searchsorted(cumulated, which[0], side="right"))]
        text = self.prompts.clean(views[find_view(views, view)])
        if which[1] < self.template_share:
            templates = self.prompts.templates
            return templates[int(which[2] * len(templates))].replace("{}", text)
        return text
