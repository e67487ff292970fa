"""Choose λ or the budget: the paper's strategy, the smallest budget, and a sweep that draws the whole trade-off."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import distributed as dist

from dapter import bits, metrics
from dapter.data import Data
from dapter.defences import Defence, name_of
from dapter.defences.budget import Budget
from dapter.defences.dapter import Dapter
from dapter.errors import UsageError, need
from dapter.loop import Plan
from dapter.plugins import file_digest
from dapter.processes import from_first, pick_device
from dapter.runs import Run, fingerprint
from dapter.service.classifier import Service
from dapter.train import load_defence, train
from dapter.types import Payload

STUDIES = "studies.sqlite3"

VALUES = {"lam": (0.5, 0.7, 0.8, 0.9, 0.95, 0.98), "budget_bits": (0.25, 0.5, 1.0, 2.0, 4.0)}
"""The settings that a sweep moves, each with its usual values; a defence has one of them."""


@dataclass(frozen=True)
class Limits:
    """What the paper's strategy asks of a converter, on the validation split.

    Attributes:
        entropy: image entropy must be below; the paper's 3, whose unit it does not give, here in bits: the
            stricter reading.
        accuracy_drop: the share of answers lost must be below; the paper's 3 points.
    """

    entropy: float = 3.0
    accuracy_drop: float = 0.03


@dataclass(frozen=True)
class Step:
    """One λ or budget that was tried, with what it reached on the validation split."""

    run: Run
    value: float
    entropy: float
    accuracy_drop: float


@dataclass(frozen=True)
class Tuned:
    """What tuning found.

    Attributes:
        run: the converter that meets the limits, or else the last one within the accuracy limit, or the last.
        reached: whether it meets them.
        reason: why tuning ended, in words.
        steps: everything that was tried, in order.
    """

    run: Run
    reached: bool
    reason: str
    steps: tuple[Step, ...]


def tune(
    defence: Defence,
    service: Service,
    data: Data,
    plan: Plan | None = None,
    *,
    limits: Limits | None = None,
    step: float = 0.02,
    max_steps: int = 10,
    fine_tune_epochs: int = 2,
    seed: int = 0,
    root: Path = Path("runs"),
    preset: str | None = None,
) -> Tuned:
    """The paper's strategy: start at the defence's λ, move it by `step`, each time from the last weights.

    While entropy is too high λ rises, while too many answers are lost it falls; it ends when both limits are met,
    when λ would leave (0, 1) or come back to where it was (the limits contradict), or after `max_steps`.

    Args:
        plan: of the first training; the later ones take `fine_tune_epochs`.

    Raises:
        UsageError: a defence without one λ.
    """
    if not isinstance(defence, Dapter):
        raise UsageError("the paper's strategy moves λ, which this defence does not have. Cure: a sweep")
    if defence.lam_range is not None:
        raise UsageError("a converter for a range of λ has no λ to tune. Cure: leave lam_range out")
    plan, limits = plan or Plan(), limits or Limits()
    steps: list[Step] = []
    lam, start = defence.lam, None
    while True:
        now = plan if start is None else replace(plan, epochs=fine_tune_epochs)
        chosen = replace(defence, lam=lam, warm_up=defence.warm_up if start is None else 0.0)
        start = train(chosen, service, data, now, seed=seed, root=root, start=start, preset=preset)
        last = Step(start, lam, *_scores(start, service, data))
        steps.append(last)
        too_grey, too_rich = last.accuracy_drop >= limits.accuracy_drop, last.entropy >= limits.entropy
        if not too_grey and not too_rich:
            return Tuned(last.run, True, f"reached at λ = {lam:g}", tuple(steps))
        lam = round(lam + (step if too_rich and not too_grey else -step), 6)
        reason = _end(lam, steps, max_steps)
        if reason:
            kept = [entry for entry in steps if entry.accuracy_drop < limits.accuracy_drop]
            return Tuned((kept or steps)[-1].run, False, f"not reached: {reason}", tuple(steps))


def _end(lam: float, steps: Sequence[Step], max_steps: int) -> str:
    """Why λ should not be tried, or nothing."""
    if not 0 < lam < 1:
        return f"λ = {lam:g} would be outside (0, 1)"
    if any(entry.value == lam for entry in steps):
        return f"λ = {lam:g} was tried before, the limits on entropy and accuracy contradict each other"
    if len(steps) >= max_steps:
        return f"{max_steps} values of λ were tried"
    return ""


def shrink(
    defence: Defence,
    service: Service,
    data: Data,
    plan: Plan | None = None,
    *,
    max_accuracy_drop: float = 0.03,
    max_steps: int = 6,
    fine_tune_epochs: int = 2,
    seed: int = 0,
    root: Path = Path("runs"),
    preset: str | None = None,
) -> Tuned:
    """The smallest budget that keeps the answers: start at the defence's and halve it, each time from the last weights.

    Where the first loses too many answers it is doubled instead. It ends at a budget of which half is too little, above
    the hard budget, or after `max_steps`.

    Args:
        plan: of the first training; the later ones take `fine_tune_epochs`.
        max_accuracy_drop: the share of answers lost must be below, on the validation split.

    Raises:
        UsageError: a defence without one budget.
    """
    if not isinstance(defence, Budget):
        raise UsageError(f"{name_of(defence)} has no budget to shrink. Cure: budget, or another strategy")
    if defence.budget_bits_range is not None:
        raise UsageError("a converter for a range of budgets has none to shrink. Cure: leave budget_bits_range out")
    plan, most = plan or Plan(), bits.budget_bits(defence.grid**2, defence.alphabet)
    steps: list[Step] = []
    budget, start = defence.budget_bits, None
    while len(steps) < max_steps and budget <= most and budget not in [entry.value for entry in steps]:
        now = plan if start is None else replace(plan, epochs=fine_tune_epochs)
        chosen = replace(defence, budget_bits=budget)
        start = train(chosen, service, data, now, seed=seed, root=root, start=start, preset=preset)
        steps.append(Step(start, budget, *_scores(start, service, data)))
        budget = budget / 2 if steps[-1].accuracy_drop < max_accuracy_drop else budget * 2
    kept = [entry for entry in steps if entry.accuracy_drop < max_accuracy_drop]
    if not kept:
        return Tuned(steps[-1].run, False, f"not reached: {steps[-1].value:g} bits are too few", tuple(steps))
    least = min(kept, key=lambda entry: entry.value)
    return Tuned(least.run, True, f"reached with {least.value:g} bits", tuple(steps))


def _scores(run: Run, service: Service, data: Data) -> tuple[float, float]:
    """Image entropy in bits and the drop in accuracy, on the validation split.

    Without labels the service's answer to the original counts as right.
    """
    return from_first(partial(_measure, run, service, data))


def _measure(run: Run, service: Service, data: Data) -> tuple[float, float]:
    val = data.splits["val"]
    defence = load_defence(run)
    defence.learner.nets.to(pick_device())
    payload = defence.protect(val.images)
    before, after = service.answer(Payload(val.images)).labels(), service.answer(payload).labels()
    drops = []
    for target in service.targets:
        truth = val.labels.get(target, before[target])
        drops.append(metrics.accuracy(before[target], truth).value - metrics.accuracy(after[target], truth).value)
    return float(metrics.entropy_bits(payload.pixels).mean()), max(drops)


def sweep(
    defence: Defence,
    service: Service,
    data: Data,
    plan: Plan | None = None,
    *,
    values: Sequence[float] | None = None,
    seed: int = 0,
    root: Path = Path("runs"),
    start: Run | None = None,
    preset: str | None = None,
    storage: str | None = None,
) -> list[Run]:
    """Train one converter for each λ or budget; several processes or machines, each with the same call, share the work.

    Args:
        values: of λ, or of the budget; by default those of `VALUES` up to the hard budget.
        start: a warm start for every one of them; `dapter` then needs no `warm_up`.
        storage: an Optuna storage URL (any RDB for many machines); by default an SQLite file under `root`.

    Returns:
        The runs, in the order of `values`.

    Raises:
        UsageError: no values, or one that cannot be; a defence that has neither; or inside `distributed`, whose
            processes share one training.
        MissingExtra: Optuna is not installed.
    """
    optuna = need("optuna", "sweep")
    if dist.is_initialized():
        raise UsageError(
            "a sweep cannot run under torch.distributed. Cure: start it several times, they share the work"
        )
    dial = next((name for name in VALUES if hasattr(defence, name)), None)
    if dial is None:
        raise UsageError(f"{name_of(defence)} has no λ and no budget to sweep. Cure: dapter or budget")
    most = bits.budget_bits(defence.grid**2, defence.alphabet) if isinstance(defence, Budget) else 1.0
    tried = list([value for value in VALUES[dial] if value <= most] if values is None else values)
    if not tried:
        raise UsageError("a sweep needs values. Cure: give some, such as 0.5 0.7 0.9 for λ")
    plan = plan or Plan()
    Path(root).mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {**defence.settings(), dial: tried}
    about = name_of(defence), settings, file_digest(defence)
    asked = [*about, data.record(), service.digest, seed, str(plan), start and start.path.name]

    def run_of(value: float) -> Run:
        changes = {dial: value, **({"warm_up": 0.0} if start is not None and isinstance(defence, Dapter) else {})}
        return train(replace(defence, **changes), service, data, plan, seed=seed, root=root, start=start, preset=preset)

    def objective(trial: Any) -> tuple[float, float]:
        run = run_of(trial.suggest_categorical(dial, tried))
        trial.set_user_attr("run", run.path.name)
        return _scores(run, service, data)

    with Run(Path(root)).lock():  # two workers that both make the tables of a new storage fail
        study = optuna.create_study(
            study_name=f"{name_of(defence)}-{fingerprint(asked)[:12]}",
            storage=storage or f"sqlite:///{Path(root).resolve() / STUDIES}",
            sampler=optuna.samplers.GridSampler({dial: tried}, seed=seed),
            directions=["minimize", "minimize"],
            load_if_exists=True,
        )
    study.optimize(objective)
    return [run_of(value) for value in tried]
