"""The one training loop: services, defences and attackers are all trained by `fit`.

Everything random in step t is drawn from (seed, t), so a run that was killed and resumed ends with the same bytes
as one that was not. Several processes (`python -m torch.distributed.run`, see `processes`) share each batch.
"""

import contextlib
import io
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from dapter.batches import Batch, augment, to_float
from dapter.data import Split
from dapter.errors import RunError, UsageError
from dapter.norms import measure_norms
from dapter.processes import from_first
from dapter.runs import Run, derive_seed, write_atomic

CHECKPOINT = "checkpoint.pt"
CURVE = "curve.jsonl"
LOG_POINTS = 200
"""About how many points the training curve of a run has."""
SETTLING = 32
"""Batches over which statistics of batch normalisation are measured anew."""


@dataclass(frozen=True)
class Plan:
    """How long and how to train.

    Attributes:
        epochs: passes over the training split.
        batch_size: images a step, over all processes.
        ema: decay of the running average of the weights, which is what is kept; 0 keeps the weights themselves.
        patience: stop after this many epochs without a better validation loss; None never stops early.
        bfloat16: compute in bfloat16 where that is safe (autocast) and channels last.
        augment: random shifts by an eighth and, where the data set allows it, mirroring.
        checkpoint_seconds: at most this much work is lost when the run is killed.
    """

    epochs: int = 10
    batch_size: int = 128
    ema: float = 0.99
    patience: int | None = None
    bfloat16: bool = True
    augment: bool = True
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1:
            raise UsageError(f"epochs ({self.epochs}) and batch size ({self.batch_size}) must be at least 1")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema {self.ema} must be in [0, 1)")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience {self.patience} must be at least 1. Cure: None never stops early")

    def record(self) -> dict[str, Any]:
        """What the result depends on, as JSON values: all but how often it is saved."""
        return {name: value for name, value in asdict(self).items() if name != "checkpoint_seconds"}


class Learner:
    """Something that is trained: networks and their optimizers, and how to step them.

    Attributes:
        nets: all trained networks; this is what is averaged, saved and loaded.
        optimizers: by name; the loop sets their learning rates.
    """

    def __init__(self, nets: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer]) -> None:
        self.nets = nn.ModuleDict(nets)
        self.optimizers = dict(optimizers)
        self.bfloat16 = False
        self._parallel: dict[str, DistributedDataParallel] = {}

    @property
    def device(self) -> torch.device:
        """Where the networks are; the CPU if they have no parameters."""
        return next((value.device for value in self.nets.parameters()), torch.device("cpu"))

    def net(self, name: str) -> nn.Module:
        """The network to call in a training step: it averages gradients over all processes."""
        if dist.is_initialized() and self.nets.training:
            if name not in self._parallel:
                self._parallel[name] = DistributedDataParallel(self.nets[name])
            return self._parallel[name]
        return self.nets[name]

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Compute in bfloat16 where that is safe, if the plan says so."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16)

    def descend(self, loss: Tensor, optimizer: str) -> None:
        """One step of one optimizer down that loss."""
        chosen = self.optimizers[optimizer]
        chosen.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        chosen.step()


def fit(
    learner: Learner,
    update: Callable[[Batch], Mapping[str, float]],
    validate: Callable[[], Mapping[str, float]],
    train: Split | Sequence[Split],
    plan: Plan,
    run: Run,
    seed: int,
    mirror: bool = True,
    keep_last: bool = False,
    phases: Sequence[float] = (),
    settle: Callable[[Batch], object] | None = None,
) -> list[dict[str, Any]]:
    """Train until the plan is done, resuming from the run's checkpoint if there is one.

    At the end the learner holds the weights with the best validation loss, or the last ones.

    Args:
        update: one training step on a batch; gives named losses.
        validate: measures the learner as it is; must give `loss`, the smaller the better.
        train: the images to train on; or several versions of them, of which each epoch takes the next.
        seed: of everything random.
        mirror: whether a mirrored image keeps its labels.
        keep_last: whether the last epoch is kept, whichever is best; then nothing stops early.
        phases: where further phases begin, as shares of the training, rising: the learning rates start anew there.
        settle: a forward pass of a batch, by which the statistics of batch normalisation are measured anew for the
            averaged weights (Izmailov et al., UAI 2018). None: they are averaged too, which lags behind weights that
            move fast.

    Returns:
        The training curve: a dictionary a point, with `step`, and `epoch` where it is a validation.

    Raises:
        UsageError: more processes than images in a batch.
        RunError: the checkpoint is damaged, or a loss is not finite.
    """
    versions = (train,) if isinstance(train, Split) else tuple(train)
    return _Fit(learner, update, validate, versions, plan, run, seed, mirror, keep_last, phases, settle).run_out()


@dataclass
class _Fit:
    """The state of one call of `fit`; its arguments first."""

    learner: Learner
    update: Callable[[Batch], Mapping[str, float]]
    validate: Callable[[], Mapping[str, float]]
    versions: Sequence[Split]
    plan: Plan
    run: Run
    seed: int
    mirror: bool
    keep_last: bool
    phases: Sequence[float]
    settle: Callable[[Batch], object] | None

    def __post_init__(self) -> None:
        learner, plan, train = self.learner, self.plan, self.versions[0]
        self.rank, self.world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        if self.world > min(plan.batch_size, len(train)):
            few = min(plan.batch_size, len(train))
            raise UsageError(f"{self.world} processes cannot share {few} images a step. Cure: fewer processes")
        self.steps_an_epoch = max(1, len(train) // plan.batch_size)
        self.total = self.steps_an_epoch * plan.epochs
        self.starts = [0, *(math.ceil(share * self.total) for share in self.phases), self.total]
        self.rates = {
            name: [group["lr"] for group in optimizer.param_groups] for name, optimizer in learner.optimizers.items()
        }
        learner.bfloat16 = plan.bfloat16
        learner.nets.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.step = self.began = 0
        self.started = 0.0
        self.order: np.ndarray | None = None
        self.average = _copy(learner.nets.state_dict())
        self.best: dict[str, Tensor] = {}
        self.best_loss = float("inf")
        self.bad_epochs = 0
        self.history: list[dict[str, Any]] = []

    def run_out(self) -> list[dict[str, Any]]:
        """Train until the plan is done; gives the training curve."""
        self._restore()
        saved = self.started = time.monotonic()
        self.began = self.step
        with tqdm(total=self.total, initial=self.step, unit="step", disable=None if self.rank == 0 else True) as bar:
            while self.step < self.total and not self._stopped():
                losses = self._train_step()
                bar.update()
                bar.set_postfix(losses, refresh=False)
                if self.step % self.steps_an_epoch == 0:
                    self._end_epoch()
                if self.step % self.steps_an_epoch == 0 or time.monotonic() - saved > self.plan.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
        self.learner.nets.load_state_dict(self.best)
        self.learner.nets.eval()
        return self.history

    def _stopped(self) -> bool:
        return self.plan.patience is not None and self.bad_epochs >= self.plan.patience

    def _train_step(self) -> Mapping[str, float]:
        self.learner.nets.train()
        for name, optimizer in self.learner.optimizers.items():
            for group, rate in zip(optimizer.param_groups, self.rates[name], strict=True):
                group["lr"] = rate * _schedule(self.step, self.starts)
        torch.manual_seed(derive_seed(self.seed, "step", self.step, self.rank))
        losses = self.update(self._batch())
        if not all(np.isfinite(value) for value in losses.values()):
            raise RunError(f"step {self.step}: a loss is not finite {dict(losses)}. Cure: a smaller learning rate")
        self.step += 1
        self._update_average()
        if self.step % max(1, self.total // LOG_POINTS) == 0:
            self.history.append({"step": self.step, **losses})
        return losses

    def _batch(self) -> Batch:
        """This process's share of the batch of this step."""
        epoch, position = divmod(self.step, self.steps_an_epoch)
        if self.order is None or position == 0:
            self.order = np.random.default_rng(derive_seed(self.seed, "epoch", epoch)).permutation(len(self.train))
        return self._take(
            self.order[position * self.plan.batch_size :][: self.plan.batch_size][self.rank :: self.world]
        )

    @property
    def train(self) -> Split:
        """The images of this epoch."""
        return self.versions[self.step // self.steps_an_epoch % len(self.versions)]

    def _take(self, rows: np.ndarray) -> Batch:
        """Those training images, varied."""
        device = self.learner.device
        images = to_float(self.train.images[rows], device)
        if self.plan.augment:
            images = augment(images, self.mirror)
        labels = {name: torch.from_numpy(values[rows]).to(device) for name, values in self.train.labels.items()}
        return Batch(images, labels, self.step / self.total)

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.plan.ema, self.step / (self.step + 10))
        for name, value in self.learner.nets.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _end_epoch(self) -> None:
        """Measure the averaged weights, and keep them if they are the best so far or the last are wanted."""
        if self.world > 1:  # statistics of batch normalisation are each process's own
            for name, _ in self.learner.nets.named_buffers():
                dist.broadcast(self.average[name], src=0)
        current = _copy(self.learner.nets.state_dict())
        self.learner.nets.load_state_dict(self.average)
        self.learner.nets.eval()
        if self.settle is not None:
            measure_norms(self.learner.nets, self.settle, self._settling())
        averaged = _copy(self.learner.nets.state_dict())
        scores = from_first(lambda: dict(self.validate()))
        self.learner.nets.load_state_dict(current)
        if not np.isfinite(scores["loss"]):
            raise RunError(f"step {self.step}: the validation loss is not finite. Cure: a smaller learning rate")
        if self.keep_last or scores["loss"] < self.best_loss:
            self.best_loss, self.best, self.bad_epochs = scores["loss"], averaged, 0
        else:
            self.bad_epochs += 1
        epoch = self.step // self.steps_an_epoch
        self.history.append(
            {"step": self.step, "epoch": epoch, **{f"val_{name}": value for name, value in scores.items()}}
        )
        if self.rank == 0:
            shown = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
            left = (time.monotonic() - self.started) / (self.step - self.began) * (self.total - self.step)
            tqdm.write(f"{self.run.path.name}: epoch {epoch}/{self.plan.epochs}, {left:.0f} s left, validation {shown}")

    def _settling(self) -> Iterator[Batch]:
        """Training images to measure statistics by, the same ones in every process."""
        seed = derive_seed(self.seed, "settle", self.step)
        torch.manual_seed(seed)
        order = np.random.default_rng(seed).permutation(len(self.train))
        for place in range(min(SETTLING, self.steps_an_epoch)):
            yield self._take(order[place * self.plan.batch_size :][: self.plan.batch_size])

    def _save(self) -> None:
        if self.rank != 0:
            return
        state = {
            "step": self.step,
            "nets": self.learner.nets.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.learner.optimizers.items()},
            "average": self.average,
            "best": self.best,
            "best_loss": self.best_loss,
            "bad_epochs": self.bad_epochs,
            "history": self.history,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self.run.path / CHECKPOINT, buffer.getvalue())

    def _restore(self) -> None:
        path = self.run.path / CHECKPOINT
        if not path.exists():
            return
        try:
            state = torch.load(path, map_location=self.learner.device, weights_only=True)
            self.learner.nets.load_state_dict(state["nets"])
            for name, optimizer in self.learner.optimizers.items():
                optimizer.load_state_dict(state["optimizers"][name])
            self.step, self.history = state["step"], state["history"]
            self.average, self.best = state["average"], state["best"]
            self.best_loss, self.bad_epochs = state["best_loss"], state["bad_epochs"]
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError) as error:
            found = type(error).__name__  # torch's own words recommend loading code from it
            raise RunError(f"{path} cannot be read ({found}). Cure: delete it, the run starts again") from error


def _copy(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in state.items()}


def _schedule(step: int, starts: Sequence[int]) -> float:
    """Share of the learning rate: in every phase up over its first twentieth, then down a half cosine.

    Args:
        starts: the first step of every phase, and how many steps there are.
    """
    first, end = next((first, end) for first, end in pairwise(starts) if step < end)
    done, total = step - first, end - first
    warm = max(1, total // 20)
    if done < warm:
        return (done + 1) / warm
    return 0.5 * (1 + float(np.cos(np.pi * (done - warm) / max(1, total - warm))))
