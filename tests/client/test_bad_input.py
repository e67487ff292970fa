"""Unusual and broken photos: sent as a payload or refused with a reason; never a crash, nothing of the original."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dapter.client import Client
from dapter.errors import DapterError
from fuzz.images import corpus, fuzz
from upstream import pixels_of


@pytest.fixture
def client(upstream, releases):
    with Client(upstream.url, releases.plain, releases.key) as running:
        yield running


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(left, right, mode="RGB"):
    image = Image.new(mode, (40, 40), left)
    image.paste(right, (20, 0, 40, 40))
    return image


def turned(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(image, "JPEG", quality=95, exif=exif)


def ramp(image, levels=65535):
    return Image.fromarray(np.where(np.array(image.convert("L")) > 128, levels, 0).astype(np.uint16))


BLACK_WHITE = halves("black", "white")
SAME = {
    "PNG": saved(BLACK_WHITE, "PNG"),
    "grey": saved(BLACK_WHITE.convert("L"), "PNG"),
    "one bit": saved(BLACK_WHITE.convert("1"), "PNG"),
    "palette": saved(BLACK_WHITE.quantize(4), "PNG"),
    "CMYK": saved(BLACK_WHITE.convert("CMYK"), "JPEG", quality=95),
    "16 bits": saved(ramp(BLACK_WHITE), "PNG"),
    "16 bits, TIFF": saved(ramp(BLACK_WHITE), "TIFF"),
    "animated": saved(BLACK_WHITE, "GIF", save_all=True, append_images=[halves("white", "black")]),
    "turned": turned(BLACK_WHITE.rotate(90), 6),
    "mirrored": turned(halves("white", "black"), 2),
    "WebP": saved(BLACK_WHITE, "WEBP", lossless=True),
    "BMP": saved(BLACK_WHITE, "BMP"),
}


@pytest.mark.parametrize("file", SAME.values(), ids=SAME)
def test_every_kind_of_file_gives_the_same_payload(client, upstream, file):
    client.classify(file)
    (sent,) = pixels_of(upstream.requests[-1].infer_request())
    assert (sent[:, :14].mean(), sent[:, 18:].mean()) == pytest.approx((115, 141), abs=2)


def test_what_is_transparent_is_grey(client, upstream):
    client.classify(saved(halves((255, 0, 0, 0), (255, 255, 255, 255), "RGBA"), "PNG"))
    assert (pixels_of(upstream.requests[-1].infer_request())[0][:, :14] == 128).all()


def bomb(width, height):
    """A PNG of a few hundred bytes that claims to be huge."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 9999))
        + chunk(b"IEND", b"")
    )


BROKEN = {
    "nothing": b"",
    "text": b"no image at all",
    "zeros": bytes(1000),
    "huge": bomb(60_000, 60_000),
    "beyond all": bomb(2**31 - 1, 2**31 - 1),
    "too little data": bomb(5000, 5000),
    "no area": bomb(0, 10),
    "cut off": SAME["PNG"][:60],
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "PDF": b"%PDF-1.4\n",
    "floats": saved(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"),
}
PIXELS = {
    "floats": np.zeros((9, 9, 3)),
    "grey": np.zeros((9, 9), np.uint8),
    "no area": np.zeros((0, 9, 3), np.uint8),
    "a batch": np.zeros((1, 9, 9, 3), np.uint8),
    "objects": np.full((9, 9, 3), None),
    "a list": [[0, 0, 0]],
    "none": None,
}


@pytest.mark.parametrize("photo", [*BROKEN.values(), *PIXELS.values()], ids=[*BROKEN, *(f"array: {e}" for e in PIXELS)])
def test_what_cannot_be_read_is_refused_with_a_reason(client, upstream, photo):
    with pytest.raises(DapterError, match=r"^nothing was sent: (.|\n)*Cure: "):
        client.classify(photo)
    assert not upstream.received


def test_a_folder_and_a_missing_file(client, upstream, tmp_path):
    for path in (tmp_path, tmp_path / "missing.png", "\0"):
        with pytest.raises(DapterError, match="nothing was sent"):
            client.classify(path)
    assert not upstream.received


def test_damaged_files_by_the_hundred():
    """The first of those that `python tests/fuzz/images.py` tries."""
    outcomes = fuzz(250)
    assert outcomes["sent"] > 20
    assert outcomes["DataError"] > 20
    assert sum(outcomes.values()) == 250


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes(client, upstream, data):
    files = corpus(np.random.default_rng(1))
    file = data.draw(st.one_of(st.binary(max_size=200), st.sampled_from(files)))
    cut = data.draw(st.integers(0, len(file)))
    file = file[:cut] + data.draw(st.binary(max_size=20)) + file[cut:]
    upstream.received.clear()
    try:
        client.classify(file)
    except DapterError:
        assert not upstream.received
    assert upstream.received_nothing_of(*([file] if len(file) >= 64 else []), run=32)
