"""Fills in what a recipe leaves open, so that `recipe.yaml` alone repeats the run."""

from __future__ import annotations

from typing import Any

from domainclip.errors import UsageError
from domainclip.recipe.schema import SHARDS_WANT_STEPS, Model, Recipe, uneven_parts

from .processes import count_processes

SCRATCH_LR, FINETUNE_LR, LOCKED_LR, ADAPTER_LR = 1e-3, 1e-5, 1e-4, 2e-4
SCRATCH_WARMUP, FINETUNE_WARMUP = 0.05, 0.1
DEFAULT_MINUTES = 3.0


def resolve(recipe: Recipe, pretrained: bool, device: str, precision: str, pictures: int) -> Recipe:
    """Return the recipe with learning rate, warm-up, length, device and precision filled in.

    Args:
        recipe: What was asked for.
        pretrained: Whether the model's weights are pretrained: those want a small learning rate.
        device: The device found.
        precision: The precision found.
        pictures: Number of training pictures, which turns epochs into steps.

    Raises:
        UsageError: If the parts of a batch do not divide what each process has of it, or the length
            of a run with sharded weights would have to be found out, which takes them whole.
    """
    wrong = uneven_parts(recipe.data.batch_size, recipe.train.micro_batch, count_processes())
    if wrong:  # torchrun and SLURM say how many processes there are, not the recipe
        raise UsageError(wrong, "set train.micro_batch to one of these")
    lr, warmup = recipe.optim.lr, recipe.optim.warmup
    if lr is None:
        lr = _finetune_lr(recipe.model) if pretrained else SCRATCH_LR
    if warmup is None:
        warmup = FINETUNE_WARMUP if pretrained else SCRATCH_WARMUP
    length = recipe.train
    updates: dict[str, Any] = {"precision": precision}
    if length.micro_batch * count_processes() >= recipe.data.batch_size:
        updates["micro_batch"] = 0  # one part is the whole, and needs no second pass
    if length.epochs is not None:
        own = recipe.data.batch_size - recipe.data.replayed
        steps = max(1, round(length.epochs * pictures / own))
        updates |= {"steps": steps, "epochs": None}
    elif length.steps is None and length.strategy == "fsdp" and count_processes() > 1:
        raise UsageError(SHARDS_WANT_STEPS, "give one of the two")
    elif length.steps is None and length.minutes is None:
        updates["minutes"] = DEFAULT_MINUTES
    return recipe.model_copy(
        update={
            "device": device,
            "optim": recipe.optim.model_copy(update={"lr": lr, "warmup": warmup}),
            "train": length.model_copy(update=updates),
        }
    )


def _finetune_lr(model: Model) -> float:
    """Return a learning rate for pretrained weights.

    Under a locked image tower only the text tower learns, and has to come to meet it: LiT trains it
    from nothing (arXiv:2111.07991), at a rate well above that of fine-tuning.
    """
    if model.lora:
        return ADAPTER_LR
    return LOCKED_LR if model.lock == "image" else FINETUNE_LR
