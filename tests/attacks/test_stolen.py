from dataclasses import replace

import numpy as np
import pytest

from dapter import loop
from dapter.attacks import Sealed
from dapter.attacks.recognition import _few
from dapter.attacks.stolen import Stolen
from dapter.attacks.unaware import Unaware
from dapter.cells import Subject, run_cell
from dapter.data import Split
from dapter.defences import build_defence
from dapter.loop import Plan
from dapter.runs import Run, derive_seed
from planted import make_secret_data

PLAN = Plan(epochs=4, batch_size=16, bfloat16=False, augment=False)
STOLEN = Stolen(0.5, width=4, plan=PLAN)
UNAWARE = Unaware(width=4, plan=PLAN)


@pytest.fixture(scope="module")
def easy():
    """The secret is the colour."""
    return make_secret_data(counts=(160, 48, 64), flip=0.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("stolen")


def cell(attack, defence, data, service, root):
    found = run_cell(attack, Subject(build_defence(defence, {}).setup(), service, data), 0, root)
    return found, {score.measure: score for score in found.test}


def test_a_model_trained_on_stolen_originals_works_on_originals(easy, service, root):
    _, scores = cell(STOLEN, "identity", easy, service, root)
    assert scores["abuse_auc"].low > 0.8
    assert scores["abuse_auc"].value == scores["secret_auc"].value
    assert set(scores) == {
        f"{kind}_{name}" for kind in ("secret", "abuse") for name in ("accuracy", "balanced_accuracy", "auc")
    }


def test_a_model_trained_on_stolen_grey_claims_nothing(easy, service, root):
    _, scores = cell(STOLEN, "constant", easy, service, root)
    assert scores["abuse_auc"].value == scores["secret_auc"].value == 0.5
    assert scores["abuse_balanced_accuracy"].value == 0.5


def test_the_thief_uses_no_labels_but_those_of_its_share(easy, service, tmp_path):
    subject = Subject(build_defence("identity", {}).setup(), service, easy)
    view = subject.view(None)
    rows = Split(easy.splits["train"].images, {"row": np.arange(160)})
    known = _few(rows, 0.5, derive_seed(0, "attack")).labels["row"]
    assert len(known) == 80
    lies = 1 - view.train.secrets["shape"]
    lies[known] = view.train.secrets["shape"][known]
    deceived = replace(view, train=replace(view.train, secrets={"shape": lies}))
    quick = replace(STOLEN, plan=replace(PLAN, epochs=1))
    first, second = (
        quick.run(each, Sealed(lambda: subject.observe("test")), 0, Run(tmp_path / name)).test.scores["shape"]
        for name, each in (("told", view), ("deceived", deceived))
    )
    assert np.array_equal(first, second)


def test_the_unaware_attacker_is_flagged_learns_once_and_reads_originals_only(easy, service, root, monkeypatch):
    steps = []
    step = loop._Fit._train_step
    monkeypatch.setattr(loop._Fit, "_train_step", lambda self: steps.append(1) or step(self))
    found, scores = cell(UNAWARE, "identity", easy, service, root)
    assert found.flags == ("unaware",)
    assert scores["secret_auc"].low > 0.8
    trained = len(steps)
    _, grey = cell(UNAWARE, "constant", easy, service, root)
    assert len(steps) == trained > 0
    assert grey["secret_auc"].value == 0.5
