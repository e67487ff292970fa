"""What each figure is called and how it is written: one wording for terminal, README and page."""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from dapter.types import Measurement


class Wording(NamedTuple):
    """How one measure is shown.

    Attributes:
        label: its name in plain words.
        unit: written behind the number.
        scale: the number shown is the value times this.
        form: format of the number.
    """

    label: str
    unit: str = ""
    scale: float = 1.0
    form: str = ",.3f"


_ORIGINAL = "_original"
_RESTORED = {
    "reprint_accuracy_": Wording("the service's accuracy on restored images", "%", 100, ".1f"),
    "reprint_secret_accuracy_": Wording("accuracy of a recogniser on restored images", "%", 100, ".1f"),
    "reprint_secret_balanced_accuracy_": Wording("its balanced accuracy on restored images", "%", 100, ".1f"),
    "reprint_secret_auc_": Wording("AUC of a recogniser on restored images"),
}
"""Measures that end in the name of a label."""

_WORDS = {
    "target_accuracy": Wording("accuracy of the answer", "%", 100, ".1f"),
    "target_balanced_accuracy": Wording("balanced accuracy", "%", 100, ".1f"),
    "target_auc": Wording("AUC"),
    "calibration_error": Wording("calibration error", "%", 100, ".1f"),
    "agreement": Wording("same answer as for the original", "%", 100, ".1f"),
    "agreement_webp_q75": Wording("same answer after WebP quality 75", "%", 100, ".1f"),
    "agreement_jpeg_q75": Wording("same answer after JPEG quality 75", "%", 100, ".1f"),
    "payload_bytes_features": Wording("bytes on the wire, features", "bytes", 1, ",.0f"),
    "target_accuracy_lost": Wording("accuracy of the answer lost", "points", 100, ".1f"),
    "api_agreement": Wording("same answer of the service behind the URL as for the original", "%", 100, ".1f"),
    "api_accuracy": Wording("accuracy of the service behind the URL", "%", 100, ".1f"),
    "surrogate_agreement": Wording("the stand-in answers originals as that service does", "%", 100, ".1f"),
    "leak": Wording("leak", form=".2f"),
    "secret_accuracy": Wording("accuracy", "%", 100, ".1f"),
    "secret_balanced_accuracy": Wording("balanced accuracy", "%", 100, ".1f"),
    "secret_auc": Wording("AUC"),
    "secret_accuracy_ideal": Wording("accuracy of a guess from the true answer", "%", 100, ".1f"),
    "secret_accuracy_ideal_vanilla": Wording("the same, times the accuracy on originals", "%", 100, ".1f"),
    "abuse_accuracy": Wording("accuracy on originals of a model trained on payloads", "%", 100, ".1f"),
    "abuse_balanced_accuracy": Wording(
        "balanced accuracy on originals of a model trained on payloads", "%", 100, ".1f"
    ),
    "abuse_auc": Wording("AUC on originals of a model trained on payloads"),
    "ssim": Wording("SSIM"),
    "ms_ssim": Wording("MS-SSIM"),
    "psnr": Wording("PSNR", "dB", 1, ".1f"),
    "mse": Wording("mean squared error", form=".4f"),
    "l1": Wording("L1"),
    "perceptual_distance": Wording("perceptual distance"),
    "reid_auc": Wording("AUC of recognising the person in other photos"),
    "reid_rank1": Wording("person found first among others", "%", 100, ".1f"),
    "necessity_accuracy": Wording("accuracy of a classifier of the client part's size", "%", 100, ".1f"),
    "attention_consistency": Wording("correlation of the service's attention before and after", form=".2f"),
    "attacks_not_run": Wording("attacks that take payloads for images, not run on features", form=".0f"),
    "audit_core_minutes": Wording("processor time of the audit", "core-minutes", 1, ",.1f"),
    "budget_bits": Wording("the most that any payload carries", "bits", 1, ",.1f"),
    "bits_beyond_answer": Wording("carried beyond the answer", "bits", 1, ",.2f"),
    "bits_total": Wording("carried in total", "bits", 1, ",.2f"),
    "capacity_bits": Wording("the most that a payload tells on average, also of many together", "bits", 1, ",.2f"),
    "secret_gain_bound": Wording("the most that a payload adds to the accuracy of any guess", "points", 100, ".1f"),
    "secret_accuracy_bound": Wording("the best accuracy of any attack on these images", "%", 100, ".1f"),
    "secret_accuracy_fano": Wording("the best accuracy of any attack, by Fano's inequality", "%", 100, ".1f"),
    "restored_mse_bound": Wording("the least squared error of any restoration of these images", form=".4f"),
    "epsilon": Wording("epsilon of differential privacy", form=",.2f"),
    "distinct_payloads": Wording("different payloads", form=",.0f"),
    "cannot_tell": Wording('answered "cannot tell"', "%", 100, ".1f"),
    "gold_accuracy": Wording("accuracy on originals", "%", 100, ".1f"),
    "fleiss_kappa": Wording("agreement of raters, Fleiss' kappa", form=".2f"),
    "raters": Wording("raters who count", form=".0f"),
    "raters_left_out": Wording("raters left out", form=".0f"),
    "rater_accuracy": Wording("a rater's accuracy", "%", 100, ".1f"),
    "rater_gold_accuracy": Wording("a rater's accuracy on originals", "%", 100, ".1f"),
    "entropy_bits": Wording("image entropy", "bits", 1, ",.2f"),
    "entropy_nats": Wording("image entropy", "nats", 1, ",.2f"),
    "eta": Wording("eta, distance from grey"),
    "original_bytes": Wording("bytes of the photo's file", "bytes", 1, ",.0f"),
    "payload_bytes": Wording("bytes of the payload's file", "bytes", 1, ",.0f"),
    "request_bytes": Wording("bytes of the request", "bytes", 1, ",.0f"),
    "payload_bytes_png": Wording("bytes on the wire, PNG", "bytes", 1, ",.0f"),
    "payload_bytes_webp_lossless": Wording("bytes on the wire, WebP lossless", "bytes", 1, ",.0f"),
    "payload_bytes_webp_q75": Wording("bytes on the wire, WebP quality 75", "bytes", 1, ",.0f"),
    "payload_bytes_jpeg_q75": Wording("bytes on the wire, JPEG quality 75", "bytes", 1, ",.0f"),
    "payload_ssim": Wording("SSIM of payload and original"),
    "payload_ms_ssim": Wording("MS-SSIM of payload and original"),
    "payload_psnr": Wording("PSNR of payload and original", "dB", 1, ".1f"),
    "payload_l1": Wording("L1 of payload and original"),
    "client_bytes": Wording("size of the client part", "kB", 1e-3, ",.1f"),
    "multiply_adds": Wording("multiply-adds at 224 px", "million", 1e-6, ",.1f"),
    "latency_ms": Wording("latency at 224 px, one thread", "ms", 1, ",.1f"),
}

CHANGED = "service_changed"
"""The setting of a line whose defence needs another service; where it is missing, the service stays as it is."""

TOLD = ("ssim", "l1", "reid_auc", "secret_auc", "secret_balanced_accuracy")
"""The measures by which leaks are told, of those that an attack has the first."""

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
    "latency, ms": "latency_ms",
}
_RATES = ("target_accuracy_original", "target_accuracy", "agreement")


def wording(measure: str) -> Wording:
    """How to show that measure; one that is not known keeps its own name."""
    stem = measure.removesuffix(_ORIGINAL)
    for start, words in _RESTORED.items():
        if stem.startswith(start):
            return words._replace(label=f"{words.label}, {stem.removeprefix(start)}")
    found = _WORDS.get(stem, Wording(stem.replace("_", " "), form=",.4g"))
    return found if stem == measure else found._replace(label=f"{found.label}: original")


def number(measure: str, value: float | None) -> str:
    """The value without its unit; nothing for none."""
    words = wording(measure)
    return "" if value is None else format(value * words.scale, words.form)


def text(measure: str, value: float | None) -> str:
    """The value with its unit; nothing for none."""
    return f"{number(measure, value)} {wording(measure).unit}".strip() if value is not None else ""


def interval(entry: Measurement, join: str = " to ") -> str:
    """The 95 % interval without its unit; nothing for none."""
    if entry.low is None or entry.high is None:
        return ""
    return join.join(number(entry.measure, bound) for bound in (entry.low, entry.high))


def describe(entry: Measurement) -> str:
    """One figure in a line: its name, value, interval and number of images."""
    return f"{wording(entry.measure).label}: {text(entry.measure, entry.value)} ({interval(entry)}, n = {entry.n:,})"


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
    for name, measures in (("rates", _RATES), ("pictures", ("entropy_bits", "eta", "payload_bytes_png"))):
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
    """The attack, those of its settings that are words or in APART, and its share of labels if that is not all."""
    settings = line.settings.get("attack", {})
    named = [value for value in settings.values() if isinstance(value, str) and value != "scratch"]
    apart = [f"{name} {plain(settings[name])}" for name in APART.get(line.attack or "", ()) if name in settings]
    share = settings.get("share", 1)
    less = [f"{100 * share:g} % of labels"] if share != 1 else []
    return " ".join([line.attack or "", *dict.fromkeys(named), *apart, *less]).strip()


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
    return "" if value is None else f"{value:.3f}"


def _key(entry: Measurement) -> tuple[str, ...]:
    """What makes figures belong to one run."""
    settings = json.dumps(dict(entry.settings), sort_keys=True)
    return (entry.data, entry.data_digest, entry.defence, settings, f"{entry.seed}", f"{entry.preset}", entry.code)
