"""Somebody else's tool, known by two folders: originals, and what it made of them. Paired by name, never resized."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy as np
from tqdm import tqdm

from dapter.data import UNKNOWN, Dataset, Split, Table
from dapter.data._files import ON_ERROR
from dapter.data._tables import OF_LABELS, inside, label_rows, read_csv, split_rows
from dapter.errors import DataError, UsageError
from dapter.imagefile import SUFFIXES, open_image
from dapter.service.classifier import Service
from dapter.subjects import Subject, Tool

FILE = "file"
"""The column of the table that names originals; and the label by which payloads follow them into the splits."""

SHOWN = 5
"""Problems that an error lists."""

T = TypeVar("T")


def read_pairs(
    originals: Path,
    protected: Path,
    labels: Path | None = None,
    *,
    service: Service | None = None,
    secrets: Sequence[str] = (),
    on_error: str = "raise",
    name: str = "tool",
) -> Subject:
    """What an audit needs of a tool without its code; its data are named `folder`.

    A protected file belongs to the original whose path, each relative to its folder, is its own without its suffix:
    `a/b.jpg` and `a/b.jpg.png`, or `a/b.png`.

    Args:
        originals, protected: folders of images, all of one size: a payload that was resized would be another one.
        labels: a CSV as for the data set `folder`, whose column `file` names originals; None: no labels.
        service: what the images are meant for; the labels that it answers, where the CSV has them, are its targets.
        secrets: the labels that an attacker wants; by default all others but `identity`.
        on_error: "raise", or "skip" what has no partner, cannot be read or is of another size, and report it.
        name: what the tool is called in the results.

    Raises:
        DataError: files without a partner, files that cannot be read, images of several sizes.
        UsageError: a label that the table does not have, one that the service cannot answer, or a name that cannot be.
    """
    if on_error not in ON_ERROR or not name.isidentifier():
        raise UsageError(f"on_error={on_error!r}, name={name!r}: one of {', '.join(ON_ERROR)}, and letters and digits")
    rows = {} if labels is None else read_csv(labels, OF_LABELS)
    pairs, problems = _pair(Path(originals), Path(protected), list(rows) if labels else None, labels)
    images, more = _read(pairs)
    _refuse([*problems, *more], not images, on_error)
    table = _table(rows, labels, {file: pair[0] for file, pair in images.items()})
    payloads = np.stack([pair[1] for pair in images.values()])
    answered = {} if service is None else service.classes
    targets = tuple(target for target in answered if target in table.labels)
    for target in targets:
        table = _as_answered(table, target, answered[target])
    others = [each for each in table.labels if each not in (FILE, "identity", *targets)]
    data = _Originals(replace(table, skipped=(*problems, *more))).load((FILE, *targets), secrets or others)
    splits = {part: Split(split.images, _without_file(split.labels)) for part, split in data.splits.items()}
    order = {part: payloads[split.labels[FILE]] for part, split in data.splits.items()}
    data = replace(
        data, name="folder", targets=targets, classes=_without_file(data.classes), splits=splits, settings={}
    )
    return Subject(Tool(name, order), service, data)


@dataclass(frozen=True)
class _Originals(Dataset):
    """A table that has been read, as a data set: checked, split and hashed like any other."""

    licence: ClassVar[str] = "Yours: dapter knows no terms of these images."
    default_target: ClassVar[str] = FILE

    found: Table

    def _read(self) -> Table:
        return self.found


def _pair(
    originals: Path, protected: Path, named: Sequence[str] | None, labels: Path | None
) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    """For each original, of those that the table names or of all, both files; and what is wrong, a line each."""
    there, made = _list(originals), _list(protected)
    problems = []
    if named is not None and labels is not None:
        missing = {file for file in named if not inside(originals, file, labels).is_file()}
        extra = sorted(set(there) - {Path(file).as_posix() for file in named})
        problems += [f"{originals / file}: no such file, but {labels} names it" for file in sorted(missing)]
        problems += [f"{originals / file}: {labels} does not name it" for file in extra]
        there = [file for file in named if file not in missing]
    by_stem: dict[str, list[str]] = {}
    for file in made:
        by_stem.setdefault(Path(file).with_suffix("").as_posix(), []).append(file)
    partners = {
        file: by_stem.get(Path(file).as_posix()) or by_stem.get(Path(file).with_suffix("").as_posix()) or []
        for file in there
    }
    used = Counter(file for each in partners.values() for file in each)
    for file, each in partners.items():
        if len(each) != 1:
            problems.append(f"{originals / file}: {len(each)} files in {protected} belong to it, not one")
    problems += [
        f"{protected / file}: {used[file]} originals in {originals} belong to it, not one"
        for file in made
        if used[file] != 1
    ]
    pairs = {
        file: (originals / file, protected / each[0])
        for file, each in partners.items()
        if len(each) == 1 and used[each[0]] == 1
    }
    return pairs, problems


def _read(pairs: Mapping[str, tuple[Path, Path]]) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], list[str]]:
    """Both images of every pair, uint8 (H, W, 3) of one size, the most frequent; and what is wrong with the others."""

    def both(pair: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray] | str:
        try:
            return open_image(pair[0]), open_image(pair[1])
        except DataError as error:
            return str(error)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(tqdm(pool.map(both, pairs.values()), "images", len(pairs), disable=None, delay=2))
    sizes = Counter(each[0].shape[:2] for each in found if not isinstance(each, str))
    usual = max(sizes, key=sizes.__getitem__, default=(0, 0))
    images, problems = {}, []
    for (file, pair), each in zip(pairs.items(), found, strict=True):
        if isinstance(each, str):
            problems.append(each)
        elif any(image.shape[:2] != usual for image in each):
            both_sizes = " and ".join(f"{image.shape[1]} x {image.shape[0]}" for image in each)
            problems.append(f"{pair[0]} and {pair[1]} are {both_sizes}; most are {usual[1]} x {usual[0]}")
        else:
            images[file] = each
    return images, problems


def _refuse(problems: Sequence[str], empty: bool, on_error: str) -> None:
    """Raise what is wrong, unless it may be passed over.

    Raises:
        DataError: something is wrong, or nothing is left.
    """
    if empty and not problems:
        raise DataError("the folders hold no images. Cure: name folders with images of the same names")
    if empty or (problems and on_error == "raise"):
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        cure = "Cure: one protected image of the same size for each original; or skip the others (--on-error skip)"
        raise DataError("\n  ".join([f"{len(problems)} files cannot be paired:", *problems[:SHOWN], *more, cure]))


def _table(rows: Mapping[str, Mapping[str, str]], labels: Path | None, images: Mapping[str, np.ndarray]) -> Table:
    """The originals with their labels and the label FILE."""
    found, classes = {FILE: np.arange(len(images))}, {FILE: tuple(images)}
    split = None
    if labels is not None:
        chosen = [rows[file] for file in images]
        more, names = label_rows(chosen, labels)
        found, classes = {**found, **more}, {**classes, **names}
        split = split_rows(chosen, labels)
    return Table(np.stack(list(images.values())), found, classes, split)


def _as_answered(table: Table, target: str, classes: Sequence[str]) -> Table:
    """The table with a target's classes in the order of the service's.

    Raises:
        UsageError: a class that the service does not know.
    """
    if strange := sorted(set(table.classes[target]) - set(classes)):
        raise UsageError(
            f"the service knows no {target} {', '.join(strange)}, only {', '.join(classes)}. Cure: the same names"
        )
    place = np.array([*map(list(classes).index, table.classes[target]), UNKNOWN])
    labels = {**table.labels, target: place[table.labels[target]]}
    return replace(table, labels=labels, classes={**table.classes, target: tuple(classes)})


def _list(folder: Path) -> list[str]:
    """The images below a folder, relative to it, sorted.

    Raises:
        DataError: no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder. Cure: check the path")
    files = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in files)


def _without_file(labels: Mapping[str, T]) -> dict[str, T]:
    return {name: value for name, value in labels.items() if name != FILE}
