"""Images that somebody else has made: broken, enormous, or something else by the name of an image."""

import io
import struct
import warnings
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from tests.fuzz.answers import MANY, answer, refusal
from workers.data.reading import MAX_ASPECT, MAX_PIXELS, opened, rgb


def picture(format: str, mode: str = "RGB", size: tuple[int, int] = (8, 6), **options: object) -> bytes:
    """A small image's file."""
    pixels = np.arange(size[0] * size[1] * 4, dtype=np.uint8).reshape(size[1], size[0], 4)
    image = PillowImage.fromarray(pixels, "RGBA").convert(mode)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes, depth: int = 8, colour: int = 0, pixels: bytes = b"") -> bytes:
    """A PNG that says it has these pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + body


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose header says it has these pixels."""
    data = bytearray(picture("JPEG"))
    position = data.index(b"\xff\xc0") + 5
    data[position : position + 4] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], PillowImage.Image]:
    """Reads the bytes as the data sets do."""
    path = tmp_path_factory.mktemp("images") / "a.jpg"

    def reading(data: bytes) -> PillowImage.Image:
        path.write_bytes(data)
        with opened(path, "replace it") as stored:
            return rgb(stored)

    return reading


Read = Callable[[bytes], PillowImage.Image]

SOUND = {
    "JPEG": picture("JPEG"),
    "progressive JPEG": picture("JPEG", progressive=True),
    "grey JPEG": picture("JPEG", "L"),
    "CMYK JPEG": picture("JPEG", "CMYK"),
    "PNG": picture("PNG"),
    "PNG with alpha": picture("PNG", "RGBA"),
    "PNG, grey with alpha": picture("PNG", "LA"),
    "PNG with a palette": picture("PNG", "P"),
    "PNG with a palette and alpha": picture("PNG", "P", transparency=bytes(range(256))),
    "PNG, grey with a clear value": picture("PNG", "L", transparency=7),
    "PNG of one bit": picture("PNG", "1"),
    "PNG of 16 bits": png(8, 6, depth=16, pixels=(b"\0" + b"\x80\xff" * 8) * 6),
    "PNG of 16 bits and colours": png(8, 6, depth=16, colour=2, pixels=(b"\0" + b"\x80\xff" * 24) * 6),
}


@pytest.mark.parametrize("kind", SOUND)
def test_every_kind_of_jpeg_and_png_is_read_as_eight_bit_colours(kind: str, read: Read) -> None:
    image = read(SOUND[kind])
    assert (image.mode, image.size) == ("RGB", (8, 6))


@pytest.mark.parametrize("kind", ["PNG of 16 bits", "PNG of 16 bits and colours"])
def test_of_sixteen_bits_the_upper_eight_are_kept(kind: str, read: Read) -> None:
    assert read(SOUND[kind]).getpixel((3, 3)) == (128, 128, 128)


@pytest.mark.parametrize("kind", SOUND)
def test_an_image_cut_off_anywhere_is_read_or_refused(kind: str, read: Read) -> None:
    data = SOUND[kind]
    for length in range(0, len(data), max(1, len(data) // 100)):
        answer(lambda length=length: read(data[:length]))  # type: ignore[misc]


@MANY
@given(
    kind=st.sampled_from(sorted(SOUND)),
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    mend=st.booleans(),
)
def test_a_damaged_image_is_read_or_refused(kind: str, changes: list[tuple[int, int]], mend: bool, read: Read) -> None:
    data = bytearray(SOUND[kind])
    for position, byte in changes:
        data[position % len(data)] = byte
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of corrupt metadata
        answer(lambda: read(mended(bytes(data)) if mend else bytes(data)))


def mended(data: bytes) -> bytes:
    """A PNG with checksums that are right, so that what is damaged gets past them."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    whole, position = data[:8], 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        whole += chunk(data[position + 4 : position + 8], data[position + 8 : position + 8 + length])
        position += 12 + length
    return whole


BOMBS = {
    "a PNG of 10^10 pixels": png(100_000, 100_000),
    "a PNG of 2^62 pixels": png(2**31 - 1, 2**31 - 1),
    "a PNG just over the limit": png(MAX_PIXELS // 2**10 + 1, 2**10),
    "a PNG of no pixels": png(0, 5),
    "a JPEG of 2^32 pixels": jpeg(65_500, 65_500),
    "a JPEG of no height": jpeg(8, 0),
    "a JPEG of no width": jpeg(0, 8),
    "a thin PNG": png(1, MAX_ASPECT + 1),
    "a flat PNG": png(10 * MAX_ASPECT + 1, 10),
    "a PNG with a long text": png(8, 6, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8), 9))),
    "a PNG with many texts": png(8, 6, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**6), 9)) * 100),
    "a PNG with a long profile": png(8, 6, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8), 9))),
    "a chunk of four gigabytes": b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR",
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_that_unfolds_without_bounds_is_refused(name: str, read: Read) -> None:
    assert "can't be read as an image" in refusal(lambda: read(BOMBS[name]))


def test_pixels_that_go_on_after_the_last_are_not_unpacked(read: Read) -> None:
    image = read(png(8, 6, pixels=bytes(10**8)))
    assert image.size == (8, 6)


@pytest.mark.parametrize("format", ["GIF", "TIFF", "BMP", "ICO", "WEBP", "PPM", "PDF", "EPS", "TGA", "PCX", "SGI"])
def test_only_jpeg_and_png_are_decoded_whatever_a_file_is_called(format: str, read: Read) -> None:
    assert "cannot identify image file" in refusal(lambda: read(picture(format)))


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 1000, b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"\xff\xd8", b"\x89PNG"]
)
def test_what_is_no_image_is_refused(data: bytes, read: Read) -> None:
    assert "a.jpg: can't be read as an image" in refusal(lambda: read(data))
