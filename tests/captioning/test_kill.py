"""The benchmark of kills in small: a served captioner, killed at random moments, loses nothing."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "caption_kill.py"


@pytest.mark.slow
def test_killed_at_random_every_sample_has_one_caption():
    spec = importlib.util.spec_from_file_location("caption_kill", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    counts = module.run(120, 5, seed=1)
    assert counts.kills >= 4, counts
    assert counts.rows == counts.stored == 120 and not counts.duplicates
    assert counts.unexplained == 0 and counts.asked < 120 + counts.kills * 40
