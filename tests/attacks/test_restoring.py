import numpy as np
import pytest
import torch

from dapter import metrics
from dapter.attacks._restoring import restoring_loss, to_pixels
from dapter.attacks.answer_image import AnswerImage
from dapter.attacks.as_is import AsIs
from dapter.attacks.reconstruction import Reconstruction
from dapter.errors import UsageError
from dapter.runs import Run
from dapter.types import Answer, Known, Observed, View


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(8, 3, 5, 6, generator=torch.Generator().manual_seed(0)), (20, 24)
    )
    return (smooth + 0.02 * torch.from_numpy(rng.normal(size=smooth.shape))).clamp(0, 1).float()


def test_the_ssim_objective_falls_with_the_measure(images):
    pixels = to_pixels(images)
    assert restoring_loss("ssim", images, images) == pytest.approx(0, abs=1e-4)
    previous = 0.0
    for strength in (0.05, 0.2, 0.5):
        worse = (images + strength * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))).clamp(0, 1)
        loss = float(restoring_loss("ssim", worse, images))
        measured = np.mean(1 - metrics.ssim(to_pixels(worse), pixels) + metrics.l1(to_pixels(worse), pixels))
        assert loss == pytest.approx(measured, abs=0.15)  # the windows differ
        assert loss > previous
        previous = loss


def test_objectives_are_computed_in_full_precision(images):
    faint = 0.5 + images / 255
    with torch.autocast("cpu", torch.bfloat16):
        for objective in ("l2", "ssim"):
            found = restoring_loss(objective, faint, faint.flip(0))
            assert found.dtype == torch.float32
            assert found > 0


def test_pixels_are_rounded_and_kept_in_range():
    floats = torch.tensor([-0.1, 0.4999 / 255, 0.5001 / 255, 1.1]).view(1, 1, 2, 2).expand(1, 3, 2, 2)
    assert to_pixels(floats)[0, :, :, 0].tolist() == [[0, 0], [1, 255]]


def known(answered, shades):
    originals = np.repeat(np.array(shades, np.uint8), 8 * 8 * 3).reshape(-1, 8, 8, 3)
    return Known(originals, Answer({"colour": 9 * np.eye(3, dtype=np.float32)[answered]}), originals)


def test_the_mean_image_is_that_of_the_answered_class(tmp_path):
    view = View(known([0, 0, 1], [10, 20, 200]), known([0], [0]), {})
    guess = AnswerImage()._learn(view.restrict(AnswerImage.sees), 0, Run(tmp_path))
    images = guess(Observed(answers=known([0, 1, 2], [0, 0, 0]).answers)).images
    assert [int(image.mean().round()) for image in images] == [15, 200, 77]
    assert np.ptp(images, axis=(1, 2, 3)).tolist() == [0, 0, 0]


def test_faint_contrast_is_stretched():
    payloads = np.full((2, 4, 4, 3), 128, np.uint8)
    payloads[1, 0] = 129
    view = View(Known(payloads), Known(payloads), {})
    stretched, same = (AsIs(stretch)._learn(view, 0, None)(Observed(payloads)).images for stretch in (True, False))
    assert np.array_equal(same, payloads)
    assert np.unique(stretched[0]).tolist() == [128]
    assert np.unique(stretched[1]).tolist() == [0, 255]


def test_an_unknown_objective_is_refused():
    for kind in (Reconstruction, AnswerImage):
        with pytest.raises(UsageError, match="l2, ssim"):
            kind(objective="lpips")
