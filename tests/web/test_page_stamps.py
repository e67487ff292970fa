"""The page with a converter that paints stamps: a picture of anything else does not leave."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dapter.runner import Converter
from dapter.stamps import read_stamps
from dapter.verify import verify_release
from releases.make import keys
from web.pages import (
    NEEDS,
    assert_refused,
    choose,
    file_of,
    make_site,
    noise,
    opened,
    payload_of,
    send,
    service,
    serving,
)
from web.painted import STAMPS, make_painted_release, make_painter

pytestmark = NEEDS
RELEASES = Path(__file__).parents[2] / "releases"
COMMITTED = sorted(path.parent for path in RELEASES.glob("*/stamps.json"))


@pytest.fixture
def painted(tmp_path):
    """Makes a release of stamps, or one that is wrong in a way that options name."""
    return lambda **options: make_painted_release(tmp_path / "release", keys(tmp_path)[0], **options)


def left(upstream):
    """What left, uint8 (H, W, 3)."""
    return np.array(Image.open(io.BytesIO(payload_of(upstream))))


def test_a_picture_of_stamps_leaves(browser, painted, tmp_path):
    pixels = noise()
    with (
        serving(tmp_path, release=painted()) as (host, upstream, _),
        opened(browser, host, upstream, service_workers="block") as page,
    ):
        choose(page, "photo.png", file_of(pixels))
        assert page.get_by_text("at most 8 bits").is_visible()
        send(page)
        page.locator("summary").click()
        assert page.get_by_text("stamps.json").is_visible()
    expected = Converter(make_painter().SerializeToString()).convert(pixels[None])
    assert np.array_equal(left(upstream), expected[0])
    assert np.array_equal(STAMPS.paint(STAMPS.read(expected), (32, 32)), expected)


def test_one_level_more_in_one_pixel_and_nothing_leaves(browser, painted, tmp_path):
    honest, told = noise(), noise()
    honest[0, 0, 0], told[0, 0, 0] = 254, 255
    with (
        serving(tmp_path, release=painted(cheat=True)) as (host, upstream, _),
        opened(browser, host, upstream, service_workers="block") as page,
    ):
        choose(page, "photo.png", file_of(honest))
        page.locator("#choose").set_input_files({"name": "2.png", "mimeType": "image/png", "buffer": file_of(told)})
        page.get_by_role("alert").get_by_text("not made of the stamps of its release").wait_for(timeout=30_000)
        assert page.get_by_role("alert").get_by_text("Nothing has been sent.").is_visible()
        assert page.locator("#compare").is_hidden()
    assert not upstream.received


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.write_bytes(file.read_bytes().replace(b"1", b"2", 1)), "stamps.json is not the file of"),
        (lambda file: file.unlink(), "stamps.json is missing"),
    ],
)
def test_stamps_that_were_tampered_with_are_not_used(browser, painted, tmp_path, damage, message):
    with serving(tmp_path, release=painted()) as (host, upstream, site):
        damage(site / "release/stamps.json")
        assert_refused(browser, host, upstream, message)


def test_no_site_is_made_of_a_budget_without_stamps(painted, tmp_path):
    with pytest.raises(AssertionError, match=r"stamps\.json is missing"):
        make_site(tmp_path, "/v2/models/faces", release=painted(published=False))


@pytest.mark.parametrize("release", COMMITTED, ids=lambda path: path.name)
def test_a_committed_release_sends_its_stamps(browser, tmp_path, release):
    key = RELEASES / "signing.pub"
    verified = verify_release(release, key)
    targets = verified.manifest["targets"]
    stamps, size = read_stamps(verified.read("stamps.json"))
    pixels = noise(*size)
    with serving(tmp_path, release=release, key=key) as (host, upstream, _):
        upstream.answer = partial(service, classes=targets)
        with opened(browser, host, upstream, service_workers="block") as page:
            choose(page, "photo.png", file_of(pixels))
            send(page)
            assert page.locator("#answers .label").count() == len(targets)
    assert np.array_equal(left(upstream), Converter.open(verified).convert(pixels[None])[0])
    assert stamps.read(left(upstream)[None]).shape == (1, stamps.grid**2)
