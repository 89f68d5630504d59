"""Training proper: Lightning's loop over the steps of a run, with checkpoints to go on from."""

from __future__ import annotations

import copy
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from domainclip.data.batches import StepLoader
from domainclip.data.datamodule import PictureData
from domainclip.errors import DataError, TrainingError
from domainclip.recipe.schema import Recipe

from .advice import LoaderAdvice
from .averaging import WeightAverage
from .bar import ProgressBar
from .checkpoints import (
    BEST,
    LAST,
    RunCheckpoints,
    WholeCheckpoints,
    checkpoint_path,
    read_checkpoint,
    step_of,
)
from .compiling import compiled
from .guard import LIMIT, finite_weights
from .loggers import close_loggers, open_loggers
from .metrics import MetricsLog
from .module import ContrastiveModule
from .processes import count_processes, machines, process_rank
from .sharding import ShardedTowers
from .stop import StopOnSignal


@dataclass(frozen=True)
class Fitted:
    """How training went."""

    seconds: float
    steps: int
    """Steps behind the model, those before a resume included."""
    ended: Literal["length", "patience", "signal"]
    """What ended it: its full length, `train.patience`, or Ctrl-C."""
    advice: list[str]
    """What the time of the steps warned of."""

    @property
    def stopped(self) -> bool:
        """Whether Ctrl-C ended training early."""
        return self.ended == "signal"


def fit(
    module: ContrastiveModule,
    data: PictureData,
    recipe: Recipe,
    folder: Path,
    checkpoint: Path | None,
    device: str,
    precision: str,
    progress: bool,
) -> Fitted:
    """Train, and leave the best weights in the module.

    Args:
        module: The module, with the model it trains.
        data: The pictures.
        recipe: The resolved recipe: `train.steps` is set.
        folder: The run folder.
        checkpoint: What to go on from; None to begin.
        device: "cpu", "cuda" or "mps".
        precision: "float32" or "bfloat16".
        progress: Draw a progress bar on standard error.

    Raises:
        DataError: If the checkpoint is not one of this model.
        TrainingError: If no step comes through any more, or weights are not finite.
    """
    steps = int(recipe.train.steps or 1)
    every = -(-steps // recipe.train.validations)
    checkpoints = RunCheckpoints(folder, recipe.train.patience)
    done, over = _take_up(module, checkpoints, checkpoint, steps, folder)
    whole = copy.deepcopy(module.model).cpu() if module.sharded and not process_rank() else None
    stop = StopOnSignal()
    loggers = [] if process_rank() else open_loggers(recipe, folder, done)
    log = MetricsLog(
        folder / "metrics.jsonl", recipe.data.batch_size, steps, max(1, min(20, every)), loggers
    )
    loader_advice = LoaderAdvice(log, recipe.data.workers, progress)
    callbacks: list[Callback] = [
        stop,
        *([WeightAverage(recipe.train.ema)] if recipe.train.ema else []),  # before the guard looks
        module.guard,
        log,
        loader_advice,
        checkpoints,
    ]
    if progress:
        callbacks.insert(0, ProgressBar(steps, recipe.data.batch_size, log))
    trainer = L.Trainer(
        accelerator="gpu" if device == "cuda" else device,
        devices=count_processes() // machines(),
        num_nodes=machines(),
        strategy=_strategy(module),
        inference_mode=not module.sharded,  # FSDP gathers weights into tensors that it uses again
        use_distributed_sampler=False,  # ours already gives each process its share
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        max_steps=steps,
        max_epochs=-1,
        val_check_interval=every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    began = time.perf_counter()
    if not over:
        try:
            with compiled(module.model, recipe.train.compile):
                trainer.fit(
                    module,
                    train_loader(data, steps, done),
                    data.loader("val"),
                    ckpt_path=checkpoint,
                    weights_only=False if checkpoint else None,
                )
        finally:
            stop.give_back()
    reached = max(done, trainer.global_step)
    finite = finite_weights(module)
    if finite and reached > max(done, module.validated):  # it ends between two validations
        if reached == steps and not module.guard.diverged:
            trainer.validate(module, data.loader("val"), verbose=False)
        else:
            checkpoints.keep_last(trainer)
    close_loggers(loggers)
    if module.guard.diverged or not finite:
        raise _diverged(module, recipe, folder, trainer.global_step, finite)
    if whole is not None:
        module.model = whole
    kept = checkpoint_path(folder, BEST)
    if not kept.is_file() and module.sharded:
        kept = checkpoint_path(folder, LAST)
    if kept.is_file() and not process_rank():
        state = torch.load(kept, map_location="cpu", weights_only=False)
        module.load_state_dict(state["state_dict"])
    ended: Literal["length", "patience", "signal"] = "length"
    if reached < steps:
        ended = "patience" if checkpoints.exhausted else "signal"
    return Fitted(time.perf_counter() - began, reached, ended, loader_advice.lines)


def _take_up(
    module: ContrastiveModule,
    checkpoints: RunCheckpoints,
    checkpoint: Path | None,
    steps: int,
    folder: Path,
) -> tuple[int, bool]:
    """Return how many steps a run has behind it, and whether it is over.

    Of a run that is over the counts are taken; of one that goes on Lightning takes everything.
    """
    if checkpoint is None:
        return 0, False
    state = read_checkpoint(checkpoint)
    here, there = (
        {k: v.tolist() if k.endswith(".ids") else v.shape for k, v in weights.items()}
        for weights in (module.state_dict(), state["state_dict"])
    )
    if here != there:
        which = ", ".join(sorted(k for k in {*here, *there} if here.get(k) != there.get(k))[:3])
        raise DataError(
            f"{checkpoint} does not fit the model of its recipe ({which}): it was written by "
            "another version of domainclip, or of what it is built on",
            f"begin a new run under its recipe: domainclip train --recipe {folder}",
        )
    done = int(state["global_step"])
    checkpoints.load_state_dict(state["callbacks"][checkpoints.state_key])
    over = done >= steps or checkpoints.exhausted
    if over:
        module.load_state_dict(state["state_dict"])
        module.on_load_checkpoint(state)
        module.guard.load_state_dict(state["callbacks"][module.guard.state_key])
    return done, over


def say_patience(fitted: Fitted, recipe: Recipe) -> list[str]:
    """Say that patience ended a run; nothing where something else did."""
    if fitted.ended != "patience":
        return []
    return [
        f"no better validation among the last {recipe.train.patience}: training ended after step "
        f"{fitted.steps} of {recipe.train.steps}"
    ]


def _strategy(module: ContrastiveModule) -> str | ShardedTowers:
    if module.sharded:
        return ShardedTowers()
    return "ddp" if count_processes() > 1 else "auto"


def train_loader(data: PictureData, steps: int, start: int) -> StepLoader:
    """Return the training batches of the steps from `start` to `steps`."""
    data.steps = steps
    loader = data.train_dataloader()
    loader.next_step = start
    return loader


def _diverged(
    module: ContrastiveModule, recipe: Recipe, folder: Path, step: int, finite: bool
) -> TrainingError:
    """Say what to do with a run that cannot go on, and which weights are left."""
    run, last = shlex.quote(str(folder)), checkpoint_path(folder, LAST)
    lower = 0.1 * (recipe.optim.lr or 0)
    precise = " --train.precision float32" if recipe.train.precision == "bfloat16" else ""
    what = "the weights are not finite any more"
    if module.guard.diverged:
        what = f"loss or gradient was not finite {LIMIT} times in a row"
    kept, again = "no step was kept", ""
    if last.is_file():
        good = step - LIMIT if finite else step_of(last)
        kept = f"{last} holds the weights after step {good}"
        again = f"; or go on past these steps: domainclip train --resume {run}" if finite else ""
    return TrainingError(
        f"step {step}: {what} ({module.guard.skipped} skipped in all); {kept}",
        f"begin anew, gentler: domainclip train --recipe {run} --out NEW --optim.lr {lower:g}"
        f"{precise}{again}",
    )
