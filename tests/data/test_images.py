"""Pictures of every kind become upright 8-bit RGB, or say why not."""

import io
import pickle

import numpy as np
import pytest
from data_fakes import encoded, huge_png
from PIL import Image

from domainclip.data.images import (
    UnreadableImage,
    header_size,
    read_image,
    shrink,
    square,
)

RAMP = np.linspace(0, 65535, 16 * 16).astype(np.uint16).reshape(16, 16)
COLOURS = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("as_", ["path", "str", "bytes", "array", "image"])
def test_whatever_it_comes_as(tmp_path, as_):
    path = tmp_path / "a.png"
    Image.fromarray(COLOURS).save(path)
    source = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "array": COLOURS,
        "image": Image.fromarray(COLOURS),
    }[as_]
    picture = read_image(source)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), COLOURS)


def test_16_bit_grey_keeps_its_range():
    picture = np.asarray(read_image(encoded(Image.fromarray(RAMP))))
    np.testing.assert_array_equal(picture[..., 0], np.rint(RAMP / 257).astype(np.uint8))
    assert picture.min() == 0
    assert picture.max() == 255


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.array([[0, 255]], np.uint8), [0, 255]),
        (np.array([[0, 65535]], np.uint16), [0, 255]),
        (np.array([[0, 65535]], np.int32), [0, 255]),
        (np.array([[0, 255]], np.int32), [0, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[-10.0, 0.0, 10.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 1.0]], np.float64), [0, 255]),
        (np.array([[False, True]]), [0, 255]),
    ],
)
def test_arrays_are_scaled_by_their_type(pixels, expected):
    assert np.asarray(read_image(pixels))[0, :, 0].tolist() == expected


def test_32_bit_tiff_and_float_tiff():
    for pixels in (RAMP.astype(np.int32), RAMP.astype(np.float32)):
        picture = np.asarray(read_image(encoded(Image.fromarray(pixels), "TIFF")))
        assert (picture.min(), picture.max()) == (0, 255)
        assert (np.diff(picture[..., 0].astype(int), axis=1) >= 0).all()


def test_a_cmyk_jpeg_has_its_colours():
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    picture = np.asarray(read_image(encoded(cyan, "JPEG", quality=95)))
    red, green, blue = picture.mean((0, 1))
    assert red < 30
    assert green > 200
    assert blue > 200


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "lime", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert Image.open(io.BytesIO(data)).n_frames == 3
    assert np.asarray(read_image(data))[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_shows_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    picture = np.asarray(read_image(encoded(image.convert(mode))))
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[0, 7].tolist() == [255, 255, 255]


@pytest.mark.parametrize("side", [None, 8])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_honoured(kind, side):
    """Orientation 6: the camera was turned, the stored left edge is the top of the picture."""
    stored = np.zeros((100, 200, 3), np.uint8)
    stored[:, :100] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = read_image(encoded(Image.fromarray(stored), kind, exif=exif), side=side)
    assert picture.height == 2 * picture.width
    pixels = np.asarray(picture)
    assert pixels[: picture.height // 4].mean() > 250
    assert pixels[-picture.height // 4 :].mean() < 5


def test_a_jpeg_is_decoded_smaller_where_that_is_enough():
    data = encoded(Image.new("RGB", (1600, 1200), "red"), "JPEG")
    assert read_image(data).size == (1600, 1200)
    small = read_image(data, side=64)
    assert 128 <= min(small.size) < 1200
    pixels = square(small, 64)
    assert pixels.shape == (64, 64, 3)
    assert abs(pixels.astype(int) - [254, 0, 0]).max() <= 2


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_tiny_and_narrow_pictures(size):
    pixels = square(read_image(encoded(Image.new("RGB", size, "red"))), 32)
    assert pixels.shape == (32, 32, 3)
    assert (pixels == [255, 0, 0]).all()


def test_the_centre_square():
    pixels = np.zeros((20, 60, 3), np.uint8)
    pixels[:, 20:40] = 200
    assert (square(Image.fromarray(pixels), 20) == 200).all()


def test_a_huge_picture_is_refused_by_its_header(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(huge_png(30_000, 30_000))
    with pytest.raises(UnreadableImage, match=r"huge.png: 30000 x 30000 pixels are more than the"):
        read_image(path)
    with pytest.raises(UnreadableImage, match="truncated"):  # let through, it would be decoded
        read_image(huge_png(30, 30))


def test_our_limit_stands_in_for_pillows():
    before = Image.MAX_IMAGE_PIXELS
    large = encoded(Image.new("1", (20_000, 10_000)))  # Pillow alone refuses it
    with pytest.raises(UnreadableImage, match=r"data\.max_pixels"):
        read_image(large, max_pixels=199_999_999)
    assert header_size(large) == (20_000, 10_000)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("side", [None, 32])
def test_a_truncated_jpeg_is_no_half_picture(side):
    data = encoded(Image.fromarray(np.tile(COLOURS, (20, 20, 1))), "JPEG")
    with pytest.raises(UnreadableImage, match="the file is truncated"):
        read_image(data[: len(data) // 2], side=side)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"not a picture at all", "not a picture that can be opened"),
        (huge_png(8, 8), "truncated"),
        (encoded(Image.fromarray(COLOURS))[:40], "truncated|decoded|opened"),
    ],
)
def test_broken_files_say_why(tmp_path, data, reason):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match=reason) as caught:
        read_image(path)
    assert str(path) in caught.value.message
    with pytest.raises(UnreadableImage, match=reason):
        read_image(data)


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(UnreadableImage, match="the file is missing"):
        read_image(tmp_path / "none.png")
    with pytest.raises(UnreadableImage, match="a folder, not a picture"):
        read_image(tmp_path)


@pytest.mark.parametrize("shape", [(5,), (0, 4, 3), (4, 4, 2), (2, 4, 4, 3)])
def test_arrays_that_are_no_picture(shape):
    with pytest.raises(UnreadableImage, match="are no picture"):
        read_image(np.zeros(shape, np.uint8))


def test_a_domains_reader_opens_what_pillow_cannot():
    def reader(source):
        assert source == b"MAGIC"
        return Image.new("L", (4, 4), 77)

    assert np.asarray(read_image(b"MAGIC", domain_reader=reader))[0, 0].tolist() == [77] * 3
    plain = encoded(Image.fromarray(COLOURS))
    np.testing.assert_array_equal(np.asarray(read_image(plain, domain_reader=reader)), COLOURS)


def test_the_error_crosses_processes():
    error = pickle.loads(pickle.dumps(UnreadableImage("a.png", "it is broken")))
    assert (error.message, error.reason) == ("a.png: it is broken", "it is broken")


def test_shrinking_keeps_small_and_broken_files():
    small = encoded(Image.fromarray(COLOURS))
    assert shrink(small) == small
    assert shrink(b"nothing") == b"nothing"
    large = shrink(encoded(Image.new("RGB", (1200, 900), "red")))
    assert header_size(large) == (683, 512)
