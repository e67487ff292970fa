"""The contract of an attack, for every one that is found."""

import dataclasses
import json
import re

import numpy as np
import pytest

from dapter import plugins
from dapter.attacks import GOALS, Attack, Sealed, name_of
from dapter.cells import Subject
from dapter.data import IDENTITY
from dapter.defences import Task, build_defence
from dapter.errors import CheckFailed, UsageError
from dapter.loop import Plan
from dapter.runs import Run
from dapter.types import PRESETS, SEES, Observed
from planted import make_secret_data

FIELDS = ("payloads", "answers", "originals", "secrets", "people")


def make_known_data():
    """With a person in each image, one of eight in every split."""
    data = make_secret_data(counts=(48, 32, 24))
    splits = {
        name: dataclasses.replace(split, labels={**split.labels, IDENTITY: np.arange(len(split)) % 8})
        for name, split in data.splits.items()
    }
    classes = {**data.classes, IDENTITY: tuple(map(str, range(8)))}
    return dataclasses.replace(data, secrets=("shape", IDENTITY), classes=classes, splits=splits)


def make_subject(defence, service, data):
    defence = build_defence(defence, {"width": 4} if defence == "split_inference" else {})
    return Subject(defence.setup(0, service, Task.of(data)), service, data)


@pytest.fixture(scope="module")
def subject(service):
    return make_subject("identity", service, make_known_data())


@pytest.fixture(scope="module")
def features(service):
    """What sends features of 4 channels, half as large as the image."""
    return make_subject("split_inference", service, make_known_data())


@pytest.fixture(params=plugins.names("attacks"))
def attack(request):
    """The first setting of the tiny suite, trained for an epoch."""
    return short(plugins.find("attacks", request.param).suite("tiny")[0])


def short(attack):
    if not hasattr(attack, "plan"):
        return attack
    return dataclasses.replace(attack, plan=Plan(epochs=1, batch_size=16, bfloat16=False, augment=attack.plan.augment))


def attack_subject(attack, subject, folder, seed=0):
    sealed = Sealed(lambda: subject.observe("test"))
    return attack.run(subject.view(None), sealed, seed, Run(folder))


@pytest.mark.parametrize("name", plugins.names("attacks"))
def test_its_suites_and_settings_are_sound(name):
    kind = plugins.find("attacks", name)
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen
    assert kind.sees <= set(SEES)
    assert kind.goal in GOALS
    documented = set(re.findall(r"^ +(\w+):", kind.__doc__, re.MULTILINE))
    assert documented >= {field.name for field in dataclasses.fields(kind)}
    for preset in PRESETS:
        suite = kind.suite(preset)
        assert suite
        assert len(set(suite)) == len(suite)
        for each in suite:
            assert isinstance(each, Attack)
            assert name_of(each) == name
            assert isinstance(each.on_originals(), kind)
            other = each.on_features()
            if other is not None:
                assert isinstance(other, kind)
                assert other.on_features() == other
                assert other.on_originals() == each.on_originals()
            assert json.loads(json.dumps(each.settings())) == each.settings()


def test_it_guesses_at_every_image(attack, subject, tmp_path):
    check_guesses(attack, attack_subject(attack, subject, tmp_path), subject.view(None).val)


def test_it_guesses_from_features_or_says_that_they_are_nothing_to_it(attack, features, tmp_path):
    assert features.observe("val").payloads.dtype == np.float16
    other = attack.on_features()
    if other != attack:
        with pytest.raises(UsageError, match="but these are features"):
            attack_subject(attack, features, tmp_path / "refused")
    if other is not None:
        check_guesses(other, attack_subject(other, features, tmp_path / "run"), features.view(None).val)


def check_guesses(attack, outcome, known):
    for guess, n in ((outcome.val, 32), (outcome.test, 24)):
        if attack.goal == "image":
            assert guess.images.shape == (n, 16, 16, 3)
        elif attack.goal == "people":
            assert guess.people.shape == (n, guess.describe(known).shape[1])
        else:
            assert {name: scores.shape for name, scores in guess.scores.items()} == {"shape": (n, 2)}


def test_it_follows_its_seed(attack, subject, tmp_path):
    def guess(folder, seed):
        found = attack_subject(attack, subject, tmp_path / folder, seed).test
        return {"image": found.images, "people": found.people, "secrets": found.scores.get("shape")}[attack.goal]

    assert np.array_equal(guess("first", 1), guess("again", 1))


def test_it_works_with_what_it_sees_and_gets_no_more(attack, subject, tmp_path, monkeypatch):
    learn = type(attack)._learn

    def watched(self, view, seed, run):
        for known in (view.train, view.val):
            assert {name for name in FIELDS if getattr(known, name) is not None} == self.sees - {"client"}
        assert (view.client is not None) == ("client" in self.sees)
        guess = learn(self, view, seed, run)

        def watched_guess(observed):
            assert type(observed) is Observed
            seen = {name for name in ("payloads", "answers") if getattr(observed, name) is not None}
            assert seen == self.sees & {"payloads", "answers"}
            return guess(observed)

        return watched_guess

    monkeypatch.setattr(type(attack), "_learn", watched)
    attack_subject(attack, subject, tmp_path)


def test_it_never_touches_the_images_under_attack_while_it_learns(attack, service, tmp_path, monkeypatch):
    """The test split of this data cannot be read, nor converted, while an attack learns."""
    data = make_known_data()
    learning = []

    class Tripwire(dict):
        def __getitem__(self, name):
            if name == "test" and learning:
                raise CheckFailed("the test split was touched")
            return super().__getitem__(name)

    subject = Subject(
        build_defence("identity", {}).setup(), service, dataclasses.replace(data, splits=Tripwire(data.splits))
    )
    learn = type(attack)._learn

    def watched(*args):
        learning.append(True)
        guess = learn(*args)
        learning.clear()
        return guess

    monkeypatch.setattr(type(attack), "_learn", watched)
    attack_subject(attack, subject, tmp_path)
    learning.append(True)
    with pytest.raises(CheckFailed):
        subject.data.splits["test"]
