"""Visual recognition, an attack by people: the score of the answers that they gave on the page of `study`.

"Cannot tell" counts as a wrong answer. A rater who gets too few of the originals right does not count, by the
threshold that the study fixed before; who was left out is reported.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from dapter.errors import CheckFailed, DataError, UsageError
from dapter.metrics import wilson
from dapter.runs import code_version
from dapter.study import ABOUT, ANSWER_FIELDS, CANNOT_TELL, GOLD, KEY_FIELDS, PAYLOAD
from dapter.types import Measurement

VISUAL = "visual"
"""The name of the attack."""

LEFT_OUT = "rater_left_out"
"""The flag of a rater who does not count."""

_AS_SAVED = "give the file as the page saved it, not edited and not saved again by a spreadsheet"


@dataclass(frozen=True)
class Key:
    """What was shown and asked.

    Attributes:
        study: its id.
        classes: the answers that could be given, without "cannot tell".
        threshold: share of originals that a rater must get right to count.
        items: for each id its kind and its true class.
        fields: of the Measurements.
    """

    study: str
    classes: tuple[str, ...]
    threshold: float
    items: Mapping[str, tuple[str, str]]
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Rater:
    """What one person answered.

    Attributes:
        name: the random number of the file.
        answers: for each item's id the class, or "cannot tell".
    """

    name: str
    answers: Mapping[str, str]

    def hits(self, key: Key, kind: str) -> list[bool]:
        """Which of the answers about items of that kind are right."""
        return [answer == key.items[item][1] for item, answer in self.answers.items() if key.items[item][0] == kind]


def score_study(answers: Sequence[Path], key: Path, *, source: str = "") -> list[Measurement]:
    """Score the files that raters saved.

    Measures: `secret_accuracy` of all who count, `cannot_tell` (share of such answers), `gold_accuracy`,
    `fleiss_kappa` (null for one rater), `raters` and `raters_left_out`; and for each rater, named in the settings,
    `rater_accuracy` and `rater_gold_accuracy`, with the flag LEFT_OUT for those who do not count. `n` is the number
    of images; the intervals of all raters together are those of that many images, for they saw the same ones.

    Args:
        answers: one file a rater.
        key: `key.csv`, with `study.json` beside it.
        source: the command that asked for it, for the record.

    Raises:
        UsageError: no files.
        DataError: a file that cannot be read, is damaged, of another study, or of a rater who is there already.
        CheckFailed: no rater counts.
    """
    if not answers:
        raise UsageError("no answers are named. Cure: name the CSV files that the raters saved")
    asked = read_key(Path(key))
    raters: dict[str, Rater] = {}
    for path in answers:
        rater = read_answers(Path(path), asked)
        if rater.name in raters:
            raise DataError(f"{path}: rater {rater.name} is there twice. Cure: keep the later file of the two")
        raters[rater.name] = rater
    gold = {name: fmean(rater.hits(asked, GOLD)) for name, rater in raters.items()}
    counted = [rater for rater in raters.values() if gold[rater.name] >= asked.threshold]
    if not counted:
        raise CheckFailed(
            f"no rater got {asked.threshold:.0%} of the originals right, the best {max(gold.values()):.0%}. "
            "Cure: ask more people, or make a study of a question that the originals answer"
        )
    measured = _Measured(asked, source)
    return _together(measured, counted, len(raters)) + _each(measured, list(raters.values()), counted)


class _Measured:
    """Makes Measurements of one study."""

    def __init__(self, key: Key, source: str) -> None:
        self.key = key
        self.fields = {**key.fields, "attack": VISUAL, "source": source, "code": code_version()}

    def rate(self, measure: str, hits: Sequence[bool], n: int | None = None, **fields: Any) -> Measurement:
        """A share with its interval; of `n` images, where several answers are about the same image."""
        n = len(hits) if n is None else n
        low, high = wilson(round(fmean(hits) * n), n)
        return self.figure(measure, fmean(hits), n=n, low=low, high=high, **fields)

    def figure(self, measure: str, value: float | None, **fields: Any) -> Measurement:
        return Measurement(measure=measure, value=value, **{**self.fields, **fields})


def _together(measured: _Measured, counted: Sequence[Rater], raters: int) -> list[Measurement]:
    """The figures of all raters who count."""
    key = measured.key
    hits = {kind: [hit for rater in counted for hit in rater.hits(key, kind)] for kind in (PAYLOAD, GOLD)}
    seen = {
        kind: len({item for each in counted for item in each.answers if key.items[item][0] == kind}) for kind in hits
    }
    unsure = [
        answer == CANNOT_TELL
        for rater in counted
        for item, answer in rater.answers.items()
        if key.items[item][0] == PAYLOAD
    ]
    kappa, n = _agreement(key, counted)
    return [
        measured.rate("secret_accuracy", hits[PAYLOAD], seen[PAYLOAD], ceiling=fmean(hits[GOLD])),
        measured.rate("cannot_tell", unsure, seen[PAYLOAD]),
        measured.rate("gold_accuracy", hits[GOLD], seen[GOLD]),
        measured.figure("fleiss_kappa", kappa, n=n),
        measured.figure("raters", len(counted)),
        measured.figure("raters_left_out", raters - len(counted)),
    ]


def _each(measured: _Measured, raters: Sequence[Rater], counted: Sequence[Rater]) -> list[Measurement]:
    """The figures of each rater."""
    found = []
    for rater in raters:
        settings = {**measured.fields.get("settings", {}), "rater": rater.name}
        flags = () if rater in counted else (LEFT_OUT,)
        for measure, kind in (("rater_accuracy", PAYLOAD), ("rater_gold_accuracy", GOLD)):
            found.append(measured.rate(measure, rater.hits(measured.key, kind), settings=settings, flags=flags))
    return found


def _agreement(key: Key, raters: Sequence[Rater]) -> tuple[float | None, int]:
    """Fleiss' kappa over the payloads that all of them answered, and how many these are."""
    names = (*key.classes, CANNOT_TELL)
    common = [
        item
        for item, (kind, _) in key.items.items()
        if kind == PAYLOAD and all(item in rater.answers for rater in raters)
    ]
    counts = np.array([[sum(rater.answers[item] == name for rater in raters) for name in names] for item in common])
    return (fleiss_kappa(counts) if len(raters) > 1 and common else None), len(common)


def fleiss_kappa(counts: np.ndarray) -> float | None:
    """Agreement beyond chance of several raters (Fleiss 1971): 1 for always, 0 for no more than by chance.

    Args:
        counts: how many raters gave each item each answer, int (items, answers); at least 2 for every item, and the
            same number for all.

    Returns:
        None if all gave one and the same answer to everything, where chance explains all and kappa has no value.

    Raises:
        UsageError: other numbers of raters.
    """
    raters = counts.sum(axis=1)
    if len(counts) == 0 or raters.min() != raters.max() or raters[0] < 2:
        raise UsageError("kappa needs the same number of raters, at least 2, for every item. Cure: leave items out")
    n = int(raters[0])
    observed = float(np.mean((np.sum(counts**2, axis=1) - n) / (n * (n - 1))))
    chance = float(np.sum((counts.sum(axis=0) / counts.sum()) ** 2))
    return None if chance == 1 else (observed - chance) / (1 - chance)


def read_key(path: Path) -> Key:
    """Read a study's key and what was asked.

    Raises:
        DataError: one of the two files is missing or damaged.
    """
    cure = f"keep {path.name} and {ABOUT} together as `dapter study make` wrote them"
    rows = _rows(path, KEY_FIELDS, cure)
    about = path.with_name(ABOUT)
    try:
        record = json.loads(about.read_text(encoding="utf-8"))
        classes, threshold = tuple(record["classes"]), float(record["threshold"])
        items = {row["item"]: (row["kind"], row["label"]) for row in rows}
        key = Key(record["study"], classes, threshold, items, record["measurement"])
        Measurement(measure="", value=None, **key.fields)
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise DataError(f"{about} cannot be read ({error}). Cure: {cure}") from error
    if {kind for kind, _ in items.values()} != {PAYLOAD, GOLD} or {label for _, label in items.values()} - {*classes}:
        raise DataError(f"{path} does not fit {about}. Cure: {cure}")
    return key


def read_answers(path: Path, key: Key) -> Rater:
    """Read the file of one rater.

    Raises:
        DataError: not such a file, edited, or of another study.
    """
    rows = _rows(path, ANSWER_FIELDS, _AS_SAVED)
    answers: dict[str, str] = {}
    for line, row in enumerate(rows, 2):
        if wrong := _wrong(row, key, rows[0]["rater"], answers):
            raise DataError(f"{path}, line {line}: {wrong}. Cure: {_AS_SAVED}")
        answers[row["item"]] = row["answer"]
    for kind in (PAYLOAD, GOLD):
        if kind not in {key.items[item][0] for item in answers}:
            raise DataError(f"{path}: no {kind} picture is answered. Cure: let the rater go on, or leave the file out")
    return Rater(rows[0]["rater"], answers)


def _wrong(row: Mapping[str, str], key: Key, rater: str, answers: Mapping[str, str]) -> str:
    """What is wrong with a row of answers; nothing if it is right."""
    if row["study"] != key.study:
        return f"the answer is to study {row['study']!r}, the key to {key.study!r}"
    if not row["rater"] or row["rater"] != rater:
        return "one file is of one rater"
    if row["item"] not in key.items or row["kind"] != key.items[row["item"]][0]:
        return f"{row['kind']} {row['item']!r} is not in the key"
    if row["item"] in answers:
        return f"{row['item']!r} is answered twice"
    if row["answer"] not in (*key.classes, CANNOT_TELL):
        return f"{row['answer']!r} is none of {', '.join(key.classes)}, {CANNOT_TELL}"
    if not row["time_ms"].isdecimal():
        return f"{row['time_ms']!r} is no time in ms"
    return ""


def _rows(path: Path, header: Sequence[str], cure: str) -> list[dict[str, str]]:
    """The rows of a CSV file with exactly these columns, at least one."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        first, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}). Cure: {cure}") from error
    if first != list(header) or not rows or any(len(row) != len(header) for row in rows):
        raise DataError(f"{path} is not a table of {', '.join(header)}. Cure: {cure}")
    return [dict(zip(header, row, strict=True)) for row in rows]
