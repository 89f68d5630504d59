"""A pull that is killed at any moment goes on, and never leaves a model that is not whole."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from families import of_open_clip, vit
from tiny_model import NAME, REPO, visible, write_card

from domainclip import paths
from domainclip.zoo.store import Place, verify

SCRIPT = f"""
from domainclip.zoo.pull import pull
print("ready", flush=True)
print(pull({NAME!r}, say=print))
"""


def start():
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.fixture
def size(hub, tmp_path):
    """A model of 26 MB, served so slowly that it takes seconds."""
    config = vit()
    config["text_cfg"]["width"] = 128
    of_open_clip(tmp_path / "published", config)
    files = {f.name: f.read_bytes() for f in (tmp_path / "published").iterdir()}
    hub.add(REPO, files)
    write_card()
    return sum(map(len, files.values()))


@pytest.mark.slow
def test_a_killed_pull_goes_on_where_it_was(hub, size):
    hub.faults.rate = 6e6
    draw = random.Random(0)
    for _ in range(4):
        process = start()
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0.3, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert visible() == []
    hub.faults.rate = 0
    assert start().wait() == 0
    assert visible() == ["little"] and verify(NAME) == []
    assert hub.sent < 1.5 * size


@pytest.mark.slow
def test_a_pull_killed_while_it_converts_is_begun_again(hub, size):
    """Killed as soon as the new folder shows, at several moments."""
    for wait in (0.0, 0.05, 0.2):
        process = start()
        while not Place(NAME).new.exists() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        process.wait()
        assert visible() in ([], ["little"])
        if visible():
            assert verify(NAME) == []
    assert start().wait() == 0
    assert verify(NAME) == [] and not Place(NAME).new.exists()


@pytest.mark.slow
def test_two_processes_make_one_good_copy(hub, size):
    hub.faults.rate = 20e6
    processes = [start(), start()]
    said = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sum("there already" in text for text in said) == 1
    assert sum("waiting for it" in text for text in said) == 1
    assert hub.sent == size and verify(NAME) == []


def test_an_interrupted_pull_ends_at_once_and_cleanly(hub, size):
    hub.faults.rate = 2e6
    process = subprocess.Popen(
        [sys.executable, "-m", "domainclip", "zoo", "pull", NAME],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ),
    )  # fmt: skip
    while hub.sent < 1e6 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said[1]
    assert visible() == [] and [*paths.home_dir().rglob("*.partial")]
