"""A locked image tower: its features are computed once, and nothing else changes."""

from pathlib import Path

import pytest
import torch
from small_recipe import small_recipe

from domainclip.data.datamodule import open_data
from domainclip.domains.registry import get_domain
from domainclip.errors import UsageError
from domainclip.model.adapters import adapt
from domainclip.model.folder import WEIGHTS, create_model
from domainclip.recipe.schema import Recipe
from domainclip.training.build import build_module
from domainclip.training.checkpoints import LAST, checkpoint_path
from domainclip.training.features import compute_features, fixed_features
from domainclip.training.fit import train_loader
from domainclip.training.precision import pick_precision
from domainclip.training.probe import copy_for_trial
from domainclip.training.resolve import resolve
from domainclip.training.run import train


def recipe(**changes) -> Recipe:
    model = {"lock": "image", **changes.pop("model", {})}
    train = {"augment": False, **changes.pop("train", {})}
    data = {"limit": 40, "batch_size": 16}
    return small_recipe(**{"data": data, **changes}, model=model, train=train)


@pytest.fixture(scope="module")
def opened():
    asked = recipe()
    domain = get_domain("biology")
    torch.manual_seed(0)
    model, _ = create_model("small", image_size=32)
    adapt(model, asked.model, False)
    data = open_data(asked, domain, model.preprocess.size)
    asked = resolve(asked, False, "cpu", "float32", len(data.splits["train"]))
    return build_module(asked, model, data, domain.prompts["default"]), data


def gradients(module, batch):
    module.zero_grad()
    loss = module.loss(batch)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_computed_once_give_the_same_loss_and_gradients(opened, precision):
    module, data = opened
    batch = next(iter(train_loader(data, 1, 0)))
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        module.features = None
        loss, plain = gradients(module, batch)
        module.features = compute_features(
            module, data, device="cpu", precision=precision, progress=False
        )
        assert module.features.shape == (40, 512) and module.features.dtype == torch.float32
        data.blind = True
        blind = next(iter(train_loader(data, 1, 0)))
        data.blind = False
        assert blind.pixels.numel() == 0 and torch.equal(blind.indices, batch.indices)
        again, cached = gradients(module, blind)
    rough = {"atol": 1e-6, "rtol": 1e-5} if precision == "float32" else {"atol": 2e-3, "rtol": 2e-2}
    torch.testing.assert_close(again, loss, **rough)
    assert plain.keys() == cached.keys() and not any("visual" in name for name in plain)
    for name in plain:
        torch.testing.assert_close(cached[name], plain[name], **rough)


def test_no_picture_is_encoded_then(opened, monkeypatch):
    module, data = opened
    module.features = compute_features(
        module, data, device="cpu", precision="float32", progress=False
    )
    monkeypatch.setattr(data, "blind", True)
    blind = next(iter(train_loader(data, 1, 0)))
    encoded: list[int] = []
    hook = module.model.clip.visual.register_forward_hook(
        lambda m, a, out: encoded.append(len(out))
    )
    module.loss(blind)
    assert encoded == []
    module.features = None
    module.loss(next(iter(train_loader(data, 1, 0)))._replace(pixels=torch.zeros(16, 3, 32, 32)))
    assert encoded == [16]
    hook.remove()


def test_a_probe_copies_no_features_and_times_no_locked_tower(opened, monkeypatch):
    module, data = opened
    module.features = torch.zeros(40, 512)
    assert copy_for_trial(module).features is module.features
    module.features = None
    encoded: list[int] = []
    pool = type(module.model).pool
    monkeypatch.setattr(
        type(module.model), "pool", lambda s, x: (encoded.append(len(x)), pool(s, x))[1]
    )
    found = pick_precision("auto", "cpu", module, train_loader(data, 1, 0))
    assert found in ("float32", "bfloat16")
    assert encoded == [1] and module.features is None


@pytest.mark.parametrize(
    ("changes", "fixed"),
    [({}, True), ({"train": {"augment": True}}, False), ({"model": {"lock": "text"}}, False)],
)
def test_features_are_fixed_only_under_a_locked_tower_and_equal_pictures(changes, fixed):
    assert fixed_features(recipe(**changes)) is fixed


def test_a_run_leaves_the_locked_tower_as_it_began_and_says_so(tmp_path: Path, capsys):
    done = train(recipe(out=str(tmp_path / "run")))
    assert "features are computed once" in capsys.readouterr().err
    state = torch.load(checkpoint_path(done.folder, LAST), weights_only=False)["state_dict"]
    assert not any("features" in key for key in state)
    torch.manual_seed(0)
    begun = create_model("small", image_size=32)[0].state_dict()
    equal = {k: torch.equal(v, state[f"model.{k}"]) for k, v in begun.items()
             if f"model.{k}" in state}  # fmt: skip
    assert all(equal[k] for k in equal if "visual" in k)
    assert not equal["heads.names.weight"] and not equal["clip.text.ln_final.weight"]


def test_the_next_run_of_the_same_tower_reads_the_features(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setenv("DOMAINCLIP_HOME", str(tmp_path / "home"))

    def run(name: str, **changes: object) -> tuple[str, bytes]:
        done = train(recipe(out=str(tmp_path / name), **changes))
        return capsys.readouterr().err, (done.folder / "model" / WEIGHTS).read_bytes()

    said, first = run("first")
    (file,) = (tmp_path / "home" / "features").iterdir()
    assert "features are computed once" in said
    said, again = run("again")
    assert f"features are read from {file}" in said and again == first
    said, _ = run("other-rate", optim={"lr": 1e-4})
    assert f"features are read from {file}" in said
    said, _ = run("other-pictures", seed=1)  # and, from nothing, another tower
    assert "features are computed once" in said
    file.write_bytes(b"torn")
    said, third = run("third")
    assert "features are computed once" in said and third == first


def test_augmentation_left_on_is_told(tmp_path: Path, capsys):
    train(recipe(out=str(tmp_path / "run"), train={"augment": True, "steps": 1, "validations": 1}))
    assert "with --train.augment false features are computed once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "pretrained", "lr"),
    [
        ({}, True, 1e-4),
        ({"lock": "text"}, True, 1e-5),
        ({"lock": "none"}, True, 1e-5),
        ({"lora": 4}, True, 2e-4),
        ({}, False, 1e-3),
    ],
)
def test_what_learns_alone_learns_faster(model, pretrained, lr):
    assert resolve(recipe(model=model), pretrained, "cpu", "float32", 40).optim.lr == lr


def test_patches_of_a_locked_tower_are_not_left_out():
    model, _ = create_model("small")
    with pytest.raises(UsageError, match="image tower is locked"):
        adapt(model, recipe(model={"patch_dropout": 0.5}).model, False)
