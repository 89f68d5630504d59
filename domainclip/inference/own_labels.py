"""What a model brings along: the labels that it was trained on, and how they are said."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from domainclip.domains.contract import PromptSet
from domainclip.domains.labels import LabelTree
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.model.folder import model_folder, read_labels
from domainclip.zoo.label_vectors import KEY, NODES

from .candidates import Candidates, Descriptions, Labels, choose, choose_from_tree
from .descriptions import describe_labels
from .encoding import Encoder

Known = Literal["knowledge"]


def find_candidates(
    encoder: Encoder,
    labels: Labels | None,
    prompts: PromptSet,
    descriptions: Descriptions | Known | None = None,
) -> Candidates:
    """Return labels as candidates; those that the model was trained on where none are given.

    Args:
        encoder: The model.
        labels: A tree, names or descriptions by class; None for the model's own.
        prompts: How labels are said.
        descriptions: Sentences beside the names; "knowledge" for what its domain knows.

    Raises:
        UsageError: If the model has none of its own, or no domain to know anything.
        LabelError: If there are no labels, or some contradict each other.
    """
    own = own_labels(encoder) if labels is None else None
    if descriptions == "knowledge":
        descriptions = _known(encoder, labels, own)
    if labels is not None:
        return choose(labels, prompts, descriptions)
    assert own is not None
    return choose_from_tree(*own, prompts, descriptions)


def own_labels(encoder: Encoder) -> tuple[LabelTree, NDArray[Any]]:
    """Return the tree of a model folder and the nodes that it was trained on.

    Raises:
        UsageError: If it has none.
    """
    tree = read_labels(encoder.folder) if encoder.folder else None
    if tree is None:
        way_on = "say which labels to choose from"
        if encoder.folder is None and encoder.lasts:
            way_on = f"name a run folder or a model folder, or {way_on}"
        raise UsageError(f"{encoder.name} comes without labels", way_on)
    if encoder.folder and KEY in encoder.card:
        return tree, np.load(model_folder(encoder.folder) / NODES)
    keys = encoder.card.get("candidates")
    if not keys:
        return tree, np.asarray(tree.leaves)
    return tree, np.array([tree.node(tuple(key)) for key in keys], dtype=np.int64)


def own_prompts(encoder: Encoder) -> PromptSet:
    """Return the prompt set that a model was trained with, or the bare names."""
    if "domain" not in encoder.card:
        return PromptSet()
    sets = get_domain(encoder.card["domain"]).prompts
    return sets.get(str(encoder.card.get("prompts", "default")), sets["default"])


def _known(
    encoder: Encoder, labels: Labels | None, own: tuple[LabelTree, NDArray[Any]] | None
) -> Descriptions:
    """Return what the model's domain knows of labels."""
    name = encoder.card.get("domain")
    if not name:
        raise UsageError(
            "this model names no domain whose knowledge could describe labels",
            "give descriptions of your own",
        )
    if own is not None:
        tree, nodes = own
    elif isinstance(labels, LabelTree):
        tree, nodes = labels, np.asarray(labels.leaves)
    else:
        names = [labels] if isinstance(labels, str) else [*(labels or ())]
        tree = LabelTree.from_columns({"label": names})
        nodes = np.asarray(tree.leaves)
    return describe_labels(get_domain(name), tree, nodes.tolist())
