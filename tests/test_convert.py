import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from dapter.convert import convert_files, protected
from dapter.errors import ConversionError, UsageError
from dapter.types import Payload


def invert(images):
    return Payload(255 - images)


def identity(images):
    return Payload(images)


def save(path, height=6, width=9, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def chunks(path):
    """The types of a PNG's chunks."""
    data, found, place = path.read_bytes(), [], 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        found.append(data[place + 4 : place + 8])
        place += 12 + length
    return found


def test_one_file_is_written_without_loss(tmp_path):
    pixels = save(tmp_path / "a.png")
    done = convert_files(invert, tmp_path / "a.png", tmp_path / "new" / "b.png")
    assert done.written == (tmp_path / "new" / "b.png",)
    assert not done.failed
    np.testing.assert_array_equal(read(tmp_path / "new" / "b.png"), 255 - pixels)


def test_a_folder_keeps_its_tree_and_sizes_and_names_do_not_meet(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    large = save(source / "sub" / "deep" / "a.png", 31, 17)
    save(source / "a.jpg", 5, 7)
    save(source / "a.png", 1, 1, seed=3)
    save(source / "a.jpg.png", seed=4)
    save(source / "b.JPEG", seed=5)
    (source / "notes.txt").write_text("no image")
    done = convert_files(invert, source, out)
    assert files(out) == ["a.jpg.png", "a.jpg.png.png", "a.png.png", "b.JPEG.png", "sub/deep/a.png.png"]
    assert [len(part) for part in (done.written, done.kept, done.failed, done.ignored)] == [5, 0, 0, 1]
    assert done.ignored == (source / "notes.txt",)
    np.testing.assert_array_equal(read(out / "sub" / "deep" / "a.png.png"), 255 - large)


def test_no_metadata_survives(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAM"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.0), 3: "E", 4: (2.0, 17.0, 40.0)})
    extras = {"exif": exif, "xmp": b"<x>SECRETXMP</x>", "comment": b"SECRETCOMMENT", "icc_profile": b"SECRETICC" * 20}
    save(tmp_path / "in" / "a.jpg", 8, 8, **extras)
    text = PngImagePlugin.PngInfo()
    text.add_text("Place", "SECRETTEXT")
    save(tmp_path / "in" / "b.png", 8, 8, exif=exif, pnginfo=text, icc_profile=b"SECRETICC" * 20)
    original = (tmp_path / "in" / "a.jpg").read_bytes()
    assert all(word in original for word in (b"SECRETCAM", b"SECRETXMP", b"SECRETCOMMENT", b"SECRETICC"))
    with Image.open(tmp_path / "in" / "a.jpg") as image:
        assert image.getexif().get_ifd(0x8825)[2] == (48.0, 51.0, 29.0)

    done = convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert len(done.written) == 2
    for path in done.written:
        assert set(chunks(path)) == {b"IHDR", b"IDAT", b"IEND"}
        with Image.open(path) as image:
            image.load()
            assert image.info == {}
            assert not image.getexif()


def test_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    pixels = save(tmp_path / "a.png", 4, 7, exif=exif)
    convert_files(invert, tmp_path / "a.png", tmp_path / "b.png")
    np.testing.assert_array_equal(read(tmp_path / "b.png"), 255 - np.rot90(pixels, -1))


def test_a_bad_file_is_named_and_the_rest_goes_on(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    save(source / "a.png")
    (source / "broken.jpg").write_bytes(b"\xff\xd8 no jpeg")
    (source / "empty.png").touch()
    save(source / "z.png", 50, 50)
    whole = (source / "z.png").read_bytes()
    (source / "cut.png").write_bytes(whole[: len(whole) // 2])
    done = convert_files(invert, source, out)
    assert [path.name for path, _ in done.failed] == ["broken.jpg", "cut.png", "empty.png"]
    assert all("Cure" in reason for _, reason in done.failed)
    assert files(out) == ["a.png.png", "z.png.png"]


def test_an_interrupted_conversion_resumes_and_nothing_is_overwritten(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    for name in "abc":
        save(source / f"{name}.png")
    calls = []

    def stopped(images):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return invert(images)

    with pytest.raises(KeyboardInterrupt):
        convert_files(stopped, source, out)
    assert files(out) == ["a.png.png"]
    (out / "a.png.png").write_bytes(b"mine")
    done = convert_files(invert, source, out)
    assert [path.name for path in done.kept] == ["a.png.png"]
    assert [path.name for path in done.written] == ["b.png.png", "c.png.png"]
    assert (out / "a.png.png").read_bytes() == b"mine"


def test_originals_stay_as_they_are(tmp_path):
    save(tmp_path / "in" / "a.png")
    before = (tmp_path / "in" / "a.png").read_bytes()
    convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "in" / "a.png").read_bytes() == before
    assert files(tmp_path / "in") == ["a.png"]


def raises(images):
    raise RuntimeError("out of memory")


def changes_in_place(images):
    images[:] = 0
    return Payload(images)


BAD = {
    "raises": (raises, "out of memory"),
    "raises without words": (lambda images: (_ for _ in ()).throw(MemoryError), "MemoryError"),
    "unchanged": (identity, "original back"),
    "no payload": (lambda images: 255 - images, "ndarray"),
    "none": (lambda images: None, "NoneType"),
    "two images": (lambda images: Payload(np.concatenate([images, images])), r"\(2, "),
    "no image": (lambda images: Payload(images[:0]), r"\(0, "),
    "another size": (lambda images: Payload(images[:, 1:]), r"\(1, 5"),
    "floats": (lambda images: Payload(images / 255), "uint8"),
}


@pytest.mark.parametrize("name", BAD)
def test_fails_closed(tmp_path, name):
    protect, reason = BAD[name]
    save(tmp_path / "in" / "a.png")
    with pytest.raises(ConversionError, match=reason):
        protected(protect, read(tmp_path / "in" / "a.png"))
    one = convert_files(protect, tmp_path / "in" / "a.png", tmp_path / "b.png")
    done = convert_files(protect, tmp_path / "in", tmp_path / "out")
    assert done.failed == one.failed
    assert not done.written
    assert not one.written
    assert files(tmp_path) == ["in/a.png"]


def test_an_image_that_memory_is_too_small_for_is_not_called_bad(tmp_path, monkeypatch):
    def greedy(*_):
        raise MemoryError

    save(tmp_path / "in" / "a.png")
    monkeypatch.setattr("dapter.imagefile._to_rgb", greedy)
    done = convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert not done.written
    assert "not enough memory" in str(done.failed)


def test_a_converter_cannot_pass_the_original_by_changing_its_input(tmp_path):
    def sly(images):
        kept = images.copy()
        images[:] = 0
        return Payload(kept)

    pixels = save(tmp_path / "a.png")
    with pytest.raises(ConversionError, match="original back"):
        protected(sly, pixels)
    assert not protected(changes_in_place, pixels).any()


def test_an_image_of_one_colour_may_be_its_own_payload():
    pixels = np.full((6, 7, 3), (128, 128, 127), np.uint8)
    assert np.array_equal(protected(identity, pixels), pixels)


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), value=st.integers(0, 255))
def test_any_size_comes_back_with_its_size(height, width, value):
    pixels = np.full((height, width, 3), value, np.uint8)
    np.testing.assert_array_equal(protected(invert, pixels), 255 - pixels)


@pytest.mark.parametrize(
    ("source", "destination", "message"),
    [
        ("in", "in", "beside"),
        ("in", "in/out", "beside"),
        ("in/sub", "in", "beside"),
        ("in", "link", "beside"),
        ("in", "in/a.png", "beside"),
        ("in", "file", "no folder"),
        ("in/a.png", "b.jpg", r"end it in \.png"),
        ("in/a.png", "in", r"end it in \.png"),
        ("in/a.png", "in/a.png", "not overwritten"),
        ("missing", "out", "check the path"),
    ],
)
def test_places_that_cannot_work_are_refused(tmp_path, monkeypatch, source, destination, message):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "sub" / "b.png")
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("in")
    before = files(tmp_path)
    with pytest.raises(UsageError, match=message):
        convert_files(invert, Path(source), Path(destination))
    assert files(tmp_path) == before


def test_links_are_not_followed(tmp_path):
    save(tmp_path / "private" / "p.png")
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "p.png").symlink_to(tmp_path / "private" / "p.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "private")
    (tmp_path / "in" / "dangling.png").symlink_to("nowhere")
    done = convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == ["a.png.png"]
    assert [path.name for path in done.ignored] == ["dangling.png", "folder", "p.png"]


def test_nothing_is_written_through_a_link_out_of_the_destination(tmp_path):
    save(tmp_path / "in" / "sub" / "a.png")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    done = convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert "is a link out of" in done.failed[0][1]
    assert files(tmp_path / "elsewhere") == []


def test_a_dangling_link_is_not_overwritten(tmp_path):
    save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("nowhere")
    with pytest.raises(UsageError, match="not overwritten"):
        convert_files(invert, tmp_path / "a.png", tmp_path / "b.png")


def test_a_name_that_cannot_be_written_fails_alone(tmp_path):
    save(tmp_path / "in" / "b.png")
    save(tmp_path / "in" / ("a" * 250 + ".png"))
    done = convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert len(done.written) == 1
    assert "length of the name" in done.failed[0][1]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "shut" / "b.png")
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = convert_files(invert, tmp_path / "in", tmp_path / "out")
    assert done.failed[0][0] == tmp_path / "in" / "shut"
    assert len(done.written) == 1
