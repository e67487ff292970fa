import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torchmetrics.functional.classification import binary_auroc, multiclass_calibration_error

from dapter import metrics
from dapter.errors import UsageError

BATCHES = arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.just(3)))


def noise(n=3, height=24, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, height, width, 3), dtype=np.uint8)


def flat(value, size=16):
    return np.full((1, size, size, 3), value, np.uint8)


@settings(deadline=None)
@given(st.data(), st.integers(1, 10_000))
def test_wilson_holds_the_rate_within_0_and_1(data, n):
    successes = data.draw(st.integers(0, n))
    low, high = metrics.wilson(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    assert low < high


def test_wilson_of_known_counts():
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for counts, expected in {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }.items():
        np.testing.assert_allclose(metrics.wilson(*counts), expected, atol=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_what_is_no_rate(successes, n):
    with pytest.raises(UsageError, match="at least one trial"):
        metrics.wilson(successes, n)


def test_mean_interval_of_known_values():
    found = metrics.mean_interval(np.array([1.0, 2.0, 3.0, 4.0]))
    half = 1.959964 * math.sqrt(5 / 3 / 4)
    np.testing.assert_allclose(found, (2.5, 2.5 - half, 2.5 + half), rtol=1e-6)
    with pytest.raises(UsageError, match="at least 2"):
        metrics.mean_interval(np.array([1.0]))


def test_accuracy_and_agreement():
    one, other = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])
    assert metrics.accuracy(one, other) == (0.75, *metrics.wilson(3, 4))
    assert metrics.agreement(one, other) == metrics.agreement(other, one) == metrics.accuracy(one, other)


@pytest.mark.parametrize(
    ("predicted", "truth", "message"),
    [
        ([0, 1], [0, -1], "unknown"),
        ([0, 1], [0.0, 1.0], "whole numbers"),
        ([0, 1], [0], "do not match"),
        ([], [], "do not match"),
    ],
)
def test_labels_that_cannot_be_scored_are_refused(predicted, truth, message):
    for measure in (metrics.accuracy, metrics.balanced_accuracy):
        with pytest.raises(UsageError, match=message):
            measure(np.array(predicted), np.array(truth))


def test_balanced_accuracy_weighs_classes_alike():
    truth = np.array([0] * 90 + [1] * 10)
    assert metrics.balanced_accuracy(np.zeros(100, int), truth).value == 0.5
    half = np.array([0] * 90 + [1] * 5 + [0] * 5)
    assert metrics.balanced_accuracy(half, truth).value == 0.75
    assert metrics.balanced_accuracy(np.array([7, 7]), np.array([3, 3])).value == 0  # absent classes do not count


def test_balanced_accuracy_of_one_class_has_wilsons_interval():
    found = metrics.balanced_accuracy(np.array([1, 1, 0]), np.array([1, 1, 1]))
    np.testing.assert_allclose(found, (2 / 3, *metrics.wilson(2, 3)))


def test_balanced_accuracy_interval_covers_and_does_not_vanish():
    rates, truth = np.array([0.95, 0.6, 0.3]), np.repeat([0, 1, 2], [10, 40, 100])
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        found = metrics.balanced_accuracy(np.where(rng.random(150) < rates[truth], truth, 9), truth)
        hits += found.low <= rates.mean() <= found.high
    assert 0.92 <= hits / 400 <= 0.98
    assert metrics.balanced_accuracy(truth, truth).low < 0.95


def test_auc_of_known_scores():
    truth = np.array([0, 0, 1, 1])
    assert metrics.auc(np.array([0.1, 0.4, 0.35, 0.8]), truth).value == 0.75
    assert metrics.auc(np.array([1.0, 2.0, 3.0, 4.0]), truth).value == 1
    assert metrics.auc(np.zeros(4), truth).value == 0.5
    assert metrics.auc(np.array([1.0, 2.0, 2.0, 3.0]), truth).value == 0.875


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40))
def test_auc_agrees_with_torchmetrics_and_has_its_interval_around_it(pairs):
    scores, truth = (np.array(values) for values in zip(*pairs, strict=True))
    truth = truth.astype(int)
    if len(set(truth)) < 2:
        return
    found = metrics.auc(scores, truth)
    assert found.value == pytest.approx(float(binary_auroc(torch.tensor(scores) / 10, torch.tensor(truth))), abs=1e-6)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    mirrored = metrics.auc(-scores, truth)
    np.testing.assert_allclose((1 - mirrored.value, 1 - mirrored.high, 1 - mirrored.low), found, atol=1e-9)


def test_auc_does_not_squash_large_logits_into_ties():
    assert metrics.auc(np.array([100.0, 200.0, 300.0, 400.0]), np.array([0, 0, 1, 1])).value == 1


def test_auc_interval_covers():
    rng, hits = np.random.default_rng(0), 0
    truth = np.repeat([1, 0], [20, 30])
    for _ in range(300):
        found = metrics.auc(rng.normal(truth.astype(float), 1), truth)
        hits += found.low <= 0.76025 <= found.high  # of two normals one standard deviation apart
    assert 0.92 <= hits / 300 <= 0.98


@pytest.mark.parametrize(
    ("scores", "truth", "message"),
    [([1.0, 2.0], [1, 1], "both"), ([1.0, 2.0, 3.0], [0, 1, 2], "0 and 1"), ([1.0, math.nan], [0, 1], "finite")],
)
def test_auc_refuses_what_it_cannot_rank(scores, truth, message):
    with pytest.raises(UsageError, match=message):
        metrics.auc(np.array(scores), np.array(truth))


def test_calibration_error_by_hand():
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.3, 0.7]]))
    # 0.9: half are right, gap 0.4 of two; 0.6 wrong: 0.6; 0.7 right: 0.3
    assert metrics.calibration_error(logits, np.array([0, 1, 0, 1])) == pytest.approx((0.4 * 2 + 0.6 + 0.3) / 4)


def test_calibration_error_joins_certain_and_nearly_certain_answers():
    logits = np.array([[1000.0, 0.0], [4.0, 0.0]])  # confidences 1 and 0.98 share the last bin: gaps cancel
    gap = abs((0 - 1) + (1 - 1 / (1 + math.exp(-4)))) / 2
    assert metrics.calibration_error(logits, np.array([1, 0])) == pytest.approx(gap)


def test_calibration_error_agrees_with_torchmetrics():
    rng = np.random.default_rng(0)
    logits, truth = rng.normal(size=(300, 4)), rng.integers(0, 4, 300)
    theirs = multiclass_calibration_error(torch.tensor(logits).softmax(1), torch.tensor(truth), 4, n_bins=15)
    assert metrics.calibration_error(logits, truth) == pytest.approx(float(theirs), abs=1e-6)


def test_entropy_of_known_images():
    levels = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1), 3)
    halves = flat(0)
    halves[0, :8] = 255
    one_channel = flat(0)
    one_channel[0, :8, :, 1] = 9
    found = metrics.entropy_bits(np.concatenate([levels, halves, one_channel, flat(128)]))
    np.testing.assert_allclose(found, [24, 3, 1, 0], atol=1e-12)
    np.testing.assert_allclose(metrics.entropy_nats(halves), 3 * math.log(2))


@settings(deadline=None)
@given(BATCHES, st.randoms(use_true_random=False))
def test_entropy_has_bounds_and_does_not_see_places(images, random):
    found = metrics.entropy_bits(images)
    assert np.all((found >= 0) & (found <= 24))
    pixels = images.reshape(len(images), -1, 3)
    order = random.sample(range(pixels.shape[1]), pixels.shape[1])
    np.testing.assert_allclose(metrics.entropy_bits(pixels[:, order].reshape(images.shape)), found, atol=1e-9)


@settings(deadline=None)
@given(BATCHES)
def test_eta_is_the_distance_from_grey(images):
    found = metrics.eta(images)
    np.testing.assert_allclose(found, np.abs(images.astype(float) - 128).mean(axis=(1, 2, 3)) / 127.5)
    assert metrics.eta(flat(128))[0] == 0
    assert metrics.eta(flat(255))[0] == pytest.approx(127 / 127.5)


def test_differences_of_flat_images():
    assert metrics.l1(flat(0), flat(51))[0] == pytest.approx(0.2)
    assert metrics.mse(flat(0), flat(51))[0] == pytest.approx(0.04)
    assert metrics.psnr(flat(0), flat(51))[0] == pytest.approx(20 * math.log10(5), rel=1e-6)
    assert metrics.psnr(flat(0), flat(255))[0] == pytest.approx(0)


def test_psnr_peak_follows_the_type():
    """A published benchmark used the peak 255 on images in [0, 1]: 48 dB too much."""
    one, other = noise(seed=0), noise(seed=1)
    np.testing.assert_allclose(metrics.psnr(one / 255, other / 255), metrics.psnr(one, other), rtol=1e-5)
    assert np.all(metrics.psnr(one, other) < 10)


def test_identical_images():
    images = noise()
    for measure, expected in {
        metrics.l1: 0,
        metrics.mse: 0,
        metrics.psnr: metrics.PSNR_CEILING,
        metrics.ssim: 1,
        metrics.ms_ssim: 1,
    }.items():
        np.testing.assert_allclose(measure(images, images), expected, atol=1e-5)


def test_ssim_of_flat_images_is_their_luminance_term():
    one, other, c1, weights = 100 / 255, 150 / 255, 0.01**2, metrics.MS_SSIM_WEIGHTS
    expected = (2 * one * other + c1) / (one**2 + other**2 + c1)
    assert metrics.ssim(flat(100), flat(150))[0] == pytest.approx(expected, abs=1e-3)
    # contrast is 1 at all scales; luminance counts at the last, with its share of the weights
    for size, scales in {11: 1, 21: 1, 22: 2, 44: 3, 99: 4, 176: 5}.items():
        power = weights[scales - 1] / sum(weights[:scales])
        found = metrics.ms_ssim(flat(100, size), flat(150, size))[0]
        assert found == pytest.approx(expected**power, abs=1e-3), size


def test_ms_ssim_of_inverted_images_is_a_number():
    images = noise(height=44, width=50)
    found = metrics.ms_ssim(images, 255 - images)
    assert np.all((found >= 0) & (found <= 0.1))
    assert np.all(metrics.ssim(images, 255 - images) < 0)


def test_comparisons_do_not_depend_on_the_chunks(monkeypatch):
    one, other = noise(5), noise(5, seed=1)
    measures = (metrics.l1, metrics.psnr, metrics.ssim, metrics.ms_ssim)
    whole = [measure(one, other) for measure in measures]
    bits, distance = metrics.entropy_bits(one), metrics.eta(one)
    monkeypatch.setattr(metrics, "CHUNK", 2 * one[0].size)
    for measure, expected in zip(measures, whole, strict=True):
        np.testing.assert_allclose(measure(one, other), expected, atol=1e-6)
    np.testing.assert_allclose(metrics.entropy_bits(one), bits)
    np.testing.assert_allclose(metrics.eta(one), distance)


def test_no_images_have_no_values():
    none = noise(0)
    for measure in (metrics.l1, metrics.psnr, metrics.ssim, metrics.ms_ssim):
        assert measure(none, none).shape == (0,)
    assert metrics.entropy_bits(none).shape == metrics.eta(none).shape == (0,)


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (noise(2), noise(3), "same count and size"),
        (noise(), noise().astype(np.float32), "divide by 255"),
        (noise(), noise() / 255 - 0.1, "divide by 255"),
        (noise(), noise().astype(int), "divide by 255"),
        (noise(height=10), noise(height=10), "11 pixels"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(one, other, message):
    with pytest.raises(UsageError, match=message):
        metrics.ssim(one, other)


def test_wire_bytes():
    sizes = metrics.wire_bytes(np.concatenate([noise(1, 32, 32), flat(128, 32)]))
    assert list(sizes) == ["png", "webp_lossless", "webp_q75", "jpeg_q75"]
    for codec in ("png", "webp_lossless"):
        assert sizes[codec][0] > 32 * 32 * 3 * 0.95  # noise cannot be packed
    assert sizes["jpeg_q75"][0] < sizes["png"][0]
    assert all(values.shape == (2,) and values[1] < values[0] for values in sizes.values())
