from dataclasses import replace
from xml.etree import ElementTree

import pytest

from audit_pages import lines
from dapter.audit_figures import SHOWN, dial_figure, frontier_figure, leak_figure
from dapter.audit_lines import variants
from dapter.errors import UsageError

SWEEP = [line for lam in (0.9, 0.5) for seed in (0, 1) for line in lines(lam=lam, seed=seed, more=seed / 10)]


def words(svg):
    return " ".join(ElementTree.fromstring(svg).itertext())


def test_attacks_stand_between_the_answer_and_the_original():
    (each,) = variants(lines())
    shown = words(leak_figure(each, "class"))
    for part in ("recognition cnn residue", "unaware cnn", "the answer alone", "the original", "balanced accuracy, %"):
        assert part in shown
    assert leak_figure(each, "class") == leak_figure(each, "class")
    with pytest.raises(UsageError, match="name a secret"):
        leak_figure(each, "colour")


def test_of_many_attacks_the_strongest_are_drawn():
    more = [
        replace(line, leak=-1.0, settings={**line.settings, "attack": {"family": f"net{number}", "seed": 0}})
        for line in lines()
        if (line.attack, line.measure) == ("unaware", "secret_balanced_accuracy")
        for number in range(SHOWN)
    ]
    (each,) = variants([*lines(), *more])
    shown = words(leak_figure(each, "class"))
    assert "recognition cnn residue" in shown
    assert f"net{SHOWN - 1}" not in shown


def test_the_curves_over_a_dial():
    shown = words(dial_figure(variants(SWEEP)))
    for part in ("λ", "worst leak", "class", "image", "SSIM of restored images", "image entropy (no privacy), bits",
                 "originals", "the answer alone", "95 %", "2 at most"):  # fmt: skip
        assert part in shown


@pytest.mark.parametrize("found", [lines(), lines("identity", None, None), []])
def test_no_dial_no_curve(found):
    with pytest.raises(UsageError, match="several λ"):
        dial_figure(variants(found))


def test_the_frontier_names_defences_dials_and_bits():
    bits = lines("budget", None, 0, more=-0.3)
    own = next(line for line in bits if line.measure == "agreement")
    bits.append(replace(own, measure="bits_beyond_answer", value=3.2, low=3.1, high=3.3))
    shown = words(frontier_figure(variants([*SWEEP, *bits])))
    for part in ("dapter", "budget", "λ 0.5", "λ 0.9", "3.2 bit", "worst leak of any secret", "originals"):
        assert part in shown
    with pytest.raises(UsageError, match="both an accuracy and a leak"):
        frontier_figure([])


def test_points_at_one_place_have_words_apart():
    many = [line for name in "abcdefghijkl" for line in lines(name, None, 0)]
    drawn = ElementTree.fromstring(frontier_figure(variants(many))).iter("{http://www.w3.org/2000/svg}text")
    places = {text.text: (text.get("x"), text.get("y")) for text in drawn if text.text in map(str, range(1, 13))}
    assert len(places) == len(set(places.values())) == 12
