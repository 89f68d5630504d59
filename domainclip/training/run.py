"""From a recipe to a run folder: data, model, training, test, report."""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from domainclip.errors import UsageError
from domainclip.model.adapters import merge_adapters
from domainclip.model.device import pick_device
from domainclip.model.folder import LABELS, say_prefixes, write_json
from domainclip.model.vocabulary import restore_tokens
from domainclip.recipe.schema import Recipe
from domainclip.recipe.show import to_yaml

from .checkpoints import LAST, checkpoint_path, step_of
from .final import test_model
from .fit import Fitted, fit, say_patience
from .folders import (
    METRICS,
    new_folder,
    read_metrics,
    read_recipe,
    save_trained,
)
from .guard import say_skipped
from .launch import launch, missing_processes
from .memory import explained_memory
from .mixing import mix_weights
from .prepare import Prepared, prepare
from .processes import (
    agree,
    from_all,
    join_processes,
    leave_processes,
    process_rank,
)
from .reporting import report_run, say_cut

__all__ = ["RunResult", "read_metrics", "resume", "train"]


@dataclass(frozen=True)
class RunResult:
    """What a run left behind."""

    folder: Path
    rows: list[dict[str, Any]]
    """The final table: split, candidates, rank, metric, value, low, high, n."""
    next: list[str] = field(default_factory=list)
    """Commands to type next."""
    unreadable: int = 0
    stopped: bool = False
    """True where Ctrl-C ended training early."""
    rank: int = 0
    """Number of this process among those that trained together; only 0 has tested and saved."""


def train(
    recipe: Recipe,
    *,
    origins: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
    progress: bool = True,
) -> RunResult:
    """Train, test and save a model by a recipe.

    Args:
        recipe: What to do; whatever it leaves open is resolved and written to the run folder before
            the first step.
        origins: Where each value of the recipe came from, for `recipe.yaml`.
        command: The command line, for `environment.json`.
        progress: Draw a progress bar and notes on standard error.

    Raises:
        UsageError: If the recipe asks for what does not exist.
        DataError: If the data cannot be used.
    """
    device = pick_device(recipe.device)
    if count := missing_processes(recipe.train, device):
        folder = new_folder(recipe)
        with tempfile.TemporaryDirectory() as scratch:
            asked = Path(scratch, "recipe.yaml")
            asked.write_text(to_yaml(recipe, origins), encoding="utf-8")
            again = list(command[1:]) or ["train", "--recipe", str(asked)]
            quiet = [] if progress else ["--quiet"]
            launch(count, [*again, "--out", str(folder), *quiet], folder)
        return _read_result(folder)
    join_processes(device)
    folder = agree(new_folder(recipe))
    with explained_memory(recipe, folder):
        return _run(recipe, folder, None, origins or {}, command, progress)


def resume(folder: str | Path, *, command: Sequence[str] = (), progress: bool = True) -> RunResult:
    """Go on with a run that was stopped, from its last checkpoint, under its own recipe.

    Raises:
        UsageError: If there is no run there, or not every process finds its checkpoint.
        DataError: If the data or the model that it started from has changed since.
    """
    folder = Path(folder)
    recipe = read_recipe(folder)
    device = pick_device(recipe.device)
    if count := missing_processes(recipe.train, device):
        quiet = [] if progress else ["--quiet"]
        launch(count, ["train", "--resume", str(folder), *quiet], folder)
        return _read_result(folder)
    join_processes(device)
    last = checkpoint_path(folder, LAST)
    found = from_all(step_of(last) if last.is_file() else None)
    if len(set(found)) > 1:
        raise UsageError(
            f"the processes find different checkpoints in {folder}: after steps "
            + ", ".join("none" if step is None else str(step) for step in found),
            "let the run folder be on a disk that all machines share",
        )
    checkpoint = None if found[0] is None else last
    with explained_memory(recipe, folder):
        return _run(recipe, folder, checkpoint, None, command, progress)


def _run(
    recipe: Recipe,
    folder: Path,
    checkpoint: Path | None,
    origins: Mapping[str, str] | None,
    command: Sequence[str],
    progress: bool,
) -> RunResult:
    """Do a run; without origins it is one that goes on, and keeps what it was begun with."""
    rank, began = process_rank(), time.perf_counter()
    progress = progress and rank == 0
    say = _teller(progress)
    _hush()
    run = prepare(recipe, folder, origins, command, progress, say)
    fitted = fit(
        run.module, run.data, run.recipe, folder, checkpoint, run.device, run.precision, progress
    )
    leave_processes()
    if rank:
        return RunResult(folder, [], stopped=fitted.stopped, rank=rank)
    return _finish(run, fitted, folder, began, progress, say)


def _finish(
    run: Prepared,
    fitted: Fitted,
    folder: Path,
    began: float,
    progress: bool,
    say: Callable[[str], None],
) -> RunResult:
    """Test, save and report the model that training left behind."""
    module, data, recipe = run.module, run.data, run.recipe
    model = module.model  # whole again, where it was in shards
    merge_adapters(model)
    restore_tokens(model)
    mixture = None
    if run.start:
        mixture = mix_weights(module, run.start, data, recipe, run.device, progress)
    say("testing the best model")
    tested = test_model(module, data, run.prompts, recipe, run.device)
    rows = [row.as_dict() for row in tested.rows]
    length = model.context_length
    remarks = [
        *say_patience(fitted, recipe),
        *say_skipped(module.guard.skipped),
        *say_cut(module.drawn, tested.said, length),
    ]
    remarks += [say_prefixes(model.prefixes)] if model.prefixes else []
    for remark in remarks:
        say(remark)
    remarks = [*run.remarks, *fitted.advice, *([mixture.remark] if mixture else []), *remarks]
    save_trained(folder, model, data, recipe, run.domain, run.pretrained, run.environment)
    schematic = recipe.data.source == "builtin"
    write_json(
        folder / METRICS,
        {
            "rows": rows,
            "train_seconds": round(fitted.seconds, 1),
            "total_seconds": round(time.perf_counter() - began, 1),
            "steps": fitted.steps,
            "skipped_steps": module.guard.skipped,
            "stopped_early": fitted.stopped,
            "ended_by": fitted.ended,
            **({"wise_ft": mixture.as_dict()} if mixture else {}),
            "schematic": schematic,
            "unreadable": [list(pair) for pair in data.unreadable],
            "texts": {
                "context_length": length,
                "drawn": asdict(module.drawn),
                "tested": asdict(tested.said),
            },
        },
    )
    hints = _next(folder, fitted.stopped)
    report = report_run(
        folder,
        tested,
        data,
        run.domain,
        run.environment,
        hints,
        schematic=schematic,
        remarks=remarks,
    )
    say(f"report: {report}")
    if run.domain.notice:
        say(run.domain.notice)
    return RunResult(folder, rows, hints, len(data.unreadable), fitted.stopped)


def _next(folder: Path, stopped: bool) -> list[str]:
    run = shlex.quote(str(folder))
    hints = [f"domainclip train --resume {run}"] if stopped else []
    choice = "" if (folder / "model" / LABELS).is_file() else " --cls LABELS"
    return [*hints, f"domainclip predict PICTURES --model {run}{choice}"]


def _read_result(folder: Path) -> RunResult:
    """Return the result of a run that other processes did."""
    found = read_metrics(folder)
    stopped = bool(found["stopped_early"])
    return RunResult(
        folder, found["rows"], _next(folder, stopped), len(found["unreadable"]), stopped
    )


def _teller(progress: bool) -> Callable[[str], None]:
    def say(message: str) -> None:
        if progress:
            print(message, file=sys.stderr, flush=True)

    return say


def _hush() -> None:
    """Keep the engines' own notes off the terminal; ours say what a person needs."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\..*")
    # FSDP fears for changes in place of what towers return; there are none here.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
