"""`domainclip caption` as people type it: the bank, a served model, stopping, wrong use."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from domainclip.captioning.checks import corpus
from domainclip.captioning.checks.context import Verdict
from domainclip.captioning.job import Job
from domainclip.cli.app import app
from domainclip.data.captions import list_generations, read_captions, read_rejected

sys.path.insert(0, str(Path(__file__).parents[1] / "endpoints"))
from chat_server import Answer, failure, serve


def caption(*args, domain="biology"):
    args = ["caption", "--domain", domain, *map(str, args)]
    return CliRunner().invoke(app, args, prog_name="domainclip")


def served(server, *args, model="tiny", domain="biology"):
    source = ["--captioner", "openai", "--endpoint", server.url, "--model", model]
    return caption(*source, *args, domain=domain)


def describe(asked):
    """Answer like a model that sees wings."""
    if len(asked.text) < 50:
        return Answer("Yes.", tokens=(9 + 50 * len(asked.pictures), 1))
    return Answer(f"A butterfly seen from above with pale wings, number {asked.number}.")


@pytest.fixture
def photos(tmp_path):
    for i, label in enumerate(("platelet", "lymphocyte")):
        for j in range(4):
            file = tmp_path / "photos" / label / f"{j}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (20, 20), (60 * i, 40 * j, 200)).save(file)
    return tmp_path / "photos"


@pytest.mark.parametrize("domain", ["biology", "medical", "remote_sensing"])
def test_the_bank_captions_built_in_data_with_nothing_installed(tmp_path, domain):
    result = caption("--limit", 20, "--out", tmp_path, "--json", domain=domain)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["choice"] == "seeded choice" and "picked by seeded choice" in result.stderr
    assert told["counts"]["written"] == 20 and told["counts"]["left"] == 0
    assert told["counts"]["kept"] + told["counts"]["rewritten"] >= 18
    assert f"domainclip train --domain {domain} --data.captions" in result.stderr
    ids = [f"train/{i:06d}" for i in range(20)]
    read = read_captions([tmp_path], ids)
    assert read.found >= 18
    again = caption("--limit", 25, "--out", tmp_path, "--json", domain=domain)
    counts = json.loads(again.stdout)["counts"]
    assert (counts["skipped"], counts["written"]) == (20, 5)
    assert "20 pictures had a caption of this generation" in again.stderr


def test_a_served_model_is_shown_the_picture_and_the_prompt(tmp_path):
    with serve(describe) as server:
        result = served(server, "--limit", 6, "--out", tmp_path, "--json")
        assert result.exit_code == 0, result.stderr
        asked = [one for one in server.asked if len(one.text) > 50]
        assert len(asked) == 6 and all(one.pictures for one in asked)
        shown = served(server, "--out", tmp_path, "--show-prompt", "train/000002")
    assert shown.exit_code == 0 and "<picture>" in shown.stdout
    sent = [one.text for one in asked]
    body = shown.stdout.split("<picture>\n", 1)[1].strip()
    assert any(body in text for text in sent)
    (generation,) = list_generations(tmp_path)
    assert generation.made_of["model"] == "tiny" and generation.made_of["prompt"]


def test_the_bank_says_that_a_model_picked(tmp_path, monkeypatch):
    monkeypatch.setattr(Job, "_load", lambda self, model: None)
    monkeypatch.setattr(
        "domainclip.captioning.bank.BankCaptioner.settings", {"choice": "similarity under abc"}
    )
    result = caption("--limit", 2, "--out", tmp_path, "--model", "run", "--json")
    assert json.loads(result.stdout)["choice"] == "similarity under abc"
    assert "picked by similarity under abc\n" in result.stderr


def test_a_prompt_is_shown_without_a_server(tmp_path):
    args = ("--captioner", "openai", "--out", tmp_path, "--show-prompt", "train/000002")
    result = caption(*args)
    assert result.exit_code == 0 and "<picture>" in result.stdout, result.output
    assert not list(tmp_path.iterdir())


def test_another_wording_is_another_generation_and_the_old_one_is_kept(tmp_path):
    with serve(describe) as server:
        served(server, "--limit", 4, "--out", tmp_path)
        result = served(server, "--limit", 4, "--out", tmp_path, "--form", "line", "--json")
    assert (
        json.loads(result.stdout)["counts"] | {"written": 4, "skipped": 0}
        == json.loads(result.stdout)["counts"]
    )
    new, old = list_generations(tmp_path)
    assert (new.made_of["form"], old.made_of["form"]) == ("line", "sentence")
    read = read_captions([tmp_path], ["train/000000"])
    assert read.generation == new.name and old.name in read.messages[0]


def test_failed_pictures_are_listed_and_asked_again(tmp_path):
    def refuse(asked):
        return failure(400, "bad picture") if asked.number == 4 else describe(asked)

    with serve(refuse) as server:
        result = served(server, "--limit", 5, "--out", tmp_path)
        assert result.exit_code == 1
        assert "1 picture got no caption" in result.stderr and "bad picture" in result.stderr
        again = served(server, "--limit", 5, "--out", tmp_path, "--json")
    assert again.exit_code == 0
    assert json.loads(again.stdout)["counts"]["written"] == 1


def test_unreadable_pictures_are_listed_and_the_rest_is_captioned(tmp_path, photos):
    whole = (photos / "platelet/0.png").read_bytes()
    (photos / "platelet/0.png").write_bytes(whole[: len(whole) // 2])
    with serve(describe) as server:
        result = served(
            server, "--data", photos, "--out", tmp_path / "c", "--json", domain="medical"
        )
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert list(told["unreadable"]) == ["platelet/0.png"] and told["counts"]["written"] == 7
    assert "1 picture cannot be read" in result.stderr


def test_the_next_command_names_the_same_pictures(tmp_path, photos):
    result = caption("--data", photos, "--out", tmp_path / "c", domain="medical")
    data = f"--domain medical --data {photos} --data.captions {tmp_path / 'c'}"
    assert f"next: domainclip train {data}" in result.stderr


def test_labels_without_knowledge_are_captioned_by_a_model_and_not_by_the_bank(tmp_path, photos):
    for name in ("zorb", "quux"):
        (photos / name).mkdir()
        Image.new("RGB", (9, 9)).save(photos / name / "0.png")
    args = ("--data", photos, "--out", tmp_path / "c", "--json")
    with serve(describe) as server:
        result = served(server, *args, domain="medical")
    assert result.exit_code == 0, result.stderr
    alone = caption(*args, domain="medical")
    told = json.loads(alone.stdout)
    assert {"zorb/0.png", "quux/0.png"} <= set(told["failed"])
    assert alone.exit_code == 1 and alone.exception.__class__ is SystemExit


def test_a_second_model_has_what_it_denies_taken_out(tmp_path, monkeypatch):
    keys = {"OPENAI_API_KEY": "sk-of-the-writer", "JUDGE_KEY": "sk-of-the-judge"}
    for name, key in keys.items():
        monkeypatch.setenv(name, key)
    seen = set()

    def judge(asked):
        seen.add(asked.headers["authorization"])
        if "A caption of this picture" not in asked.text:
            return describe(asked)
        return Answer("no" if "pale" in asked.text.partition(" is ")[2] else "yes")

    with serve(describe) as writer, serve(judge, models=("wise",)) as other:
        second = ("--verifier", other.url, "--verifier-model", "wise")
        second += ("--verifier-key-env", "JUDGE_KEY")
        result = served(writer, "--limit", 3, "--out", tmp_path, "--json", *second)
    assert result.exit_code == 0, result.stderr
    assert seen == {"Bearer sk-of-the-judge"}
    told = json.loads(result.stdout)
    assert "choice" not in told and "picked by" not in result.stderr
    assert told["checks"]["verifier"] == 3 and told["counts"]["kept"] == 0
    (generation,) = list_generations(tmp_path)
    assert generation.made_of["verifier"]["model"] == "wise"
    for captions in read_captions([tmp_path], [f"train/{i:06d}" for i in range(3)]).captions:
        assert not any("pale" in text for text in captions)


def test_the_report_counts_and_writes_a_page(tmp_path):
    caption("--limit", 5, "--out", tmp_path / "c")
    page = tmp_path / "page.html"
    args = ["caption", "report", str(tmp_path / "c"), "--out", str(page), "--json"]
    result = CliRunner().invoke(app, args, prog_name="domainclip")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told["captions"] == 5 and told["report"] == str(page)
    assert "<html" in page.read_text(encoding="utf-8")
    args[2] = str(tmp_path / "nowhere")
    missing = CliRunner().invoke(app, args, prog_name="domainclip")
    assert missing.exit_code == 1 and "no captions in" in missing.stderr


def test_captions_from_before_the_knowledge_changed_are_told(tmp_path):
    args = ("--limit", 3, "--out", tmp_path / "c", "--knowledge", tmp_path / "facts.sqlite")
    facts, fetch = tmp_path / "facts.csv", ["knowledge", "fetch", "--domain", "biology"]
    fetch += ["--from", str(facts), "--store", str(tmp_path / "facts.sqlite")]
    for text, warned in (("Blue wings.", False), ("Green wings.", True)):
        facts.write_text(f"label,text\nPapilio machaon,{text}\n", encoding="utf-8")
        assert CliRunner().invoke(app, fetch, prog_name="domainclip").exit_code == 0
        for _ in range(2):
            result = caption(*args)
            assert result.exit_code == 0
            assert ("machaon has changed (labels: 1)" in result.stderr) == warned


def test_captions_that_were_written_before_are_scored_too(tmp_path, monkeypatch):
    args = ("--limit", 8, "--out", tmp_path)
    assert caption(*args).exit_code == 0
    monkeypatch.setattr(Job, "_load", lambda self, model: model)
    monkeypatch.setattr(
        corpus, "score_captions", lambda model, samples, said: {one: len(one) for one in said}
    )
    monkeypatch.setattr(
        corpus, "reject_lowest",
        lambda scores, share: {min(scores): Verdict("score", "reject", f"under {share}")},
    )  # fmt: skip
    result = caption(*args, "--score-model", "run", "--score-quantile", 0.5)
    assert result.exit_code == 0 and "score 1" in result.stderr, result.stderr
    (generation,) = list_generations(tmp_path)
    assert read_rejected(generation.folder) == {"train/000000"}


def test_a_folder_with_captions_of_another_domain_is_refused(tmp_path):
    assert caption("--limit", 2, "--out", tmp_path).exit_code == 0
    result = caption("--limit", 2, "--out", tmp_path, domain="medical")
    assert result.exit_code == 2 and "captions of the domain biology" in result.stderr


def test_an_endpoint_that_does_not_answer_ends_it_before_any_work(tmp_path):
    args = ("--captioner", "openai", "--endpoint", "http://127.0.0.1:9", "--model", "m")
    result = caption("--limit", 2, "--out", tmp_path, *args)
    assert result.exit_code != 0 and "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--captioner", "openai"], "needs --endpoint"),
        (["--captioner", "openai", "--endpoint", "http://x"], "needs --model"),
        (["--captioner", "transformers"], "needs --model"),
        (["--endpoint", "http://x"], "asks no endpoint"),
        (["--shard", "3/2"], "no part of the work"),
        (["--split", "tset"], "no split 'tset'"),
        (["--role", "poet"], "no caption style 'poet'"),
        (["--text-columns", "notes"], "no column 'notes'"),
        (["--knowledge", "nowhere.sqlite"], "no such file"),
        (["--store", "nowhere.sqlite"], "no such file"),
        (["--verifier", "http://x"], "--verifier-model"),
        (["--show-prompt", "train/9"], "no sample 'train/9'"),
    ],
)
def test_wrong_use_is_told(tmp_path, args, said):
    result = caption("--limit", 3, "--out", tmp_path, *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_without_a_domain_it_says_what_is_missing():
    result = CliRunner().invoke(app, ["caption", "--limit", "3"], prog_name="domainclip")
    assert result.exit_code == 2 and "--domain" in result.stderr
    result = CliRunner().invoke(app, ["caption"], prog_name="domainclip")
    assert "Captioner:" in result.output


def test_columns_that_are_named_are_not_said_to_be_unused(tmp_path, photos):
    rows = ["file_name,label,notes,camera"]
    rows += [f"{p.parent.name}/{p.name},{p.parent.name},Round.,x" for p in photos.glob("*/*.png")]
    (photos / "metadata.csv").write_text("\n".join(rows))
    args = ("--data", photos, "--out", tmp_path / "out")
    result = caption(*args, "--text-columns", "notes", domain="medical")
    assert "not used: camera\n" in result.stderr
    result = caption(*args, "--text-columns", "notes,camera", domain="medical")
    assert "not used" not in result.stderr
    result = caption(*args, domain="medical")
    assert "not used: notes, camera\n" in result.stderr
    report = CliRunner().invoke(app, ["caption", "report", str(tmp_path / "out")])
    assert "tokens" not in report.stdout
