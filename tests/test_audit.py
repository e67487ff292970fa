import dataclasses
import json

import numpy as np
import pytest

from dapter.attacks import Attack
from dapter.attacks.answer import AnswerOnly
from dapter.attacks.as_is import AsIs
from dapter.attacks.recognition import Recognition
from dapter.attacks.reconstruction import Reconstruction
from dapter.audit import audit
from dapter.cells import open_cell
from dapter.defences import Defence, Task, build_defence
from dapter.errors import RunError, UsageError
from dapter.leaks import LEAK
from dapter.loop import Plan
from dapter.runs import list_runs
from dapter.subjects import Subject
from dapter.suites import choose_attacks
from helpers import CLASSES, draw
from planted import Planted, lowest_bit, make_secret_data, one_level

PLAN = Plan(epochs=8, batch_size=32, bfloat16=False)
READER = Recognition("cnn", "residue", width=8, plan=PLAN)
BITS = dataclasses.replace(READER, inputs="bits")


@pytest.fixture(scope="module")
def secret_data():
    return make_secret_data()


def pick(lines, measure, defence="identity", attack=None):
    return [
        line for line in lines if (line.measure, line.defence) == (measure, defence) and attack in (None, line.attack)
    ]


def worst(lines, secret, defence="identity"):
    (line,) = [line for line in pick(lines, LEAK, defence) if line.secret == secret]
    return line


@pytest.fixture(scope="module")
def both_ends(secret_data, service, tmp_path_factory):
    """The trivial defences under one attack of each kind."""
    root = tmp_path_factory.mktemp("ends")
    asked = (READER, AsIs(), Reconstruction(width=4, plan=Plan(epochs=3, batch_size=32, augment=False)))
    return audit(["identity", "constant"], service, secret_data, attacks=asked, root=root, preset="tiny")


def test_identity_leaks_all_and_a_constant_image_nothing(both_ends):
    for secret in ("shape", "image"):
        line = worst(both_ends, secret)
        assert line.low <= 1 <= line.high
        assert line.floor < line.ceiling - 0.1
    nothing = worst(both_ends, "shape", "constant")
    assert nothing.low <= 0 <= nothing.high
    assert abs(worst(both_ends, "image", "constant").value) < 0.05
    for line in pick(both_ends, "secret_auc", "constant"):
        assert line.low <= 0.5 <= line.high
    assert not any("constant_not_at_floor" in line.flags for line in both_ends)


def test_every_line_can_be_judged_and_repeated(both_ends):
    attacked = [line for line in both_ends if line.attack]
    for line in attacked:
        assert line.low <= line.value <= line.high
        assert line.n == 256
        assert line.settings["image_size"] == [16, 16]
        assert line.settings["attack"]["seed"] == 0
        assert (line.target, line.data, line.preset, line.grade) == ("colour", "shapes", "tiny", "measured")
        assert json.loads(line.to_json())["code"]
    secrets = {line.secret for line in attacked}
    assert secrets == {"shape", "image"}
    assert {line.attack for line in pick(both_ends, "ssim")} == {"answer_image", "as_is", "reconstruction"}
    assert pick(both_ends, "reprint_accuracy_colour", attack="as_is")[0].value > 0.9


def test_features_of_an_early_layer_leak_all_and_what_was_not_run_is_named(secret_data, service, tmp_path):
    """An untrained first convolution hides nothing, whatever its values look like."""
    split = build_defence("split_inference", {"width": 8, "blocks": 0}).setup(0, service, Task.of(secret_data))
    decoder = Reconstruction(width=8, plan=Plan(epochs=10, batch_size=32, augment=False), learning_rate=1e-2)
    asked = (READER, BITS, AsIs(), decoder)
    lines = audit([split], service, secret_data, attacks=asked, root=tmp_path, preset="tiny")
    assert worst(lines, "shape", "split_inference").value > 0.9
    assert worst(lines, "image", "split_inference").value > 0.6  # in ten epochs of 320 images
    (missing,) = pick(lines, "attacks_not_run", "split_inference")
    assert missing.value == 2
    assert missing.settings["attack"]["names"][1] == "as_is"
    assert "inputs bits" in missing.settings["attack"]["names"][0]
    assert {line.attack for line in pick(lines, "ssim", "split_inference")} == {"answer_image", "reconstruction"}


@pytest.mark.parametrize(("write", "reader"), [(lowest_bit, BITS), (one_level, READER)])
def test_a_planted_leak_is_found(write, reader, secret_data, service, tmp_path):
    planted = Planted(secret_data, write).setup()
    lines = audit([planted], service, secret_data, attacks=(reader,), root=tmp_path, preset="tiny")
    (line,) = pick(lines, "secret_auc", "planted", "recognition")
    assert line.value > 0.99
    assert line.floor < 0.85
    assert worst(lines, "shape", "planted").value > 0.9


def test_a_planted_weak_attack_is_flagged(secret_data, service, tmp_path):
    weak = dataclasses.replace(READER, learning_rate=1e-7, plan=dataclasses.replace(PLAN, epochs=1))
    lines = audit(["identity"], service, secret_data, attacks=(READER, weak), root=tmp_path, preset="tiny")
    good, bad = pick(lines, "secret_auc", attack="recognition")
    assert "originals_unbroken" in bad.flags
    assert "originals_unbroken" not in good.flags


def test_the_floor_is_a_trained_model_and_not_the_majority_class(service, tmp_path):
    data = make_secret_data(flip=0.1, rate=0.6)
    lines = audit(["identity"], service, data, attacks=(READER,), root=tmp_path, preset="tiny")
    majority = np.bincount(data.splits["test"].labels["shape"]).max() / 256
    (line,) = pick(lines, "secret_accuracy", attack="recognition")
    assert majority < 0.65
    assert line.floor > 0.8


def test_an_audit_that_was_interrupted_goes_on_and_trains_nothing_twice(secret_data, service, tmp_path, monkeypatch):
    calls, run = [], Attack.run

    def counted(self, *args):
        calls.append(type(self).__name__)
        if len(calls) == 3:
            raise RunError("killed")
        return run(self, *args)

    monkeypatch.setattr(Attack, "run", counted)
    quick = dataclasses.replace(READER, plan=dataclasses.replace(PLAN, epochs=1))
    asked = {"attacks": (quick, AsIs()), "root": tmp_path, "preset": "tiny"}
    with pytest.raises(RunError):
        audit(["identity", "constant"], service, secret_data, **asked)
    done = [entry.path.name.split("-")[0] for entry in list_runs(tmp_path) if entry.done]
    assert sorted(done) == ["answer", "answer_image", "judge"]
    lines = audit(["identity", "constant"], service, secret_data, **asked)
    cells = 1 + 2 * (4 + 2)  # a ceiling, then for each defence four floors and two attacks
    assert len(calls) == cells + 1
    assert audit(["identity", "constant"], service, secret_data, **asked) == lines
    more = audit(["constant"], service, secret_data, **asked)
    assert len(calls) == cells + 1
    strip = [dataclasses.replace(line, environment={}) for line in lines if line.defence == "constant"]
    assert [dataclasses.replace(line, environment={}) for line in more] == strip


@pytest.mark.parametrize("kind", [Attack, Defence])
def test_what_an_edited_file_did_before_is_not_taken_for_its_own(secret_data, service, tmp_path, monkeypatch, kind):
    def cell():
        subject = Subject(build_defence("identity", {}).setup(), service, secret_data)
        return open_cell(AsIs(), subject, 0, tmp_path).path

    before = cell()
    assert cell() == before
    for user in ("dapter.cells", "dapter.subjects"):
        monkeypatch.setattr(f"{user}.file_digest", lambda plugin: str(isinstance(plugin, kind)))
    edited = cell()
    monkeypatch.undo()
    assert len({before, edited, cell()}) == 2


def test_a_line_names_the_code_that_made_its_cell(secret_data, service, tmp_path, monkeypatch):
    """And not that of the audit which found the cell again."""
    monkeypatch.setattr("dapter.runs.code_version", lambda: "old")
    audit(["identity"], service, secret_data, attacks=[AsIs()], root=tmp_path, preset="tiny")
    monkeypatch.setattr("dapter.runs.code_version", lambda: "new")
    asked = [AsIs(), AsIs(stretch=not AsIs().stretch)]
    lines = audit(["identity"], service, secret_data, attacks=asked, root=tmp_path, preset="tiny")
    made = {line.settings["attack"]["stretch"]: line.code for line in pick(lines, "ssim", attack="as_is")}
    assert made == {AsIs().stretch: "old", not AsIs().stretch: "new"}


def test_several_workers_find_the_same_as_one_and_leave_nothing_behind(trained, service, data, tmp_path):
    data = dataclasses.replace(data, secrets=("shape",), classes=CLASSES, splits=draw_splits())
    plan = Plan(epochs=2, batch_size=16)
    asked = (dataclasses.replace(READER, plan=plan, start="originals"), Reconstruction(width=4, plan=plan), AsIs())
    found = [
        audit([trained, "identity"], service, data, attacks=asked, root=tmp_path / f"{n}", preset="tiny", workers=n)
        for n in (1, 2)
    ]
    one, two = ([line for line in lines if line.measure != "audit_core_minutes"] for lines in found)
    assert len(one) > 50
    assert [(a, b) for a, b in zip(one, two, strict=True) if a != b] == []
    for root in (tmp_path / "1", tmp_path / "2"):
        assert not list(root.glob("audit-*/shared"))


def draw_splits():
    return {
        name: draw(n, 16, place)
        for place, (name, n) in enumerate(zip(("train", "val", "test"), (96, 32, 48), strict=True))
    }


def test_a_trained_defence_is_audited_with_the_necessity_check(trained, service, data, tmp_path):
    quick = Reconstruction("symmetric", "l2", width=4, plan=Plan(epochs=1, batch_size=32, augment=False))
    lines = audit([trained], service, data, attacks=(quick,), root=tmp_path, preset="tiny", source="a test")
    assert {line.secret for line in lines} == {"image", None}
    assert len(pick(lines, "audit_core_minutes", "dapter")) == 1
    (needed,) = pick(lines, "necessity_accuracy", "dapter")
    assert needed.ceiling > 0.9
    assert ("service_not_needed" in needed.flags) == (needed.high >= needed.ceiling)
    assert {line.seed for line in pick(lines, "ssim", "dapter")} == {trained.manifest["seed"]}
    cells = [entry for entry in list_runs(tmp_path / "attacks") if (entry.path / "pictures.npz").exists()]
    with np.load(cells[0].path / "pictures.npz") as pictures:
        assert {name: array.shape for name, array in pictures.items()} == dict.fromkeys(
            ("original", "payload", "restored"), (8, 16, 16, 3)
        )


def test_the_processor_time_of_each_audit_is_told(both_ends):
    floors = 4
    for defence, cells in {"identity": floors + 1 + 3, "constant": floors + 3 + floors + 3}.items():
        (line,) = pick(both_ends, "audit_core_minutes", defence)
        assert 0 < line.value < 5
        assert line.settings["attack"] == {"cells": cells, "seeds": [0]}
        assert line.attack is None


def test_seeds_and_starts_differ(secret_data, service, tmp_path):
    attacks = [
        dataclasses.replace(READER, start=start, share=share) for start, share in (("originals", 1.0), ("scratch", 0.5))
    ]
    lines = audit(["identity"], service, secret_data, attacks=attacks, seeds=2, root=tmp_path, preset="tiny")
    found = pick(lines, "secret_auc", attack="recognition")
    assert len({line.value for line in found}) == 4
    assert [line.settings["attack"]["seed"] for line in found] == [0, 0, 1, 1]
    assert len(pick(lines, LEAK)) == 2
    assert len([entry for entry in list_runs(tmp_path) if entry.path.name.startswith("recogniser")]) == 2


def test_what_cannot_be_audited_is_refused(secret_data, service, data, trained, tmp_path):
    def ask(subjects=("identity",), attacks=("all",), chosen=secret_data, **more):
        audit(subjects, service, chosen, attacks=attacks, root=tmp_path, **more)

    for message, wrong in {
        "something to attack": {"subjects": ()},
        "a seed": {"seeds": 0},
        "1 seed or more": {"seeds": -1},
        "not trained": {"subjects": ("dapter",)},
        "no networks yet": {"subjects": (build_defence("dapter", {}),)},
        "another service or data set": {"subjects": (trained,)},
        "no attack named": {"attacks": ("magic",)},
        "no preset named": {"preset": "huge"},
        "nothing to attack": {"attacks": ("recognition",), "chosen": data},
    }.items():
        with pytest.raises(UsageError, match=message):
            ask(**wrong)
    with pytest.raises(RunError, match="no run folder"):
        ask(subjects=(tmp_path / "nowhere",))
    for settings in ({"share": 0}, {"start": "warm"}):
        with pytest.raises(UsageError, match="Cure"):
            Recognition(**settings)
    with pytest.raises(UsageError, match="l2, ssim"):
        Reconstruction(objective="lpips")


def test_floors_always_run_for_what_is_attacked():
    assert [type(attack) for attack in choose_attacks((READER,), "tiny")] == [AnswerOnly, Recognition]
    assert [type(attack).__name__ for attack in choose_attacks((AsIs(),), "tiny", {"image"})] == ["AnswerImage"] * 3 + [
        "AsIs"
    ]
    assert {attack.goal for attack in choose_attacks(("all",), "tiny")} == {"secrets", "image", "people"}
    assert {attack.goal for attack in choose_attacks(("all",), "tiny", {"image"})} == {"image"}


def test_a_constant_that_leaks_marks_the_attack_everywhere(secret_data, service, tmp_path, monkeypatch):
    """An attack that has learned the test labels by heart reads them from grey, too."""
    learn = Recognition._learn

    def cheat(self, view, seed, run):
        guess = learn(self, view, seed, run)

        def known(observed):
            found = guess(observed)
            if len(found.scores["shape"]) == len(secret_data.splits["test"]):
                found.scores["shape"][:] = np.eye(2)[secret_data.splits["test"].labels["shape"]]
            return found

        return known

    monkeypatch.setattr(Recognition, "_learn", cheat)
    quick = dataclasses.replace(READER, plan=dataclasses.replace(PLAN, epochs=1))
    asked = {"attacks": (quick,), "root": tmp_path, "preset": "tiny"}
    lines = audit(["identity", "constant"], service, secret_data, **asked)
    assert all("constant_not_at_floor" in line.flags for line in pick(lines, "secret_auc", attack="recognition"))
    assert not any("constant_not_at_floor" in line.flags for line in pick(lines, "secret_auc", attack="answer"))
