"""The `openai` captioner against a scripted server."""

import base64
import io
import itertools
import json

import pytest
from chat_server import Answer, failure, serve
from PIL import Image

from domainclip.captioning.openai import OpenAICaptioner
from domainclip.captioning.requests import Prompt, Request
from domainclip.data.images import UnreadableImage
from domainclip.endpoints.chat import Endpoints
from domainclip.errors import UsageError

PROMPT = Prompt(
    messages=(
        {"role": "system", "content": "You see."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe it."}]},
    ),
    digest="d",
)


def picture(number: int) -> Image.Image:
    return Image.new("RGB", (40 + number, 40), (5 * number % 256, 0, 0))


def request(number: int, read=None) -> Request:
    return Request(
        f"s{number}", 0, ("a",), read or (lambda: picture(number)), seed=2**40 + number,
        prompt=PROMPT,
    )  # fmt: skip


def size_of(asked) -> tuple[int, int]:
    (url,) = asked.pictures
    return Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).size


def write(answer, requests, *, concurrency=4, retries=2, **rest):
    with (
        serve(answer) as server,
        Endpoints([server.url], "tiny", concurrency=concurrency, retries=retries) as endpoints,
    ):
        captioner = OpenAICaptioner(endpoints, **rest)
        return {w.id: w for w in captioner.write(requests)}, server, captioner


def test_each_picture_goes_out_with_its_own_prompt_and_seed():
    written, server, captioner = write(
        lambda asked: Answer(f" width {size_of(asked)[0]} ", tokens=(11, 4)),
        [request(i) for i in range(20)],
        max_tokens=50,
        temperature=0.3,
        top_p=None,
    )
    assert {i: w.text for i, w in written.items()} == {
        f"s{i}": f"width {40 + i}" for i in range(20)
    }
    body = server.asked[0].body
    assert {k: body[k] for k in ("max_tokens", "temperature")} == {
        "max_tokens": 50,
        "temperature": 0.3,
    }
    assert not {"stop", "n", "response_format", "top_p"} & set(body)
    assert sorted(asked.body["seed"] for asked in server.asked) == list(range(20))
    assert body["messages"][0] == PROMPT.messages[0]
    one = written["s3"]
    assert (one.model, one.tokens_in, one.tokens_out, one.error) == ("tiny", 11, 4, "")
    assert one.seconds > 0 and one.details == {"endpoint": server.url}
    assert captioner.account.tokens_out == 80


def test_settings_say_what_changes_a_caption_and_nothing_else():
    with Endpoints(["http://a:1/v1"], "tiny") as endpoints:
        captioner = OpenAICaptioner(endpoints, temperature=0.1)
    assert json.loads(json.dumps(captioner.settings))["temperature"] == 0.1
    assert "http" not in json.dumps(captioner.settings)
    assert (captioner.name, captioner.model, captioner.uses_prompt) == ("openai", "tiny", True)


def test_a_picture_that_cannot_be_read_costs_no_request():
    def broken():
        raise UnreadableImage("x.jpg", "the file is truncated")

    written, server, _ = write(lambda asked: Answer("well"), [request(0), request(1, broken)])
    assert written["s0"].text == "well"
    assert written["s1"].error == "x.jpg: the file is truncated" and written["s1"].text == ""
    assert len(server.asked) == 1


def test_pictures_over_the_endpoints_size_are_sent_smaller_once():
    def answer(asked):
        if max(size_of(asked)) > 600:
            return failure(400, "Image size exceeds the maximum of 600 pixels")
        return Answer(f"{max(size_of(asked))}")

    large = request(0, lambda: Image.new("RGB", (3000, 1500)))
    written, server, captioner = write(answer, [large, request(1)], side=1000)
    assert written["s0"].text == "500" and written["s0"].details["side"] == 500
    assert written["s1"].text == "41" and "side" not in written["s1"].details
    assert captioner.account.shrunk == 1 and len(server.asked) == 3

    written, server, _ = write(answer, [large], side=2000)
    assert "HTTP 400: Image size exceeds" in written["s0"].error and len(server.asked) == 2


@pytest.mark.parametrize(
    ("answer", "text", "error", "details"),
    [
        (Answer("cut he", finish="length"), "cut he", "", {"finish_reason": "length"}),
        (Answer(None, refusal="I cannot."), "I cannot.", "", {"finish_reason": "refusal"}),
        (Answer("<think>Hm.\nWell.</think>\n\nA disc."), "A disc.", "", {}),
        (Answer("<think>Hm. And so on", finish="length"), "", "thoughts and no caption", {}),
        (Answer(""), "", "the answer is empty", {}),
        (failure(400, "bad"), "", "HTTP 400: bad", {}),
    ],
    ids=["cut", "refusal", "thoughts", "thoughts alone", "empty", "error"],
)
def test_what_the_server_writes_is_noted(answer, text, error, details):
    written, _, _ = write(lambda asked: answer, [request(0)])
    one = written["s0"]
    assert one.text == text and error in one.error and bool(error) == bool(one.error)
    assert details.items() <= one.details.items()


def test_retries_are_noted():
    written, _, _ = write(
        lambda asked: failure(500, "oops") if asked.number == 0 else Answer("well"), [request(0)]
    )
    assert written["s0"].text == "well" and written["s0"].details["retries"] == 1


def test_requests_are_pulled_as_slots_free_up():
    pulled = itertools.count()
    with (
        serve(lambda asked: Answer("well", delay=0.01)) as server,
        Endpoints([server.url], "tiny", concurrency=3) as endpoints,
    ):
        stream = OpenAICaptioner(endpoints).write(request(next(pulled)) for _ in iter(int, 1))
        taken = list(itertools.islice(stream, 30))
        stream.close()
    assert len({w.id for w in taken}) == 30
    assert next(pulled) <= 30 + 3 + 3 and server.most <= 3


def test_a_request_without_a_prompt_is_a_mistake():
    bare = Request("s0", 0, ("a",), lambda: picture(0), seed=0)
    with pytest.raises(UsageError, match="without a prompt"):
        write(lambda asked: Answer("well"), [bare])


def test_the_check_finds_a_model_without_pictures():
    def answer(asked):
        return failure(400, "text only") if asked.pictures else Answer("well")

    with (
        serve(answer) as server,
        Endpoints([server.url], "tiny") as endpoints,
        pytest.raises(UsageError, match="takes no pictures"),
    ):
        OpenAICaptioner(endpoints).check()
