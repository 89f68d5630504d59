"""The average of the weights: its arithmetic, what is validated and kept, and going on exactly."""

import json
from pathlib import Path

import lightning as L
import pytest
import torch
from small_recipe import small_recipe
from tiny_module import build
from torch import nn

from domainclip.model.folder import load_model
from domainclip.recipe.schema import Recipe
from domainclip.training import averaging
from domainclip.training import fit as fitting
from domainclip.training.checkpoints import BEST, LAST, checkpoint_path
from domainclip.training.run import resume, train
from domainclip.training.stop import end_now


def recipe(out: Path) -> Recipe:
    return small_recipe(
        out, data={"limit": 48, "batch_size": 16}, train={"steps": 6, "validations": 3, "ema": 0.9}
    )


class Log(L.Callback):
    """Keeps the trained weights after each step, and what is validated."""

    trained: dict[int, dict[str, torch.Tensor]]
    validated: dict[int, dict[str, torch.Tensor]]

    def __init__(self) -> None:
        self.trained, self.validated = {}, {}

    def _now(self, module):
        return {n: v.clone() for n, v in module.model.state_dict().items()}

    def on_train_start(self, trainer, module):
        self.trained[0] = self._now(module)

    def on_train_batch_end(self, trainer, module, outputs, batch, index):
        self.trained[trainer.global_step] = self._now(module)

    def on_validation_epoch_start(self, trainer, module):
        self.validated[trainer.global_step] = self._now(module)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped, and what went on in it."""
    log = Log()
    with pytest.MonkeyPatch.context() as patched:
        trainer = L.Trainer

        def watched(*args, callbacks, **options):
            return trainer(*args, callbacks=[*callbacks, log], **options)

        patched.setattr(fitting.L, "Trainer", watched)
        run = train(recipe(tmp_path_factory.mktemp("whole") / "run"), progress=False)
    return run, log


def state(folder: Path, name: str = LAST) -> dict:
    return torch.load(checkpoint_path(folder, name), map_location="cpu", weights_only=False)


def test_validation_sees_the_average_by_the_formula(whole):
    _, log = whole
    average = log.trained[0]
    for step in range(1, 7):
        weight = 1 - min(0.9, (1 + step) / (10 + step))
        for name, here in log.trained[step].items():
            whole_number = not here.is_floating_point()
            average[name] = here if whole_number else average[name].lerp(here, weight)
        if step in log.validated:
            for name, seen in log.validated[step].items():
                torch.testing.assert_close(seen, average[name], atol=1e-7, rtol=1e-6)
    assert set(log.validated) == {2, 4, 6}
    moved = log.trained[0]["clip.visual.trunk.bn1.running_mean"]
    assert not torch.equal(moved, log.trained[6]["clip.visual.trunk.bn1.running_mean"])


def test_the_best_checkpoint_and_the_model_are_an_average(whole):
    run, log = whole
    best = state(run.folder, BEST)
    seen = log.validated[best["global_step"]]
    model = load_model(run.folder).state_dict()
    tokens = "clip.text.token_embedding"
    for name, value in seen.items():
        assert torch.equal(best["state_dict"][f"model.{name}"], value)
        if not name.startswith(tokens):  # those in use, which the model has among all
            assert torch.equal(model[name], value)
    whole = {row.tobytes() for row in model[f"{tokens}.weight"].numpy()}
    assert len(whole) == 49408
    assert whole >= {row.tobytes() for row in seen[f"{tokens}.rows"].numpy()}


@pytest.mark.parametrize("at", [2, 3])  # at a validation, and between two
def test_a_stopped_run_goes_on_to_the_same_weights_and_average(whole, tmp_path, monkeypatch, at):
    def stop_early(self, trainer, module, outputs, batch, index):
        if trainer.global_step == at and not self.stopped:
            self._stop(2, None)
        if self.stopped:
            end_now(trainer)

    run, _ = whole
    with monkeypatch.context() as patched:
        patched.setattr(fitting.StopOnSignal, "on_train_batch_end", stop_early)
        stopped = train(recipe(tmp_path / "run"), progress=False)
    assert state(stopped.folder)["global_step"] == at
    done = resume(stopped.folder, progress=False)
    for name in (LAST, BEST):
        one, other = state(run.folder, name), state(done.folder, name)
        assert all(torch.equal(v, other["state_dict"][n]) for n, v in one["state_dict"].items())
    (mine,), (theirs,) = (
        [v for k, v in state(folder)["callbacks"].items() if "WeightAverage" in k]
        for folder in (run.folder, done.folder)
    )
    assert mine["shown"] == theirs["shown"]
    assert all(torch.equal(v, theirs["aside"][n]) for n, v in mine["aside"].items())
    lines = (done.folder / "metrics.jsonl").read_text().splitlines()
    whole_lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines] == [json.loads(x)["step"] for x in whole_lines]


def test_a_skipped_step_does_not_move_the_average():
    module, average = build("resnet"), averaging.WeightAverage(0.9)
    average.on_train_start(None, module)
    before = {name: value.clone() for name, value in average.aside.items()}
    with torch.no_grad():
        module.model.log_scales["names"] += 1
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.guard.in_a_row = 1
    average.on_train_batch_end(trainer, module, None, None, 0)
    assert all(torch.equal(value, average.aside[name]) for name, value in before.items())
    module.guard.in_a_row = 0
    average.on_train_batch_end(trainer, module, None, None, 0)
    assert not torch.equal(before["log_scales.names"], average.aside["log_scales.names"])


def test_only_what_is_trained_is_averaged(monkeypatch):
    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
            self.model.register_buffer("mask", torch.full((2,), float("-inf")))
            self.model[2].requires_grad_(False)

    monkeypatch.setattr(averaging, "ContrastiveModule", Module)
    assert set(averaging._moving(Module())) == {
        "0.weight", "0.bias", "1.weight", "1.bias",
        "1.running_mean", "1.running_var", "1.num_batches_tracked",
    }  # fmt: skip
