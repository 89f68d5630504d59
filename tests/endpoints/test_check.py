"""What is set wrong is found by one request, and said in a line with a way on."""

import socket

import pytest
from chat_server import Answer, failure, serve

from domainclip.endpoints.chat import Endpoints
from domainclip.errors import DomainclipError, UsageError


def dead_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def check(answer, model="tiny", models=("tiny",), **rest):
    with serve(answer, models) as server, Endpoints([server.url], model) as endpoints:
        return endpoints.check(**rest)


def test_a_good_endpoint_has_no_remarks():
    assert check(lambda asked: Answer()) == ()
    assert check(lambda asked: Answer(), pictures=False) == ()


def test_a_reasoning_model_needs_more_than_the_trial_gives():
    assert check(lambda asked: Answer(text="", finish="length")) == ()


def test_nothing_there():
    url = dead_url()
    with Endpoints([url], "tiny") as endpoints, pytest.raises(DomainclipError) as caught:
        endpoints.check()
    assert caught.value.message.startswith(f"{url}: nothing answers: no connection")
    assert "is the server running" in caught.value.hint and caught.value.exit_code == 1


def test_a_name_that_does_not_resolve():
    with (
        Endpoints(["http://nowhere.invalid/v1"], "tiny", timeout=5) as endpoints,
        pytest.raises(DomainclipError, match=r"nowhere.invalid/v1: nothing answers"),
    ):
        endpoints.check()


@pytest.mark.parametrize("status", [200, 404, 405])
def test_a_web_page_is_no_endpoint(status: int):
    page = Answer(
        body=b"<!DOCTYPE html><html><title>Hello</title></html>", status=status, kind="text/html"
    )
    with pytest.raises(UsageError, match=r"not a chat endpoint.*a web page \(Hello\)") as caught:
        check(lambda asked: page, models=None)
    assert "/v1" in caught.value.hint


def test_another_service_is_no_endpoint():
    with pytest.raises(UsageError, match="not a chat endpoint"):
        check(lambda asked: failure(404, "Not Found"), models=None)
    with pytest.raises(UsageError, match="not a chat endpoint"):
        check(lambda asked: Answer(body=b'{"hello": "world"}'), models=None)


def test_a_wrong_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-one")
    with pytest.raises(UsageError, match="the key is refused") as caught:
        check(lambda asked: failure(401, "Incorrect API key provided: sk-wrong-one."))
    assert "OPENAI_API_KEY" in caught.value.hint
    assert "sk-wrong-one" not in caught.value.message + caught.value.hint


def test_no_key_where_one_is_wanted():
    with pytest.raises(UsageError, match="it wants a key") as caught:
        check(lambda asked: failure(401, "Unauthorized"))
    assert caught.value.hint == "set the environment variable OPENAI_API_KEY"


def test_an_unknown_model_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match="no model 'tinny'") as caught:
        check(
            lambda asked: failure(404, "The model `tinny` does not exist."),
            "tinny",
            ("tiny", "large"),
        )
    assert "did you mean 'tiny'?" in caught.value.hint and "tiny, large" in caught.value.hint


def test_a_model_without_pictures():
    def answer(asked):
        if asked.pictures:
            return failure(400, "tiny is not a multimodal model")
        return Answer()

    with pytest.raises(UsageError, match=r"takes no pictures.*not a multimodal model"):
        check(answer)
    assert check(answer, pictures=False) == ()


def test_a_server_that_drops_pictures_and_answers_as_if_seen_is_found():
    with pytest.raises(UsageError, match=r"takes no pictures: a picture adds no tokens"):
        check(lambda asked: Answer("Red.", tokens=(12, 1)))


def test_a_model_that_sees_without_counting_tokens_is_remarked():
    def answer(asked):
        return Answer(str(hash(asked.pictures[0])) if asked.pictures else "Red.", tokens=(12, 1))

    (line,) = check(answer)
    assert "adds no tokens" in line


def test_a_plain_question_refused():
    with pytest.raises(UsageError, match=r"refuses a plain question.*pinned"):
        check(lambda asked: failure(400, "Server is pinned to other"), models=())


def test_a_failing_server():
    with pytest.raises(DomainclipError, match="it fails: HTTP 500: CUDA error") as caught:
        check(lambda asked: failure(500, "CUDA error"))
    assert not isinstance(caught.value, UsageError)


def test_a_busy_server_is_no_mistake():
    (line,) = check(lambda asked: failure(429, "busy"))
    assert "busy" in line


def test_of_two_endpoints_one_down_is_a_remark_and_one_wrong_an_error():
    url = dead_url()
    with serve() as server, Endpoints([server.url, url], "tiny") as endpoints:
        (line,) = endpoints.check()
        assert line.startswith(f"{url}: nothing answers") and line.endswith("until it does")
    with (
        serve() as server,
        serve(lambda asked: failure(401, "who are you")) as other,
        Endpoints([server.url, other.url], "tiny") as endpoints,
        pytest.raises(UsageError, match="it wants a key"),
    ):
        endpoints.check()


def test_the_trial_adapts_to_the_server():
    def answer(asked):
        if "max_tokens" in asked.body:
            return failure(400, "use max_completion_tokens instead of max_tokens")
        return Answer()

    assert check(answer) == ()
