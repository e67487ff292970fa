import pytest

from dapter.attacks.as_is import AsIs
from dapter.attacks.recognition import Recognition
from dapter.errors import UsageError
from dapter.suites import choose_attacks, describe, select_attacks


def test_settings_select_from_the_suite_of_the_preset():
    suite = Recognition.suite("cpu")
    assert select_attacks("recognition", "cpu", {}) == list(suite)
    assert select_attacks("recognition", "cpu", {"share": "0.1"}) == [each for each in suite if each.share == 0.1]
    assert select_attacks("recognition", "cpu", {"family": "convnext", "share": "1"}) == [
        each for each in suite if each.family == "convnext"
    ]
    assert select_attacks("as_is", "tiny", {"stretch": "true"}) == [AsIs(True)]
    assert select_attacks("answer_image", "tiny", {"objective": "null"})[0].objective is None


def test_settings_that_no_suite_has_change_what_is_usual():
    assert select_attacks("recognition", "cpu", {"share": "0.25"}) == [Recognition(share=0.25)]
    assert select_attacks("answer_image", "tiny", {"objective": "l2"})[0].objective == "l2"


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("magic", {}, "no attack named 'magic'"),
        ("recognition", {"depth": "3"}, "no setting 'depth'. Cure: one of family"),
        ("recognition", {"share": "much"}, "share=much cannot be. Cure: a value like 1.0"),
        ("recognition", {"share": "7"}, "share is 7"),
        ("as_is", {"stretch": "1"}, "cannot be"),
    ],
)
def test_settings_that_cannot_be_are_refused(name, settings, message):
    with pytest.raises(UsageError, match=message):
        select_attacks(name, "tiny", settings)


def test_an_attack_is_told_by_what_is_unusual_about_it():
    assert describe(AsIs()) == "as_is"
    assert describe(Recognition("cnn", share=0.1)) == "recognition (family cnn, share 0.1)"


def test_without_the_client_part_nobody_is_asked_to_invert_it():
    every = choose_attacks(("all",), "tiny", white_box=False)
    assert not any("client" in attack.sees for attack in every)
    with pytest.raises(UsageError, match="client part was not given"):
        choose_attacks(("inversion",), "tiny", white_box=False)
