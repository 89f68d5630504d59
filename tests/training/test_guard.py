"""Steps that go wrong: skipped as if they had never been, and an end where none comes through."""

import json
import math
from pathlib import Path

import pytest
import torch
from small_recipe import small_recipe
from torch import nn

from domainclip.errors import TrainingError
from domainclip.recipe.schema import Recipe
from domainclip.training import fit as fitting
from domainclip.training.checkpoints import BEST, LAST, WholeCheckpoints, checkpoint_path, step_of
from domainclip.training.guard import LIMIT, StepGuard, running_statistics, say_skipped
from domainclip.training.run import read_metrics, resume, train


def recipe(out: Path, **train) -> Recipe:
    return small_recipe(out, train={"steps": 6, "validations": 3, **train})


class Poison(StepGuard):
    """Makes the pictures of some steps infinite on their way into the model."""

    steps: tuple[int, ...] = ()

    def on_train_batch_start(self, trainer, module, batch, index):
        super().on_train_batch_start(trainer, module, batch, index)
        if batch.step in self.steps:
            module.std.zero_()
        else:
            module.std.copy_(255 * torch.tensor(module.model.preprocess.std).view(1, 3, 1, 1))


@pytest.fixture
def poison(monkeypatch):
    def steps(*numbers):
        monkeypatch.setattr(Poison, "steps", numbers)
        monkeypatch.setattr("domainclip.training.module.StepGuard", Poison)
        monkeypatch.setattr(Poison, "state_key", "StepGuard")

    return steps


def state(folder: Path) -> dict:
    return torch.load(checkpoint_path(folder, LAST), map_location="cpu", weights_only=False)


def same(first: dict, second: dict) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_bad_step_changes_nothing_and_is_counted(tmp_path, poison, capsys):
    poison(2)
    done = train(recipe(tmp_path / "run"), progress=True)
    assert read_metrics(done.folder)["skipped_steps"] == 1 and done.rows
    assert "1 step was skipped" in capsys.readouterr().err
    assert "1 step was skipped" in (done.folder / "report.html").read_text()
    kept = state(done.folder)
    assert all(v.isfinite().all() for v in kept["state_dict"].values())
    assert kept["optimizer_states"][0]["state"][0]["step"] == 5  # of six


def test_three_in_a_row_end_the_run_with_the_weights_before_them(tmp_path, poison):
    poison(2, 3, 4)
    with pytest.raises(TrainingError, match=r"step 5: .* 3 times in a row") as caught:
        train(recipe(tmp_path / "run"), progress=False)
    assert caught.value.exit_code == 1
    for way in ("--optim.lr 0.0001", f"--resume {tmp_path / 'run'}", "--recipe"):
        assert way in caught.value.hint
    after = state(tmp_path / "run")
    assert after["global_step"] == 5
    break_off(tmp_path / "good", 2)
    good = state(tmp_path / "good")
    assert good["global_step"] == 2
    assert same(after["state_dict"], good["state_dict"])
    for number, moments in good["optimizer_states"][0]["state"].items():
        assert same(moments, after["optimizer_states"][0]["state"][number])
    poison()
    done = resume(tmp_path / "run", progress=False)
    metrics = read_metrics(done.folder)
    assert metrics["steps"] == 6 and metrics["skipped_steps"] == 3


def break_off(out: Path, step: int) -> None:
    """Break a run off at a step that a checkpoint has just been written at."""

    class Broken(fitting.MetricsLog):
        def on_train_batch_start(self, trainer, module, batch, index):
            if trainer.global_step == step:
                raise InterruptedError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(fitting, "MetricsLog", Broken)
        with pytest.raises(InterruptedError):
            train(recipe(out), progress=False)


def test_a_learning_rate_out_of_all_measure_ends_the_run(tmp_path):
    values = recipe(tmp_path / "run", steps=12, validations=12).model_dump()
    values["optim"] |= {"lr": 1e30, "clip_norm": 0, "warmup": 0.0}
    with pytest.raises(TrainingError, match="in a row"):
        train(Recipe.model_validate(values), progress=False)
    lines = [json.loads(x) for x in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] < 12


def test_weights_that_are_not_finite_never_overwrite_good_ones(tmp_path, monkeypatch):
    class Broken(StepGuard):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if trainer.global_step == 3:
                with torch.no_grad():
                    next(module.model.parameters()).fill_(math.inf)
            super().on_train_batch_end(trainer, module, outputs, batch, index)

    monkeypatch.setattr("domainclip.training.module.StepGuard", Broken)
    with pytest.raises(TrainingError, match=r"step 4: .* not finite .* after step 2") as caught:
        train(recipe(tmp_path / "run", steps=4, validations=2), progress=False)
    assert "--resume" not in caught.value.hint
    for name in (LAST, BEST):
        kept = torch.load(checkpoint_path(tmp_path / "run", name), weights_only=False)
        assert kept["global_step"] == 2
        assert all(v.isfinite().all() for v in kept["state_dict"].values())


@pytest.mark.parametrize("most", [0.0, 1.0])
@pytest.mark.parametrize("bad", ["loss", "gradient"])
def test_gradients_go_where_loss_or_norm_is_not_finite(most, bad):
    layer, guard = nn.Linear(2, 2), StepGuard()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    weights = layer.weight.detach().clone()
    layer(torch.ones(1, 2)).sum().backward()
    guard.loss = torch.tensor(math.inf if bad == "loss" else 1.0)
    if bad == "gradient":
        layer.bias.grad[0] = math.nan
    guard.clip(layer.parameters(), most)
    optimizer.step()
    assert torch.equal(layer.weight, weights) and not optimizer.state
    assert (guard.skipped, guard.in_a_row) == (1, 1)
    guard.loss = torch.tensor(1.0)
    layer(torch.ones(1, 2)).sum().backward()
    guard.clip(layer.parameters(), most)
    norm = torch.stack([p.grad.norm() for p in layer.parameters()]).norm()
    torch.testing.assert_close(norm, torch.tensor(most or math.sqrt(6)), rtol=1e-5, atol=1e-5)
    optimizer.step()
    assert not torch.equal(layer.weight, weights)
    assert (guard.skipped, guard.in_a_row) == (1, 0)


def test_running_statistics_are_put_back():
    module, guard = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), StepGuard()
    assert len(running_statistics(module)) == 3  # mean, variance, number of batches
    guard.on_train_batch_start(None, module, None, 0)
    module(torch.full((4, 3), math.inf)).sum().backward()
    assert not module[1].running_mean.isfinite().all()
    guard.clip(module.parameters(), 1.0)
    assert torch.equal(module[1].running_mean, torch.zeros(3))
    assert module[1].num_batches_tracked == 0


def test_the_count_in_a_row_starts_anew_only_after_an_end():
    guard = StepGuard()
    guard.skipped, guard.in_a_row = 5, 2
    again = StepGuard()
    again.load_state_dict(guard.state_dict())
    assert (again.skipped, again.in_a_row) == (5, 2)
    guard.in_a_row = LIMIT
    again.load_state_dict(guard.state_dict())
    assert again.in_a_row == 0


def test_what_is_said_of_skipped_steps():
    assert say_skipped(0) == []
    assert say_skipped(2)[0].startswith("2 steps were skipped")


def test_a_checkpoint_cut_short_leaves_the_old_one(tmp_path):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"global_step": 3}, path)

    class Bomb:
        def __reduce__(self):
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        WholeCheckpoints().save_checkpoint({"global_step": 4, "bomb": Bomb()}, path)
    assert step_of(path) == 3
