import numpy as np
import pytest

from dapter.checks import FLAGS, relative, still_improving
from dapter.leaks import LEAK, Cell, find_leaks
from dapter.metrics import mean_interval
from dapter.scoring import IMAGE, Score


def score(value, measure="secret_auc", width=0.02, secret="hat"):
    return Score(secret, measure, value, value - width, value + width, 1000)


def cell(test, val=None, attack="recognition", floor=False, improving=False, reference="r", **settings):
    val = test if val is None else val
    values = [tuple(score(*each) if isinstance(each, tuple) else score(each) for each in side) for side in (val, test)]
    return Cell(attack, settings, floor, *values, improving, reference)


FLOOR = cell([0.6], attack="answer", floor=True)
ORIGINALS = {"r": cell([0.95])}


def of(found, measure="secret_auc", attack="recognition"):
    return [finding for finding in found if (finding.score.measure, finding.cell.attack) == (measure, attack)]


def test_the_leak_is_the_place_between_floor_and_ceiling():
    (found,) = of(find_leaks([FLOOR, cell([0.74])], ORIGINALS, []))
    assert (found.floor, found.ceiling) == (0.6, 0.95)
    assert found.leak == pytest.approx(0.4)
    assert found.flags == ()


@pytest.mark.parametrize(("value", "leak"), [(0.53, -0.2), (1.0, 8 / 7)])
def test_the_leak_is_never_clipped(value, leak):
    (found,) = of(find_leaks([FLOOR, cell([value])], ORIGINALS, []))
    assert found.leak == pytest.approx(leak)


def test_worst_attack_floor_and_ceiling_are_chosen_on_val():
    floors = [cell([0.6], [0.62], "answer", True), cell([0.7], [0.61], "answer", True, kind=1)]
    attacks = [cell([0.75], [0.9], kind=1), cell([0.9], [0.8], kind=2)]
    originals = {"r": cell([0.95], [0.99]), "s": cell([0.99], [0.98])}
    found = find_leaks([*floors, *attacks], originals, [])
    (worst,) = of(found, LEAK)
    assert worst.cell.settings == {"kind": 1}
    assert (worst.floor, worst.ceiling) == (0.6, 0.95)
    assert worst.score.value == pytest.approx(0.15 / 0.35)
    assert (worst.score.low, worst.score.high) == pytest.approx((0.13 / 0.35, 0.17 / 0.35))


def test_few_images_do_not_make_the_worst_attack():
    lucky = cell([0.6], [(0.99, "secret_auc", 0.3)], kind=1)
    (worst,) = of(find_leaks([FLOOR, lucky, cell([0.8], kind=2)], ORIGINALS, []), LEAK)
    assert worst.cell.settings == {"kind": 2}


HARD = np.linspace(0.2, 0.8, 200)
"""How well images can be restored at all: the first ones are the hardest."""


def restored(values, **settings):
    """A cell that restored the first images of val so well; on test likewise."""
    estimate = Score(IMAGE, "ssim", *mean_interval(values), len(values))
    return Cell("decoder", settings, False, (estimate,), (estimate,), False, "r", likeness=values)


def worst_of(*cells):
    floor = cell([(0.1, "ssim", 0.01, IMAGE)], attack="answer_image", floor=True)
    (found,) = [
        each for each in find_leaks([floor, *cells], {}, [score(1, "ssim", 0, IMAGE)]) if each.score.measure == LEAK
    ]
    return found.cell.settings["name"]


def test_attacks_on_few_images_are_compared_on_these():
    """Were means compared, whoever attacked the easiest images would win; were intervals, whoever attacked the most."""
    noise = np.random.default_rng(0).normal(0, 0.01, 16)
    decoder = restored(HARD, name="decoder")
    stronger, weaker, equal = (restored(HARD[:16] + gain + noise, name="few") for gain in (0.05, -0.05, 0))
    assert stronger.val[0].high < decoder.val[0].low  # the first images are hard
    assert worst_of(decoder, stronger) == worst_of(stronger, decoder) == "few"
    assert worst_of(decoder, weaker) == worst_of(weaker, decoder) == "decoder"
    assert worst_of(decoder, equal) == worst_of(equal, decoder) == "decoder"
    easy, hard = restored(HARD[::-1], name="decoder"), restored(HARD[::-1][:16] - 0.05, name="few")
    assert hard.val[0].low > easy.val[0].high  # the first images are easy
    assert worst_of(easy, hard) == "decoder"


def test_what_hides_in_the_answer_is_a_leak():
    """The floor is what the answer to the payload says, but no more than what the answer to the original says."""
    originals = {**ORIGINALS, "f": cell([0.6], attack="answer", floor=True)}
    for floor, expected, flag in ((0.9, 0.6, ("answer_says_more",)), (0.61, 0.6, ()), (0.5, 0.5, ())):
        found = find_leaks([cell([floor], attack="answer", floor=True), cell([0.9])], originals, [])
        assert [(finding.floor, finding.ceiling, finding.flags) for finding in of(found)] == [(expected, 0.95, flag)]


def test_images_are_measured_against_the_perfect_one():
    floor = cell([(0.3, "ssim", 0.01, IMAGE), (0.1, "mse", 0.01, IMAGE)], attack="answer_image", floor=True)
    attack = cell([(0.65, "ssim", 0.01, IMAGE), (0.02, "mse", 0.01, IMAGE), (15, "psnr", 0.1, IMAGE)])
    perfect = [score(1, "ssim", 0, IMAGE), score(0, "mse", 0, IMAGE), score(100, "psnr", 0, IMAGE)]
    found = find_leaks([floor, attack], {}, perfect)
    assert [finding.leak for finding in of(found, "ssim")] == pytest.approx([0.5])
    assert [finding.leak for finding in of(found, "mse")] == pytest.approx([0.8])
    assert [(finding.ceiling, finding.leak) for finding in of(found, "psnr")] == [(None, None)]
    assert [finding.score.value for finding in of(found, LEAK)] == pytest.approx([0.5])


def flags(*cells, originals=ORIGINALS, **options):
    return [finding.flags for finding in of(find_leaks([FLOOR, *cells], originals, [], **options))]


@pytest.mark.parametrize(("perfect", "ceiling", "flags"), [(0.8, 0.8, ()), (0.99, 0.99, ("originals_unbroken",))])
def test_of_two_ceilings_the_better_counts_for_leaks_and_flags(perfect, ceiling, flags):
    """Of people: an attack on originals, and the judge on originals."""
    originals = {"r": cell([0.72])}
    (found,) = of(find_leaks([FLOOR, cell([0.7])], originals, [score(perfect)]))
    assert found.ceiling == ceiling
    assert found.leak == pytest.approx(0.1 / (ceiling - 0.6))
    assert found.flags == flags


def test_what_makes_an_attack_incredible_is_flagged():
    assert flags(cell([0.8], improving=True)) == [("still_improving",)]
    assert flags(cell([0.5])) == [("below_floor",)]
    assert flags(cell([0.59])) == [()]
    assert flags(cell([0.8], share=0.1), cell([0.7], share=1.0)) == [(), ("weaker_did_better",)]
    assert flags(cell([0.8], share=0.1), cell([0.79], share=1.0)) == [(), ()]
    assert flags(cell([0.8], share=0.1, family="a"), cell([0.7], share=1.0, family="b")) == [(), ()]
    assert flags(cell([0.8]), constant=True) == [("constant_not_at_floor",)]
    weak = {"r": cell([0.7]), "s": cell([0.95])}
    assert flags(cell([0.65]), cell([0.65], reference="s"), originals=weak) == [("originals_unbroken",), ()]
    assert flags(cell([0.61]), originals={"r": cell([0.61])}) == [("no_room",)]


@pytest.mark.parametrize(
    ("attack", "ceiling", "leak"),
    [
        (0.75, 0.58, 1.0),
        (0.75, 0.6, 1.0),
        (0.75, 0.61, 1.0),
        (0.61, 0.61, 1.0),
        (0.5, 0.61, -10.0),
        (0.61, 0.58, None),
        (0.5, 0.6, None),
    ],
)
def test_what_is_read_beyond_a_ceiling_without_room_is_as_much_as_the_original_says(attack, ceiling, leak):
    found = find_leaks([FLOOR, cell([attack])], {"r": cell([ceiling])}, [])
    worst = of(found, LEAK)
    assert [finding.score.value for finding in worst] == ([] if leak is None else [pytest.approx(leak)])
    assert all("no_room" in finding.flags for finding in of(found))


def test_a_decoder_that_loses_to_the_mean_image_is_flagged():
    floor = cell([(0.3, "ssim", 0.01, IMAGE), (0.1, "mse", 0.01, IMAGE)], attack="answer_image", floor=True)
    bad = cell([(0.2, "ssim", 0.01, IMAGE), (0.2, "mse", 0.01, IMAGE)])
    found = find_leaks([floor, bad], {}, [score(1, "ssim", 0, IMAGE), score(0, "mse", 0, IMAGE)])
    assert [finding.flags for finding in of(found, "ssim") + of(found, "mse")] == [("loses_to_mean_image",)] * 2


def test_a_decoder_that_cannot_restore_originals_is_flagged_and_tells_no_ceiling():
    floor = cell([(0.3, "ssim", 0.01, IMAGE), (0.1, "mse", 0.01, IMAGE)], attack="answer_image", floor=True)
    decoder = cell([(0.4, "ssim", 0.01, IMAGE), (0.08, "mse", 0.01, IMAGE)])
    perfect = [score(1, "ssim", 0, IMAGE), score(0, "mse", 0, IMAGE)]
    for ssim, mse, flags in ((0.5, 0.07, ("originals_unbroken",)), (0.95, 0.01, ())):
        originals = {"r": cell([(ssim, "ssim", 0.01, IMAGE), (mse, "mse", 0.01, IMAGE)])}
        found = find_leaks([floor, decoder], originals, perfect)
        assert [finding.flags for finding in of(found, "ssim") + of(found, "mse")] == [flags] * 2
        assert [finding.ceiling for finding in of(found, "ssim") + of(found, "mse")] == [1, 0]


def test_every_flag_says_the_cure():
    assert all(": " in text or "Cure" in text for text in FLAGS.values())


def curve(*losses):
    return [{"step": 1, "loss": 9.0}, *({"epoch": i, "val_loss": loss} for i, loss in enumerate(losses, 1))]


def test_an_attacker_that_still_learns_is_seen():
    assert still_improving(curve(2.0, 1.5, 1.0))
    assert still_improving(curve(2.0))
    assert not still_improving(curve(2.0, 1.0, 0.99))
    assert not still_improving(curve(2.0, 1.0, 1.2))
    assert not still_improving(curve(0.693, 0.693, 0.6929))
    assert not still_improving([])


def test_no_scale_no_leak():
    assert relative(0.5, 0.6, 0.6) is None
