"""A second model judges claims: strict answers, dropped claims, faults, and who may judge."""

import sys
from pathlib import Path

import pytest
from PIL import Image

from domainclip.captioning.checks import check_caption
from domainclip.captioning.verify import Verifier, check_judge, family, read_answer
from domainclip.endpoints.questions import Reply
from domainclip.errors import UsageError

sys.path.insert(0, str(Path(__file__).parent))
from lamps import LEXICON, TREE, context, request


class Judge:
    """Answers by a table of claims, holding a few questions at a time, as `Endpoints` does."""

    model = "judge"

    def __init__(self, answers=(), default="yes", held=4):
        self.answers, self.default, self.held = dict(answers), default, held
        self.asked, self.messages = [], []

    def ask_many(self, questions):
        waiting = []
        for question in questions:
            messages = question.messages() if callable(question.messages) else question.messages
            text = messages[0]["content"][1]["text"]
            self.asked.append(text)
            self.messages.append(messages)
            answer = next((a for c, a in self.answers.items() if f'is "{c}"' in text), self.default)
            said = (
                Reply(question.id, error="HTTP 500")
                if answer is None
                else Reply(question.id, text=answer)
            )
            waiting.append(said)
            if len(waiting) == self.held:
                yield waiting.pop()
        while waiting:
            yield waiting.pop()


def caption(text, id="a"):
    from dataclasses import replace

    made = replace(request(id=id), picture=lambda: Image.new("RGB", (40, 30), "red"))
    return made, check_caption(context(text))


def judged(text, **answers):
    judge = Judge({key.replace("_", " "): value for key, value in answers.items()})
    verifier = Verifier(judge, LEXICON, tree=TREE, noun="lamp")
    ((_, checked),) = verifier.verify([caption(text)])
    return checked, judge


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("yes", "yes"), ("Yes.", "yes"), ("**No**", "no"), ("no, it is green", "no"),
        ("No.\nThe rim is white.", "no"), ("unclear", "unclear"), ("", "unclear"),
        ("yes and no", "unclear"), ("yes, but only in part", "unclear"), ("nothing", "unclear"),
        ("I would say yes", "unclear"), ("No doubt it is", "unclear"), ("yesterday", "unclear"),
        ("<think>no, no</think> yes", "yes"), ("No\n", "no"), ("Not visible", "unclear"),
    ],
)  # fmt: skip
def test_answers_are_read_strictly(said, answer):
    assert read_answer(said) == answer


def test_what_the_judge_denies_is_dropped():
    checked, judge = judged("A lamp with tall red shades and a black rim.", red="no")
    assert checked.text == "A lamp with tall shades and a black rim."
    assert checked.outcome == "rewritten"
    assert [c.text for c in checked.dropped] == ["red"]
    assert checked.notes[-1]["check"] == "verifier"
    assert len(judge.asked) == 3
    assert all('"tall red shades"' in text for text in judge.asked[:2])


def test_the_picture_goes_with_every_question():
    _, judge = judged("A lamp with red shades.")
    (part, _) = judge.messages[0][0]["content"]
    assert part["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_what_the_judge_confirms_or_cannot_tell_stays():
    text = "A lamp with red shades and a black rim."
    checked, _ = judged(text)
    assert (checked.text, checked.outcome) == (text, "kept")
    assert checked.verdicts[-1].outcome == "pass"
    checked, _ = judged(text, a_black_rim="I cannot see one")
    assert (checked.text, checked.outcome) == (text, "kept")
    assert "cannot tell: 'a black rim'" in checked.notes[-1]["reason"]


def test_a_claim_without_an_answer_stays_and_is_flagged():
    checked, _ = judged("A lamp with red shades and a black rim.", a_black_rim=None)
    assert checked.text == "A lamp with red shades and a black rim."
    assert "1 of 2 claims got no answer: HTTP 500" in checked.notes[-1]["reason"]


def test_a_caption_that_is_all_wrong_is_rejected():
    checked, _ = judged("Red shades and a black rim.", Red_shades="no", a_black_rim="no")
    assert (checked.text, checked.outcome) == ("", "rejected")


def test_statements_without_a_claim_are_asked_about_whole():
    checked, judge = judged(
        "An Ardo magna with red shades and a bird on its top.", a_bird_on_its_top="no"
    )
    assert checked.text == "An Ardo magna with red shades."
    assert not any("Ardo" in text.split('"')[1] for text in judge.asked)


def test_many_captions_flow_through_a_few_at_a_time():
    judge, pulled = Judge({"red": "no"}, held=5), []

    def captions():
        for i in range(60):
            pulled.append(i)
            text = "" if i % 7 == 0 else "A lamp with tall red shades and a black rim."
            yield caption(text, id=f"a:{i}")

    done, ahead = [], 0
    for made, checked in Verifier(judge, LEXICON, tree=TREE, noun="lamp").verify(captions()):
        done.append(made.id)
        ahead = max(ahead, len(pulled) - len(done))
        number = int(made.id.partition(":")[2])
        assert checked.outcome == ("rejected" if number % 7 == 0 else "rewritten")
    assert sorted(done) == sorted(f"a:{i}" for i in range(60))
    assert ahead < 12


def test_a_judge_is_not_the_writer():
    with pytest.raises(UsageError, match="is the model that writes"):
        check_judge("m", "m", judge_urls=["http://a/v1/"], writer_urls=["http://a/v1"])
    with pytest.raises(UsageError):  # "/v1" is added to a bare host
        check_judge("m", "m", judge_urls=["http://a:8"], writer_urls=["http://a:8/v1"])
    with pytest.raises(UsageError):
        check_judge("m", "m")
    said = check_judge("m", "m", judge_urls=["http://a/v1"], writer_urls=["http://b/v1"])
    assert "same family" in said
    assert "same family" in check_judge("Qwen/Qwen3-VL-8B", "qwen2.5-vl-72b-instruct")
    assert check_judge("OpenGVLab/InternVL3-8B", "Qwen/Qwen3-VL-8B") == ""
    assert check_judge("any", "") == ""
    assert family("Qwen/Qwen2.5-VL-7B-Instruct") == "qwen"
