"""Endpoints that fail in every way that servers have, and what is asked of them meanwhile."""

import itertools
import logging
import socket
import threading
import time
from email.utils import formatdate

import pytest
from chat_server import Answer, failure, serve

from domainclip.endpoints.chat import Endpoints
from domainclip.endpoints.faults import EndpointsDown
from domainclip.endpoints.questions import Question
from domainclip.errors import UsageError


def ask(number: int, **rest) -> Question:
    return Question(str(number), [{"role": "user", "content": f"question {number}"}], **rest)


def dead_url() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/v1"


def one_reply(answer, question=None, **rest):
    with serve(answer) as server, Endpoints([server.url], "tiny", **rest) as endpoints:
        (reply,) = endpoints.ask_many([question or ask(0)])
        return reply, server, endpoints


def first(bad: Answer):
    """Answer the first request badly."""
    return lambda asked: bad if asked.number == 0 else Answer("well")


def test_a_reply_holds_all_that_the_server_said():
    reply, server, endpoints = one_reply(
        lambda asked: Answer("a red disc", tokens=(7, 3), finish="length"),
        ask(0, max_tokens=9, temperature=0.5, seed=4),
        price_in=2.0,
        price_out=10.0,
    )
    assert (reply.id, reply.text, reply.error) == ("0", "a red disc", "")
    assert (reply.tokens_in, reply.tokens_out, reply.finish_reason) == (7, 3, "length")
    assert (reply.model, reply.endpoint, reply.retries) == ("tiny", server.url, 0)
    account = endpoints.account
    assert (account.answered, account.failed, account.cut) == (1, 0, 1)
    assert account.cost == pytest.approx((7 * 2 + 3 * 10) / 1e6)
    assert server.asked[0].body == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "question 0"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "seed": 4,
    }, "what is not set is not sent, nor ever stop, n or response_format"


@pytest.mark.parametrize(
    "bad",
    [
        failure(429, "slow down", headers={"retry-after": "0.1"}),
        failure(500, "oops"),
        Answer(status=500, body=b"Internal Server Error", kind="text/plain"),
        failure(503, "loading"),
        Answer(cut=0),
        Answer(cut=120),
        Answer(text=""),
        Answer(text=None),
        Answer(body=b'{"id": "x", "choices": [{"mess'),
        Answer(body=b'{"choices": []}'),
        Answer(body=b"[]"),
        Answer(body=b"<html><title>Hello</title></html>", kind="text/html"),
    ],
    ids=str,
)
def test_a_fault_is_asked_again_once(bad: Answer):
    reply, server, endpoints = one_reply(first(bad), retries=2)
    assert (reply.text, reply.error, reply.retries) == ("well", "", 1)
    assert len(server.asked) == 2, "the library adds no retries of its own"
    assert endpoints.account.retries == 1


@pytest.mark.parametrize(
    ("bad", "words", "requests"),
    [
        (failure(500, "oops"), "HTTP 500: oops (3 requests)", 3),
        (Answer(body=b"{"), "the answer is no chat completion: '{' (3 requests)", 3),
        (Answer(text="", finish="stop"), "the answer is empty (finish reason 'stop')", 2),
        (Answer(text="", finish="length", tokens=(5, 9)), "all 9 tokens went elsewhere", 2),
        (failure(400, "bad picture"), "HTTP 400: bad picture", 1),
        (failure(403, "not that picture"), "HTTP 403: not that picture", 1),
        (failure(413, "too large"), "HTTP 413: too large", 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_that_stays_is_an_error_after_bounded_retries(bad, words, requests):
    reply, server, endpoints = one_reply(lambda asked: bad, retries=2)
    assert reply.text == "" and words in reply.error and reply.error.startswith(server.url)
    assert len(server.asked) == requests
    assert endpoints.account.failed == 1


def test_a_refusal_is_an_answer():
    reply, _, _ = one_reply(lambda asked: Answer(text=None, refusal="I can't help with that."))
    assert (reply.text, reply.finish_reason) == ("I can't help with that.", "refusal")


def test_one_broken_question_does_not_touch_the_others():
    def answer(asked):
        number = int(asked.text.split()[1])
        return failure(400, "no") if number % 10 == 0 else Answer(f"{number}")

    with serve(answer) as server, Endpoints([server.url], "tiny") as endpoints:
        replies = {r.id: r for r in endpoints.ask_many(map(ask, range(100)))}
    assert len(replies) == 100
    assert {i for i, r in replies.items() if r.error} == {str(i) for i in range(0, 100, 10)}
    assert all(r.text == i for i, r in replies.items() if not r.error)


def test_a_time_limit_holds_for_the_whole_answer():
    start = time.monotonic()
    reply, _, _ = one_reply(lambda asked: Answer(delay=5), timeout=0.2, retries=1)
    assert "no answer within 0.2 s" in reply.error
    assert time.monotonic() - start < 2


@pytest.mark.parametrize("form", ["seconds", "milliseconds", "date"])
def test_the_wait_that_a_server_asks_for_is_kept(form: str):
    wait = {
        "seconds": {"retry-after": "0.4"},
        "milliseconds": {"retry-after-ms": "400"},
        "date": {"retry-after": formatdate(time.time() + 2, usegmt=True)},
    }[form]
    times = []

    def answer(asked):
        times.append(time.monotonic())
        return failure(429, "slow down", headers=wait) if asked.number == 0 else Answer("well")

    reply, _, _ = one_reply(answer)
    assert reply.text == "well" and reply.retries == 1
    assert 0.35 <= times[1] - times[0] <= 3


def test_a_wait_beyond_patience_is_not_waited_for():
    with (
        serve(lambda asked: failure(429, "tomorrow", headers={"retry-after": "3600"})) as server,
        Endpoints([server.url], "tiny", patience=5) as endpoints,
    ):
        replies = []
        start = time.monotonic()
        with pytest.raises(EndpointsDown, match="asks to wait 3600 s"):
            replies.extend(endpoints.ask_many(map(ask, range(1000))))
    assert time.monotonic() - start < 3
    assert len(server.asked) <= 16 and all("tomorrow" in r.error for r in replies)


def test_a_server_that_takes_few_at_once_is_given_few():
    def answer(asked):
        if server.now > 4:
            return failure(429, "busy", headers={"retry-after": "0.05"})
        return Answer("well", delay=0.01)

    with serve(answer) as server, Endpoints([server.url], "tiny", concurrency=32) as endpoints:
        replies = list(endpoints.ask_many(map(ask, range(200))))
    assert [r.error for r in replies if r.error] == []
    assert len(replies) == 200 and endpoints.account.retries > 0


def test_requests_under_way_are_bounded_and_questions_are_pulled_as_slots_free_up():
    pulled = 0

    def questions():
        nonlocal pulled
        for number in itertools.count():
            pulled += 1
            yield ask(number)

    with (
        serve(lambda asked: Answer(delay=0.02)) as server,
        Endpoints([server.url], "tiny", concurrency=4) as endpoints,
    ):
        replies = endpoints.ask_many(questions())
        taken = list(itertools.islice(replies, 40))
        assert pulled <= 40 + 4 + 4
        replies.close()
        time.sleep(0.1)
        asked = len(server.asked)
        time.sleep(0.1)
        assert len(server.asked) == asked, "nothing is asked after the generator is closed"
        assert asked <= 40 + 4 + 4
    assert server.most <= 4 and len({r.id for r in taken}) == 40


def test_closing_early_cancels_what_is_under_way():
    with (
        serve(lambda asked: Answer(delay=0 if asked.number == 0 else 30)) as server,
        Endpoints([server.url], "tiny", concurrency=3) as endpoints,
    ):
        replies = endpoints.ask_many(map(ask, range(10)))
        next(replies)
        while len(server.asked) < 4:
            time.sleep(0.01)
        start = time.monotonic()
        replies.close()
        assert time.monotonic() - start < 2
        # its slots are free again
        server.answer = lambda asked: Answer("well")
        assert [r.text for r in endpoints.ask_many([ask(99)])] == ["well"]


def test_what_the_source_raises_comes_after_the_answers_under_way():
    def questions():
        yield ask(0)
        yield ask(1)
        raise ValueError("broken table")

    with (
        serve(lambda asked: Answer(delay=0.1)) as server,
        Endpoints([server.url], "tiny") as endpoints,
    ):
        got = []
        with pytest.raises(ValueError, match="broken table"):
            for reply in endpoints.ask_many(questions()):
                got.append(reply.id)
    assert sorted(got) == ["0", "1"]


def test_messages_are_made_in_a_thread_and_what_they_raise_is_one_reply():
    threads = set()

    def make(number: int):
        def messages():
            threads.add(threading.current_thread().name)
            if number == 3:
                raise OSError("disc gone")
            return [{"role": "user", "content": f"made {number}"}]

        return messages

    with serve(lambda asked: Answer(asked.text)) as server:
        endpoints = Endpoints([server.url], "tiny")
        replies = {r.id: r for r in endpoints.ask_many(Question(str(i), make(i)) for i in range(6))}
        endpoints.close()
    assert replies["3"].error == "OSError: disc gone" and replies["4"].text == "made 4"
    assert all(name.startswith("questions") for name in threads)


def test_too_large_a_question_is_asked_smaller_once():
    def answer(asked):
        return failure(413, "Request too large") if "long" in asked.text else Answer("well")

    small = [{"role": "user", "content": "short"}]
    question = Question("0", [{"role": "user", "content": "long"}], smaller=lambda: small)
    reply, server, endpoints = one_reply(answer, question)
    assert (reply.text, reply.shrunk, reply.retries) == ("well", True, 1)
    assert endpoints.account.shrunk == 1

    stays = Question("0", [{"role": "user", "content": "long"}], smaller=lambda: question.messages)
    reply, server, _ = one_reply(answer, stays)
    assert "413" in reply.error and len(server.asked) == 2


@pytest.mark.parametrize(
    ("words", "gone", "there"),
    [
        (
            "Unsupported parameter: 'max_tokens' ... Use 'max_completion_tokens' instead.",
            "max_tokens",
            "max_completion_tokens",
        ),
        ("seed: Extra inputs are not permitted", "seed", "max_tokens"),
    ],
)
def test_a_server_that_words_a_setting_differently_is_met(words: str, gone: str, there: str):
    def answer(asked):
        return failure(400, words) if gone in asked.body else Answer("well")

    with serve(answer) as server, Endpoints([server.url], "tiny", concurrency=1) as endpoints:
        replies = list(endpoints.ask_many(ask(i, max_tokens=5, seed=1) for i in range(5)))
    assert [r.text for r in replies] == ["well"] * 5
    assert len(server.asked) == 6, "it is learnt once"
    assert server.asked[-1].body[there] in (5, 1)
    assert bool(endpoints.account.notes) == (gone == "seed")


def test_of_three_endpoints_one_may_be_down_from_the_start():
    with (
        serve() as one,
        serve() as two,
        Endpoints([dead_url(), one.url, two.url], "tiny", concurrency=8) as endpoints,
    ):
        replies = list(endpoints.ask_many(map(ask, range(200))))
    assert [r.error for r in replies if r.error] == [] and len(replies) == 200
    assert endpoints.account.retries < 15, "it is left alone after a few failures"
    counts = endpoints.account.by_endpoint
    assert set(counts) == {one.url, two.url} and min(counts.values()) > 50


def test_of_three_endpoints_one_may_go_down_and_come_back():
    switch = {"down": False}

    def flaky(asked):
        return Answer(cut=0) if switch["down"] else Answer("flaky", delay=0.01)

    def steady(asked):
        return Answer("steady", delay=0.01)

    with (
        serve(flaky) as a,
        serve(steady) as b,
        serve(steady) as c,
        Endpoints([a.url, b.url, c.url], "tiny", concurrency=6) as endpoints,
    ):
        replies = endpoints.ask_many(map(ask, itertools.count()))
        texts = [next(replies).text for _ in range(60)]
        assert 10 < texts.count("flaky") < 30, "the least busy is asked"
        switch["down"] = True
        asked = len(a.asked)
        down = [next(replies) for _ in range(100)]
        assert not [r.error for r in down if r.error]
        assert len(a.asked) - asked < 15
        switch["down"] = False
        end = time.monotonic() + 10
        while next(replies).text != "flaky":
            assert time.monotonic() < end, "it is probed again after a rest"
        later = [next(replies).text for _ in range(120)]
        assert later.count("flaky") > 20, "and shares the work again"
        replies.close()


def test_a_slow_endpoint_gets_less():
    with (
        serve(lambda asked: Answer(delay=0.2)) as slow,
        serve(lambda asked: Answer(delay=0.02)) as fast,
        Endpoints([slow.url, fast.url], "tiny", concurrency=8) as endpoints,
    ):
        list(endpoints.ask_many(map(ask, range(200))))
        counts = endpoints.account.by_endpoint
    assert counts[fast.url] > 3 * counts[slow.url]


def test_all_endpoints_down_stops_with_a_reply_to_each_question_pulled():
    pulled = 0

    def questions():
        nonlocal pulled
        for number in range(10_000):
            pulled += 1
            yield ask(number)

    got = []
    urls = [dead_url(), dead_url()]
    with (
        Endpoints(urls, "tiny", patience=0.5, concurrency=4, retries=50) as endpoints,
        pytest.raises(EndpointsDown) as caught,
    ):
        for reply in endpoints.ask_many(questions()):
            got.append(reply)
    assert len(got) == pulled < 100 and all(r.error for r in got)
    assert all(url in caught.value.message for url in urls)
    assert "same command again" in caught.value.hint


def test_a_server_that_goes_away_for_good_in_the_middle():
    with serve(lambda asked: Answer(cut=0) if asked.number >= 20 else Answer("well")) as server:
        got = []
        with (
            Endpoints([server.url], "tiny", patience=0.5, concurrency=4) as endpoints,
            pytest.raises(EndpointsDown, match="no endpoint serves"),
        ):
            for reply in endpoints.ask_many(map(ask, range(1000))):
                got.append(reply)
    assert sum(not r.error for r in got) == 20 and len(got) < 40


def test_a_server_that_comes_back_within_patience_is_waited_for():
    down_until = time.monotonic() + 1.2

    def answer(asked):
        return Answer("well") if time.monotonic() > down_until else failure(500, "starting")

    with (
        serve(answer) as server,
        Endpoints([server.url], "tiny", concurrency=4, retries=5) as endpoints,
    ):
        replies = list(endpoints.ask_many(map(ask, range(30))))
    assert [r.error for r in replies if r.error] == []


@pytest.mark.parametrize(
    "answer",
    [failure(401, "no such key"), failure(429, "no money", code="insufficient_quota")],
    ids=["key withdrawn", "quota spent"],
)
def test_an_endpoint_that_shuts_us_out_is_not_asked_again(answer):
    with (
        serve(lambda asked: answer) as shut,
        serve() as open_,
        Endpoints([shut.url, open_.url], "tiny", concurrency=2) as endpoints,
    ):
        replies = list(endpoints.ask_many(map(ask, range(40))))
        assert not [r.error for r in replies if r.error] and len(shut.asked) <= 2
    with (
        serve(lambda asked: answer) as shut,
        Endpoints([shut.url], "tiny") as endpoints,
        pytest.raises(EndpointsDown, match=r"no such key|no money"),
    ):
        list(endpoints.ask_many(map(ask, range(40))))


KEY = 'sk-very"secret/0123456789'


@pytest.mark.parametrize("status", [400, 401, 500, 200])
def test_the_key_is_never_echoed(status, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)

    def answer(asked):
        sent = asked.headers["authorization"]
        assert sent == f"Bearer {KEY}"
        if status == 200:
            return Answer(f"you sent {sent}")
        return failure(status, f"you sent {sent}, which is {KEY}" + " padding" * 50)

    said = []
    with (
        serve(answer) as server,
        Endpoints([server.url], "tiny", key_env="MY_KEY", retries=0, patience=1) as endpoints,
    ):
        try:
            said += [repr(reply) for reply in endpoints.ask_many([ask(0)])]
        except EndpointsDown as error:
            said += [str(error), error.hint]
        try:
            endpoints.check(pictures=False)
        except Exception as error:
            said += [str(error), repr(error), repr(error.__cause__)]
        said += [repr(endpoints), str(endpoints), repr(endpoints.account), repr(endpoints.pool)]
        said += [repr(endpoint) for endpoint in endpoints.pool.endpoints]
    logged = [record.getMessage() for record in caplog.records]
    whole = "\n".join(said + logged)
    assert "you sent" in whole
    assert "very" not in whole and "0123456789" not in whole


def test_a_key_is_taken_without_the_line_break_around_it(monkeypatch):
    monkeypatch.setenv("MY_KEY", " sk-0123456789\n")
    _, server, _ = one_reply(lambda asked: Answer("well"), key_env="MY_KEY")
    assert server.asked[0].headers["authorization"] == "Bearer sk-0123456789"
    monkeypatch.setenv("MY_KEY", "my secret\nnotes")
    with pytest.raises(UsageError, match="MY_KEY: what it holds is no key") as caught:
        Endpoints(["http://a:1/v1"], "tiny", key_env="MY_KEY")
    assert "secret" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("url", ["http://user:hunter2@a:1/v1", "http://a:1/v1?key=hunter2"])
def test_a_secret_in_an_address_is_refused_and_not_shown(url: str):
    with pytest.raises(UsageError, match="must not hold") as caught:
        Endpoints([url], "tiny")
    assert "hunter2" not in caught.value.message + caught.value.hint
    assert "OPENAI_API_KEY" in caught.value.hint


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        (["localhost:8000"], "not the address"),
        (["ftp://host/v1"], "not the address"),
        ([""], "not the address"),
        ([], "no endpoint"),
        (["http://a:1/v1", "http://a:1/v1/"], "named twice"),
        (["http://a:1", "http://a:1/v1"], "named twice"),
    ],
)
def test_wrong_addresses_are_refused(urls, words):
    with pytest.raises(UsageError, match=words):
        Endpoints(urls, "tiny")


@pytest.mark.parametrize("rest", [{"concurrency": 0}, {"retries": -1}, {"timeout": 0}])
def test_numbers_out_of_range_are_refused(rest):
    with pytest.raises(UsageError, match="out of range"):
        Endpoints(["http://a:1/v1"], "tiny", **rest)


def test_it_can_be_used_again_after_it_was_closed():
    with serve() as server:
        endpoints = Endpoints([server.url], "tiny", concurrency=2)
        for _ in range(2):
            assert len(list(endpoints.ask_many(map(ask, range(20))))) == 20
            endpoints.close()
        assert len(list(endpoints.ask_many([]))) == 0
        endpoints.close()
    assert not [t for t in threading.enumerate() if t.name == "endpoints"]
