"""What a recipe and its figures warn of."""

import pytest
from small_recipe import small_recipe

from domainclip.recipe.schema import Recipe
from domainclip.training.advice import LoaderAdvice, advise_loader, advise_recipe
from domainclip.training.metrics import MetricsLog
from domainclip.training.run import train


def recipe(steps=100, warmup=0.05, lr=1e-3, **model) -> Recipe:
    return Recipe.model_validate(
        {
            "domain": "biology",
            "optim": {"lr": lr, "warmup": warmup},
            "train": {"steps": steps},
            "model": model,
        }
    )


@pytest.mark.parametrize(
    "steps, warmup, rise", [(100, 0.5, 0), (100, 0.51, 51), (2, 0.99, 2), (1, 0.9, 0), (3, 0.5, 2)]
)
def test_warm_up_of_over_half_the_steps(steps, warmup, rise):
    lines = advise_recipe(recipe(steps, warmup), pretrained=False)
    assert lines == ([] if not rise else [
        f"warm-up takes {rise} of {steps} steps, and the learning rate is hardly at its peak; "
        "lower optim.warmup, or train longer"
    ])  # fmt: skip


def test_a_rate_from_nothing_on_a_pretrained_model():
    told = [
        "optim.lr 0.001 is a rate for training from nothing and makes a pretrained model forget; "
        "1e-5 is usual"
    ]
    assert advise_recipe(recipe(), pretrained=True) == told
    assert advise_recipe(recipe(), pretrained=False) == []
    assert advise_recipe(recipe(lr=1e-4), pretrained=True) == []
    assert advise_recipe(recipe(lora=8), pretrained=True) == []
    assert advise_recipe(recipe(lock="image"), pretrained=True) == []
    assert advise_recipe(recipe(lock="text"), pretrained=True) == told


def test_a_locked_tower_that_was_never_trained():
    (line,) = advise_recipe(recipe(lock="text"), pretrained=False)
    assert line.startswith("model.lock holds the text tower, which was never trained")


def test_a_slow_loader():
    assert advise_loader(31.0, 100.0, 50, 2) == [
        "31% of the time goes by waiting for batches; raise data.workers (2), or let pictures be "
        "packed (data.streaming false, a larger data.cache_gb)"
    ]
    assert "(unset)" in advise_loader(31.0, 100.0, 50, None)[0]
    assert advise_loader(30.0, 100.0, 50, 2) == []
    assert advise_loader(99.0, 100.0, 49, 2) == []


def test_a_slow_loader_is_told_once(tmp_path, capsys):
    figures = MetricsLog(tmp_path / "metrics.jsonl", 8, 100)
    advice = LoaderAdvice(figures, 2, progress=True)
    for figures.timed, figures.waited, figures.worked in ((49, 9, 10), (50, 9, 10), (51, 9.5, 10)):
        advice.on_train_batch_end(None, None, None, None, 0)
    assert advice.lines == advise_loader(9, 10, 50, 2)
    assert capsys.readouterr().err == f"warning: {advice.lines[0]}\n"


def test_warnings_of_a_run_stand_on_the_terminal_and_in_its_report(tmp_path, capsys):
    length = {"steps": 3, "validations": 1}
    done = train(small_recipe(tmp_path / "run", optim={"warmup": 0.9}, train=length))
    told = "warm-up takes 3 of 3 steps"
    assert capsys.readouterr().err.count(f"warning: {told}") == 1
    assert told in (done.folder / "report.html").read_text()
