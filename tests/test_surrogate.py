from dataclasses import replace

import numpy as np
import pytest

import black_box
from dapter.cli import main
from dapter.defences.dapter import Dapter
from dapter.errors import UsageError
from dapter.evaluate import evaluate
from dapter.service.remote import Remote
from dapter.service.training import load_trained_service
from dapter.surrogate import WARNING, Questions, learn_surrogate, measure_remote
from dapter.train import train
from helpers import PLAN, make_data, without_labels


def make(root, **changes):
    settings = {"url": "any", "target": "colour", "classes": ("red", "blue"), "limit": 240, "root": root}
    return Remote(**{**settings, "ask": black_box.ask, **changes})


def learn(remote, data, root, **changes):
    common = {"plan": replace(PLAN, epochs=12), "arch": "lenet", "width": 3, "root": root, "send_originals": True}
    return learn_surrogate(remote, data, **{**common, **changes})


def test_a_converter_for_a_service_of_which_only_the_answers_are_known(tmp_path):
    black_box.calls.clear()
    labelled = make_data(counts=(160, 32, 48))
    data = replace(labelled, splits={**without_labels(labelled).splits, "test": labelled.splits["test"]})
    remote = make(tmp_path)
    run = learn(remote, data, tmp_path)
    assert remote.used == 160 + 24 + 24
    surrogate = load_trained_service(run)
    assert learn(make(tmp_path), data, tmp_path).path == run.path
    assert sum(black_box.calls) == remote.used

    defence = train(
        Dapter(width=4, lam=0.1, labels="service"), surrogate, without_labels(labelled), PLAN, root=tmp_path
    )
    measured = evaluate(defence, surrogate, without_labels(labelled))
    found = {entry.measure: entry for entry in measure_remote(defence, surrogate, remote, data, send_originals=True)}
    assert set(found) == {"api_agreement", "surrogate_agreement", "api_accuracy", "api_accuracy_original"}
    assert remote.used == 160 + 3 * 24
    assert all(entry.n == 24 and entry.low <= entry.value <= entry.high for entry in found.values())
    assert found["surrogate_agreement"].value > 0.8
    assert found["api_accuracy_original"].value == np.mean(
        remote.answer(data.splits["test"].images[:24]).argmax(axis=1) == data.splits["test"].labels["colour"][:24]
    )
    assert list(found.values()) == measure_remote(defence, surrogate, make(tmp_path), data, send_originals=True)
    assert len(defence.read_results()) == len(measured) + 4
    assert remote.used == sum(black_box.calls)


def test_originals_are_not_sent_unasked_and_the_limit_is_reckoned_before(tmp_path):
    black_box.calls.clear()
    data = make_data()
    with pytest.raises(UsageError) as refused:
        learn(make(tmp_path), data, tmp_path, send_originals=False)
    assert WARNING in str(refused.value)
    with pytest.raises(UsageError, match="too small"):
        learn(make(tmp_path, limit=9), data, tmp_path)
    remote = make(tmp_path, limit=100)
    remote.answer(np.zeros((30, 8, 8, 3), np.uint8) + np.arange(30, dtype=np.uint8)[:, None, None, None])
    with pytest.raises(UsageError, match=r"100 queries are needed.*--query-limit 130"):
        learn(remote, data, tmp_path)
    assert sum(black_box.calls) == 30


def test_a_limit_is_shared_out():
    data = make_data(counts=(96, 32, 48))
    assert Questions.within(data, 100) == Questions(70, 10, 10)
    assert Questions.within(data, 10_000) == Questions(96, 32, 48)


def test_the_command_needs_leave_to_send_originals_and_shows_the_cost(tmp_path, capsys):
    asked = "train --service-url any --service-adapter black_box:ask --query-limit 120 --query-price 0.01"
    data = "--data faces --n 120 --size 32 --target Smiling --service-classes red blue"
    small = f"{asked} {data} --preset tiny --epochs 1 --width 4 --out {tmp_path}".split()
    assert main(small) == 2
    assert WARNING in capsys.readouterr().err
    assert main([*small, "--send-originals"]) == 0
    shown = capsys.readouterr().out
    assert WARNING in shown
    assert "of 120 queries" in shown
    assert "same answer of the service behind the URL" in shown
    assert main([*small, "--service", "x.safetensors"]) == 2
    capsys.readouterr()
    assert main([*small, "--send-originals", "--defence", "retrained"]) == 2
    assert "stays as it is" in capsys.readouterr().err
    assert main(["train", "--n", "60", "--size", "16"]) == 2
    assert "no service is named" in capsys.readouterr().err
