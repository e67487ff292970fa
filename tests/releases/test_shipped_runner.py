"""The program inside a release: the pixels that it takes are those of `open_image`, and a bad file stops no other."""

import runpy
import subprocess
import sys
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image

from dapter.imagefile import open_image
from releases.make import keys, make_contents, make_manifest, make_release

RUNNER = files("dapter") / "release" / "runner" / "convert.py"
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 9, 4), np.uint8)
PIXELS[:3, :, 3] = 0  # erased


@pytest.fixture
def release(tmp_path):
    contents = make_contents(make_manifest())
    contents["runner/convert.py"] = RUNNER.read_bytes()
    return make_release(tmp_path / "release", keys(tmp_path)[0], contents=contents)


def photograph(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RANDOM.integers(0, 256, (20, 30, 3), np.uint8)).save(path)
    return path


def run(release, *args):
    command = [sys.executable, "-B", str(release / "runner/convert.py"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def _palette():
    image = Image.fromarray(PIXELS[..., :3]).quantize(16)
    return image, {"transparency": bytes(range(0, 256, 16))}


def _upside_down():
    exif = Image.Exif()
    exif[0x0112] = 6
    return Image.fromarray(PIXELS[..., :3]), {"exif": exif}


KINDS = {
    "rgba.png": lambda: (Image.fromarray(PIXELS), {}),
    "la.png": lambda: (Image.merge("LA", Image.fromarray(PIXELS).split()[2:]), {}),
    "palette.png": _palette,
    "keyed.png": lambda: (Image.fromarray(PIXELS[..., :3]), {"transparency": tuple(map(int, PIXELS[0, 0, :3]))}),
    "sixteen.png": lambda: (Image.fromarray(RANDOM.integers(0, 65536, (6, 9), np.uint16)), {}),
    "cmyk.jpg": lambda: (Image.merge("CMYK", Image.fromarray(PIXELS).split()), {}),
    "rotated.jpg": _upside_down,
    "grey.gif": lambda: (Image.fromarray(PIXELS[..., 0]), {}),
    "bits.tif": lambda: (Image.fromarray(PIXELS[..., 0] > 99), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_it_takes_the_pixels_that_every_other_part_takes(name, tmp_path):
    image, options = KINDS[name]()
    image.save(tmp_path / name, **options)
    found = runpy.run_path(str(RUNNER))["open_photo"](tmp_path / name)
    assert np.array_equal(found[0], open_image(tmp_path / name))


def test_what_transparency_hides_is_in_no_payload(release, tmp_path):
    other = PIXELS.copy()
    other[:3, :, :3] = 255 - other[:3, :, :3]
    for name, pixels in (("one.png", PIXELS), ("other.png", other)):
        Image.fromarray(pixels).save(tmp_path / name)
    out = tmp_path / "out"
    assert run(release, tmp_path / "one.png", tmp_path / "other.png", "--out", out).returncode == 0
    assert (out / "one.png.png").read_bytes() == (out / "other.png.png").read_bytes()


def test_a_bad_file_stops_no_other(release, tmp_path):
    good, cut, text = (photograph(tmp_path / name) for name in ("good.jpg", "cut.png", "text.jpg"))
    cut.write_bytes(cut.read_bytes()[:400])
    text.write_text("no image")
    done = run(release, cut, text, tmp_path / "missing.jpg", good, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"good.jpg.png"}
    assert all(name in done.stderr for name in ("cut.png", "text.jpg", "missing.jpg", "3 of 4 photos"))
    assert "Traceback" not in done.stderr


def test_nothing_is_overwritten_and_no_two_photos_become_one(release, tmp_path):
    one, two = photograph(tmp_path / "a1/p.jpg"), photograph(tmp_path / "a2/p.jpg")
    done = run(release, one, two, "--out", tmp_path / "out")
    assert (done.returncode, "same name" in done.stderr) == (2, True)
    assert not (tmp_path / "out").exists()
    assert run(release, one, "--out", tmp_path / "out").returncode == 0
    before = (tmp_path / "out/p.jpg.png").read_bytes()
    again = run(release, two, "--out", tmp_path / "out")
    assert (again.returncode, "is not overwritten" in again.stderr) == (1, True)
    assert (tmp_path / "out/p.jpg.png").read_bytes() == before
    blocked = run(release, one, "--out", one / "out")
    assert (blocked.returncode, "Traceback" in blocked.stderr) == (2, False)
