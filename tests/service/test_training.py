from dataclasses import replace

import pytest
import torch

from dapter.errors import RunError, UsageError
from dapter.service.training import load_trained_service, train_service
from dapter.types import Payload
from helpers import PLAN, make_data, without_labels

ONE = replace(PLAN, epochs=1)


def quick(data, root, plan=ONE, **options):
    return train_service(data, plan, arch="lenet", width=3, root=root, **options)


def test_it_learns_to_answer(data, service):
    test = data.splits["test"]
    found = service.answer(Payload(test.images)).labels()["colour"]
    assert (found == test.labels["colour"]).mean() > 0.9


def test_it_is_frozen_and_normalises_as_its_data(data, service):
    assert service.frozen
    (classifier,) = service.classifiers.values()
    pixels = data.splits["train"].images.reshape(-1, 3) / 255
    assert classifier.mean.flatten().tolist() == pytest.approx(pixels.mean(axis=0).tolist(), abs=1e-5)
    assert classifier.std.flatten().tolist() == pytest.approx(pixels.std(axis=0).tolist(), abs=1e-5)
    assert classifier.classes == data.classes["colour"]


def test_one_classifier_for_each_target(tmp_path):
    run = quick(make_data(("colour", "shape")), tmp_path)
    service = load_trained_service(run.path)
    assert service.targets == ("colour", "shape")
    first, second = (classifier.net.state_dict() for classifier in service.classifiers.values())
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_is_returned_at_once(data, tmp_path, monkeypatch):
    run = quick(data, tmp_path)
    monkeypatch.setattr("dapter.service.training._train", lambda *arguments: pytest.fail("it was trained again"))
    assert quick(data, tmp_path) == run


def test_interrupted_between_targets_it_resumes(tmp_path, monkeypatch):
    data = make_data(("colour", "shape"))
    whole = quick(data, tmp_path / "whole")
    run = quick(data, tmp_path / "cut")
    (run.path / "done").unlink()
    (run.path / "shape.safetensors").unlink()
    kept = (run.path / "colour.safetensors").stat().st_mtime_ns
    assert quick(data, tmp_path / "cut") == run
    assert (run.path / "colour.safetensors").stat().st_mtime_ns == kept
    for name in ("colour", "shape"):
        assert (run.path / f"{name}.safetensors").read_bytes() == (whole.path / f"{name}.safetensors").read_bytes()


def test_the_seed_decides_everything(data, tmp_path):
    digests = [
        load_trained_service(quick(data, tmp_path / name, seed=seed)).digest
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_changed_settings_have_a_folder_of_their_own(data, tmp_path):
    runs = [quick(data, tmp_path), quick(data, tmp_path, seed=1), quick(data, tmp_path, learning_rate=0.01)]
    assert len({run.path for run in runs}) == 3


def test_the_curve_is_kept(service_run):
    curve = (service_run.path / "colour" / "curve.jsonl").read_text()
    assert curve.count('"epoch"') == 15


def test_without_a_target_there_is_nothing_to_train(data, tmp_path):
    with pytest.raises(UsageError, match="Cure"):
        quick(without_labels(data), tmp_path)


def test_what_is_no_service_cannot_be_loaded(trained, tmp_path):
    with pytest.raises(RunError, match="holds a defence"):
        load_trained_service(trained)
    with pytest.raises(RunError, match="no run folder"):
        load_trained_service(tmp_path)


def test_a_loss_that_is_not_finite_ends_it(data, tmp_path):
    with pytest.raises(RunError, match=r"not finite.*Cure"):
        quick(data, tmp_path, PLAN, learning_rate=1e30)
    assert not list(tmp_path.glob("*/*.safetensors"))
