"""Training proper: Lightning's loop over the steps of a run, with checkpoints to go on from."""

from __future__ import annotations

import copy
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint

from domainclip.data.batches import StepLoader
from domainclip.data.datamodule import PictureData
from domainclip.errors import TrainingError
from domainclip.recipe.schema import Recipe

from .advice import LoaderAdvice
from .averaging import WeightAverage
from .bar import ProgressBar
from .checkpoints import BEST, LAST, WholeCheckpoints, checkpoint_path, step_of
from .compiling import compiled
from .guard import LIMIT
from .loggers import close_loggers, open_loggers
from .metrics import MetricsLog
from .module import ContrastiveModule
from .processes import any_process, count_processes, machines, process_rank
from .sharding import ShardedTowers, local_part
from .stop import StopOnSignal


@dataclass(frozen=True)
class Fitted:
    """How training went."""

    seconds: float
    steps: int
    """Steps behind the model, those before a resume included."""
    stopped: bool
    """True where Ctrl-C ended it early."""
    advice: list[str]
    """What the time of the steps warned of."""


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
        TrainingError: If no step comes through any more.
    """
    steps = int(recipe.train.steps or 1)
    done = step_of(checkpoint)
    whole = copy.deepcopy(module.model).cpu() if module.sharded and not process_rank() else None
    every = -(-steps // recipe.train.validations)
    best = ModelCheckpoint(
        folder / "checkpoints", BEST, monitor="val_score", mode="max", save_weights_only=True,
        enable_version_counter=False, save_on_train_epoch_end=False,
    )  # fmt: skip
    last = ModelCheckpoint(  # after validation and best, so that all three belong together
        folder / "checkpoints", LAST, enable_version_counter=False, save_on_train_epoch_end=False,
    )  # fmt: skip
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
        best,
        last,
    ]
    if recipe.train.patience:
        callbacks.append(EarlyStopping("val_score", mode="max", patience=recipe.train.patience))
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
    if done < steps:
        with compiled(module.model, recipe.train.compile):
            trainer.fit(
                module,
                train_loader(data, steps, done),
                data.loader("val"),
                ckpt_path=checkpoint,
                weights_only=False if checkpoint else None,
            )
    else:
        assert checkpoint is not None
        state = torch.load(checkpoint, map_location="cpu", weights_only=False)
        module.on_load_checkpoint(state)
        module.guard.load_state_dict(state["callbacks"][module.guard.state_key])
    reached = max(done, trainer.global_step)
    if module.guard.diverged:
        raise _diverged(module, recipe, folder, trainer)
    if reached == steps > max(done, module.validated):  # the run ends between two validations
        trainer.validate(module, data.loader("val"), verbose=False)
        score = trainer.callback_metrics["val_score"]
        if best.best_model_score is None or score >= best.best_model_score:
            trainer.save_checkpoint(checkpoint_path(folder, BEST), weights_only=True)
    if reached > done:
        trainer.save_checkpoint(checkpoint_path(folder, LAST))
    close_loggers(loggers)
    if whole is not None:
        module.model = whole
    kept = checkpoint_path(folder, BEST)
    if not kept.is_file() and module.sharded:
        kept = checkpoint_path(folder, LAST)
    if kept.is_file() and not process_rank():
        state = torch.load(kept, map_location="cpu", weights_only=False)
        module.load_state_dict(state["state_dict"])
    return Fitted(time.perf_counter() - began, reached, stop.stopped, loader_advice.lines)


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
    module: ContrastiveModule, recipe: Recipe, folder: Path, trainer: L.Trainer
) -> TrainingError:
    """Keep the last good weights, and say what to do."""
    lost = any(not local_part(p).isfinite().all() for p in module.parameters())
    kept = not any_process(lost, module.device)  # all save, or none
    if kept:
        trainer.save_checkpoint(checkpoint_path(folder, LAST))
    step, run = trainer.global_step, shlex.quote(str(folder))
    lower = 0.1 * (recipe.optim.lr or 0)
    precise = " --train.precision float32" if recipe.train.precision == "bfloat16" else ""
    return TrainingError(
        f"step {step}: loss or gradient was not finite {LIMIT} times in a row "
        f"({module.guard.skipped} skipped in all); {checkpoint_path(folder, LAST)} holds "
        + (f"the weights after step {step - LIMIT}" if kept else "the last validated state"),
        f"begin anew, gentler: domainclip train --recipe {run} --out NEW --optim.lr {lower:g}"
        f"{precise}; or go on past these steps: domainclip train --resume {run}",
    )
