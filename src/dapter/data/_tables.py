"""Tables of labels in text files, read with errors that name the file, the line and the cure."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from dapter.data import SPLITS, UNKNOWN
from dapter.data._files import need_file
from dapter.errors import DataError

OF_LABELS = "give a header and a row an image: file, then a column a label; optional are identity and split"
"""The cure for a table of labels."""


def read_text(path: Path, cure: str) -> str:
    """The content of a UTF-8 file.

    Raises:
        DataError: missing, or not text.
    """
    try:
        return need_file(path, cure).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text ({error}). Cure: {cure}") from error


def read_columns(path: Path, n: int, cure: str, skip: int = 0) -> dict[str, list[str]]:
    """A table whose columns are separated by spaces: for each file (the first column) the other columns.

    Args:
        n: the number of columns, the first included.
        skip: lines before the table.

    Raises:
        DataError: missing, empty, a row of another number of columns, or two for the same file.
    """
    lines = [(line, text.split()) for line, text in enumerate(read_text(path, cure).split("\n"), 1) if line > skip]
    return {file: row[1:] for file, row in _by_file(path, lines, n, 0, cure).items()}


def read_csv(path: Path, cure: str, columns: Sequence[str] = ("file",)) -> dict[str, dict[str, str]]:
    """A CSV with a header: for each file its row, by the names of the columns.

    Args:
        columns: those that must be there; the first one names the file.

    Raises:
        DataError: missing, empty, not CSV, without a column, a row of another length, or two for the same file.
    """
    reader = csv.reader(io.StringIO(read_text(path, cure), newline=""), strict=True)
    try:
        header = next(reader, [])
        lines = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not CSV ({error}). Cure: {cure}") from error
    if missing := [name for name in columns if name not in header]:
        raise DataError(f"{path}: no column {', '.join(missing)} among {', '.join(header)}. Cure: {cure}")
    if len(set(header)) != len(header) or "" in header:
        raise DataError(f"{path}: a column without a name, or two of one name: {', '.join(header)}. Cure: {cure}")
    table = _by_file(path, lines, len(header), header.index(columns[0]), cure)
    return {file: dict(zip(header, row, strict=True)) for file, row in table.items()}


def label_rows(
    rows: Sequence[Mapping[str, str]], path: Path
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Labels and their classes, from rows of `read_csv`: every column is a label but `file` and `split`.

    The column `identity` comes last.
    """
    names = [name for name in rows[0] if name not in ("file", "split", "identity")]
    labels, classes = {}, {}
    for name in (*names, *({"identity"} & set(rows[0]))):
        values = [row[name] for row in rows]
        classes[name] = sort_classes(values)
        labels[name] = index_in(classes[name], values, path, OF_LABELS)
    return labels, classes


def split_rows(rows: Sequence[Mapping[str, str]], path: Path) -> np.ndarray | None:
    """The column `split`; None if there is none.

    Raises:
        DataError: something that is no split.
    """
    if "split" not in rows[0]:
        return None
    split = [row["split"] for row in rows]
    if strange := sorted(set(split) - set(SPLITS)):
        raise DataError(f"{path}: {strange[0]!r} is no split. Cure: one of {', '.join(SPLITS)} in each row")
    return np.array(split)


def _by_file(
    path: Path, lines: Iterable[tuple[int, list[str]]], n: int, column: int, cure: str
) -> dict[str, list[str]]:
    table: dict[str, list[str]] = {}
    for line, row in lines:
        if not row:
            continue
        if len(row) != n:
            raise DataError(f"{path}, line {line}: {len(row)} columns, not {n}. Cure: {cure}")
        if row[column] in table:
            raise DataError(f"{path}, line {line}: a second row for {row[column]}. Cure: {cure}")
        table[row[column]] = row
    if not table:
        raise DataError(f"{path}: it has no rows. Cure: {cure}")
    return table


def inside(folder: Path, name: str, table: Path) -> Path:
    """The file of that relative name in the folder.

    Raises:
        DataError: the name leads out of the folder.
    """
    inner = PurePosixPath(name.replace("\\", "/"))
    path = folder / inner
    if ".." in inner.parts or not path.resolve().is_relative_to(folder.resolve()):
        raise DataError(f"{table}: {name!r} leads out of {folder}. Cure: name files inside that folder")
    return path


def index_in(classes: Sequence[str], values: Iterable[str], table: Path, cure: str) -> np.ndarray:
    """For each value its place among the classes; UNKNOWN where it is empty.

    Raises:
        DataError: a value that is none of the classes.
    """
    place = {"": UNKNOWN, **{name: i for i, name in enumerate(classes)}}
    values = list(values)
    if strange := sorted(set(values) - set(place)):
        raise DataError(f"{table}: {strange[0]!r} is none of {', '.join(classes)}. Cure: {cure}")
    return np.array([place[value] for value in values], np.int64)


def sort_classes(values: Iterable[str]) -> tuple[str, ...]:
    """The distinct values, sorted; empty ones left out."""
    return tuple(sorted(set(values) - {""}))
