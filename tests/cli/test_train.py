"""`domainclip train` up to the point where training begins, and from where it ends."""

import csv
import io
import json
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner

from domainclip.cli.app import app
from domainclip.recipe.keys import recipe_keys
from domainclip.recipe.load import load_recipe

ROW = {
    "split": "test", "candidates": "seen", "rank": "cell_type", "metric": "top1",
    "value": 0.91, "low": 0.9, "high": 0.92, "n": 2000,
}  # fmt: skip


@dataclass
class Result:
    folder: Path = Path("runs/first")
    rows: list = field(default_factory=lambda: [dict(ROW)])
    next: list = field(default_factory=lambda: ["domainclip predict PICTURES --model runs/first"])
    unreadable: int = 0
    stopped: bool = False
    rank: int = 0


@pytest.fixture
def fake_run(monkeypatch):
    fake = types.ModuleType("domainclip.training.run")
    fake.calls, fake.result = [], Result()

    def train(recipe, *, origins, command, progress):
        fake.calls.append(("train", recipe, origins, progress))
        return fake.result

    def resume(folder, *, command, progress):
        fake.calls.append(("resume", folder, None, progress))
        return fake.result

    fake.train, fake.resume = train, resume
    monkeypatch.setitem(sys.modules, "domainclip.training.run", fake)
    import domainclip.training

    monkeypatch.setattr(domainclip.training, "run", fake, raising=False)
    return fake


def train(*args, **kwargs):
    return CliRunner().invoke(app, ["train", *map(str, args)], prog_name="domainclip", **kwargs)


def dry(*args, **kwargs):
    result = train("--domain", "medical", "--dry-run", *args, **kwargs)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_dry_run_prints_a_recipe_that_resolves_to_itself(tmp_path, fake_run):
    text = dry("--optim.lr", "1e-4", "--set", "data.columns.label=a b", "--tiny")
    path = tmp_path / "resolved.yaml"
    path.write_text(text)
    again = train("--recipe", path, "--dry-run")
    assert again.stdout == text
    assert load_recipe(None, str(path), environ={}).recipe.optim.lr == 1e-4
    assert fake_run.calls == []


def test_every_key_of_the_schema_is_an_option_except_what_is_about_the_recipe():
    text = train("--help").stdout
    for name, key in recipe_keys().items():
        assert (f"--{name} " in text) == (key.section != "about"), name


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (("--optim.lr", "1e-4"), "lr: 0.0001"),
        (("--optim.lr=1e-4",), "lr: 0.0001"),
        (("--set", "optim.lr=1e-4"), "lr: 0.0001"),
        (("--data", "a=b/c d"), 'source: "a=b/c d"'),
        (("--model", "ViT-B-32/openai"), "name: ViT-B-32/openai "),
        (("--data.batch-size", "32"), "batch_size: 32"),
        (("--data.columns.label", "species"), "columns: {label: species}"),
        (("--train.augment", "false"), "augment: false"),
        (("--seed", "3"), "seed: 3"),
        (("--out", "012"), 'out: "012"'),
        (("--device", "cpu"), "device: cpu"),
    ],
)
def test_every_way_to_say_a_key(args, line):
    assert any(said.strip().startswith(line) for said in dry(*args).splitlines())


def test_set_beats_an_option_and_an_option_beats_the_environment():
    env = {"DOMAINCLIP_OPTIM__LR": "3e-5"}
    assert "lr: 3.0e-05" in dry(env=env)
    assert "lr: 2.0e-05" in dry("--optim.lr", "2e-5", env=env)
    assert "lr: 1.0e-05" in dry("--optim.lr", "2e-5", "--set", "optim.lr=1e-5", env=env)


def test_origins_are_printed_on_request():
    text = dry("--optim.lr", "1e-4", "--tiny", "--origin", env={"DOMAINCLIP_SEED": "4"})
    for key, origin in (
        ("seed", "environment (DOMAINCLIP_SEED)"),
        ("lr", "command line"),
        ("steps", "--tiny"),
        ("beta2", "default"),
        ("title", "recipes/medical/quickstart.yaml:"),
    ):
        assert any(
            line.strip().startswith(f"{key}: ") and f"[{origin}" in line
            for line in text.splitlines()
        ), key


def test_all_mistakes_of_the_command_line_are_told_at_once(fake_run):
    result = train(
        "--domain", "medcial", "--lr", "3", "--optim.lrr=3", "--data.batch_size", "many",
        "--optim.lr", "-1", "--device", "gpu",
    )  # fmt: skip
    assert result.exit_code == 2
    for said in (
        "command line: lr: no such key; did you mean 'optim.lr'?",
        "command line: optim.lrr: no such key; did you mean 'optim.lr'?",
        "command line: data.batch_size = many: should be a whole number",
        "command line: optim.lr = -1: should be greater than 0",
        "command line: domain = medcial: no such domain; did you mean 'medical'?",
        "command line: device = gpu: should be one of auto, cpu, cuda, mps",
    ):
        assert said in result.stderr
    assert "6 problems" in result.stderr
    assert fake_run.calls == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--tinny",), "--tiny"),
        (("--recipy", "x"), "--recipe"),
        (("stray",), "stray"),
        (("--optim.lr",), "--optim.lr"),
        (("--data.columns.label",), "--data.columns.label"),
        (("--set", "optim.lr"), "KEY=VALUE"),
        (("--recipe", "quickstrat"), "did you mean 'quickstart'?"),
        (("--resume", "runs/x", "--optim.lr", "1"), "--resume"),
    ],
)
def test_wrong_use_starts_nothing(fake_run, args, said):
    result = train(*(() if "--resume" in args else ("--domain", "medical")), *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert fake_run.calls == []


def test_the_domain_has_to_be_said():
    result = train("--dry-run")
    assert result.exit_code == 2
    assert "--domain" in result.stderr and "medical" in result.stderr


def test_the_table_is_on_stdout_with_the_run_folder_last_and_hints_on_stderr(fake_run):
    result = train("--domain", "medical", "--seed", "3")
    assert result.exit_code == 0
    *table, last = result.stdout.splitlines()
    assert last == "runs/first"
    (row,) = csv.DictReader(io.StringIO("\n".join(table)))
    assert row == {key: str(value) for key, value in ROW.items()}
    assert "next: domainclip predict PICTURES --model runs/first" in result.stderr
    ((kind, recipe, origins, progress),) = fake_run.calls
    assert (kind, recipe.seed, origins["seed"], progress) == ("train", 3, "command line", True)


def test_json_is_one_object_and_quiet_only_the_folder(fake_run):
    told = json.loads(train("--domain", "medical", "--json").stdout)
    assert told == {"rows": [ROW], "unreadable": 0, "run": "runs/first"}
    quiet = train("--domain", "medical", "--quiet", "--tiny")
    assert (quiet.stdout, quiet.stderr) == ("runs/first\n", "")
    assert fake_run.calls[-1][3] is False


def test_tiny_says_what_it_shrank(fake_run):
    stderr = train("--domain", "medical", "--tiny", "--train.steps", "2").stderr
    assert "--tiny: " in stderr and "data.batch_size=16" in stderr and "steps=4" not in stderr


def test_unreadable_pictures_are_exit_code_1_and_a_stopped_run_130(fake_run):
    fake_run.result = Result(unreadable=2)
    result = train("--domain", "medical")
    assert result.exit_code == 1 and "2 pictures could not be read" in result.stderr
    fake_run.result = Result(stopped=True, next=["domainclip train --resume runs/first"])
    result = train("--domain", "medical")
    assert result.exit_code == 130
    assert result.stdout.splitlines()[-1] == "runs/first"
    assert "domainclip train --resume runs/first" in result.stderr


def test_resume_goes_on_under_the_runs_own_recipe(fake_run):
    assert train("--resume", "runs/first").exit_code == 0
    assert fake_run.calls == [("resume", "runs/first", None, True)]


def test_an_interrupt_that_the_run_cannot_handle_still_says_how_to_go_on(fake_run, tmp_path):
    def interrupted(recipe, **_):
        Path(recipe.out).mkdir()
        (Path(recipe.out) / "recipe.yaml").write_text("")
        raise KeyboardInterrupt

    fake_run.train = interrupted
    out = tmp_path / "run"
    result = train("--domain", "medical", "--out", out)
    assert result.exit_code == 130
    assert f"domainclip train --resume {out}" in result.stderr


def test_options_complete_in_a_shell(run_python):
    code = (
        "import os\n"
        "os.environ |= {'_DOMAINCLIP_COMPLETE': 'bash_complete', 'COMP_CWORD': '2',\n"
        "               'COMP_WORDS': 'domainclip train --optim.w'}\n"
        "from domainclip.cli import main\nmain()\n"
    )
    out = run_python("-c", code).stdout
    assert "--optim.weight_decay" in out and "--optim.warmup" in out and "--optim.lr" not in out
