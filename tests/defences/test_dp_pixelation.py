import numpy as np
import pytest

from dapter.defences.dp_pixelation import DpPixelation
from dapter.errors import UsageError

GREY = np.full((200, 16, 16, 3), 128, np.uint8)


def test_noise_has_the_scale_of_the_papers_sensitivity():
    """Laplace(255 m / (b^2 epsilon)) levels on the mean of every cell."""
    defence = DpPixelation(epsilon=4.0, cell=4, pixels=2).setup()
    cells = defence.protect(GREY, seed=0).pixels[:, ::4, ::4].astype(float)
    assert np.abs(cells - 128).mean() == pytest.approx(255 * 2 / (4**2 * 4.0), rel=0.05)


def test_without_noise_to_speak_of_a_cell_is_its_mean():
    images = np.random.default_rng(0).integers(0, 256, (3, 10, 13, 3)).astype(np.uint8)
    found = DpPixelation(epsilon=1e9, cell=4, pixels=1).setup().protect(images).pixels
    for top in range(0, 10, 4):
        for left in range(0, 13, 4):
            cell = slice(None), slice(top, top + 4), slice(left, left + 4)
            mean = images[cell].mean(axis=(1, 2), keepdims=True)
            assert np.abs(found[cell] - mean).max() <= 0.5 + 1e-3


def test_a_cell_that_is_cut_short_gets_more_noise():
    """Its mean moves more when one pixel does: 4 x 1 pixels here, beside cells of 4 x 4."""
    images = np.full((400, 4, 5, 3), 128, np.uint8)
    found = np.abs(DpPixelation(epsilon=16.0, cell=4, pixels=1).setup().protect(images, seed=0).pixels - 128.0)
    whole, cut = found[:, 0, 0].mean(), found[:, 0, 4].mean()
    assert whole == pytest.approx(255 / (16 * 16), rel=0.15)
    assert cut == pytest.approx(255 / (4 * 16), rel=0.1)


def test_likelihoods_of_neighbours_differ_by_epsilon_at_most():
    """Counted at their worst: cells brighter than the neighbour's mean, which m white pixels make of a black image."""
    black = np.zeros((20000, 4, 4, 3), np.uint8)
    white = black.copy()
    white[:, 0, :, 0] = 255
    defence = DpPixelation(epsilon=1.0, cell=4, pixels=4).setup()
    shares = [
        np.mean(defence.protect(images, seed=seed).pixels[:, 0, 0, 0] > 63)
        for seed, images in enumerate((black, white))
    ]
    assert np.log(shares[1] / shares[0]) == pytest.approx(1.0, abs=0.06)


def test_its_epsilon_is_a_guarantee_for_all_three_channels():
    (figure,) = DpPixelation(epsilon=0.5).figures(None, None, None)
    assert figure == {"measure": "epsilon", "value": 1.5, "grade": "guaranteed"}


@pytest.mark.parametrize("settings", [{"epsilon": 0.0}, {"cell": 0}, {"pixels": 0}])
def test_settings_that_cannot_work_are_refused(settings):
    with pytest.raises(UsageError, match="Cure"):
        DpPixelation(**settings)
