"""What can be chosen from, and what is said of each of it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from domainclip.domains.contract import COMMON, PromptSet
from domainclip.domains.labels import SUGGEST_AMONG, LabelTree
from domainclip.domains.names import fold
from domainclip.errors import LabelError, UsageError, suggest

from .prompts import label_texts

Descriptions: TypeAlias = Mapping[str, Sequence[str]]
"""Sentences by the name of a label."""
Labels: TypeAlias = LabelTree | Descriptions | Sequence[str]


@dataclass(frozen=True)
class Candidates:
    """Labels to choose from, in order."""

    names: NDArray[np.object_]
    """Shape (n,): what each is called."""
    texts: Callable[[int], Sequence[str]]
    """Returns the sentences that say one of them."""
    pooling: Literal["normalise-mean", "mean-normalise"]
    """In which order their vectors become one."""
    digest: str
    """Changes with anything that is said."""
    tree: LabelTree | None = None
    nodes: NDArray[np.int64] | None = None
    """Shape (n,): the node of each, where they come from a tree."""
    whole: Candidates | None = None
    """What they were narrowed from."""
    rows: NDArray[np.int64] | None = None
    """Shape (n,): their rows in `whole`."""

    def __len__(self) -> int:
        return len(self.names)

    def narrow(self, rows: NDArray[np.int64]) -> Candidates:
        """Return some of them, in the order of `rows`.

        Raises:
            LabelError: If that leaves nothing.
        """
        if not len(rows):
            raise LabelError("no label is left to choose from", "ask for more of them")
        texts = self.texts
        return replace(
            self,
            names=self.names[rows],
            texts=lambda row: texts(int(rows[row])),
            digest=_digest([self.digest, _hash(rows)]),
            nodes=None if self.nodes is None else self.nodes[rows],
            whole=self,
            rows=rows,
        )


def choose(
    labels: Labels, prompts: PromptSet, descriptions: Descriptions | None = None
) -> Candidates:
    """Return labels as candidates.

    Args:
        labels: A tree, whose leaves are told apart; names; or descriptions by class.
        prompts: Templates, cleaning and pooling.
        descriptions: Sentences that say a label beside its names.

    Raises:
        LabelError: If there are none, one is empty or comes twice, or all descriptions are of
            others.
        UsageError: If the classes are descriptions, and there are others beside them.
    """
    if isinstance(labels, LabelTree):
        return choose_from_tree(labels, labels.leaves, prompts, descriptions)
    if not isinstance(labels, Mapping):
        names = [labels] if isinstance(labels, str) else [*labels]
        return choose_from_names(names, prompts, descriptions)
    if descriptions:
        raise UsageError("the classes are descriptions already", "give descriptions once")
    return choose_by_descriptions(labels, prompts)


def choose_from_tree(
    tree: LabelTree,
    nodes: ArrayLike,
    prompts: PromptSet,
    descriptions: Descriptions | None = None,
) -> Candidates:
    """Return nodes of a tree as candidates, said by their names and their path.

    Args:
        tree: The tree.
        nodes: The nodes, shape (n,).
        prompts: Templates, cleaning and pooling.
        descriptions: Sentences that say a label beside its names.

    Raises:
        LabelError: If there are none, or all descriptions are of others.
    """
    chosen = np.asarray(nodes, dtype=np.int64)
    if not len(chosen):
        raise LabelError("no label to choose from", "give at least one")
    told = _match(descriptions or {}, tree, chosen)
    names = tree.names[chosen]
    cleaned = [prompts.clean(name) for name in names]
    common = [prompts.clean(tree.name(int(n), COMMON) or "") for n in chosen]
    said = {str(node): [*sentences] for node, sentences in sorted(told.items())}

    def texts(row: int) -> Sequence[str]:
        node = int(chosen[row])
        return list(dict.fromkeys((*label_texts(tree, node, prompts), *told.get(node, ()))))

    digest = _digest(
        ["tree", tree.digest(), _hash(chosen), cleaned, common, prompts.templates, said]
    )
    return Candidates(names, texts, prompts.pooling, digest, tree, chosen)


def choose_from_names(
    names: Sequence[str], prompts: PromptSet, descriptions: Descriptions | None = None
) -> Candidates:
    """Return names as candidates, each put through the templates.

    Args:
        names: The names.
        prompts: Templates, cleaning and pooling.
        descriptions: Sentences that say a label beside its name.

    Raises:
        LabelError: If there are none, one is empty or comes twice, or all descriptions are of
            others.
    """
    told = _named(descriptions or {}, _check_names(names))
    cleaned = [prompts.clean(name) for name in names]
    said = {name: [*sentences] for name, sentences in sorted(told.items())}

    def texts(row: int) -> Sequence[str]:
        name = names[row]
        return list(dict.fromkeys((*prompts.say(name), *told.get(name, ()))))

    digest = _digest(["names", [*names], cleaned, prompts.templates, said])
    return Candidates(_objects(names), texts, prompts.pooling, digest)


def choose_by_descriptions(said: Descriptions, prompts: PromptSet) -> Candidates:
    """Return classes as candidates that are said by their descriptions alone.

    Args:
        said: The sentences of each class, taken as they are.
        prompts: For the pooling order.

    Raises:
        LabelError: If there are none, or one is empty or has no description.
    """
    names = _check_names([*said])
    sentences = [tuple(text for text in said[name] if text.strip()) for name in names]
    for name, several in zip(names, sentences, strict=True):
        if not several:
            raise LabelError(f"the label {name!r} has no text", "describe it in some way")
    return Candidates(
        _objects(names), sentences.__getitem__, prompts.pooling,
        _digest(["descriptions", names, sentences]),
    )  # fmt: skip


def find_truth(found: Candidates, names: Sequence[str] | NDArray[Any]) -> NDArray[np.int64]:
    """Return what stands for each name: its node, or without a tree its number, shape (m,).

    A name in the tree of the labels need be none of them: it may be coarser.

    Raises:
        LabelError: If a name is unknown, or of several nodes.
    """
    known: dict[str, int] = {}
    own = {fold(str(name)): i for i, name in enumerate(found.names)}
    for name in dict.fromkeys(map(str, names)):
        nodes = found.tree.find(name) if found.tree is not None else ()
        if found.tree is None and fold(name) in own:
            nodes = (own[fold(name)],)
        if len(nodes) != 1:
            why = "is no label" if not nodes else f"is the name of {len(nodes)} labels"
            raise LabelError(
                f"{name!r} {why}",
                (suggest(name, map(str, found.names)) if not nodes else "give nodes of the tree"),
            )
        known[name] = int(nodes[0])
    return np.array([known[str(name)] for name in names], dtype=np.int64)


def _check_names(names: Sequence[str]) -> list[str]:
    if not len(names):
        raise LabelError("no label to choose from", "give at least one")
    seen: set[str] = set()
    for i, name in enumerate(names, 1):
        if not str(name).strip():
            raise LabelError(f"label {i} of {len(names)} is empty", "name it, or leave it out")
        if name in seen:
            raise LabelError(f"the label {name!r} is given twice", "give each label once")
        seen.add(name)
    return [str(name) for name in names]


def _match(
    descriptions: Descriptions, tree: LabelTree, nodes: NDArray[np.int64]
) -> dict[int, tuple[str, ...]]:
    """Return the descriptions by node; of a name that several labels have, by each of them."""
    wanted = {int(node) for node in nodes} if descriptions else set()
    found: dict[int, tuple[str, ...]] = {}
    strange = []
    for name, sentences in descriptions.items():
        near = wanted & set(tree.find(name))
        if not near:
            strange.append(name)
        for node in near:
            found[node] = tuple(sentences)
    if strange:
        _tell_strange(strange, descriptions, tree.names[nodes].tolist())
    return found


def _named(descriptions: Descriptions, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    known = {fold(name): name for name in names}
    strange = [name for name in descriptions if fold(name) not in known]
    if strange:
        _tell_strange(strange, descriptions, names)
    return {
        known[fold(name)]: tuple(said) for name, said in descriptions.items() if fold(name) in known
    }


def _tell_strange(strange: Sequence[str], given: Descriptions, names: Sequence[str]) -> None:
    """Warn of descriptions that are of no label, as a published file has them of many.

    Raises:
        LabelError: If that is all of them.
    """
    near = suggest(strange[0], names) if len(names) <= SUGGEST_AMONG else ""
    if len(strange) == len(given):
        raise LabelError(
            f"no description is of a label to choose from: {strange[0]!r} is none",
            near or f"labels are called like {str(names[0])!r}",
        )
    warnings.warn(
        f"{len(strange)} of {len(given)} descriptions are of no label to choose from, such as "
        f"{strange[0]!r}" + (f"; {near}" if near else ""),
        stacklevel=2,
    )


def _objects(names: Sequence[str]) -> NDArray[np.object_]:
    array = np.empty(len(names), dtype=object)
    array[:] = [str(name) for name in names]
    return array


def _hash(numbers: NDArray[np.int64]) -> str:
    return hashlib.sha256(np.ascontiguousarray(numbers).tobytes()).hexdigest()


def _digest(said: object) -> str:
    return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()
