"""The benchmark of kills in small: a served captioner, killed at random moments, loses nothing."""

import importlib.util
import sys
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "caption_kill.py"


@pytest.mark.slow
def test_killed_at_random_every_sample_has_one_caption():
    spec = importlib.util.spec_from_file_location("caption_kill", FILE)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    counts = module.run(120, 5, seed=1)
    assert counts.right and not counts.duplicates and counts.rows == 120, counts
    assert counts.kills >= 3 and counts.again <= counts.in_flight, counts
    assert counts.most_in_flight <= 2 * 8, counts  # what is held at a concurrency of 8
