import os
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dapter.defences import build_defence
from dapter.defences.dapter import Dapter
from dapter.errors import ConversionError, RunError, UsageError
from dapter.loop import CHECKPOINT
from dapter.runs import Run
from dapter.train import WEIGHTS, load_defence, train, warm_start
from helpers import PLAN, make_data, make_service, without_labels

ONE = replace(PLAN, epochs=1)


def weights(run):
    return load_file(run.path / WEIGHTS)


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_finished_run_holds_all_that_is_needed(trained, data, service):
    assert trained.done
    assert trained.manifest["kind"] == "defence"
    assert trained.manifest["settings"]["lam"] == 0.9
    assert trained.manifest["service"] == service.digest
    assert trained.manifest["data"]["digest"] == data.digest
    curve = trained.read_lines("curve.jsonl")
    assert [point["epoch"] for point in curve if "epoch" in point] == [1, 2, 3]
    assert {"loss", "eta", "accuracy", "step"} <= set(curve[0])


def test_training_learns_and_leaves_the_service_alone(trained, service):
    validations = [point["val_loss"] for point in trained.read_lines("curve.jsonl") if "epoch" in point]
    assert validations[-1] < validations[0]
    assert service.frozen
    assert service.digest == trained.manifest["service"]


def test_the_best_epochs_weights_are_kept(data, service, trained):
    from dapter.train import _validate

    validations = [point["val_loss"] for point in trained.read_lines("curve.jsonl") if "epoch" in point]
    found = _validate(load_defence(trained), service, data, 16)["loss"]
    assert found == pytest.approx(min(validations), rel=1e-4)


def test_training_keeps_the_answer_where_only_it_counts(data, service, tmp_path):
    run = train(Dapter(lam=0.0, width=4), service, data, replace(PLAN, epochs=12), root=tmp_path)
    test = data.splits["test"]
    answer = service.answer(load_defence(run).protect(test.images)).labels()["colour"]
    assert (answer == test.labels["colour"]).mean() > 0.9


def test_a_finished_run_is_returned_at_once(data, service, tmp_path, monkeypatch):
    first = train(Dapter(width=4), service, data, ONE, root=tmp_path)
    monkeypatch.setattr("dapter.loop._Fit.__call__", lambda self: pytest.fail("it was trained again"))
    defence = Dapter(width=4)
    again = train(defence, service, data, ONE, root=tmp_path)
    assert again == first
    assert same(defence.learner.nets.state_dict(), {f"{name}": value for name, value in weights(first).items()})


def test_every_setting_has_a_folder_of_its_own(data, service, tmp_path):
    def folder(defence=None, plan=ONE, **options):
        return train(defence or Dapter(width=4), service, data, plan, root=tmp_path, **options)

    runs = [folder(), folder(Dapter(width=4, lam=0.8)), folder(plan=replace(ONE, batch_size=32)), folder(seed=1)]
    runs.append(folder(start=runs[0]))
    assert len({run.path for run in runs}) == 5
    assert folder() == runs[0]
    assert train(Dapter(width=4), make_service(), data, ONE, root=tmp_path).path not in {run.path for run in runs}


def test_the_seed_decides_everything(data, service, tmp_path):
    first, again = (train(Dapter(width=4), service, data, ONE, root=tmp_path / name) for name in "ab")
    other = train(Dapter(width=4), service, data, ONE, seed=1, root=tmp_path)
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))


def test_bfloat16_trains_too(data, service, tmp_path):
    run = train(Dapter(width=4), service, data, replace(ONE, bfloat16=True), root=tmp_path)
    assert all(value.isfinite().all() for value in weights(run).values())


def test_a_conditioned_converter_trains_and_loads(data, service, tmp_path):
    defence = Dapter(width=4, lam=0.5, lam_range=(0.2, 0.9))
    run = train(defence, service, data, ONE, root=tmp_path)
    loaded = load_defence(run)
    assert loaded.lam_range == (0.2, 0.9)
    images = data.splits["test"].images
    assert np.array_equal(loaded.protect(images).pixels, defence.protect(images).pixels)


def test_several_classifiers_are_trained_against(tmp_path):
    data = make_data(("colour", "shape"))
    service = make_service("colour", "shape")
    run = train(Dapter(width=4), service, data, ONE, root=tmp_path)
    assert "colour+shape" in run.path.name


def test_without_labels_the_services_answers_do(data, service, tmp_path):
    bare = without_labels(data)
    run = train(Dapter(width=4, labels="service"), service, bare, ONE, root=tmp_path)
    assert run.done
    with pytest.raises(UsageError, match="labels='service'"):
        train(Dapter(width=4), service, bare, ONE, root=tmp_path)


def test_a_warm_start_takes_the_others_weights(data, service, trained):
    defence = Dapter(width=4, lam=0.5).setup(7)
    warm_start(defence, trained)
    assert same(weights(trained), defence.learner.nets.state_dict())


def test_training_from_a_warm_start_begins_there(data, service, trained, tmp_path, monkeypatch):
    begun = []
    update = Dapter.update

    def noted(self, batch, service):
        begun.append({name: value.clone() for name, value in self.learner.nets.state_dict().items()})
        return update(self, batch, service)

    monkeypatch.setattr(Dapter, "update", noted)
    run = train(Dapter(width=4, lam=0.5), service, data, ONE, root=tmp_path, start=trained)
    assert same(weights(trained), begun[0])
    assert run.manifest["start"] == trained.path.name


@pytest.mark.parametrize(
    "defence", [Dapter(width=5), Dapter(width=4, net="fast"), Dapter(width=4, lam_range=(0.1, 0.95))]
)
def test_a_warm_start_that_does_not_fit_is_refused(data, service, trained, tmp_path, defence):
    with pytest.raises(UsageError, match=r"cannot start.*Cure"):
        train(defence, service, data, ONE, root=tmp_path, start=trained)


def test_a_warm_start_must_be_finished(data, service, tmp_path):
    open_run = Run.open(tmp_path, "open", {"kind": "defence"})
    with pytest.raises(RunError, match="not finished"):
        train(Dapter(width=4), service, data, ONE, root=tmp_path, start=open_run)


def test_another_target_is_refused(data, tmp_path):
    with pytest.raises(UsageError, match=r"answers.*Cure"):
        train(Dapter(width=4), make_service("shape"), data, ONE, root=tmp_path)


def test_another_number_of_classes_is_refused(data, service, tmp_path):
    more = replace(data, classes={"colour": ("red", "blue", "green")})
    with pytest.raises(UsageError, match=r"2 classes of colour.*3.*Cure"):
        train(Dapter(width=4), service, more, ONE, root=tmp_path)


def test_the_same_classes_in_another_order_are_refused(data, service, tmp_path):
    turned = replace(data, classes={"colour": ("blue", "red")})
    with pytest.raises(UsageError, match=r"class 0 of colour is red to the service, blue to the data.*Cure"):
        train(Dapter(width=4), service, turned, ONE, root=tmp_path)
    other = replace(data, classes={"colour": ("warm", "red")})
    train(Dapter(width=4), service, other, ONE, root=tmp_path)


class Draws(Dapter):
    """Draws noise and does not say so."""

    def client(self):
        net = super().client()
        return lambda images: (net(images) + 0.1 * torch.randn_like(images)).clamp(0, 1)


class Shrinks(Dapter):
    """Gives smaller images."""

    def client(self):
        net = super().client()
        return lambda images: net(images)[..., ::2]


class Levels(Dapter):
    """Gives the levels of an 8-bit image."""

    def client(self):
        net = super().client()
        return lambda images: 255 * net(images)


class Bytes(Levels):
    """Gives them as bytes: times 255 again, they would be those of another image."""

    def client(self):
        levels = super().client()
        return lambda images: levels(images).byte()


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (Draws, "random = True"),
        (Shrinks, "changed the shape"),
        (Levels, "has 0 to 1.*Cure"),
        (Bytes, "uint8, not floats.*Cure"),
    ],
)
def test_what_cannot_be_sent_fails_before_it_is_trained(data, service, tmp_path, monkeypatch, kind, fault):
    monkeypatch.setattr(sys.modules[train.__module__], "fit", lambda *a, **b: pytest.fail("it was trained"))
    with pytest.raises(ConversionError, match=fault):
        train(kind(width=4), service, data, ONE, root=tmp_path)


def test_a_run_is_of_the_file_that_defines_the_defence(data, service, tmp_path, monkeypatch):
    """An edited plug-in must not be taken for what it was before."""
    before = train(build_defence("identity", {}), service, data, ONE, root=tmp_path)
    monkeypatch.setattr(sys.modules[train.__module__], "file_digest", lambda plugin: "edited")
    assert train(build_defence("identity", {}), service, data, ONE, root=tmp_path).path != before.path


def test_losses_that_break_down_leave_no_weights(data, service, tmp_path):
    with pytest.raises(RunError, match=r"not finite.*Cure"):
        train(Dapter(width=4, learning_rate=1e30), service, data, PLAN, root=tmp_path)
    assert not list(tmp_path.glob(f"*/{WEIGHTS}"))
    assert not list(tmp_path.glob("*/done"))


def test_a_damaged_checkpoint_or_weights_name_the_cure(data, service, tmp_path):
    run = train(Dapter(width=4), service, data, ONE, root=tmp_path)
    (run.path / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"weights.*Cure"):
        train(Dapter(width=4), service, data, ONE, root=tmp_path)
    with pytest.raises(RunError, match=r"weights.*Cure"):
        load_defence(run)
    (run.path / "done").unlink()
    (run.path / CHECKPOINT).write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"checkpoint.*Cure: delete it"):
        train(Dapter(width=4), service, data, ONE, root=tmp_path)


def test_what_is_no_finished_defence_cannot_be_loaded(service_run, tmp_path):
    with pytest.raises(RunError, match="holds a service"):
        load_defence(service_run)
    with pytest.raises(RunError, match="no run folder"):
        load_defence(tmp_path)


def test_a_second_process_waits_for_the_first(tmp_path):
    """A run folder belongs to one process at a time."""
    run = Run.open(tmp_path, "run", {})
    with run.lock():
        child = os.fork()
        if child == 0:
            with run.lock():
                (tmp_path / "entered").touch()
            os._exit(0)
        time.sleep(0.2)
        assert not (tmp_path / "entered").exists()
    os.waitpid(child, 0)
    assert (tmp_path / "entered").exists()


def test_many_processes_must_not_be_more_than_images(data, service, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.get_rank", lambda: 0)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 17)
    monkeypatch.setattr("torch.distributed.broadcast_object_list", lambda box, src: None)
    with pytest.raises(UsageError, match="17 processes"):
        train(Dapter(width=4), service, data, ONE, root=tmp_path)
