"""A run over many samples: what is stored, skipped, listed, and what an interrupt leaves."""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from domainclip.captioning.briefs import Briefs, draw_seed
from domainclip.captioning.requests import Written
from domainclip.captioning.run import caption_all
from domainclip.captioning.store import CaptionStore
from domainclip.data.captions import caption_files, list_generations, read_captions, read_rows
from domainclip.data.images import UnreadableImage
from domainclip.data.samples import open_samples
from domainclip.errors import DomainclipError
from domainclip.knowledge.records import Trait

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))
from data_fakes import class_folders, make_domain

DOMAIN = make_domain()
MADE = {"captioner": "fake", "domain": "fake"}


class Knowledge:
    """Knows one statement about every label."""

    def records(self, node):
        return ()

    def traits(self, node):
        return (Trait(text="red", sentence="It is red.", source="sheet"),)

    def revision(self, node):
        return f"r{node}"


class Captioner:
    """Says each picture's id, holding a few requests at a time, and fails where it is told to."""

    name, model, revision, uses_prompt = "fake", "", "", False

    def __init__(self, *, fails=(), looks=True, ahead=4, before=None):
        self.fails, self.looks, self.ahead, self.before = fails, looks, ahead, before
        self.asked, self.most = [], 0
        self.settings = {"temperature": 0.5}

    def write(self, requests):
        held = []
        for request in requests:
            self.asked.append(request)
            held.append(request)
            self.most = max(self.most, len(held))
            if len(held) == self.ahead:
                yield self.answer(held.pop())
        while held:
            yield self.answer(held.pop())

    def answer(self, request):
        if self.before:
            self.before(len(self.asked))
        if self.looks:
            try:
                request.picture()
            except UnreadableImage as error:
                return Written(request.id, error=error.message)
        if request.id in self.fails:
            return Written(request.id, error="HTTP 500")
        return Written(request.id, text=f"a {request.traits[0].text} {request.id}", tokens_out=3)


def check(request, text):
    """Rejects what ends in 3, rewrites what ends in 4."""
    outcome = {"3": "rejected", "4": "rewritten"}.get(text[-1], "kept")
    notes = [{"check": "digit", "outcome": "reject", "reason": "3"}] if outcome != "kept" else []
    return SimpleNamespace(
        text="" if outcome == "rejected" else text, outcome=outcome, notes=notes, dropped=()
    )


def run(folder, captioner, samples=None, retry=False, shard=(1, 1)):
    briefs = Briefs(samples or open_samples(DOMAIN, size=8), Knowledge(), seed=5)
    with CaptionStore(folder, MADE, shard, retry=retry) as store:
        return caption_all(briefs, captioner, check, store, progress=False)


def rows(folder):
    columns = ("sample_id", "caption", "outcome", "checks", "label", "split", "seed", "picture")
    columns += ("knowledge_revision", "settings", "written")
    return [
        dict(zip(columns, values, strict=True))
        for batch in read_rows(caption_files(list_generations(folder)[0].folder), columns)
        for values in zip(*batch.values(), strict=True)
    ]


def test_every_sample_gets_a_row_that_says_where_it_came_from(tmp_path):
    captioner = Captioner()
    result = run(tmp_path, captioner)
    assert result.written == 49 and captioner.most == 4
    assert result.counts == {"kept": 38, "rejected": 6, "rewritten": 5}
    assert result.reasons == {"digit": 11} and (result.left, result.skipped) == (0, 0)
    assert result.tokens_out == 49 * 3
    by_id = {row["sample_id"]: row for row in rows(tmp_path)}
    assert len(by_id) == 49
    row = by_id["val/000004"]
    assert (row["caption"], row["split"], row["outcome"]) == (
        "a red val/000004",
        "val",
        "rewritten",
    )
    assert row["label"] == "K > small > green small"
    assert row["seed"] == draw_seed(5, "val/000004") != by_id["val/000005"]["seed"]
    assert json.loads(row["settings"]) == {"temperature": 0.5}
    assert row["knowledge_revision"].startswith("r") and len(row["picture"]) == 24
    rejected = by_id["test/000003"]
    assert rejected["caption"] == "" and rejected["written"] == "a red test/000003"
    assert json.loads(rejected["checks"])[0]["check"] == "digit"


def test_a_second_run_asks_nothing(tmp_path):
    run(tmp_path, Captioner())
    captioner = Captioner()
    result = run(tmp_path, captioner)
    assert (result.skipped, result.written, captioner.asked) == (49, 0, [])


def test_what_failed_is_listed_and_asked_again(tmp_path):
    failing = ("train/000001", "val/000002")
    result = run(tmp_path, Captioner(fails=failing))
    assert sorted(result.failed) == [(one, "HTTP 500") for one in failing]
    captioner = Captioner()
    assert run(tmp_path, captioner).failed == []
    assert sorted(request.id for request in captioner.asked) == sorted(failing)
    assert read_captions([tmp_path], list(failing)).found == 2


def test_rejected_captions_are_asked_again_with_another_seed_on_request(tmp_path):
    run(tmp_path, Captioner())
    captioner = Captioner()
    run(tmp_path, captioner, retry=True)
    assert {request.id[-1] for request in captioner.asked} == {"3"}
    first = captioner.asked[0]
    assert first.seed == draw_seed(5, first.id, 1) != draw_seed(5, first.id)


@pytest.mark.parametrize("looks", [True, False])
def test_unreadable_pictures_are_listed_whether_or_not_the_captioner_looks(tmp_path, looks):
    class_folders(tmp_path / "data", n=5)
    (tmp_path / "data/ant/ant_1.png").write_bytes(b"no picture")
    samples = open_samples(DOMAIN, str(tmp_path / "data"))
    result = run(tmp_path / "out", Captioner(looks=looks), samples)
    assert [one for one, _ in result.unreadable] == ["ant/ant_1.png"]
    assert "not a picture" in result.unreadable[0][1]
    assert result.failed == [] and result.written == 9


def test_an_interrupt_takes_what_is_in_flight_and_no_more(tmp_path):
    signals = iter([signal.SIGINT])

    def interrupt(asked):
        for number in signals if asked == 10 else ():
            os.kill(os.getpid(), number)

    captioner = Captioner(before=interrupt)
    result = run(tmp_path, captioner)
    assert result.stopped and len(captioner.asked) == result.written == 10
    assert result.left == 39
    again = Captioner()
    assert run(tmp_path, again).skipped == 10
    assert Counter(row["sample_id"] for row in rows(tmp_path)).most_common(1)[0][1] == 1


def test_a_second_interrupt_drops_what_is_in_flight(tmp_path):
    def interrupt(asked):
        if asked == 10:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    result = run(tmp_path, Captioner(before=interrupt))
    assert result.stopped and result.written == 6
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_was_written_is_kept_when_the_captioner_gives_up(tmp_path):
    def give_up(asked):
        if asked == 20:
            raise DomainclipError("no endpoint serves any more", "start one")

    result = run(tmp_path, Captioner(before=give_up))
    assert result.error is not None and "no endpoint" in result.error.message
    assert result.written == 16 and len(rows(tmp_path)) == 16


def test_shards_do_it_all_once(tmp_path):
    captioners = [Captioner() for _ in range(3)]
    for i, captioner in enumerate(captioners, 1):
        run(tmp_path, captioner, shard=(i, 3))
    asked = [request.id for captioner in captioners for request in captioner.asked]
    assert len(asked) == len(set(asked)) == 49
    assert all(len(captioner.asked) > 5 for captioner in captioners)
