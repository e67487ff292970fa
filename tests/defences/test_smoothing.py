"""Blur and downscale."""

import numpy as np
import pytest

from dapter.defences.blur import Blur
from dapter.defences.downscale import Downscale
from dapter.errors import UsageError


def test_a_point_is_blurred_to_a_gaussian():
    image = np.zeros((1, 41, 41, 3), np.uint8)
    image[0, 18:23, 18:23] = 255
    row = Blur(sigma=2.0).setup().protect(image).pixels[0, :, :, 0].astype(float).sum(axis=0)
    places = np.arange(41)
    mean = (row * places).sum() / row.sum()
    assert mean == pytest.approx(20, abs=0.01)
    assert (row * (places - mean) ** 2).sum() / row.sum() == pytest.approx(2.0**2 + 2, rel=0.05)  # 2: of the square


@pytest.mark.parametrize("defence", [Blur(), Downscale()])
@pytest.mark.parametrize("size", [(16, 16), (5, 7), (1, 1)])
def test_flat_stays_flat(defence, size):
    image = np.broadcast_to(np.array([10, 128, 250], np.uint8), (1, *size, 3))
    assert np.array_equal(defence.setup().protect(image.copy()).pixels, image)


def test_fine_detail_is_lost():
    checks = 255 * (np.indices((16, 16)).sum(axis=0) % 2)
    image = np.repeat(checks[None, :, :, None], 3, axis=3).astype(np.uint8)
    for defence in (Blur(sigma=2.0), Downscale(factor=4)):
        assert np.ptp(defence.setup().protect(image).pixels[:, 4:-4, 4:-4]) <= 1


def test_downscale_keeps_only_means_of_squares():
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3)).astype(np.uint8)
    mixed = image.reshape(1, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 4, 16, 3)
    mixed = np.random.default_rng(1).permuted(mixed, axis=3)
    mixed = mixed.reshape(1, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(1, 16, 16, 3)
    one, other = (Downscale(factor=4).setup().protect(each).pixels.astype(int) for each in (image, mixed))
    assert not np.array_equal(image, mixed)
    assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize(("kind", "settings"), [(Blur, {"sigma": 0.0}), (Downscale, {"factor": 1})])
def test_settings_that_cannot_work_are_refused(kind, settings):
    with pytest.raises(UsageError, match="Cure"):
        kind(**settings)
