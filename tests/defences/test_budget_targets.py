"""Several targets in one budget converter: of one service or of several, side by side or one inside the other."""

from dataclasses import replace

import numpy as np
import pytest

from dapter.data import Split
from dapter.defences.budget import Budget
from dapter.errors import UsageError
from dapter.service.classifier import Service
from dapter.service.training import load_trained_service, train_service
from dapter.train import load_defence, train
from helpers import PLAN, make_data

SETTINGS = {"width": 4, "grid": 2}
FINE = ("red square", "red cross", "blue square", "blue cross")
LONG = replace(PLAN, epochs=30, batch_size=32)


def nested():
    """Colour is the coarse question; which of four shapes in colours the fine one."""
    data = make_data(("colour", "shape"), counts=(400, 100, 200))

    def labels(split):
        fine = 2 * split.labels["colour"] + split.labels["shape"]
        return Split(split.images, {"colour": split.labels["colour"], "kind": fine})

    return replace(
        data,
        targets=("colour", "kind"),
        classes={"colour": data.classes["colour"], "kind": FINE},
        splits={name: labels(split) for name, split in data.splits.items()},
    )


@pytest.fixture(scope="module")
def data():
    return nested()


@pytest.fixture(scope="module")
def service(data, tmp_path_factory):
    """Two services, each with a network of its own, that get the same payload."""
    root = tmp_path_factory.mktemp("service")
    each = [
        load_trained_service(
            train_service(replace(data, targets=(target,)), LONG, arch="lenet", width=6, root=root / target)
        )
        for target in data.targets
    ]
    return Service(*(classifier for one in each for classifier in one.classifiers.values()))


def trained(data, service, root, **settings):
    run = train(Budget(**SETTINGS, **settings), service, data, LONG, root=root)
    split = data.splits["test"]
    defence = load_defence(run)
    payload = defence.protect(split.images)
    answer = service.answer(payload)
    right = {name: float(np.mean(found == split.labels[name])) for name, found in answer.labels().items()}
    return right, {entry["measure"]: entry["value"] for entry in defence.figures(split, payload, answer)}


def test_one_payload_serves_several_services(data, service, tmp_path):
    """Bits are counted beyond the joint answer."""
    right, figures = trained(data, service, tmp_path, budget_bits=2.0)
    assert right["colour"] > 0.9
    assert right["kind"] > 0.6
    assert figures["bits_beyond_answer"] < 4
    assert figures["bits_total"] <= figures["bits_beyond_answer"] + 3 + 1e-9  # which of eight joint answers


def test_a_larger_budget_answers_the_finer_question_too(data, service, tmp_path):
    few, small = trained(data, service, tmp_path / "few", budget_bits=0.1, given=("colour",))
    more, large = trained(data, service, tmp_path / "more", budget_bits=6.0, given=("colour",))
    assert min(few["colour"], more["colour"]) > 0.9
    assert more["kind"] > few["kind"] + 0.1
    assert small["bits_beyond_answer"] < large["bits_beyond_answer"]


def test_what_the_service_does_not_answer_cannot_be_given(service):
    with pytest.raises(UsageError, match=r"given names size. Cure: .*colour, kind"):
        Budget(given=("size",)).setup(0, service)
    assert Budget(**SETTINGS, given=["kind"]).setup(0, service)._prior.table.shape == (4, 4, 27)
