from pathlib import Path

import pytest

from dapter.attacks import name_of
from dapter.attacks.as_is import AsIs
from dapter.attacks.recognition import Recognition
from dapter.defences import Task, build_defence
from dapter.errors import UsageError
from dapter.plugins import names
from dapter.subjects import Subject, Tool
from dapter.suites import choose_attacks, describe, select_attacks, suited
from dapter.tasks import Asked


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


def subject(data, service, features=False):
    if features:
        return Subject(build_defence("split_inference", {"width": 4}).setup(0, service, Task.of(data)), service, data)
    return Subject(Tool("tool", {name: split.images for name, split in data.splits.items()}), service, data)


def test_without_the_client_part_nobody_is_asked_to_invert_it(data, service):
    tool = subject(data, service)
    every = choose_attacks(("all",), "tiny", subjects=[tool])
    assert not any("client" in attack.sees for attack in every)
    assert suited(every, tool) == every
    with pytest.raises(UsageError, match="client part was not given, so none that needs it"):
        choose_attacks(("inversion",), "tiny", subjects=[tool])
    both = choose_attacks(("inversion",), "tiny", subjects=[tool, subject(data, service, features=True)])
    assert any("client" in attack.sees for attack in both)


def test_features_are_attacked_by_what_takes_them_and_nobody_is_dropped_in_silence(data, service):
    split = subject(data, service, features=True)
    every = choose_attacks(("all",), "cpu", subjects=[split])
    assert every == choose_attacks(("all",), "cpu")
    chosen = suited(every, split)
    assert {name_of(attack) for attack in chosen} == set(names("attacks")) - {"as_is", "stolen", "unaware"}
    assert not any(getattr(attack, "inputs", "") == "bits" for attack in chosen)
    assert any(getattr(attack, "family", "") == "mlp" for attack in chosen)
    with pytest.raises(UsageError, match="features are sent, so none"):
        choose_attacks(("as_is", "unaware"), "tiny", subjects=[split])
    asked = Asked(split, (split,), tuple(every), (0,), Path(), "cpu")
    said = " ".join(asked.not_run(split))
    for attack in {describe(attack) for attack in every} - {describe(attack) for attack in chosen}:
        assert attack in said
    assert asked.not_run(subject(data, service)) == []
