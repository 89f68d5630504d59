"""Whole runs on a few drawn pictures: what they leave, and that they go on exactly."""

import json
import shutil
import signal
from pathlib import Path

import open_clip
import pytest
import torch
import yaml
from small_recipe import small_recipe

from domainclip.domains.registry import get_domain
from domainclip.errors import DataError, UsageError
from domainclip.model.folder import load_model, read_card, read_labels
from domainclip.recipe.schema import Recipe
from domainclip.training import fit as fitting
from domainclip.training.checkpoints import BEST, LAST, checkpoint_path, step_of
from domainclip.training.module import ContrastiveModule
from domainclip.training.run import read_metrics, resume, train
from domainclip.training.stop import StopOnSignal


def recipe(out: Path, **changes) -> Recipe:
    data = {"limit": 48, "batch_size": 16, **changes.pop("data", {})}
    train = {"steps": 6, "validations": 3, **changes.pop("train", {})}
    return small_recipe(out, data=data, train=train, **{"evaluate": {"bootstrap": 20}, **changes})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    return train(recipe(tmp_path_factory.mktemp("whole") / "run"), progress=False)


def weights(folder: Path, name: str = LAST) -> dict[str, torch.Tensor]:
    path = checkpoint_path(folder, name)
    return torch.load(path, map_location="cpu", weights_only=False)["state_dict"]


def test_run_folder_holds_what_the_design_says(whole):
    names = {p.name for p in whole.folder.iterdir()}
    assert names >= {
        "recipe.yaml", "environment.json", "metrics.jsonl", "metrics.json", "checkpoints", "model",
        "report.html", "pictures",
    }  # fmt: skip
    lines = [json.loads(x) for x in (whole.folder / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if "val_top1" in x] == [2, 4, 6]
    assert all(0 < x["lr"] <= 1e-3 for x in lines if "lr" in x)
    environment = json.loads((whole.folder / "environment.json").read_text())
    assert environment["precision"] == "float32" and environment["data_fingerprint"]


def test_recipe_of_a_run_is_resolved_and_repeats_it_bit_by_bit(whole, tmp_path):
    values = yaml.safe_load((whole.folder / "recipe.yaml").read_text())
    assert values["optim"]["lr"] == 1e-3 and values["optim"]["warmup"] == 0.05
    assert values["device"] == "cpu"
    again = train(Recipe.model_validate({**values, "out": str(tmp_path / "again")}), progress=False)
    first, second = weights(whole.folder), weights(again.folder)
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert read_metrics(again.folder)["rows"] == read_metrics(whole.folder)["rows"]


@pytest.mark.parametrize("at", [3, 5])  # between validations, and within the last interval
def test_a_stopped_run_goes_on_to_the_same_weights(whole, tmp_path, monkeypatch, at):
    ask = StopOnSignal.on_train_batch_end

    def stop_early(self, trainer, *rest):
        if trainer.global_step == at and not self.stopped:
            self._stop(2, None)
        ask(self, trainer, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(StopOnSignal, "on_train_batch_end", stop_early)
        stopped = train(recipe(tmp_path / "run"), progress=False)
    assert stopped.stopped and "--resume" in stopped.next[0]
    assert step_of(checkpoint_path(stopped.folder, LAST)) == at
    assert read_metrics(stopped.folder)["steps"] == at
    with (stopped.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 99, "tra')  # a kill in the middle of a line
    done = resume(stopped.folder, progress=False)
    assert not done.stopped
    first, second = weights(whole.folder), weights(done.folder)
    assert all(torch.equal(first[k], second[k]) for k in first)
    steps = [json.loads(x) for x in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in steps] == sorted(x["step"] for x in steps)
    assert [x["step"] for x in steps if "val_top1" in x][-1] == 6


def test_a_stop_in_the_last_step_of_all_is_none(tmp_path, monkeypatch):
    """The run ends between two validations, and has yet to validate."""
    ask = StopOnSignal.on_train_batch_end

    def stop_late(self, trainer, *rest):
        if trainer.global_step == 3:
            self._stop(2, None)
        ask(self, trainer, *rest)

    monkeypatch.setattr(StopOnSignal, "on_train_batch_end", stop_late)
    done = train(recipe(tmp_path / "run", train={"steps": 3, "validations": 2}), progress=False)
    assert not done.stopped
    assert read_metrics(done.folder)["ended_by"] == "length"
    lines = [json.loads(x) for x in (done.folder / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if "val_top1" in x] == [2, 3]


def test_the_best_score_outlives_a_move_and_patience_a_kill(tmp_path, monkeypatch):
    """Every validation is worse than the first; the run is killed at the one that ends it."""

    def log_worse(self):
        self.validated = self.global_step
        self.log_dict({"val_top1": 0.0, "val_score": 1 / self.global_step})

    class Killed(fitting.RunCheckpoints):
        killed = False

        def on_validation_end(self, trainer, module):
            super().on_validation_end(trainer, module)
            if self.killed and self.exhausted:
                raise InterruptedError

    Killed.__qualname__ = "RunCheckpoints"
    monkeypatch.setattr(fitting, "RunCheckpoints", Killed)
    monkeypatch.setattr(ContrastiveModule, "on_validation_epoch_end", log_worse)
    asked = {"train": {"steps": 8, "validations": 8, "patience": 2}}
    whole = train(recipe(tmp_path / "whole", **asked), progress=False)
    monkeypatch.setattr(Killed, "killed", True)
    with pytest.raises(InterruptedError):
        train(recipe(tmp_path / "here", **asked), progress=False)
    shutil.move(tmp_path / "here", tmp_path / "moved")
    last = checkpoint_path(tmp_path / "moved", LAST)
    assert step_of(last) == 3
    monkeypatch.setattr(Killed, "killed", False)
    done = resume(tmp_path / "moved", progress=False)
    for run in (whole, done):
        found = read_metrics(run.folder)
        assert (found["steps"], found["ended_by"], run.stopped) == (3, "patience", False)
        assert "ended after step 3 of 8" in (run.folder / "report.html").read_text()
    for name in (BEST, LAST):
        first, second = weights(whole.folder, name), weights(done.folder, name)
        assert all(torch.equal(first[k], second[k]) for k in first)
    # One whose patience is not over compares with the best of before the move.
    state = torch.load(last, weights_only=False)
    assert state["callbacks"]["RunCheckpoints"] == {"best": 1.0, "waited": 2}
    state["callbacks"]["RunCheckpoints"]["waited"] = 0
    torch.save(state, last)
    assert read_metrics(resume(tmp_path / "moved", progress=False).folder)["steps"] == 5
    assert step_of(checkpoint_path(tmp_path / "moved", BEST)) == 1


def test_rows_cover_both_splits_and_every_rank_that_tells_apart(whole):
    seen = {(r["split"], r["candidates"], r["rank"]) for r in whole.rows}
    ranks = {rank for split, _, rank in seen if split == "test"}
    assert {"family", "species"} <= ranks and "kingdom" not in ranks
    assert {(s, c) for s, c, _ in seen} == {
        ("test", "seen"), ("test_unseen", "unseen"), ("test_unseen", "all"),
        ("test", "captions"), ("test_unseen", "captions"),
    }  # fmt: skip
    for row in whole.rows:
        assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1 or row["metric"] != "top1"


def test_model_folder_knows_its_labels_and_stock_open_clip_loads_it(whole):
    card, tree = read_card(whole.folder), read_labels(whole.folder)
    domain = get_domain("biology")
    assert card["domain"] == "biology" and card["provenance"]["schematic"] is True
    assert tree is not None and tree.digest() == domain.labels().digest()
    assert len(card["candidates"]) == 40
    ours = load_model(whole.folder)
    assert ours.preprocess.shortest == 36  # the margin that tests cut the centre from
    stock, _ = open_clip.create_model_from_pretrained(f"local-dir:{whole.folder / 'model'}")
    stock.eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            stock.encode_image(pixels, normalize=True), ours.encode_image(pixels), atol=1e-5, rtol=0
        )


def test_a_pretrained_model_is_fine_tuned_gently(whole, tmp_path):
    model = {"name": str(whole.folder), "image_size": 0}
    done = train(recipe(tmp_path / "run", model=model, train={"steps": 1}), progress=False)
    values = yaml.safe_load((done.folder / "recipe.yaml").read_text())
    assert values["optim"]["lr"] == 1e-5 and values["optim"]["warmup"] == 0.1
    before, after = weights(whole.folder), weights(done.folder)
    moved = max((before[k].float() - after[k].float()).abs().max().item() for k in before
                if "running" not in k and "batches" not in k)  # fmt: skip
    assert 0 < moved < 1e-3


def test_a_head_for_captions_that_never_hears_one_is_left_out_or_spoken_of(whole, tmp_path):
    asked = {"text": {"captions": 0}, "train": {"steps": 1}}
    anew = train(recipe(tmp_path / "anew", **asked), progress=False)
    assert list(load_model(anew.folder).heads) == ["names"]
    model = {"name": str(whole.folder), "image_size": 0}
    tuned = train(recipe(tmp_path / "tuned", model=model, **asked), progress=False)
    assert list(load_model(tuned.folder).heads) == ["names", "captions"]
    assert "the head for captions stays as it is" in (tuned.folder / "report.html").read_text()


def test_a_folder_that_holds_a_run_is_not_overwritten(whole):
    with pytest.raises(UsageError, match="holds a run already"):
        train(recipe(whole.folder), progress=False)


def test_a_run_does_not_go_on_with_other_data(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder, folder)
    begun = json.loads((folder / "environment.json").read_text())
    (folder / "environment.json").write_text(json.dumps({**begun, "data_fingerprint": "other"}))
    with pytest.raises(DataError, match="the data has changed"):
        resume(folder, progress=False)


def test_a_checkpoint_of_another_version_is_refused(whole, tmp_path):
    run = shutil.copytree(whole.folder, tmp_path / "run")
    state = torch.load(checkpoint_path(run, LAST), weights_only=False)
    key = "model.heads.names.weight"
    state["state_dict"]["model.old"] = state["state_dict"].pop(key)
    torch.save(state, checkpoint_path(run, LAST))
    with pytest.raises(
        DataError, match=f"does not fit .*{key}, model.old.*another version"
    ) as told:
        resume(run, progress=False)
    assert f"--recipe {run}" in told.value.hint


def test_a_folder_that_cannot_be_made_is_refused_before_anything_starts(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be made"):
        train(recipe(tmp_path / "file" / "run"), progress=False)


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(UsageError, match="no run in"):
        resume(tmp_path)


def test_minutes_become_steps_before_the_first(tmp_path):
    done = train(recipe(tmp_path / "run", train={"steps": None, "minutes": 0.05}), progress=False)
    values = yaml.safe_load((done.folder / "recipe.yaml").read_text())["train"]
    assert values["minutes"] is None and values["steps"] >= 1
    assert read_metrics(done.folder)["steps"] == values["steps"]


def test_unknown_prompt_set_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no prompt set 'defautl'"):
        train(recipe(tmp_path / "run", text={"prompts": "defautl"}), progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_that_fails_gives_ctrl_c_back(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("in the middle of a step")

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(ContrastiveModule, "training_step", fail)
    with pytest.raises(RuntimeError, match="in the middle"):
        train(recipe(tmp_path / "run"), progress=False)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
