"""From the names that a checkpoint gives its tensors to those of open_clip's model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from domainclip.errors import DataError

State = dict[str, Tensor]

_COMPUTED = (
    "position_ids", "token_type_ids", "attn_mask", "input_resolution", "context_length",
    "vocab_size",
)  # fmt: skip
"""What older versions of libraries saved beside weights: models compute it."""
_TEXT = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")
"""Beginnings of keys of the text tower where it is no module of its own."""
_INNER = ("bert.", "roberta.", "model.", "encoder.")
"""What text towers that were saved with a task on top have before their keys."""
_SHOWN = 6


def follow_card(
    state: Mapping[str, Tensor],
    drop: Sequence[str],
    rename: Mapping[str, str],
    own: Collection[str],
) -> State:
    """Return tensors under the names that a card gives them, without what wraps all names.

    Args:
        state: The tensors of a checkpoint.
        drop: Patterns of names that are left out.
        rename: Beginnings of names -> what stands there instead; the longest wins.
        own: The names in the model.
    """
    prefix = _find_prefix(state, {_rename_back(name, rename) for name in own})
    found: State = {}
    for name, value in state.items():
        short = name.removeprefix(prefix)
        if any(fnmatchcase(n, pattern) for n in (name, short) for pattern in drop):
            continue
        begun = max((b for b in rename if short.startswith(b)), key=len, default=None)
        found[short if begun is None else rename[begun] + short[len(begun) :]] = value
    return found


def follow_versions(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> State:
    """Return tensors under the names that today's libraries give them.

    Args:
        state: Tensors as some version saved them.
        own: The tensors of the model.
    """
    found: State = {}
    for name, value in state.items():
        if name in own:
            found[name] = value
            continue
        if name.rpartition(".")[2] in _COMPUTED:
            continue
        new = next((n for n in _spellings(name) if n in own), name)
        if new not in own and name.startswith("text.transformer.pooler."):
            continue  # open_clip builds it only for models that read it
        found[new] = value
    for name in ("logit_scale", "logit_bias"):
        if name in own and name in found and found[name].numel() == own[name].numel():
            found[name] = found[name].reshape(own[name].shape)
    if "logit_bias" in own:  # as open_clip does it for weights that were trained without one
        found.setdefault("logit_bias", torch.zeros_like(own["logit_bias"]))
    for name in own:
        if name.endswith(".num_batches_tracked"):
            found.setdefault(name, torch.zeros_like(own[name]))
    return found


def check_fit(state: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str) -> None:
    """Refuse tensors that are not those of a model.

    Args:
        state: The tensors.
        own: The tensors of the model.
        where: What they are of, for the error.

    Raises:
        DataError: With what is missing, what is too much, and what has another shape.
    """
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    shapes = [
        f"{name} is {tuple(state[name].shape)}, and {tuple(own[name].shape)} in the model"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if not (missing or unexpected or shapes):
        return
    said = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', …' if len(names) > _SHOWN else ''}"
        for names, what in (
            (missing, "missing in the weights"),
            (unexpected, "unexpected"),
            (shapes, "of another shape"),
        )
        if names
    ]
    raise DataError(
        f"{where}: the architecture does not match the weights\n  " + "\n  ".join(said),
        "look at architecture, image_size, context, drop_keys and rename_keys of the card",
    )


def _find_prefix(state: Collection[str], own: Collection[str]) -> str:
    """Return what stands before most names that the model knows, such as `module.` or `model.`.

    Where a name is known both with and without something before it, the whole name counts.
    """
    votes: Counter[str] = Counter()
    for name in state:
        rest, before = name, ""
        while rest not in own and "." in rest:
            head, _, rest = rest.partition(".")
            before += f"{head}."
        if rest in own and "." in rest:  # one word is too little to go by
            votes[before] += 1
    if not votes:
        return ""
    best, count = max(votes.items(), key=lambda item: (item[1], -len(item[0])))
    return best if count > votes[""] else ""


def _rename_back(name: str, rename: Mapping[str, str]) -> str:
    begun = max((n for n in rename.values() if n and name.startswith(n)), key=len, default=None)
    old = next((o for o, n in rename.items() if n == begun), None)
    return name if begun is None or old is None else old + name[len(begun) :]


def _spellings(name: str) -> list[str]:
    """Return other names that a tensor of this one may have in the model."""
    names = [name]
    if name.startswith("text_encoder."):
        names.append("text." + name.removeprefix("text_encoder."))
    if name.startswith(_TEXT):
        names.append(f"text.{name}")
    if name.startswith("text."):
        names.append(name.removeprefix("text."))
    for known in tuple(names):
        head, mark, rest = known.partition("transformer.")
        if mark:
            names += [f"{head}transformer.{rest.removeprefix(i)}" for i in _INNER]
    for known in tuple(names):
        names.append(known.replace("LayerNorm.gamma", "LayerNorm.weight"))
        names.append(known.replace("LayerNorm.beta", "LayerNorm.bias"))
    return names
