import base64
import io

import numpy as np
import pytest
from PIL import Image

from domainclip.captioning.pictures import encode_picture, put_picture
from domainclip.errors import UsageError

HEAD = "data:image/jpeg;base64,"


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def decode(url: str) -> Image.Image:
    assert url.startswith(HEAD)
    return Image.open(io.BytesIO(base64.b64decode(url[len(HEAD) :], validate=True)))


@pytest.mark.parametrize(
    ("size", "sent"),
    [((800, 400), (100, 50)), ((90, 30), (90, 30)), ((1, 3000), (1, 100)), ((1, 1), (1, 1))],
)
def test_the_longest_side_is_bounded_and_nothing_is_enlarged(size, sent):
    picture = noise(*size)
    assert decode(encode_picture(picture, side=100)).size == sent
    assert picture.size == size


def test_bytes_are_bounded_by_quality_first():
    picture = noise(200, 200)
    whole = encode_picture(picture)
    tight = encode_picture(picture, max_bytes=len(whole) * 3 // 4 - 2000)
    assert decode(tight).size == (200, 200) and len(tight) < len(whole)
    tiny = decode(encode_picture(picture, max_bytes=3000))
    assert max(tiny.size) < 200
    assert len(base64.b64decode(encode_picture(picture, max_bytes=3000)[len(HEAD) :])) <= 3000


def test_colours_survive():
    picture = Image.new("RGB", (64, 64), (200, 30, 60))
    assert np.abs(np.asarray(decode(encode_picture(picture)), int) - [200, 30, 60]).max() < 8


def test_nothing_but_pixels_goes_out():
    picture = noise(20, 20)
    exif = picture.getexif()
    exif[0x010E] = "a secret place"
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", exif=exif, comment=b"a secret place")
    sent = encode_picture(Image.open(io.BytesIO(buffer.getvalue())))
    assert b"secret" not in base64.b64decode(sent[len(HEAD) :])


def test_the_picture_takes_its_place_and_the_prompt_is_left_as_it_was():
    part = {"type": "image"}
    messages = (
        {"role": "system", "content": "See."},
        {"role": "user", "content": [part, {"type": "text", "text": "What?"}]},
    )
    placed = put_picture(messages, "data:x")
    assert placed[0] == messages[0]
    assert placed[1]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:x"}},
        {"type": "text", "text": "What?"},
    ]
    assert messages[1]["content"][0] is part


def test_a_prompt_without_a_place_for_the_picture_is_refused():
    with pytest.raises(UsageError, match="no place for the picture"):
        put_picture([{"role": "user", "content": "What?"}], "data:x")
