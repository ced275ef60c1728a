"""From encoded bytes to pixels, and what is wrong with bytes that are not images."""

import struct

import numpy as np

SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".bmp",
    ".webp",
    ".tif",
    ".tiff",
    ".pgm",
    ".ppm",
)
"""How names of image files end, in lower case."""

MAX_BYTES = 100 * 1000 * 1000
MAX_PIXELS = 64 * 1000 * 1000

_JPEG_SIZED = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG markers that carry the image's size."""


def decode(data: bytes, size: int) -> np.ndarray:
    """Decodes an image to a square of pixels.

    The picture is stretched where it is not square, as face crops nearly are.
    JPEGs at least twice as large as needed are decoded at 1/2, 1/4 or 1/8 of
    their size, which is several times faster. Shrinking averages areas,
    enlarging is bilinear.

    Args:
      data: an encoded image (PNG, JPEG, BMP, WebP, TIFF, PGM/PPM).
      size: pixels on each side.

    Returns:
      uint8 (size, size, 3), RGB; greyscale gives three equal channels.

    Raises:
      ValueError: the bytes are no image.
    """
    import cv2

    flag, shape = cv2.IMREAD_COLOR, None
    if data[:2] == b"\xff\xd8":
        shape = _jpeg_shape(data)
    if shape is not None:
        factor = min(shape) // size
        if factor >= 8:
            flag = cv2.IMREAD_REDUCED_COLOR_8
        elif factor >= 4:
            flag = cv2.IMREAD_REDUCED_COLOR_4
        elif factor >= 2:
            flag = cv2.IMREAD_REDUCED_COLOR_2
    image = _imdecode(data, flag)
    if image is None:
        raise ValueError("The bytes cannot be decoded as an image.")
    height, width = image.shape[:2]
    if (height, width) != (size, size):
        shrinks = height > size and width > size
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = cv2.resize(image, (size, size), interpolation=mode)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def problem(data: bytes) -> str | None:
    """Says what is wrong with the bytes of an image file, or returns None.

    The size is read from the header before anything is decoded, so that a
    small file that unpacks to gigabytes is refused cheaply.

    Args:
      data: the file's bytes.
    """
    import cv2

    if not data:
        return "empty file"
    if len(data) > MAX_BYTES:
        return f"larger than {MAX_BYTES // 1_000_000} MB"
    kind = _signature(data)
    if kind is None:
        return "not an image"
    shape = _png_shape(data) if kind == "png" else None
    shape = _jpeg_shape(data) if kind == "jpeg" else shape
    if shape is not None and shape[0] * shape[1] > MAX_PIXELS:
        return f"larger than {MAX_PIXELS // 1_000_000} megapixels"
    end = {"png": b"IEND", "jpeg": b"\xff\xd9"}.get(kind)
    if end is not None and end not in data:
        return "truncated"
    image = _imdecode(data, cv2.IMREAD_COLOR)
    if image is None:
        return "unreadable"
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        return f"larger than {MAX_PIXELS // 1_000_000} megapixels"
    return None


def encode_png(image: np.ndarray) -> bytes:
    """Encodes uint8 (H, W) or RGB (H, W, 3) as PNG."""
    import cv2

    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", image)[1].tobytes()


def _imdecode(data: bytes, flag: int) -> np.ndarray | None:
    import cv2

    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None


def _signature(data: bytes) -> str | None:
    """The image format that the first bytes announce, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if data.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if data.startswith((b"BM", b"II*\0", b"MM\0*", b"P2", b"P3", b"P5", b"P6")):
        return "other"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "other"
    return None


def _png_shape(data: bytes) -> tuple[int, int] | None:
    if len(data) < 24:
        return None
    width, height = struct.unpack(">II", data[16:24])
    return height, width


def _jpeg_shape(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _JPEG_SIZED:
            height, width = struct.unpack(">HH", data[at + 5 : at + 9])
            return height, width
        if marker == 0xFF:
            at += 1
            continue
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None
