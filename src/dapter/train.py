"""Train a defence against a frozen service into a run folder, and load it from there."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from dapter.batches import batches
from dapter.data import Data
from dapter.defences import Defence, Task, build_defence, name_of
from dapter.errors import RunError, UsageError
from dapter.loop import CHECKPOINT, CURVE, Plan, fit
from dapter.plugins import file_digest
from dapter.processes import from_first, is_first, pick_device
from dapter.runs import Run, derive_seed, write_atomic
from dapter.service.classifier import Service

CLASSES = "classes"
"""In the manifest of a run: for each target, the names of its values."""

WEIGHTS = "weights.safetensors"


def train(
    defence: Defence,
    service: Service,
    data: Data,
    plan: Plan | None = None,
    *,
    seed: int = 0,
    root: Path = Path("runs"),
    start: Run | None = None,
    preset: str | None = None,
) -> Run:
    """Train a defence against a frozen service; resumes an interrupted run and returns a finished one at once.

    Args:
        defence: the settings; its networks are made here.
        service: answers all targets of `data`.
        data: `train` is trained on, `val` selects among epochs, unless the defence `keeps_last`.
        plan: how long and how; by default `Plan()`.
        seed: of everything random.
        root: where run folders are kept.
        start: a finished run of the same defence, whose weights are the warm start (transfer learning).
        preset: the preset that the settings come from, for the record.

    Raises:
        UsageError: the service does not answer the data's targets, or numbers their classes otherwise; or the warm
            start does not fit.
        RunError: training broke down, or the folder is damaged.
    """
    plan = plan or Plan()
    _check_targets(service, data)
    manifest = {
        "kind": "defence",
        "name": name_of(defence),
        "settings": defence.settings(),
        "source": file_digest(defence),
        "service": service.digest,
        "start": None if start is None else start.path.name,
        "data": data.record(),
        "plan": plan.record(),
        "seed": seed,
        "preset": preset,
        **({"phases": list(defence.phases)} if defence.phases else {}),
        **({"settled": True} if defence.plays else {}),
    }
    name = f"{name_of(defence)}-{data.name}-{'+'.join(service.targets)}"
    task = Task.of(data)
    notes = {"task": task.record(), CLASSES: {target: list(data.classes[target]) for target in data.targets}}
    run = from_first(lambda: Run.open(root, name, manifest, notes))
    defence.setup(derive_seed(seed, "init"), service, task)
    with run.lock() if is_first() else nullcontext():
        if not from_first(lambda: run.done):
            if start is not None:
                warm_start(defence, start)
            curve = _train(defence, service, data, plan, run, seed) if defence.learns else []
            from_first(partial(_keep, run, defence, curve))
        _load_weights(defence, run.path / WEIGHTS)
    return run


def _train(defence: Defence, service: Service, data: Data, plan: Plan, run: Run, seed: int) -> list[dict[str, Any]]:
    """Train a defence that is set up; gives the training curve."""
    device = pick_device()
    service.to(device)
    defence.learner.nets.to(device)
    defence.protect(data.splits["train"].images[:2], seed=0)  # what cannot be sent fails here, not after the training
    return fit(
        defence.learner,
        lambda batch: defence.update(batch, service),
        lambda: _validate(defence, service, data, plan.batch_size),
        data.splits["train"],
        plan,
        run,
        seed,
        data.mirror,
        defence.keeps_last,
        defence.phases,
        (lambda batch: defence.losses(batch, service)) if defence.plays else None,
    )


def _keep(run: Run, defence: Defence, curve: list[dict[str, Any]]) -> None:
    """Write what came out of a training; then the run is done."""
    weights = {name: value.cpu().contiguous() for name, value in defence.learner.nets.state_dict().items()}
    run.write_lines(CURVE, curve)
    write_atomic(run.path / WEIGHTS, save(weights))
    run.finish()
    (run.path / CHECKPOINT).unlink(missing_ok=True)


def load_defence(run: Run | Path | str) -> Defence:
    """The trained defence of a finished run, on the CPU.

    Raises:
        RunError: no such run, not finished, or not a defence's.
    """
    run = run if isinstance(run, Run) else Run.load(run)
    manifest = run.manifest
    if manifest.get("kind") != "defence":
        raise RunError(f"{run.path} holds a {manifest.get('kind')}, not a defence. Cure: `dapter list` shows the runs")
    task = Task.from_record(manifest["task"]) if "task" in manifest else None
    defence = build_defence(manifest["name"], manifest["settings"]).setup(task=task)
    _load_weights(defence, run.path / WEIGHTS)
    return defence


def warm_start(defence: Defence, start: Run) -> None:
    """Give a defence that is set up the weights of a finished run of the same kind.

    Raises:
        UsageError: the networks differ.
        RunError: no such run, or not finished.
    """
    other = load_defence(Run.load(start.path))
    try:
        defence.learner.nets.load_state_dict(other.learner.nets.state_dict())
    except RuntimeError as error:
        raise UsageError(f"{start.path} cannot start this training. Cure: the same defence, net and width") from error


def _check_targets(service: Service, data: Data) -> None:
    if data.targets and set(service.targets) != set(data.targets):
        raise UsageError(f"the service answers {service.targets}, the data has {data.targets}. Cure: name the same")
    check_classes(service, data)


def check_classes(service: Service, data: Data) -> None:
    """Whether a service numbers the classes of the data's targets as the data do; it may call them by other names.

    Raises:
        UsageError: it knows more or fewer, or the same names in another order.
    """
    for target in data.targets:
        theirs, ours = service.classes[target], data.classes[target]
        if len(theirs) != len(ours):
            raise UsageError(
                f"the service knows {len(theirs)} classes of {target}, "
                f"the data {len(ours)}. Cure: a service trained on these classes"
            )
        for place, (name, other) in enumerate(zip(theirs, ours, strict=True)):
            if name != other and set(theirs) == set(ours):
                raise UsageError(
                    f"class {place} of {target} is {name} to the service, {other} to the data. "
                    "Cure: a service whose outputs are in the order of the data's classes"
                )


@torch.no_grad()
def _validate(defence: Defence, service: Service, data: Data, batch_size: int) -> dict[str, float]:
    """Mean of each of the defence's losses over the validation split; `loss` is what selects among epochs."""
    sums: dict[str, float] = {}
    split = data.splits["val"]
    for batch in batches(split, batch_size, defence.learner.device):
        for name, value in defence.losses(batch, service).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch.images)
    means = {name: total / len(split) for name, total in sums.items()}
    return {**means, "loss": defence.validation_loss(means)}


def _load_weights(defence: Defence, path: Path) -> None:
    try:
        defence.learner.nets.load_state_dict(load(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(f"{path} cannot be read ({error}). Cure: delete the run's folder and train again") from error
    defence.learner.nets.eval()
