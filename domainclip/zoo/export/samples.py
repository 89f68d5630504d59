"""Random pictures and texts that towers are compared on: the same ones every time."""

from __future__ import annotations

import random

import numpy as np
from PIL import Image

COUNT = 64
LETTERS = "abcdefghijklmnopqrstuvwxyz" * 4 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "éüñøβμ" + "0123456789"
MARKS = (".", ",", "-", "'s", "(", ")", ";", "%")


def draw_pictures(side: int, count: int = COUNT) -> list[Image.Image]:
    """Return square RGB pictures of noise over a colour of their own."""
    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        colour, spread = rng.integers(0, 256, 3), rng.uniform(0, 90)
        pixels = rng.normal(colour, spread, (side, side, 3)).clip(0, 255).astype(np.uint8)
        pictures.append(Image.fromarray(pixels))
    return pictures


def draw_texts(count: int = COUNT) -> list[str]:
    """Return texts of made-up words, from one letter to longer than any text tower reads."""
    rng = random.Random(0)
    texts = ["a", " ".join("abcdefgh" for _ in range(200))]
    while len(texts) < count:
        words = [
            "".join(rng.choices(LETTERS, k=rng.randint(1, 9))) + rng.choice((*MARKS, *[""] * 20))
            for _ in range(rng.randint(1, 40))
        ]
        texts.append(" ".join(words))
    return texts
