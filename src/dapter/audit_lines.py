"""The lines of audits, sorted: which converters were attacked, the worst leak of each secret, the figures behind it."""

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dapter.tables import CHANGED, DIALS, how, lost, pick, plain, service_changed, targets
from dapter.types import TOLD, Measurement
from dapter.wording import number

BESIDE = ("attack", "classifier", "draws", "features", CHANGED, "study", "subject")
"""Settings of a line that are not of its defence: how it was attacked, and for which study."""

IMAGE, LEAK = "image", "leak"
"""The secret that is the image itself, and the measure of the headline."""


@dataclass(frozen=True)
class Subject:
    """One trained converter, with all its lines."""

    lines: tuple[Measurement, ...]

    def pick(self, measure: str, target: str | None = None) -> Measurement | None:
        """Its first figure of that measure that is of no attack."""
        return pick(self.lines, measure, target)

    def worst(self, secret: str) -> Measurement | None:
        """The headline of a secret; of several seeds of the attacks the largest leak."""
        found = [line for line in self.lines if (line.measure, line.secret) == (LEAK, secret)]
        return max(found, key=_value, default=None)

    def scores(self, headline: Measurement) -> list[Measurement]:
        """Every figure of the worst attack on its secret."""
        return [line for line in self.lines if (line.secret, _how(line)) == (headline.secret, _how(headline))]

    def behind(self, headline: Measurement) -> Measurement:
        """The score of the worst attack that its leak was computed from."""
        told = [line for line in self.scores(headline) if line.measure in TOLD]
        return min(told, key=lambda line: TOLD.index(line.measure))


@dataclass(frozen=True)
class Variant:
    """One defence under one choice of settings: the converters of all its seeds.

    Attributes:
        defence: the plug-in's name.
        settings: of the defence.
        name: the defence in words, with its dial and whatever tells it from the others.
    """

    defence: str
    settings: Mapping[str, Any]
    subjects: tuple[Subject, ...]
    name: str = ""

    @property
    def lines(self) -> list[Measurement]:
        """Every line of every seed."""
        return [line for subject in self.subjects for line in subject.lines]

    @property
    def targets(self) -> list[str]:
        """What the service answers, where it was measured."""
        return targets(self.lines)

    @property
    def secrets(self) -> list[str]:
        """What was attacked and has a headline, the image last."""
        found = dict.fromkeys(line.secret for line in self.lines if line.measure == LEAK and line.secret)
        return sorted(found, key=lambda secret: secret == IMAGE)

    @property
    def without_headline(self) -> list[str]:
        """What was attacked and has none: attackers of originals found no more of it than the answer says."""
        attacked = dict.fromkeys(line.secret for line in self.lines if line.attack and line.measure in TOLD)
        return [secret for secret in attacked if secret and secret not in self.secrets]

    @property
    def dial(self) -> tuple[str, float] | None:
        """The name and value of the setting that it is tuned with, if it has one."""
        for name in DIALS:
            value = self.settings.get(name)
            if isinstance(value, int | float):
                return name, float(value)
        return None

    def figures(self, measure: str, target: str | None = None) -> list[Measurement]:
        """That measure of each seed's converter, where it was measured."""
        return [entry for subject in self.subjects if (entry := subject.pick(measure, target))]

    def worst(self, secret: str) -> list[Measurement]:
        """The headline of each seed's converter."""
        return [entry for subject in self.subjects if (entry := subject.worst(secret))]

    def behind(self, secret: str) -> list[Measurement]:
        """The scores behind `worst`."""
        return [subject.behind(headline) for subject in self.subjects if (headline := subject.worst(secret))]

    def scores(self, secret: str, measure: str) -> list[Measurement]:
        """That measure of the attacks behind `worst`, where it was measured."""
        pairs = [(subject, headline) for subject in self.subjects if (headline := subject.worst(secret))]
        return [line for subject, headline in pairs for line in subject.scores(headline) if line.measure == measure]

    def leakiest(self) -> str | None:
        """The secret with the largest leak, on the mean over the seeds.

        Of those whose leak has a scale, or was surely read all the same, if there are any.
        """
        sure = [each for each in self.secrets if not any(_without_scale(line) for line in self.worst(each))]
        return max(sure or self.secrets, key=lambda secret: mean(self.worst(secret)), default=None)


def _without_scale(line: Measurement) -> bool:
    """Whether a headline may be chance, enlarged by a scale of hardly any length."""
    return "no_room" in line.flags and not (line.low is not None and line.low > 0)


def variants(lines: Iterable[Measurement]) -> list[Variant]:
    """The defences that were attacked, in their order, those with a dial by its value."""
    found: dict[str, dict[str, list[Measurement]]] = {}
    for line in lines:
        key = json.dumps([line.data_digest, line.defence, _own(line)], sort_keys=True)
        seed = json.dumps([line.seed, line.settings.get("subject")])
        found.setdefault(key, {}).setdefault(seed, []).append(line)
    made = []
    for seeds in found.values():
        attacked = [group for group in seeds.values() if any(line.attack for line in group)]
        if attacked:
            line = attacked[0][0]
            made.append(Variant(line.defence, _own(line), tuple(Subject(tuple(group)) for group in attacked)))
    order = list(dict.fromkeys(each.defence for each in made))
    made.sort(key=lambda each: (order.index(each.defence), each.dial or ("", 0.0)))
    return [replace(each, name=_name(each, made)) for each in made]


def _own(line: Measurement) -> dict[str, Any]:
    """The settings of the defence itself."""
    return {name: value for name, value in line.settings.items() if name not in BESIDE}


def _name(each: Variant, others: Sequence[Variant]) -> str:
    """The defence, its dial, and the settings that tell it from others with the same dial."""
    twins = [other for other in others if (other.defence, other.dial) == (each.defence, each.dial)]
    parts = [each.defence] if each.dial is None else [each.defence, DIALS[each.dial[0]].format(f"{each.dial[1]:g}")]
    for name, value in each.settings.items():
        if len({json.dumps(other.settings.get(name)) for other in twins}) > 1:
            parts.append(f"{name} {plain(value)}")
    return ", ".join(parts)


def attack_key(line: Measurement) -> str:
    """What is the same for all seeds of an attack."""
    settings = {name: value for name, value in line.settings.get("attack", {}).items() if name != "seed"}
    return json.dumps([line.attack, settings], sort_keys=True)


def attacks_on(variant: Variant, secret: str, measure: str) -> list[list[Measurement]]:
    """The scores of each attack on a secret, a list over all seeds each, the strongest attack first."""
    found: dict[str, list[Measurement]] = {}
    for line in variant.lines:
        if (line.secret, line.measure) == (secret, measure) and line.attack and line.value is not None:
            found.setdefault(attack_key(line), []).append(line)
    return sorted(found.values(), key=lambda each: -statistics.mean(line.leak or 0.0 for line in each))


def mean(found: Sequence[Measurement]) -> float:
    """The mean of the values."""
    return statistics.mean(map(_value, found))


def spread(found: Sequence[Measurement], show: Callable[[str, float | None], str] = number) -> str:
    """A figure in words: with its interval, or for several seeds the mean with the smallest and the largest.

    A leak is at least (≥) that of an attacker who was still learning.

    Args:
        show: `number`, or `text` for the unit.
    """
    if not found:
        return ""
    measure, values = found[0].measure, list(map(_value, found))
    least = "≥ " if measure == LEAK and any("still_improving" in entry.flags for entry in found) else ""
    if len(values) > 1:
        ends = [number(measure, end) for end in (min(values), max(values))]
        return f"{least}{show(measure, statistics.mean(values))} ({ends[0]} to {ends[1]})"
    low, high = found[0].low, found[0].high
    between = "" if low is None or high is None else f" [{number(measure, low)}, {number(measure, high)}]"
    return f"{least}{show(measure, values[0])}{between}"


def summary(made: Sequence[Variant]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a variant, with what is left of the answer and the worst leak of each secret."""
    secrets = list(dict.fromkeys(secret for each in made for secret in each.secrets))
    secrets.sort(key=lambda secret: secret == IMAGE)
    asked = list(dict.fromkeys(target for each in made for target in each.targets))
    rows = [_row(each, asked, secrets) for each in made]
    header = [
        name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)
    ]
    return header, [[row.get(name, "") for name in header] for row in rows]


def _row(each: Variant, asked: Sequence[str], secrets: Sequence[str]) -> dict[str, str]:
    row = {
        "defence": each.name,
        "service changed": service_changed(each.lines),
        "trainings": str(len(each.subjects)),
    }
    for target in asked:
        of = f"{target}: " if len(asked) > 1 else ""
        row[f"{of}accuracy left, %"] = spread(each.figures("target_accuracy", target))
        row[f"{of}points lost"] = _lost(each, target)
    for secret in secrets:
        worst = each.worst(secret)
        row[f"{secret}: worst leak"] = spread(worst)
        row[f"{secret}: by"] = "; ".join(dict.fromkeys(how(entry) for entry in worst))
    restored = [entry for entry in each.behind(IMAGE) if entry.measure == "ssim"]
    floors = [entry.floor for entry in restored if entry.floor is not None]
    row["restored SSIM"] = spread(restored)
    row["SSIM from the answer alone"] = number("ssim", statistics.mean(floors)) if floors else ""
    for measure, name in (("target_accuracy_lost", "points lost"), ("ssim", "SSIM")):
        row[f"the paper: {name} below"] = number(measure, _reported(each, measure))
    return row


def _reported(each: Variant, measure: str) -> float | None:
    """The paper's figure for that measure, if a line has one."""
    return next((line.reported for line in each.lines if line.measure == measure and line.reported is not None), None)


def _lost(each: Variant, target: str) -> str:
    """The accuracy lost, in points, on the mean over the seeds."""
    points = [points for subject in each.subjects if (points := lost(subject.lines, target)) is not None]
    return f"{statistics.mean(points):.1f}" if points else ""


def _how(line: Measurement) -> tuple[str | None, Any]:
    return line.attack, line.settings.get("attack")


def _value(line: Measurement) -> float:
    return float(line.value or 0)
