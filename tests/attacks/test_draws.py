"""Random defences: attackers who know the converter draw its noise as often as they like."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from dapter.attacks import Sealed
from dapter.attacks._training import ANSWER
from dapter.attacks.adversarial import Adversarial
from dapter.attacks.answer import AnswerOnly
from dapter.attacks.answer_image import AnswerImage
from dapter.attacks.answer_people import AnswerPeople
from dapter.attacks.linear import LinearRecognition
from dapter.attacks.linear_image import LinearImage
from dapter.attacks.people import People
from dapter.attacks.recognition import Recognition
from dapter.attacks.reconstruction import Reconstruction
from dapter.defences import Task, build_defence
from dapter.loop import Plan, fit
from dapter.runs import Run
from dapter.subjects import DRAWS, Subject
from dapter.types import Answer, Known, Observed, View
from planted import make_secret_data

PLAN = Plan(epochs=8, batch_size=16, augment=False, bfloat16=False)
SHORT = replace(PLAN, epochs=2)
DARK, LIGHT = 40, 200


def subject(name, data, service, folder=None):
    return Subject(build_defence(name, {}).setup(0, service, Task.of(data)), service, data, 0, folder)


def test_each_draw_of_a_random_defence_is_another(service, tmp_path):
    data = make_secret_data(counts=(24, 12, 12))
    view = subject("gaussian_noise", data, service, tmp_path).view(None)
    assert len(view.draws) == DRAWS
    assert all((one.payloads != other.payloads).any() for one, other in combinations(view.draws, 2))
    for each in view.redraws:
        assert (each.originals == view.train.originals).all()
        assert (each.secrets["shape"] == view.train.secrets["shape"]).all()
    again = subject("gaussian_noise", data, service, tmp_path).view(None)
    assert all((one.payloads == other.payloads).all() for one, other in zip(view.draws, again.draws, strict=True))


def test_what_is_not_random_is_drawn_once(service):
    data = make_secret_data(counts=(24, 12, 12))
    assert subject("blur", data, service).view(None).redraws == ()
    assert "draws" not in subject("blur", data, service).record
    assert subject("gaussian_noise", data, service).record["draws"] == DRAWS


def test_noise_of_another_seed_is_attacked_by_itself(service):
    """Without weights, only the seed tells two trainings apart."""
    data = make_secret_data(counts=(24, 12, 12))
    records = [
        Subject(build_defence("gaussian_noise", {}).setup(seed, service, Task.of(data)), service, data, seed).record
        for seed in (0, 1)
    ]
    assert records[0] != records[1]


def test_redraws_grant_no_more_than_the_first_draw():
    known = Known(np.zeros((2, 1, 1, 3), np.uint8), None, np.zeros((2, 1, 1, 3), np.uint8))
    view = View(known, known, {}, (known,)).restrict(frozenset({"payloads"}))
    assert view.redraws[0].payloads is not None
    assert view.redraws[0].originals is None


def known_of(hats, seen):
    """Images that are lighter with a hat; payloads and answers tell what is seen, which may be something else."""
    shades = [np.where(each, LIGHT, DARK).astype(np.uint8).repeat(16 * 16 * 3) for each in (seen, hats)]
    payloads, originals = (each.reshape(-1, 16, 16, 3) for each in shades)
    answers = Answer({"smile": (4 * np.eye(2)[seen]).astype(np.float32)})
    return Known(payloads, answers, originals, {"hat": hats}, hats)


@pytest.mark.parametrize(
    "attack",
    [Recognition("cnn", width=8, plan=PLAN), AnswerOnly(PLAN, learning_rate=0.03), LinearRecognition(), LinearImage()],
)
def test_an_attacker_believes_most_draws(attack, tmp_path):
    """One of three draws says the opposite."""
    rng = np.random.default_rng(0)
    train, val, test = (rng.integers(0, 2, n) for n in (256, 64, 64))
    view = View(known_of(train, 1 - train), known_of(val, val), {"hat": 2}, (known_of(train, train),) * 2)
    seen = known_of(test, test)
    guess = attack.run(view, Sealed(lambda: Observed(seen.payloads, seen.answers)), 0, Run(tmp_path)).test
    if attack.goal == "secrets":
        said = guess.scores["hat"].argmax(axis=1)
    else:
        said = guess.images.mean(axis=(1, 2, 3)) > (DARK + LIGHT) / 2
    assert (said == test).mean() > 0.9


@pytest.mark.parametrize(
    "attack",
    [
        Recognition("cnn", width=8, plan=SHORT, share=0.5),
        AnswerOnly(SHORT),
        Reconstruction("unet", "l2", width=8, plan=SHORT),
        Adversarial(width=8, plan=SHORT),
        AnswerImage("l2", SHORT),
        People(width=8, plan=SHORT),
        AnswerPeople(8, SHORT),
    ],
    ids=lambda attack: type(attack).__name__,
)
def test_attackers_that_train_take_every_draw(attack, monkeypatch, tmp_path):
    taken = []

    def watched(learner, update, validate, train, *others):
        taken.append(train)
        return fit(learner, update, validate, train, *others)

    monkeypatch.setattr("dapter.attacks._training.fit", watched)
    hats = np.arange(128) % 2
    known = known_of(hats, hats)
    attack.run(View(known, known, {"hat": 2}, (known_of(hats, 1 - hats),)), Sealed(known.observed), 0, Run(tmp_path))
    (first, second) = taken[0]
    assert len(first) == len(second)
    assert all((first.labels[name] == second.labels[name]).all() for name in first.labels if name != ANSWER)
    assert (first.labels[ANSWER] != second.labels[ANSWER]).any()
