import struct

import cv2
import numpy as np
import pytest

from jaxfer.data import decode as decoding
from jaxfer.data.decode import decode, encode_png, problem


def smooth(side: int) -> np.ndarray:
    """A picture that survives scaling: three different ramps."""
    ramp = np.linspace(0, 255, side)
    x, y = np.meshgrid(ramp, ramp)
    return np.stack([x, y, 255 - x], axis=-1).astype(np.uint8)


def test_png_round_trip_is_exact_and_rgb(trees):
    image = trees.pixels(0, 20)
    np.testing.assert_array_equal(decode(encode_png(image), 20), image)


def test_grey_gives_three_equal_channels(trees):
    grey = trees.pixels(0, 20, 1)
    image = decode(encode_png(grey), 20)
    np.testing.assert_array_equal(image, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("size", [16, 40, 100, 200, 320])
def test_reduced_jpegs_equal_full_ones_nearly(size):
    picture = smooth(330)
    data = cv2.imencode(".jpg", picture[:, :, ::-1])[1].tobytes()
    image = decode(data, size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    expected = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    assert np.abs(image.astype(int) - expected.astype(int)).max() < 10


@pytest.mark.parametrize(
    ("suffix", "size", "scale"),
    [
        (".jpg", 41, 8),
        (".jpg", 82, 4),
        (".jpg", 165, 2),
        (".jpg", 166, 1),
        (".png", 41, 1),
    ],
)
def test_large_jpegs_are_decoded_small(monkeypatch, suffix, size, scale):
    sides, whole = [], decoding._imdecode

    def noting(data, flag):
        image = whole(data, flag)
        sides.append(image.shape[0])
        return image

    monkeypatch.setattr(decoding, "_imdecode", noting)
    decode(cv2.imencode(suffix, smooth(330))[1].tobytes(), size)
    assert sides == [-(-330 // scale)]


def test_oblong_images_are_stretched():
    assert decode(encode_png(smooth(40)[:20]), 30).shape == (30, 30, 3)


def test_decode_refuses_rubbish():
    with pytest.raises(ValueError, match="decoded"):
        decode(b"no image at all", 10)


def test_good_images_have_no_problem(trees):
    for suffix in (".png", ".jpg", ".bmp", ".webp", ".tiff", ".pgm"):
        channels = 1 if suffix == ".pgm" else 3
        data = cv2.imencode(suffix, trees.pixels(0, 16, channels))[1].tobytes()
        assert problem(data) is None, suffix


def test_problems(trees, monkeypatch):
    png, jpeg = trees.png(0, 40), trees.jpeg(0, 40)
    assert problem(b"") == "empty file"
    assert problem(b"just some text") == "not an image"
    assert problem(b"%PDF-1.4 and so on") == "not an image"
    assert problem(png[: len(png) // 2]) == "truncated"
    assert problem(jpeg[: len(jpeg) // 2]) == "truncated"
    assert problem(b"\x89PNG\r\n\x1a\n" + b"rubbish IEND") == "unreadable"
    bomb = png[:16] + struct.pack(">II", 100_000, 100_000) + png[24:]
    assert problem(bomb) == "larger than 64 megapixels"
    monkeypatch.setattr(decoding, "MAX_BYTES", 10)
    assert "larger than" in problem(png)


def test_jpeg_bomb_is_refused_by_its_header(trees):
    data = bytearray(trees.jpeg(0, 40))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 60_000, 60_000)
    assert problem(bytes(data)) == "larger than 64 megapixels"
