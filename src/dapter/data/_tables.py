"""Tables of labels in text files, read with errors that name the file, the line and the cure."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dapter.data._files import need_file
from dapter.errors import DataError


def read_columns(path: Path, n: int, cure: str, skip: int = 0) -> dict[str, list[str]]:
    """A table whose columns are separated by spaces: for each file name (the first column) the other columns.

    Args:
        n: the number of columns, the first included.
        skip: lines before the table.

    Raises:
        DataError: missing, empty, a line of another number of columns, or two for the same file.
    """
    lines = read_text(path, cure).splitlines()
    rows = [(number, line.split()) for number, line in enumerate(lines[skip:], skip + 1) if line.strip()]
    return _by_file(path, rows, n, cure)


def read_csv(path: Path, cure: str, columns: Sequence[str] | None = None) -> tuple[list[str], dict[str, list[str]]]:
    """A CSV with a header: the names of its columns, and for each file (the column `file`) its row.

    Args:
        columns: those that must be there; the first one names the file. None: only `file`.

    Raises:
        DataError: missing, empty, not CSV, without a column, a row of another length, or two for the same file.
    """
    try:
        reader = csv.reader(read_text(path, cure).splitlines(), strict=True)
        found = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}: not CSV ({error}). Cure: {cure}") from error
    header = found[0][1] if found else []
    key, *others = columns or ("file",)
    missing = [name for name in (key, *others) if name not in header]
    if missing or len(set(header)) != len(header):
        raise DataError(f"{path}: columns {header}, none named {missing}, or one named twice. Cure: {cure}")
    place = header.index(key)
    rows = [(line, [*row[place : place + 1], *row]) for line, row in found[1:]]
    return header, _by_file(path, rows, len(header) + 1, cure)


def read_text(path: Path, cure: str) -> str:
    """The content of a UTF-8 file.

    Raises:
        DataError: missing, or not text.
    """
    try:
        return need_file(path, cure).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Cure: {cure}") from error


def inside(folder: Path, name: str, table: Path) -> Path:
    """The file of that relative name in the folder.

    Raises:
        DataError: the name leads out of the folder.
    """
    inner = PurePosixPath(name.replace("\\", "/"))
    path = folder / inner
    if inner.is_absolute() or ".." in inner.parts or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{table}: {name!r} leads out of {folder}. Cure: name files inside that folder")
    return path


def number(values: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Names as indices into their sorted, distinct values."""
    classes, index = np.unique(np.asarray(values, dtype=np.str_), return_inverse=True)
    return index.astype(np.int64), tuple(classes.tolist())


def _by_file(path: Path, rows: Sequence[tuple[int, list[str]]], n: int, cure: str) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line, row in rows:
        if len(row) != n:
            raise DataError(f"{path}, line {line}: {len(row)} columns, not {n}. Cure: {cure}")
        if row[0] in table:
            raise DataError(f"{path}, line {line}: a second row for {row[0]}. Cure: {cure}")
        table[row[0]] = row[1:]
    if not table:
        raise DataError(f"{path}: it has no rows. Cure: {cure}")
    return table
