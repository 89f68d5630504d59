"""End to end: a real OpenAI-compatible server with a tiny model, started as a user would."""

import os
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from PIL import Image
from tiny_llava import make_text_model, make_tiny_llava

from domainclip.captioning.openai import OpenAICaptioner
from domainclip.captioning.requests import Prompt, Request
from domainclip.endpoints.chat import Endpoints
from domainclip.errors import UsageError

pytestmark = pytest.mark.slow

USER = {
    "role": "user",
    "content": [{"type": "image"}, {"type": "text", "text": "Describe what is visible."}],
}
PROMPT = Prompt(({"role": "system", "content": "You describe pictures."}, USER), "d")


def start(model, home):
    """Start `transformers serve`; return the process and its address once it answers."""
    pytest.importorskip("fastapi", reason="needs transformers[serving]")
    (home / "hub").mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            sys.executable, "-m", "transformers.cli.transformers", "serve", str(model),
            "--host", "127.0.0.1", "--port", str(port), "--device", "cpu",
        ],
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                return process, f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.3)
    stop(process)
    raise AssertionError("transformers serve did not start")


def stop(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    home = tmp_path_factory.mktemp("served")
    folder = make_tiny_llava(home / "llava")
    process, url = start(folder, home / "hf")
    yield folder, url
    stop(process)


def request(number: int, seed: int = 0) -> Request:
    picture = Image.new("RGB", (80, 60), (20 * number, 100, 200))
    return Request(f"s{number}", 0, ("a",), lambda: picture, seed=seed, prompt=PROMPT)


def test_captions_come_from_a_real_server(served):
    folder, url = served
    with Endpoints([url], str(folder), concurrency=4) as endpoints:
        captioner = OpenAICaptioner(endpoints, max_tokens=8)
        captioner.check()
        written = list(captioner.write(request(i) for i in range(8)))
    assert {w.id for w in written} == {f"s{i}" for i in range(8)}
    # random weights may well answer with nothing printable: such a caption is an error, said so
    assert all(w.text or "empty" in w.error for w in written)
    done = [w for w in written if w.text]
    assert len(done) >= 4
    assert all(w.tokens_in > 17 and 0 < w.tokens_out <= 8 for w in done)
    assert all(w.model.startswith(str(folder)) for w in done)
    assert endpoints.account.tokens_out >= sum(w.tokens_out for w in done)


def test_greedy_captions_repeat(served):
    folder, url = served
    with Endpoints([url], str(folder)) as endpoints:
        captioner = OpenAICaptioner(endpoints, max_tokens=6, temperature=0.0)
        first, again = ({w.id: w.text for w in captioner.write([request(3)])} for _ in range(2))
    assert first == again


def test_a_wrong_model_is_found_before_any_work(served):
    _, url = served
    with Endpoints([url], "another") as endpoints, pytest.raises(UsageError, match="another"):
        endpoints.check()


def test_a_model_without_pictures_is_found_before_any_work(tmp_path):
    # this server drops the pictures for such a model, and answers as if they were seen
    folder = make_text_model(tmp_path / "text")
    process, url = start(folder, tmp_path / "hf")
    try:
        with (
            Endpoints([url], str(folder)) as endpoints,
            pytest.raises(UsageError, match="takes no pictures"),
        ):
            endpoints.check()
    finally:
        stop(process)
