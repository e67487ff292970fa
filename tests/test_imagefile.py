"""Image files of every kind, good and bad, through the one place that opens and writes them."""

import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dapter.errors import DataError, UsageError
from dapter.imagefile import encode, open_image, open_photo

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def save(image, codec="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return buffer.getvalue()


def exif(**tags):
    found = Image.Exif()
    for tag, value in tags.items():
        found[{"orientation": 0x0112, "make": 0x010F}[tag]] = value
    return found


def png(width, height, *chunks):
    """A PNG by hand: a header that claims a size, and chunks."""
    header = (b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in (header, *chunks, (b"IEND", b"")):
        content += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return content


@pytest.mark.parametrize("codec", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_files_give_their_pixels(tmp_path, codec):
    path = tmp_path / "image"
    path.write_bytes(save(Image.fromarray(PIXELS), codec, **({"lossless": True} if codec == "WEBP" else {})))
    found = open_image(path)
    assert (found == PIXELS).all()
    assert found.flags.writeable


@pytest.mark.parametrize("codec", ["JPEG", "WEBP", "AVIF", "GIF"])
def test_lossy_files_open(codec):
    grey = Image.new("RGB", (9, 6), (100, 100, 100))
    assert np.abs(open_image(save(grey, codec)).astype(int) - 100).max() <= 2


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, PIXELS),
        (2, PIXELS[:, ::-1]),
        (3, PIXELS[::-1, ::-1]),
        (4, PIXELS[::-1]),
        (5, PIXELS.transpose(1, 0, 2)),
        (6, np.rot90(PIXELS, -1)),
        (7, PIXELS[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(PIXELS)),
    ],
)
def test_the_cameras_orientation_is_applied(orientation, upright):
    assert (open_image(save(Image.fromarray(PIXELS), exif=exif(orientation=orientation))) == upright).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_over_grey(mode):
    image = Image.new("RGBA", (2, 1), (255, 255, 255, 255))
    image.putpixel((0, 0), (255, 255, 255, 0))
    options = {}
    if mode == "P":
        image, options = Image.new("P", (2, 1)), {"transparency": 0}
        image.putpalette([255, 0, 0, 255, 255, 255])
        image.putpixel((1, 0), 1)
    found = open_image(save(image.convert(mode), **options))
    assert found.tolist() == [[[128] * 3, [255] * 3]]


def test_half_transparent_pixels_are_mixed():
    found = open_image(save(Image.new("RGBA", (1, 1), (255, 0, 128, 128))))
    assert np.abs(found[0, 0].astype(int) - (192, 64, 128)).max() <= 1


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("level", [0, 3, 77, 128, 255])
def test_16_bit_grey_is_scaled_whatever_its_brightness(endian, level):
    codec = "PNG" if endian == "<" else "TIFF"
    depth = np.full((2, 2), level * 257, dtype=f"{endian}u2")
    assert (open_image(save(Image.fromarray(depth), codec)) == level).all()


def test_oriented_16_bit_grey():
    depth = np.arange(6, dtype=np.uint16).reshape(2, 3) * 257
    found = open_image(save(Image.fromarray(depth), exif=exif(orientation=3)))
    assert found[..., 0].tolist() == [[5, 4, 3], [2, 1, 0]]


@pytest.mark.parametrize(
    ("mode", "colour", "rgb"),
    [("L", 70, (70, 70, 70)), ("1", 1, (255, 255, 255)), ("CMYK", (0, 255, 255, 0), (255, 0, 0))],
)
def test_other_modes_become_rgb(mode, colour, rgb):
    found = open_image(save(Image.new(mode, (3, 2), colour), "TIFF"))
    assert found.shape == (2, 3, 3)
    assert (found == rgb).all()


def test_cmyk_jpeg():
    found = open_image(save(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100), (8, 8))
    assert np.abs(found.astype(int) - (255, 0, 0)).max() <= 4


def test_floats_have_no_white():
    with pytest.raises(DataError, match=r"floats.*8 or 16 bits"):
        open_image(save(Image.new("F", (2, 2), 0.5), "TIFF"))


@pytest.mark.parametrize("codec", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(codec):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("white", "black")]
    found = open_image(save(frames[0], codec, save_all=True, append_images=frames[1:]))
    assert found.shape == (4, 4, 3)
    assert (found > 250).all()


def test_size_is_height_and_width():
    assert open_image(save(Image.fromarray(PIXELS)), (4, 5)).shape == (4, 5, 3)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (7, 10), (5, 5)])
def test_the_centre_square_is_cut_out_before_resizing(shape):
    pixels = np.zeros((*shape, 3), np.uint8)
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    pixels[top : top + side, left : left + side] = 255
    found = open_image(save(Image.fromarray(pixels)), square=True)
    assert found.shape == (side, side, 3)
    assert (found == 255).all()
    assert (open_image(save(Image.fromarray(pixels)), (3, 3), square=True) == 255).all()


def test_what_a_camera_wrote_is_not_logged(caplog):
    wrote = Image.Exif()
    wrote[0x010F], wrote[0x9286] = "CAMERA of Ada", b"a thumbnail"
    files = [save(Image.fromarray(PIXELS), codec, exif=wrote) for codec in ("JPEG", "PNG", "TIFF")]
    with caplog.at_level("DEBUG"):
        caplog.clear()
        for file in files:
            open_image(file)
    assert caplog.text == ""


def test_pillow_tells_stderr_nothing_of_a_photo(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(10_000, 9_000))
    content = bytearray(save(Image.fromarray(PIXELS), "TIFF", dpi=(72, 72)))
    entry = content.index(struct.pack("<HH", 282, 5))
    content[entry + 4] = 3  # values of a tag that has one
    (tmp_path / "tags.tiff").write_bytes(content)
    script = """
import sys
from pathlib import Path
from dapter.errors import DataError
from dapter.imagefile import open_image

for path in sys.argv[1:]:
    try:
        open_image(Path(path))
    except DataError as error:
        print(error)
"""
    command = [sys.executable, "-c", script, tmp_path / "bomb.png", tmp_path / "tags.tiff"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "10000 x 9000 is over" in done.stdout
    assert done.stderr == ""


def test_a_photo_is_cut_to_its_centre_square_only_where_a_square_is_wanted():
    pixels = np.zeros((6, 9, 3), np.uint8)
    pixels[:, 1:7] = 255
    for photo in (pixels, save(Image.fromarray(pixels))):
        assert (open_photo(photo, (4, 4)) == 255).all()
        for size, square in (((4, 4), False), ((4, 6), True)):
            np.testing.assert_array_equal(
                open_photo(photo, size, square=square), open_image(save(Image.fromarray(pixels)), size)
            )


def test_large_jpegs_are_shrunk_while_they_are_decoded_but_not_too_far():
    content = save(Image.effect_noise((640, 160), 50).convert("RGB"), "JPEG", exif=exif(orientation=6))
    expected = Image.fromarray(open_image(content)).resize((150, 600), Image.Resampling.LANCZOS)
    assert (open_image(content, (600, 150)) == np.asarray(expected)).all()


@pytest.mark.parametrize("codec", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path, codec, share):
    content = save(Image.effect_noise((64, 64), 80).convert("RGB"), codec)
    path = tmp_path / "cut"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"cut: not an image.*Cure: "):
        open_image(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "svg", "eps"],
)
def test_what_is_no_image_is_refused(content):
    with pytest.raises(DataError, match=r"image: not an image.*Cure: "):
        open_image(content)


def test_only_the_common_formats_are_opened():
    with pytest.raises(DataError, match="not an image"):
        open_image(save(Image.fromarray(PIXELS), "PCX"))


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match=r"none.png: no such file. Cure: "):
        open_image(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"not an image.*Cure: "):
        open_image(tmp_path)


@pytest.mark.parametrize("side", [8_001, 10_000, 60_000], ids=["over ours", "Pillow warns", "Pillow refuses"])
def test_bombs_are_refused_before_they_unpack(side):
    with pytest.raises(DataError, match="Cure: "):
        open_image(png(side, side, (b"IDAT", zlib.compress(b""))))


def test_text_bombs_are_refused():
    text = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    with pytest.raises(DataError, match="Cure: "):
        open_image(png(1, 1, (b"zTXt", text), (b"IDAT", zlib.compress(bytes(4)))))


def test_the_limit_itself_is_allowed():
    assert open_image(save(Image.fromarray(PIXELS)), max_pixels=54).shape == (6, 9, 3)
    with pytest.raises(DataError, match=r"9 x 6 is over 53 pixels. Cure: "):
        open_image(save(Image.fromarray(PIXELS)), max_pixels=53)


@pytest.mark.parametrize("codec", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_random_damage_never_raises_anything_else(codec):
    rng = np.random.default_rng(1)
    whole = np.frombuffer(
        save(Image.fromarray(PIXELS), codec, **({} if codec == "GIF" else {"exif": exif(make="x")})), "u1"
    )
    for _ in range(100):
        content = whole.copy()
        content[rng.integers(0, min(len(content), 300), 5)] = rng.integers(0, 256, 5)
        try:
            found = open_image(content.tobytes())
        except DataError:
            continue
        assert found.dtype == np.uint8
        assert found.ndim == 3


def test_threads_may_open_images_together():
    content = save(Image.fromarray(PIXELS))
    with ThreadPoolExecutor(8) as pool:
        assert all((found == PIXELS).all() for found in pool.map(open_image, [content] * 64))


@pytest.mark.parametrize(("codec", "quality"), [("PNG", None), ("WEBP", None), ("JPEG", 90), ("WEBP", 50)])
def test_no_metadata_survives(codec, quality):
    options = {"exif": exif(orientation=3, make="secret maker"), "icc_profile": b"secret profile", "dpi": (72, 72)}
    original = save(Image.fromarray(PIXELS), "JPEG", **options, comment=b"secret comment")
    assert b"secret" in original
    content = encode(open_image(original), codec, quality)
    assert b"secret" not in content
    with Image.open(io.BytesIO(content)) as image:
        assert not image.getexif()
        assert not set(image.info) & {"exif", "icc_profile", "comment", "xmp"}


@pytest.mark.parametrize("codec", ["PNG", "WEBP"])
def test_lossless_encoding_keeps_every_pixel(codec):
    assert (open_image(encode(PIXELS, codec)) == PIXELS).all()


def test_lower_quality_takes_fewer_bytes():
    noise = np.asarray(Image.effect_noise((64, 64), 80).convert("RGB"))
    for codec in ("JPEG", "WEBP"):
        assert len(encode(noise, codec, 10)) < len(encode(noise, codec, 90))


@pytest.mark.parametrize(("codec", "quality"), [("JPEG", None), ("PNG", 90), ("GIF", None), ("png", None)])
def test_encodings_that_do_not_exist(codec, quality):
    with pytest.raises(UsageError, match="no such codec"):
        encode(PIXELS, codec, quality)


@pytest.mark.parametrize("pixels", [PIXELS[..., 0], PIXELS[..., :2], PIXELS / 255, PIXELS.tolist()])
def test_what_is_no_pixels_is_not_encoded(pixels):
    with pytest.raises(UsageError):
        encode(np.asarray(pixels) if isinstance(pixels, list) else pixels)


def test_a_fast_png_holds_the_same_pixels_in_about_as_many_bytes():
    faint = np.clip(np.random.default_rng(0).normal(128, 3, (64, 64, 3)), 0, 255).astype(np.uint8)
    fast, small = encode(faint, fast=True), encode(faint)
    assert np.array_equal(open_image(fast), faint)
    assert len(fast) < 1.1 * len(small)
