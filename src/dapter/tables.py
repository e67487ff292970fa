"""Figures side by side, as tables that read well in a terminal, in Markdown and on a page."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from dapter.types import TOLD, Measurement
from dapter.wording import interval, number

CHANGED = "service_changed"
"""The setting of a line whose defence needs another service; where it is missing, the service stays as it is."""

DIALS = {"lam": "λ {}", "budget_bits": "{} bit"}
"""The settings that a defence trades accuracy for secrecy with, and how their values are written."""

APART = {"as_is": ("stretch",), "inversion": ("weight",), "partition": ("depth", "width")}
"""Settings that are no words and tell the attacks of a suite from each other, by the attack's name."""

_COLUMNS = {
    "before, %": "target_accuracy_original",
    "after, %": "target_accuracy",
    "points lost": "lost",
    "same answer, %": "agreement",
    "entropy, bits": "entropy_bits",
    "eta": "eta",
    "PNG bytes": "payload_bytes_png",
    "bytes of features": "payload_bytes_features",
    "latency, ms": "latency_ms",
}
_RATES = ("target_accuracy_original", "target_accuracy", "agreement")


def pick(found: Iterable[Measurement], measure: str, target: str | None = None) -> Measurement | None:
    """The first figure of that measure (and target) that is of no attack and has a value."""
    return next(
        (
            entry
            for entry in found
            if (entry.measure, entry.attack) == (measure, None)
            and target in (None, entry.target)
            and entry.value is not None
        ),
        None,
    )


def lost(found: Sequence[Measurement], target: str) -> float | None:
    """The accuracy lost on a target, in points."""
    before, after = pick(found, "target_accuracy_original", target), pick(found, "target_accuracy", target)
    if before is None or after is None or before.value is None or after.value is None:
        return None
    return round(100 * (before.value - after.value), 1) + 0.0


def targets(found: Sequence[Measurement]) -> list[str]:
    """The targets whose answers were measured, in their order."""
    names = dict.fromkeys(entry.target for entry in found)
    return [name for name in names if pick(found, "agreement", name)]


def service_changed(found: Iterable[Measurement]) -> str:
    """Whether the service must be changed for the defence that these lines are of, in a word."""
    return "yes" if any(entry.settings.get(CHANGED) for entry in found) else "no"


def plain(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, list | tuple):
        return ", ".join(plain(each) for each in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(each)}" for name, each in value.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def differences(groups: Sequence[Sequence[Measurement]]) -> list[dict[str, str]]:
    """For each group of figures its λ, its seed and every setting in which the groups differ, in words."""
    settings = [{**group[0].settings, "seed": group[0].seed} if group else {} for group in groups]
    names = dict.fromkeys(name for each in settings for name in each if name != CHANGED)
    kept = [
        name
        for name in names
        if name == "lam"
        or (name == "seed" and any(each.get(name) is not None for each in settings))
        or len({json.dumps(each.get(name), sort_keys=True) for each in settings if each}) > 1
    ]
    return [{"λ" if name == "lam" else name: plain(each[name]) for name in kept if name in each} for each in settings]


def compare(groups: Sequence[Sequence[Measurement]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows that set runs side by side, a row a group and target; columns without any entry are left out.

    Args:
        groups: the figures of each run; figures of attacks are left out.
    """
    rows = []
    for group, differs in zip(groups, differences(groups), strict=True):
        for target in targets(group):
            row = {"defence": group[0].defence, "service changed": service_changed(group)}
            row |= {"data": group[0].data, "target": target, **differs}
            rows.append({**row, **{name: _cell(group, measure, target) for name, measure in _COLUMNS.items()}})
    wanted = dict.fromkeys([*(name for row in rows for name in row if name not in _COLUMNS), *_COLUMNS])
    header = [name for name in wanted if any(row.get(name) for row in rows)]
    return header, [[row.get(name, "") for name in header] for row in rows]


def _cell(group: Sequence[Measurement], measure: str, target: str) -> str:
    if measure == "lost":
        points = lost(group, target)
        return "" if points is None else f"{points:.1f}"
    entry = pick(group, measure, target if measure in _RATES else None)
    if entry is None:
        return ""
    shown = number(measure, entry.value)
    return f"{shown} [{interval(entry, ', ')}]" if measure in _RATES and interval(entry) else shown


def evidence(found: Iterable[Measurement]) -> str:
    """What stands behind a table of `compare`: n, intervals and grade, in a line."""
    shown = [entry for entry in found if entry.attack is None and entry.measure in _COLUMNS.values()]
    counts = []
    for name, measures in (
        ("rates", _RATES),
        ("pictures", ("entropy_bits", "eta", "payload_bytes_png", "payload_bytes_features")),
    ):
        n = sorted({entry.n for entry in shown if entry.measure in measures and entry.n is not None})
        counts += [f"{name}: n = {' or '.join(f'{each:,}' for each in n)}"] if n else []
    grades = ", ".join(sorted({entry.grade for entry in shown}))
    words = "; ".join([*counts, "in brackets: 95 % intervals", f"grade: {grades}"])
    return f"{words[0].upper()}{words[1:]}."


def table(measurements: Iterable[Measurement]) -> str:
    """A Markdown table that reads well in a terminal too: a row a defence, setting, seed and target.

    Args:
        measurements: of any number of runs; figures of attacks are left out.
    """
    found = list(measurements)
    groups = [list(group) for _, group in groupby(sorted(found, key=_key), key=_key)]
    header, rows = compare(groups)
    if not rows:
        return "Nothing has been measured.\n"
    return f"{markdown(header, rows)}\n{evidence(found)}\n"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with columns of one width."""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in [header, *rows]]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def how(line: Measurement) -> str:
    """The attack, those of its settings that are words or in APART, and its share of labels if that is not all.

    A recogniser "in place" learned from payloads that were neither shifted nor mirrored.
    """
    settings = line.settings.get("attack", {})
    named = [value for value in settings.values() if isinstance(value, str) and value != "scratch"]
    apart = [f"{name} {plain(settings[name])}" for name in APART.get(line.attack or "", ()) if name in settings]
    share = settings.get("share", 1)
    less = [f"{100 * share:g} % of labels"] if share != 1 else []
    place = ["in place"] if line.attack == "recognition" and not settings.get("plan", {}).get("augment", True) else []
    return " ".join([line.attack or "", *dict.fromkeys(named), *place, *apart, *less]).strip()


def leak_table(measurements: Iterable[Measurement]) -> str:
    """What attacks learned, as a Markdown table: a row an attack, and in bold the headline of each secret.

    Shown is the measure by which leaks are told: AUC for two classes, else balanced accuracy; SSIM for images.
    """
    header = [
        "defence",
        "dial",
        "seed",
        "secret",
        "attack",
        "measure",
        "value",
        "floor",
        "ceiling",
        "leak",
        "n",
        "flags",
        "service changed",
    ]
    found = [entry for entry in measurements if entry.attack is not None]
    there: dict[str | None, set[str]] = {}
    for entry in found:
        there.setdefault(entry.secret, set()).add(entry.measure)
    told = {secret: next((name for name in TOLD if name in measures), "") for secret, measures in there.items()}
    rows = [_leak_row(entry) for entry in found if entry.measure in ("leak", told[entry.secret])]
    return markdown(header, rows) if rows else "Nothing has been attacked.\n"


def _leak_row(entry: Measurement) -> list[str]:
    dial = [words.format(plain(entry.settings[name])) for name, words in DIALS.items() if name in entry.settings]
    worst = entry.measure == "leak"
    value = [_three(entry.value), f"[{_three(entry.low)}, {_three(entry.high)}]"]
    row = [
        entry.defence,
        ", ".join(dial),
        "" if entry.seed is None else str(entry.seed),
        entry.secret or "",
        how(entry),
        "worst leak" if worst else entry.measure.removeprefix("secret_").replace("_", " "),
        " ".join(value),
        _three(entry.floor),
        _three(entry.ceiling),
        _three(entry.leak),
        f"{entry.n:,}" if entry.n else "",
        ", ".join(entry.flags),
        service_changed([entry]),
    ]
    return [f"**{cell}**" if worst and cell else cell for cell in row]


def _three(value: float | None) -> str:
    return "" if value is None else f"{value:z.3f}"


def _key(entry: Measurement) -> tuple[str, ...]:
    """What makes figures belong to one run."""
    settings = json.dumps(dict(entry.settings), sort_keys=True)
    return (entry.data, entry.data_digest, entry.defence, settings, f"{entry.seed}", f"{entry.preset}", entry.code)
