"""What strangers send back to a benchmark of `hidden`: read strictly, scored against the secrets that were kept."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dapter.checks import relative
from dapter.errors import DataError, need
from dapter.hidden import FOLDER, KEY, column, row_ids
from dapter.runs import Run, list_runs
from dapter.scoring import score_secrets
from dapter.types import Guess, Measurement

ID = "id"
ATTACK = "guesses"
"""In place of an attack's name, in the lines of guesses that were sent in."""

MOST = 1e6
"""The largest score that is taken, either sign; log-probabilities are far below."""

SHOWN = 3
"""Wrong rows or columns that an error names."""

OF_SCALES = ("no_room", "answer_says_more")
"""The flags that belong to a floor and its ceiling, whoever guesses."""

Columns = Mapping[str, Sequence[Any]]

Scale = tuple[float | None, float | None, tuple[str, ...]]
"""Floor, ceiling, and their flags."""

NO_SCALE: Scale = (None, None, ())


def score_guesses(file: Path, root: Path, source: str = "") -> list[Measurement]:
    """Score one file of guesses, and keep the lines in the folder of the benchmark's key.

    Args:
        file: CSV or Parquet, as the benchmark's README asks for it.
        root: of the run folders, where the key is; if an audit of the same defence is there too, its floor and ceiling
            tell the leak.
        source: the command that asked for it, for the record.

    Raises:
        DataError: the file cannot be read, is for no benchmark that is known here, has rows that are missing, twice or
            too many, columns that are missing or unknown, or values that are no numbers, or too large.
    """
    columns = _read(file)
    key = _find_key(file, columns, root)
    manifest = key.manifest
    order = _order(file, columns[ID], row_ids(manifest["token"], "test", manifest["rows"]))
    scores = {name: each[order] for name, each in _scores(file, columns, manifest["classes"]).items()}
    with np.load(key.path / KEY) as kept:
        truth, train = ({name: kept[f"{split}:{name}"] for name in scores} for split in ("test", "train"))
    found = score_secrets(Guess(scores), truth, train, {name: manifest["classes"][name] for name in scores})
    line = Measurement.from_record(manifest["line"])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    scales = find_scales(line, root)
    lines = []
    for score in found:
        floor, ceiling, flags = scales.get((score.secret, score.measure), NO_SCALE)
        leak = None if floor is None or ceiling is None else relative(score.value, floor, ceiling)
        lines.append(
            replace(
                line,
                settings={**line.settings, "attack": {"file": file.name, "sha256": digest}},
                attack=ATTACK,
                source=source,
                floor=floor,
                ceiling=ceiling,
                leak=leak,
                flags=flags,
                **score.record(),
            )
        )
    key.write_lines(f"{ATTACK}-{digest}.jsonl", [line.record() for line in lines])
    return lines


def find_scales(line: Measurement, root: Path) -> dict[tuple[str, str], Scale]:
    """For each secret and measure the scale of the audit with the most attacks, by its first seed.

    Args:
        line: about the defence.
        root: of the run folders; empty if there is no audit of it.
    """
    audits = [run for run in list_runs(root) if run.done and run.manifest.get("kind") == "audit"]
    scales: dict[tuple[str, str], Scale] = {}
    for run in sorted(audits, key=lambda audit: len(audit.manifest["attacks"])):
        scales |= {
            (each.secret or "", each.measure): (
                each.floor,
                each.ceiling,
                tuple(flag for flag in OF_SCALES if flag in each.flags),
            )
            for each in reversed(run.read_results())
            if each.settings.get("subject") == line.settings["subject"]
            and each.data_digest == line.data_digest
            and each.floor is not None
            and each.ceiling is not None
        }
    return scales


def _read(file: Path) -> dict[str, Sequence[Any]]:
    """The columns of a file.

    Raises:
        DataError: it cannot be read, or has no ids.
    """
    try:
        if file.suffix.lower() == ".parquet":
            table = need("pyarrow.parquet", "ray").read_table(io.BytesIO(file.read_bytes()))
            names, rows = table.column_names, [each.to_pylist() for each in table.columns]
        else:
            read = csv.reader(file.read_text(encoding="utf-8-sig").splitlines(), strict=True)
            names, *lines = filter(None, read)
            rows = [list(each) for each in zip(*lines, strict=True)] or [[] for _ in names]
        columns = dict(zip(names, rows, strict=True))
    except (OSError, UnicodeError, ValueError, csv.Error) as error:
        raise DataError(f"{file}: no table that can be read ({error}). Cure: CSV or Parquet, a value a cell") from error
    if len(columns) != len(names) or ID not in columns:
        raise DataError(f"{file} has columns {', '.join(names)}. Cure: each column once, and one named {ID}")
    return columns


def _find_key(file: Path, columns: Columns, root: Path) -> Run:
    """The key of the benchmark that the ids are of."""
    token = str(next(iter(columns[ID]), "")).partition("-")[0]
    for key in list_runs(root / FOLDER):
        if key.done and key.manifest["token"] == token:
            return key
    raise DataError(
        f"{file}: the ids are of no benchmark whose key is below {root / FOLDER}. Cure: --out, the folder that was "
        "given when it was exported; and the ids as they are in `test`"
    )


def _order(file: Path, ids: Sequence[Any], wanted: Sequence[str]) -> np.ndarray:
    """Where in the file each row of the benchmark is, int64 (rows,).

    Raises:
        DataError: a row is missing, there twice, or none of the benchmark's.
    """
    count, known = Counter(map(str, ids)), set(wanted)
    wrong = {
        "missing": [each for each in wanted if each not in count],
        "twice or more": [each for each, times in count.items() if times > 1],
        "not of the test rows": [each for each in count if each not in known],
    }
    found = [f"{len(each)} {what}: {', '.join(each[:SHOWN])}" for what, each in wrong.items() if each]
    if found:
        raise DataError(f"{file}: {'; '.join(found)}. Cure: every id of `test` once, and no other")
    place = {str(each): number for number, each in enumerate(ids)}
    return np.array([place[each] for each in wanted])


def _scores(file: Path, columns: Columns, classes: Mapping[str, int]) -> dict[str, np.ndarray]:
    """The scores of each secret that is guessed, float64 (rows, classes), in the order of the file.

    Raises:
        DataError: a column is missing or unknown, none is there, or a value is no finite number.
    """
    asked = {secret: [column(secret, place) for place in range(count)] for secret, count in classes.items()}
    guessed = {secret: names for secret, names in asked.items() if not set(names).isdisjoint(columns)}
    needed = {name for names in guessed.values() for name in names}
    if not guessed or needed != set(columns) - {ID}:
        wrong = sorted(needed ^ (set(columns) - {ID}))[:SHOWN] or ["all"]
        every = "; ".join(", ".join(names) for names in asked.values())
        raise DataError(f"{file}: columns missing or unknown: {', '.join(wrong)}. Cure: for each secret all of {every}")
    found = {}
    for secret, names in guessed.items():
        try:
            found[secret] = np.array([columns[name] for name in names], np.float64).T
        except (TypeError, ValueError) as error:
            raise DataError(f"{file}: a score of {secret} is no number ({error}). Cure: finite numbers") from error
        if found[secret].ndim != 2 or not (np.abs(found[secret]) <= MOST).all():
            raise DataError(
                f"{file}: a score of {secret} is missing, not finite or too large. Cure: a number in every cell, from "
                f"{-MOST:,.0f} to {MOST:,.0f}"
            )
    return found
