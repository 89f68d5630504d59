"""What a recipe changes in a model before training: locks, adapters, memory."""

from __future__ import annotations

from domainclip.errors import UsageError
from domainclip.recipe import schema

from .clip import DomainClip
from .towers import drop_patches, lock_tower, save_memory


def adapt(model: DomainClip, asked: schema.Model) -> None:
    """Prepare a model for training as a recipe asks for it.

    Raises:
        UsageError: If the model cannot do what is asked.
    """
    if asked.lock != "none":
        lock_tower(model, asked.lock)
    if asked.patch_dropout:
        if asked.lock == "image":
            raise UsageError(
                "model.patch_dropout does nothing: the image tower is locked",
                "leave out one of model.patch_dropout and model.lock",
            )
        drop_patches(model, asked.patch_dropout)
    if asked.grad_checkpointing:
        save_memory(model)
