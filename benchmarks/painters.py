"""The budget converters that a benchmark asks for: trained, or found."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from converter import Bench

from dapter.defences import Defence, build_defence, with_settings
from dapter.runs import Run
from dapter.train import load_defence


@dataclass(frozen=True)
class Painters:
    """Which budget converters."""

    budgets: tuple[float, ...] = ()
    """Of the budget converters, in bits beyond the answer."""
    conditioned: bool = False
    """Train one converter for the range of these budgets, and use it at each."""
    seeds: tuple[int, ...] = (0,)
    """Of the converters."""
    grid: int = 1
    stamps: Literal["flat", "learned"] = "learned"
    alphabet: int = 16
    """Cells on a side of a payload, and how many stamps of which kind."""
    labels: Literal["data", "service"] = "data"
    widths: tuple[int, ...] = (16,)
    """Channels of the painter's first layer."""
    flips: tuple[float, ...] = (0.0,)
    """Probability with which a stamp is replaced at random."""
    epochs: int | None = None
    """Passes of budget converters over the training split, instead of the preset's."""


def paint(bench: Bench, asked: Painters) -> Iterator[tuple[Run | Defence, int]]:
    """A converter, with its seed, for each width, flip, seed and budget: a run, or one of many budgets set to one."""
    plan = replace(bench.preset.plan, epochs=asked.epochs or bench.preset.plan.epochs)
    same = {name: getattr(asked, name) for name in ("grid", "stamps", "alphabet", "labels")}
    for width, flip, seed in product(asked.widths, asked.flips, asked.seeds):
        given = {**same, "width": width, "flip": flip}
        if not asked.conditioned:
            for budget in asked.budgets:
                yield bench.train(build_defence("budget", {**given, "budget_bits": budget}), plan, seed), seed
            continue
        low, high = min(asked.budgets), max(asked.budgets)
        defence = build_defence("budget", {**given, "budget_bits": low, "budget_bits_range": (low, high)})
        trained = load_defence(bench.train(defence, plan, seed))
        for budget in asked.budgets:
            yield with_settings(trained, budget_bits=budget), seed
