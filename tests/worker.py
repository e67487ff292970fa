"""What a test runs in processes of its own: `python worker.py JOB ROOT`."""

import importlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import distributed as dist
from torch import nn

from dapter import loop, runs
from dapter.data import Split
from dapter.defences.budget import Budget
from dapter.defences.dapter import Dapter
from dapter.defences.hybrid import Hybrid
from dapter.defences.partition import Partition
from dapter.loop import Learner, Plan, fit
from dapter.processes import distributed
from dapter.runs import Run
from dapter.service import training
from helpers import PLAN, make_data, make_service

train = importlib.import_module("dapter.train")  # `from dapter import train` may be the function
tune = importlib.import_module("dapter.tune")
SAVED = Plan(epochs=2, batch_size=8, checkpoint_seconds=0.0)
MOMENTS = (
    "step:5",
    "step:24",
    "checkpoint.pt:2",
    "checkpoint.pt:24",
    "curve.jsonl:1",
    "weights.safetensors:1",
    "done:1",
)
"""SIGKILL in steps, between a checkpoint and its place, after the last one, before and after the weights."""


def kill_at(moment):
    """Die in the step of that number, or just before a file of that name is put in its place for the nth time."""
    name, _, count = moment.partition(":")
    seen = 0

    def counted(original):
        def call(self, *arguments):
            nonlocal seen
            if name in ("step", Path(str(arguments[0])).name if arguments else ""):
                seen += 1
                if seen == int(count):
                    os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *arguments)

        return call

    if name == "step":
        loop._Fit._train_step = counted(loop._Fit._train_step)
    else:
        Path.replace = counted(Path.replace)


def train_in_child(root, moment=None, seconds=None):
    """Train in a child process, which dies at a moment or after some seconds; gives its exit code."""
    child = os.fork()
    if child == 0:
        if moment:
            kill_at(moment)
        train.train(Dapter(width=4), make_service(), make_data(), SAVED, root=root)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def job_killed(root):
    """Trainings that are killed at each of MOMENTS, and one that is killed again and again at random ones."""
    Dapter(width=4).setup()  # so that what torch imports late is imported once
    started = time.monotonic()
    assert train_in_child(root / "whole") == 0
    length = time.monotonic() - started
    for moment in MOMENTS:
        assert train_in_child(root / moment, moment) == -signal.SIGKILL, moment
        assert not list((root / moment).glob("*/done"))
        assert train_in_child(root / moment) == 0
    for _ in range(4):
        train_in_child(root / "random", seconds=random.uniform(0, length))
    assert train_in_child(root / "random") == 0


def job_sweep(root):
    """Share a sweep, and say which λ this process trained."""
    trained = []
    original = train._train

    def noted(defence, *arguments):
        trained.append(defence.lam)
        return original(defence, *arguments)

    train._train = noted
    found = tune.sweep(Dapter(width=4), make_service(), make_data(), PLAN, values=(0.5, 0.6, 0.7), root=root)
    print(json.dumps({"trained": trained, "runs": [run.path.name for run in found]}))


class Linear(Learner):
    """Without batch normalisation, so that several processes must do exactly what one does."""

    def __init__(self):
        torch.manual_seed(0)
        net = nn.Linear(12, 1)
        super().__init__({"net": net}, {"net": torch.optim.SGD(net.parameters(), 0.1)})
        self.seen = []
        self.states = []

    def loss(self, batch):
        return (self.net("net")(batch.images.flatten(1))[:, 0] - batch.labels["number"]).square().mean()

    def update(self, batch):
        self.seen.append(batch.labels["number"].tolist())
        loss = self.loss(batch)
        self.descend(loss, "net")
        self.states.append([value.flatten().tolist() for value in self.nets.state_dict().values()])
        return {"loss": float(loss.detach())}


def fit_linear(root):
    """The learner, and its training curve."""
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (32, 2, 2, 3)).astype(np.uint8), {"number": np.arange(32)})
    learner = Linear()
    plan = Plan(epochs=2, batch_size=8, augment=False, bfloat16=False)
    # Each process would measure something else: only the first one's figure may count.
    rank = dist.get_rank() if dist.is_initialized() else 0
    curve = fit(learner, learner.update, lambda: {"loss": 1.0 + rank}, split, plan, Run(root / "linear"), seed=0)
    return learner, curve


def job_together(root):
    """Several processes: what each saw and did."""
    written = []
    original = runs.write_atomic
    for module in (runs, loop, train):
        module.write_atomic = lambda path, content: (written.append(path.name), original(path, content))
    states = []
    update = Dapter.update

    def noted(self, batch, service):
        losses = update(self, batch, service)
        states.append([float(value.detach().double().sum()) for value in self.learner.nets.parameters()])
        return losses

    Dapter.update = noted
    with distributed():
        data = make_data()
        service_run = training.train_service(data, PLAN, arch="lenet", width=3, root=root)
        service = training.load_trained_service(service_run)
        defence = Dapter(width=4, lam=0.6, lam_range=(0.5, 0.9))
        run = train.train(defence, service, data, PLAN, root=root)
        again = train.train(Dapter(width=4, lam=0.6, lam_range=(0.5, 0.9)), service, data, PLAN, root=root)
        scores = tune._scores(run, service, data)
        learner, curve = fit_linear(root)
        rank = dist.get_rank()
    assert not dist.is_initialized()
    record = {
        "written": written,
        "states": states,
        "weights": [value.flatten().tolist() for value in defence.learner.nets.state_dict().values()],
        "run": run.path.name,
        "same_run": again == run,
        "frozen": service.frozen,
        "scores": scores,
        "seen": learner.seen,
        "linear": learner.states,
        "curve": curve,
    }
    (root / f"rank{rank}.json").write_text(json.dumps(record))


def job_defences(root):
    """Several processes train defences whose steps differ over the training: the weights that each ends with."""
    data = make_data(secrets=("shape",))
    weights = {}
    with distributed():
        for defence in (Budget(width=4, alphabet=4), Hybrid(width=4), Partition(width=4, defenders=1, locked=0.5)):
            train.train(defence, make_service(), data, PLAN, root=root)
            for name, value in defence.learner.nets.state_dict().items():
                weights[f"{type(defence).__name__}: {name}"] = value.flatten().tolist()
        rank = dist.get_rank()
    (root / f"rank{rank}.json").write_text(json.dumps(weights))


if __name__ == "__main__":
    torch.set_num_threads(1)
    jobs = {"killed": job_killed, "sweep": job_sweep, "together": job_together, "defences": job_defences}
    jobs[sys.argv[1]](Path(sys.argv[2]))
