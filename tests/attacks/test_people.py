"""Re-identification: drawn people, whose payloads lead to other photos of them or do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dapter.attacks import Sealed
from dapter.attacks._people import hold_out, numbered
from dapter.attacks.answer_people import AnswerPeople
from dapter.attacks.people import People
from dapter.audit import audit
from dapter.cells import Subject, run_cell
from dapter.data import IDENTITY, Split, load_data
from dapter.defences import Task, build_defence
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.runs import Run
from dapter.service.classifier import Classifier, Service

PLAN = Plan(epochs=12, batch_size=32, bfloat16=False)
ATTACK = People(width=8, plan=PLAN)


class Brightness(torch.nn.Module):
    """Answers by the mean of the image alone."""

    def forward(self, images):
        level = 20 * (images.mean(dim=(1, 2, 3)) - 0.5)
        return torch.stack([-level, level], dim=1)


@pytest.fixture(scope="module")
def data():
    """Drawn people who return in several photos; those of `test` are in no other split."""
    return load_data("faces", target="Smiling", secrets=(IDENTITY,), n=640, size=16, identities=40)


@pytest.fixture(scope="module")
def service(data):
    return Service(Classifier(Brightness(), "Smiling", data.classes["Smiling"]))


def subject(name, service, data):
    return Subject(build_defence(name, {}).setup(0, service, Task.of(data)), service, data)


def test_an_audit_tells_how_far_payloads_lead_to_the_person(data, service, tmp_path):
    def headline(defence):
        lines = audit([defence], service, data, attacks=(ATTACK,), preset="tiny", root=tmp_path)
        [line] = [line for line in lines if line.measure == "leak"]
        assert (line.secret, line.attack) == (IDENTITY, "people")
        score = next(each for each in lines if (each.attack, each.measure) == ("people", "reid_auc"))
        return line, score

    open_, closed = headline("identity"), headline("constant")
    assert open_[1].low > 0.6
    assert open_[0].value > 0.8
    assert closed[1].low <= 0.5 <= closed[1].high
    assert closed[0].low < 0.2


def test_what_the_answer_tells_of_the_person_is_the_floor(data, service, tmp_path):
    """People whom the service answers alike are not told apart, others are: a floor above chance."""
    attack = AnswerPeople(width=8, plan=replace(PLAN, augment=False))
    cell = run_cell(attack, subject("identity", service, data), 0, tmp_path)
    auc = next(score for score in cell.test if score.measure == "reid_auc")
    assert cell.floor
    assert 0.5 < auc.value < 0.95


def test_it_learns_from_known_people_only():
    people, numbers = numbered(np.array([7, -1, 3, 7]))
    assert people == 2
    assert numbers.tolist() == [1, -1, 0, 1]
    labels = np.array([0, -1] * 20)
    train, val = hold_out(Split(np.arange(40), {IDENTITY: labels, "row": np.arange(40)}), 0)
    assert (len(train), len(val)) == (18, 2)
    for part in (train, val):
        assert (part.labels[IDENTITY] == 0).all()
        assert np.array_equal(part.images, part.labels["row"])


def test_one_person_alone_is_refused(data, service, tmp_path):
    one = {
        name: replace(split, labels={**split.labels, IDENTITY: np.zeros(len(split), np.int64)})
        for name, split in data.splits.items()
    }
    seen = subject("identity", service, replace(data, splits=one))
    with pytest.raises(UsageError, match=r"nobody can be told from another. Cure: .*two people"):
        ATTACK.run(seen.view(None), Sealed(lambda: seen.observe("test")), 0, Run(tmp_path))
