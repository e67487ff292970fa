from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from dapter.errors import UsageError
from dapter.figures import THEME, amplify, curve_figure, overlay, tradeoff_figure
from dapter.types import Measurement


def figure(measure, value, lam=0.9, seed=0, **fields):
    settings = fields.pop("settings", {"lam": lam})
    fields = {"defence": "dapter", "data": "cifar10", "target": "class", "n": 500, "seed": seed, **fields}
    return Measurement(measure=measure, value=value, low=value - 0.01, high=value + 0.01, settings=settings, **fields)


def sweep(**fields):
    return [
        figure(measure, value * (1.1 - lam), lam, seed, **fields)
        for measure, value in (("target_accuracy", 0.9), ("target_accuracy_original", 0.95), ("entropy_bits", 9))
        for lam in (0.5, 0.9)
        for seed in (0, 1)
    ]


def words(svg):
    return " ".join(ElementTree.fromstring(svg).itertext())


def test_a_hidden_pattern_of_one_level_fills_the_range():
    payload = np.full((1, 16, 16, 3), 128, np.uint8)
    payload[0, ::2] = 129
    payload[0, 1::4] = 127
    shown, factors = amplify(payload)
    assert factors == [127.0]
    assert set(np.unique(shown)) == {1, 128, 255}
    np.testing.assert_array_equal(np.sign(shown.astype(int) - 128), np.sign(payload.astype(int) - 128))


def test_each_picture_has_its_own_factor():
    payload = np.full((2, 4, 4, 3), 128, np.uint8)
    payload[0] += 2
    payload[1] += 100
    shown, factors = amplify(payload)
    assert factors == [63.5, 1.27]
    assert (shown == 255).all()


def test_nothing_but_grey_stays_grey():
    payload = np.full((1, 4, 4, 3), 128, np.uint8)
    shown, factors = amplify(payload)
    assert factors == [0.0]
    np.testing.assert_array_equal(shown, payload)


def test_a_bright_spot_does_not_hide_a_faint_rest():
    payload = np.full((1, 20, 20, 3), 128, np.uint8)
    payload[0, :, ::2] = 127
    payload[0, :2, :2] = 255
    shown, factors = amplify(payload)
    assert factors == [127.0]
    assert (shown[0, 2:, ::2] == 1).all()
    assert (shown[0, :2, :2] == 255).all()


def test_amplify_takes_only_8_bit_images():
    with pytest.raises(UsageError, match="uint8"):
        amplify(np.zeros((1, 4, 4, 3)))


def test_attention_is_orange_where_it_is_highest_and_grey_where_there_is_none():
    images = np.full((2, 2, 2, 3), (30, 60, 90), np.uint8)
    maps = np.zeros((2, 2, 2), np.float32)
    maps[0, 0, 1] = 7
    shown = overlay(images, maps)
    assert shown[0, 0, 0].tolist() == [60, 60, 60]
    assert shown[0, 0, 1].tolist() == [206, 99, 15]
    assert (shown[1] == 60).all()


def test_the_tradeoff_names_its_axes_grade_n_and_reference():
    shown = words(tradeoff_figure(sweep()))
    for part in ("λ", "accuracy of the answer, %", "image entropy, bits", "originals", "measured", "n = 500", "95 %"):
        assert part in shown


def test_budgets_have_a_tradeoff_of_their_own():
    found = [
        figure(measure, value * bits, settings={"budget_bits": bits, "budget_bits_range": None})
        for measure, value in (("target_accuracy", 0.1), ("bits_beyond_answer", 0.9), ("entropy_bits", 1))
        for bits in (1.0, 4.0)
    ]
    shown = words(tradeoff_figure(found))
    for part in ("budget, bits beyond the answer", "accuracy of the answer, %", "carried beyond the answer, bits"):
        assert part in shown
    assert "entropy" not in shown


def test_the_tradeoff_is_the_same_svg_each_time_and_follows_the_readers_mode():
    svg = tradeoff_figure(sweep())
    assert svg == tradeoff_figure(sweep())
    text = svg.decode()
    assert "prefers-color-scheme:dark" in text
    assert "var(--first)" in text
    assert THEME["first"][0] in text.split("</style>")[0]
    assert THEME["first"][0] not in text.split("</style>", 1)[1]


def test_runs_that_differ_in_more_than_lambda_are_series_of_their_own():
    wide = [figure("target_accuracy", 0.9, settings={"lam": lam, "width": 64}) for lam in (0.5, 0.9)]
    narrow = [figure("target_accuracy", 0.8, settings={"lam": lam, "width": 16}) for lam in (0.5, 0.9)]
    shown = words(tradeoff_figure(wide + narrow))
    assert "width 64" in shown
    assert "width 16" in shown


@pytest.mark.parametrize("name", ["a$\\frac$b", "\N{CJK UNIFIED IDEOGRAPH-732B}", "<b>&amp;"])
def test_any_name_is_written_as_it_is(name):
    found = [figure("target_accuracy", 0.9, lam, target=target) for lam in (0.5, 0.9) for target in (name, "class")]
    assert name in words(tradeoff_figure(found))


def test_without_labels_the_tradeoff_shows_agreement():
    shown = words(tradeoff_figure([figure("agreement", 0.9, lam) for lam in (0.5, 0.9)]))
    assert "same answer as for the original, %" in shown
    assert "accuracy" not in shown


def test_figures_without_an_interval_are_points():
    point = Measurement(
        defence="dapter", data="faces", target="Smiling", measure="eta", value=0.1, settings={"lam": 0.5}
    )
    assert "n = unknown" in words(tradeoff_figure([point]))


@pytest.mark.parametrize(
    "found", [[], [figure("eta", 0.1, settings={})], [figure("target_accuracy", 0.9, attack="recognition")]]
)
def test_no_lambda_no_curve(found):
    with pytest.raises(UsageError, match="sweep"):
        tradeoff_figure(found)


def test_a_training_curve_shows_training_and_validation():
    curve = [{"step": 1, "eta": 0.5}, {"step": 2, "eta": 0.4}, {"step": 2, "epoch": 1, "val_eta": 0.45}]
    shown = words(curve_figure(curve, "eta"))
    assert "training" in shown
    assert "validation" in shown
    assert "training" not in words(curve_figure(curve[2:], "eta"))


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


@pytest.mark.parametrize("mode", [0, 1])
@pytest.mark.parametrize("name", ["ink", "muted", "first", "second", "third", "fourth"])
def test_text_and_lines_stand_out_from_the_paper(name, mode):
    dark, light = sorted(_luminance(THEME[each][mode]) for each in (name, "paper"))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_the_colours_of_the_light_theme_can_be_told_apart():
    assert all(left != right for left, right in pairwise(sorted(light for light, _ in THEME.values())))
