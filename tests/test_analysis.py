import sys
from dataclasses import replace

import numpy as np
import pytest

from dapter.analysis import analyse, keep_pictures, report
from dapter.attacks.as_is import AsIs
from dapter.audit_report import pictures_name
from dapter.cells import run_cell
from dapter.defences import build_defence
from dapter.runs import Run
from dapter.subjects import Subject, Tool
from helpers import CLASSES
from planted import make_secret_data


@pytest.fixture(scope="module")
def secret_data():
    return make_secret_data((64, 16, 32))


@pytest.fixture
def subject(service, secret_data):
    return Subject(build_defence("identity", {}).setup(), service, secret_data)


def scored(subject, measure, value, ceiling=0.8, attack="recognition", **settings):
    """A line of an attack."""
    fields = {"measure": measure, "value": value, "secret": "shape", "ceiling": ceiling, "n": 32, "leak": value}
    return report(subject, {"attack": {**settings, "seed": 0}}, attack=attack, **fields)


def measures(lines):
    return {(line.measure, line.target): line for line in lines}


def test_what_is_left_of_the_answer(subject, service, secret_data, tmp_path):
    lines = list(analyse(subject, [], tmp_path, "tiny", "a test"))
    found = measures(lines)
    assert found["agreement", "colour"].value == 1
    after, before = (found[f"target_accuracy{end}", "colour"] for end in ("", "_original"))
    assert after.value == before.value > 0.8
    lost = found["target_accuracy_lost", "colour"]
    assert (lost.value, lost.low, lost.high) == (0, 0, 0)
    assert found["entropy_bits", "colour"].value == found["entropy_bits_original", "colour"].value
    assert found["attention_consistency", "colour"].value == 1
    for line in lines:
        assert line.attack is None
        assert line.settings["subject"] == subject.key
        assert (line.source, line.preset, line.n) == ("a test", "tiny", 32)


def test_accuracy_lost_is_the_difference_on_the_same_images(service, secret_data, tmp_path):
    grey = Subject(build_defence("constant", {}).setup(), service, secret_data)
    found = measures(analyse(grey, [], tmp_path, "tiny", ""))
    lost = found["target_accuracy_lost", "colour"]
    before, after = (found[f"target_accuracy{end}", "colour"].value for end in ("_original", ""))
    assert lost.value == pytest.approx(before - after)
    assert lost.low < lost.value < lost.high
    assert found["attention_consistency", "colour"].value < 0.5


def test_ideal_guesses_stand_beside_the_leak(subject, tmp_path):
    attacked = [scored(subject, "secret_accuracy", 0.7), scored(subject, "secret_auc", 0.9, ceiling=0.99)]
    found = {line.measure: line for line in analyse(subject, attacked, tmp_path, "tiny", "") if line.secret == "shape"}
    ideal, product = found["secret_accuracy_ideal"], found["secret_accuracy_ideal_vanilla"]
    assert product.value == pytest.approx(0.8 * ideal.value)
    assert product.settings["attack"] == {"seed": 0}
    assert ideal.low < ideal.value < ideal.high


def test_without_captum_attention_is_left_out(subject, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    assert not any(line.measure == "attention_consistency" for line in analyse(subject, [], tmp_path, "tiny", ""))
    run = Run.open(tmp_path, "audit", {"kind": "audit"})
    keep_pictures(subject, [], [], tmp_path, run)
    with np.load(run.path / pictures_name(subject.key)) as pictures:
        assert set(pictures) == {"original", "payload"}


def test_a_tool_without_a_service_has_no_answers(secret_data, tmp_path):
    halves = {name: split.images // 2 for name, split in secret_data.splits.items()}
    data = replace(secret_data, targets=(), classes={"shape": CLASSES["shape"]})
    subject = Subject(Tool("halves", halves), None, data)
    assert {line.measure for line in analyse(subject, [], tmp_path, "tiny", "")} == {
        "entropy_bits",
        "entropy_bits_original",
    }
    run = Run.open(tmp_path, "audit", {"kind": "audit"})
    keep_pictures(subject, [], [], tmp_path, run)
    with np.load(run.path / pictures_name(subject.key)) as pictures:
        np.testing.assert_array_equal(pictures["payload"], halves["test"][:8])


def test_pictures_hold_what_the_worst_attack_restored_and_where_the_service_looks(subject, secret_data, tmp_path):
    attack = AsIs()
    run_cell(attack, subject, 0, tmp_path)
    worst = scored(subject, "leak", 0.9, attack="as_is", **attack.settings())
    lesser = scored(subject, "leak", 0.5, attack="reconstruction")
    run = Run.open(tmp_path, "audit", {"kind": "audit"})
    found = [replace(line, secret="image") for line in (lesser, worst)]
    keep_pictures(subject, found, [attack], tmp_path, run)
    with np.load(run.path / pictures_name(subject.key)) as pictures:
        np.testing.assert_array_equal(pictures["restored"], secret_data.splits["test"].images[:8])
        assert set(pictures) == {"original", "payload", "restored", "attention_before", "attention_after"}
        np.testing.assert_array_equal(pictures["attention_before"], pictures["attention_after"])


def test_a_subject_is_told_by_all_it_depends_on(subject, service, secret_data):
    grey = Subject(build_defence("constant", {}).setup(), service, secret_data)
    assert subject.key != grey.key
    assert subject.key == Subject(build_defence("identity", {}).setup(), service, secret_data).key
