"""Re-identification: drawn people, whose payloads lead to other photos of them or do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dapter.attacks import Sealed, name_of
from dapter.attacks._people import held_out, numbered
from dapter.attacks.answer_people import AnswerPeople
from dapter.attacks.people import People
from dapter.audit import audit
from dapter.cells import is_floor, run_cell
from dapter.data import IDENTITY, load_data
from dapter.defences import Task, build_defence
from dapter.errors import UsageError
from dapter.loop import Plan
from dapter.runs import Run
from dapter.scoring import score_people
from dapter.service.classifier import Classifier, Service
from dapter.subjects import Subject, Tool
from dapter.suites import choose_attacks
from dapter.types import PRESETS

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


def area(cell):
    return next(score for score in cell.test if score.measure == "reid_auc")


def test_an_audit_tells_how_far_payloads_lead_to_the_person(data, service, tmp_path):
    def headline(defence):
        lines = audit([defence], service, data, attacks=(ATTACK,), preset="tiny", root=tmp_path)
        [line] = [line for line in lines if line.measure == "leak" and line.secret == IDENTITY]
        assert line.attack == "people"
        score = next(each for each in lines if (each.attack, each.measure) == ("people", "reid_auc"))
        return line, score

    open_, closed = headline("identity"), headline("constant")
    assert open_[1].low > 0.6
    assert open_[0].value > 0.8
    assert closed[1].low <= 0.5 <= closed[1].high
    assert closed[0].low < 0.2


def test_attacks_that_lead_to_people_share_their_floors():
    def floors(attack):
        return {name_of(each) for each in choose_attacks((attack,), "tiny") if is_floor(each)}

    assert floors("people") == floors("reconstruction") == {"answer_image", "answer_people"}
    assert floors("recognition") == {"answer"}


def test_what_the_answer_tells_of_the_person_is_the_floor(data, service, tmp_path):
    """It is no worse than the plain comparison of the answers to two photos."""
    attack = AnswerPeople(width=8, plan=replace(PLAN, epochs=30, augment=False))
    cell = run_cell(attack, subject("identity", service, data), 0, tmp_path)
    split = data.splits["test"]
    level = split.images.mean(axis=(1, 2, 3)) / 255
    near = np.stack([np.cos(level), np.sin(level)], axis=1)
    plain = score_people(near, near, split)[0]
    assert cell.floor
    assert area(cell).value > plain.value - 0.05
    assert 0.5 < area(cell).value < 0.95


def test_it_reads_a_person_from_the_lowest_bits(data, service, tmp_path):
    """Random images, whose lowest bits are the outlines of the originals."""

    def hide(images):
        noise = np.random.default_rng(images.sum()).integers(0, 256, images.shape, np.uint8)
        return (noise & 0xFE) | (images > images.mean(axis=(1, 2), keepdims=True))

    tool = Tool("hides", {name: hide(split.images) for name, split in data.splits.items()})
    attack = replace(ATTACK, inputs="bits", plan=replace(PLAN, epochs=20))
    assert area(run_cell(attack, Subject(tool, service, data), 0, tmp_path)).value > 0.6
    assert "bits" in {each.inputs for preset in PRESETS for each in People.suite(preset)}


def test_it_learns_from_known_people_only():
    people, numbers = numbered(np.array([7, -1, 3, 7]))
    assert people == 2
    assert numbers.tolist() == [1, -1, 0, 1]
    train, val = held_out(np.array([0, -1] * 20), 0)
    assert (len(train), len(val)) == (18, 2)
    assert not set(train) & set(val)
    assert all(row % 2 == 0 for row in (*train, *val))


def test_who_cannot_be_found_again_is_no_secret(data, service, tmp_path):
    def ask(labels, attack=ATTACK):
        splits = {name: replace(each, labels={**each.labels, **labels(each)}) for name, each in data.splits.items()}
        audit(["constant"], service, replace(data, splits=splits), attacks=(attack,), preset="tiny", root=tmp_path)

    for labels in (lambda split: np.zeros(len(split), np.int64), lambda split: np.arange(len(split))):
        with pytest.raises(UsageError, match=r"nobody in train can be found again.*Cure: two people"):
            ask(lambda split, labels=labels: {IDENTITY: labels(split)})


def test_one_person_alone_or_nobody_is_refused(data, service, tmp_path):
    seen = subject("identity", service, data)
    view = seen.view(None)
    for people, match in ((np.zeros_like(view.train.people), "Cure: .*two people"), (None, "Cure: identity")):
        known = replace(view, train=replace(view.train, people=people))
        with pytest.raises(UsageError, match=match):
            ATTACK.run(known, Sealed(lambda: seen.observe("test")), 0, Run(tmp_path))
