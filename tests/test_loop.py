import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from dapter.batches import augment, batches, to_float
from dapter.data import Split
from dapter.errors import RunError, UsageError
from dapter.loop import CHECKPOINT, Learner, Plan, fit
from dapter.processes import distributed, from_first, is_first
from dapter.runs import Run
from dapter.train import WEIGHTS
from helpers import finish, start_worker
from worker import MOMENTS, fit_linear


class Number(Learner):
    """One weight, drawn to the mean of the labels."""

    def __init__(self, rate=0.5):
        net = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(net.weight)
        super().__init__({"net": net}, {"sgd": torch.optim.SGD(net.parameters(), rate)})
        self.rates = []

    @property
    def value(self):
        return float(self.nets["net"].weight.detach())

    def update(self, batch):
        loss = (self.net("net")(torch.ones(1, 1)) - batch.labels["number"].float()).square().mean()
        self.rates.append(self.optimizers["sgd"].param_groups[0]["lr"])
        self.descend(loss, "sgd")
        return {"loss": float(loss.detach())}


def split_of(n=20):
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3)).astype(np.uint8)
    return Split(images, {"number": np.full(n, 3)})


def fit_number(root, learner=None, validate=None, plan=None, train=None, phases=()):
    learner = learner or Number()
    plan = plan or Plan(epochs=4, batch_size=5, augment=False)
    validate = validate or (lambda: {"loss": abs(learner.value - 3)})
    run = Run(root)
    return learner, fit(learner, learner.update, validate, train or split_of(), plan, run, seed=0, phases=phases)


def test_learns_and_reports_a_curve(tmp_path):
    learner, curve = fit_number(tmp_path, plan=Plan(epochs=4, batch_size=5, augment=False, ema=0.5))
    assert abs(learner.value - 3) < 0.2
    assert [point["step"] for point in curve if "loss" in point] == list(range(1, 17))
    assert [point["epoch"] for point in curve if "epoch" in point] == [1, 2, 3, 4]
    assert all("val_loss" in point for point in curve if "epoch" in point)
    assert not learner.nets.training


def test_learning_rate_rises_then_falls(tmp_path):
    learner, _ = fit_number(tmp_path, plan=Plan(epochs=10, batch_size=5, augment=False))
    assert learner.rates[:2] == pytest.approx([0.25, 0.5])
    assert learner.rates[2:] == sorted(learner.rates[2:], reverse=True)
    assert learner.rates[-1] < 0.01


def test_in_every_phase_the_learning_rate_rises_then_falls(tmp_path):
    """A phase that began low on the first one's curve would hardly learn."""
    learner, _ = fit_number(tmp_path, plan=Plan(epochs=10, batch_size=5, augment=False), phases=(0.5,))
    for phase in (learner.rates[:20], learner.rates[20:]):
        assert phase[0] == 0.5
        assert phase == sorted(phase, reverse=True)
        assert phase[-1] < 0.02


def test_the_average_is_measured_and_kept(tmp_path):
    learner, _ = fit_number(tmp_path / "last", plan=Plan(epochs=1, batch_size=5, ema=0.0, augment=False))
    averaged, _ = fit_number(tmp_path / "mean", plan=Plan(epochs=1, batch_size=5, ema=0.9, augment=False))
    assert averaged.value < learner.value  # it lags behind


def test_weights_of_the_best_epoch_are_kept(tmp_path):
    seen = []

    def validate():
        seen.append(learner.value)
        return {"loss": [5.0, 1.0, 2.0, 3.0][len(seen) - 1]}

    learner = Number()
    fit_number(tmp_path, learner, validate)
    assert learner.value == seen[1] != seen[3]


def test_the_last_epoch_is_kept_if_wanted_and_nothing_stops_early(tmp_path):
    seen = []

    def validate():
        seen.append(learner.value)
        return {"loss": [5.0, 1.0, 2.0, 3.0][len(seen) - 1]}

    learner, plan = Number(), Plan(epochs=4, batch_size=5, augment=False, patience=1)
    fit(learner, learner.update, validate, split_of(), plan, Run(tmp_path), seed=0, keep_last=True)
    assert learner.value == seen[3] != seen[1]


def test_stops_early_after_patience(tmp_path):
    losses = iter([5.0, 4.0, 6.0, 6.0, 1.0, 1.0])
    plan = Plan(epochs=6, batch_size=5, patience=2)
    _, curve = fit_number(tmp_path, validate=lambda: {"loss": next(losses)}, plan=plan)
    assert [point["val_loss"] for point in curve if "epoch" in point] == [5.0, 4.0, 6.0, 6.0]


def test_an_early_stop_stays_stopped(tmp_path):
    plan = Plan(epochs=6, batch_size=5, patience=1)
    losses = iter([1.0, 2.0])
    first, curve = fit_number(tmp_path, validate=lambda: {"loss": next(losses)}, plan=plan)
    again, same = fit_number(tmp_path, validate=lambda: {"loss": next(losses)}, plan=plan)
    assert (again.value, same) == (first.value, curve)


def test_a_loss_that_is_not_finite_ends_it(tmp_path):
    learner = Number()
    learner.update = lambda batch: {"loss": 1.0, "part": float("nan")}
    with pytest.raises(RunError, match=r"step 0.*not finite.*Cure"):
        fit_number(tmp_path, learner)


def test_validation_that_is_never_finite_ends_it(tmp_path):
    with pytest.raises(RunError, match=r"validation loss is not finite.*Cure"):
        fit_number(tmp_path, validate=lambda: {"loss": float("nan")})


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(
    "damage",
    [
        lambda good: b"",
        lambda good: b"not a checkpoint",
        lambda good: good[: len(good) // 2],
        lambda good: good[:300] + bytes(len(good) - 300),
        lambda good: pickle.dumps({"step": 1}),
    ],
)
def test_damaged_checkpoint_names_the_cure(tmp_path, damage):
    fit_number(tmp_path)
    path = tmp_path / CHECKPOINT
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunError, match=r"checkpoint.*Cure: delete it"):
        fit_number(tmp_path)


@pytest.mark.parametrize("state", [{}, {"nets": {}}, [1, 2]])
def test_a_checkpoint_of_something_else_names_the_cure(tmp_path, state):
    torch.save(state, tmp_path / CHECKPOINT)
    with pytest.raises(RunError, match="Cure: delete it"):
        fit_number(tmp_path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"nets": Evil()}, tmp_path / CHECKPOINT)
    with pytest.raises(RunError):
        fit_number(tmp_path)
    assert not (tmp_path / "pwned").exists()


def test_each_epoch_takes_the_next_version(tmp_path):
    seen = []

    class Watching(Number):
        def update(self, batch):
            seen.append(set(batch.labels["number"].tolist()))
            return super().update(batch)

    versions = [Split(split_of().images, {"number": np.full(20, number)}) for number in (1, 2, 3)]
    fit_number(tmp_path, Watching(), train=versions)
    assert seen == [{1}] * 4 + [{2}] * 4 + [{3}] * 4 + [{1}] * 4


def test_fewer_images_than_a_batch_still_train(tmp_path):
    learner, curve = fit_number(tmp_path, plan=Plan(epochs=3, batch_size=128), train=split_of(4))
    assert learner.value > 0
    assert curve[-1]["step"] == 3


@pytest.mark.parametrize(
    "settings", [{"epochs": 0}, {"batch_size": 0}, {"ema": 1.0}, {"ema": -0.1}, {"patience": 0}, {"patience": -3}]
)
def test_plan_refuses_what_cannot_work(settings):
    with pytest.raises(UsageError):
        Plan(**settings)


def test_augment_shifts_and_mirrors_real_pixels():
    image = torch.arange(16 * 16, dtype=torch.float32).view(1, 1, 16, 16).expand(200, 3, 16, 16)
    torch.manual_seed(0)
    found = augment(image, mirror=True)
    assert found.shape == image.shape
    steps = found[:, 0, 8, 8] - found[:, 0, 8, 7]
    assert set(steps.tolist()) == {1.0, -1.0}  # as it was, or mirrored
    downward = found[:, 0, 9, 8] - found[:, 0, 8, 8]
    assert set(downward.tolist()) == {16.0}  # never upside down
    centre = found[:, 0, 8, 8]
    row = centre // 16
    assert set(row.tolist()) == {6.0, 7.0, 8.0, 9.0, 10.0}


def test_augment_without_mirror_never_mirrors():
    image = torch.arange(16.0).view(1, 1, 1, 16).expand(100, 3, 16, 16)
    found = augment(image, mirror=False)
    assert (found[..., 8] - found[..., 7] == 1).all()


def test_augment_leaves_images_too_small_to_shift():
    image = torch.rand(4, 3, 7, 7)
    assert torch.equal(augment(image, mirror=False), image)


def test_batches_give_the_whole_split_in_order():
    split = split_of(7)
    found = list(batches(split, 3, torch.device("cpu")))
    assert [len(batch.images) for batch in found] == [3, 3, 1]
    back = (torch.cat([batch.images for batch in found]) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    assert np.array_equal(back.numpy(), split.images)
    assert torch.cat([batch.labels["number"] for batch in found]).tolist() == [3] * 7


def test_to_float_is_in_the_unit_range():
    images = np.array([[[[0, 128, 255]]]], np.uint8)
    assert to_float(images, torch.device("cpu")).flatten().tolist() == pytest.approx([0, 128 / 255, 1])


def test_alone_nothing_is_distributed(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with distributed():
        assert is_first()
        assert from_first(lambda: 7) == 7
        assert not torch.distributed.is_initialized()


def files_of(root):
    (folder,) = root.iterdir()
    return {name: (folder / name).read_bytes() for name in (WEIGHTS, "curve.jsonl")}


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The results of `worker.job_killed`."""
    root = tmp_path_factory.mktemp("killed")
    finish(start_worker("killed", root))
    return root


@pytest.mark.parametrize("moment", [*MOMENTS, "random"])
def test_killed_at_any_moment_it_ends_with_the_same_bytes(killed, moment):
    assert files_of(killed / moment) == files_of(killed / "whole")


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What each of two processes saw and did in `worker.job_together`."""
    root = tmp_path_factory.mktemp("together")
    finish(start_worker("together", root, processes=2))
    return [json.loads((root / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_of_two_processes_one_writes(together):
    first, second = together
    assert {WEIGHTS, "curve.jsonl", "done", CHECKPOINT} <= set(first["written"])
    assert second["written"] == []
    assert first["run"] == second["run"]


def test_two_processes_have_the_same_weights_in_every_step(together):
    first, second = together
    assert len(first["states"]) == 18
    assert first["states"] == second["states"]
    assert first["weights"] == second["weights"]
    assert first["linear"] == second["linear"]
    assert np.isfinite(np.concatenate(first["weights"])).all()


def test_two_processes_end_with_the_same_defence(tmp_path):
    """Of stamps, of components that follow the features, of networks of which a part is locked on the way."""
    finish(start_worker("defences", tmp_path, processes=2))
    one, other = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert {name.split(":")[0] for name in one} == {"Budget", "Hybrid", "Partition"}
    assert one == other


def test_two_processes_agree_on_what_they_measure(together):
    first, second = together
    assert first["scores"] == second["scores"]
    assert [point["val_loss"] for point in second["curve"] if "epoch" in point] == [1.0, 1.0]
    assert first["same_run"]
    assert second["same_run"]
    assert first["frozen"]
    assert second["frozen"]


def test_two_processes_do_what_one_does(together, tmp_path):
    """They share each batch, and average their gradients: without batch normalisation the result is the same."""
    alone, _ = fit_linear(tmp_path)
    for whole, left, right in zip(alone.seen, together[0]["seen"], together[1]["seen"], strict=True):
        assert sorted(whole) == sorted(left + right)
        assert len(left) == len(right) == 4
    for one, two in zip(alone.states, together[0]["linear"], strict=True):
        assert np.allclose(np.concatenate(one), np.concatenate(two), atol=1e-4)


class Norms(Learner):
    """A batch normalisation that every batch passes, one that none does, and one that is kept as it is."""

    def __init__(self):
        nets = {name: nn.BatchNorm2d(3) for name in ("used", "idle", "kept")}
        nn.init.constant_(nets["kept"].running_mean, 0.5)
        super().__init__(nets, {"sgd": torch.optim.SGD(nets["used"].parameters(), 0.0)})

    def update(self, batch):
        loss = self.net("used")(batch.images).mean()
        self.descend(loss, "sgd")
        return {"loss": float(loss.detach())}


def test_statistics_of_batch_normalisation_are_measured_anew_where_asked(tmp_path):
    """Averaged over a few steps they would still be near 0, and the network answers as it never did in training."""
    train, learner = split_of(), Norms()
    plan = Plan(epochs=1, batch_size=5, augment=False)
    seen = []

    def validate():
        seen.append(learner.nets["used"].running_mean.clone())
        return {"loss": 0.0}

    def settle(batch):
        learner.nets["used"](learner.nets["kept"].eval()(batch.images))

    fit(learner, learner.update, validate, train, plan, Run(tmp_path), seed=0, settle=settle)
    used, idle, kept = (learner.nets[name] for name in ("used", "idle", "kept"))
    mean = torch.from_numpy(train.images / 255).float().mean(dim=(0, 1, 2)) - 0.5
    assert torch.allclose(used.running_mean, mean, atol=1e-4)
    assert torch.equal(seen[0], used.running_mean)
    assert torch.equal(idle.running_mean, torch.zeros(3))
    assert torch.equal(idle.running_var, torch.ones(3))
    assert torch.equal(kept.running_mean, torch.full((3,), 0.5))
    assert used.momentum == idle.momentum == kept.momentum == 0.1
