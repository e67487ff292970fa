import io
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from releases.make import keys, make_release
from service_model import start
from upstream import Upstream, answer

CLASSES = {"Smiling": ("no", "yes")}
SIZE = (32, 32)


@pytest.fixture(scope="session")
def releases(tmp_path_factory):
    """Signed releases: `plain`, one with a `dial`, and the public `key`."""
    folder = tmp_path_factory.mktemp("releases")
    private, public = keys(folder)
    return SimpleNamespace(
        plain=make_release(folder / "plain", private),
        dial=make_release(folder / "dial", private, dial=True),
        key=public,
        private=private,
    )


@pytest.fixture(scope="session")
def server():
    """A reference service."""
    with start() as running:
        yield running


@pytest.fixture
def upstream():
    """A service that answers the releases' target, and keeps every byte."""
    with Upstream(partial(answer, classes=CLASSES)) as running:
        yield running


@pytest.fixture(scope="session")
def photo(tmp_path_factory):
    """A camera's file: noise, with a place, a comment and a thumbnail; `secrets`: byte strings that may not leave."""
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 256, (90, 120, 3), np.uint8)
    thumbnail = io.BytesIO()
    Image.fromarray(pixels[::4, ::4]).save(thumbnail, "JPEG")
    exif = Image.Exif()
    exif[0x010E] = "Ada Lovelace, Marylebone, 51.5188 N 0.1504 W, at home"
    exif[0x927C] = thumbnail.getvalue()
    path = tmp_path_factory.mktemp("photos") / "photo.jpg"
    Image.fromarray(pixels).save(path, "JPEG", quality=95, exif=exif, comment=b"a private comment of 30 bytes!")
    decoded = np.array(Image.open(path))
    squares = [decoded, decoded[:, 15:105], np.array(Image.fromarray(decoded[:, 15:105]).resize(SIZE, 1))]
    secrets = [path.read_bytes(), thumbnail.getvalue(), b"Ada Lovelace, Marylebone", b"a private comment of 30"]
    secrets += [row.tobytes() for image in squares for row in image] + [row[:, 0].tobytes() for row in squares[-1]]
    return SimpleNamespace(path=path, pixels=decoded, secrets=secrets)
