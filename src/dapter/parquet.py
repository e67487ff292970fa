"""Convert images that lie in Parquet files: protected Parquet files out, and nothing else of the originals.

Every row group becomes a file of its own, `train.parquet-00003.parquet`: it is written whole or not at all, and many
are done at a time. Of other columns only those that are asked for come along, and only such as cannot hold an image.
"""

import io
import json
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dapter.convert import WORKER_DIED, Conversion, Protect, check_apart, leaves, protected, remove_leftovers, walk
from dapter.engines import Engine, run_jobs
from dapter.errors import DapterError, DataError, UsageError, need
from dapter.imagefile import encode, open_image
from dapter.runs import write_atomic

MAX_TEXT = 256
"""Characters of a text that may come along; a longer one could be a picture."""

FAILED = b"dapter.failed"
"""In the metadata of a new file: the numbers of the rows that were left out, without reasons: these may say more."""

Job = tuple[Path, int, Path]
"""A Parquet file, one of its row groups, and the new file."""

Failures = list[tuple[int, str]]
"""Rows that were left out, with the reason."""


def convert_parquet(
    protect: Protect,
    source: Path,
    destination: Path,
    *,
    column: str = "image",
    keep: Sequence[str] = (),
    workers: int = 1,
    engine: Engine = "pool",
) -> Conversion:
    """Convert the images of one Parquet file, or of all below a folder. Repeated, it does what is left to do.

    A row whose image cannot be converted is left out and named; a row group none of whose rows could be is not written.
    A file of a folder that is no Parquet file is named, and the rest goes on.

    Args:
        protect: the converter; for several workers, or Ray, one that can be pickled.
        source: a `.parquet` file or a folder; a folder's tree is kept.
        destination: a new or existing folder, apart from the source.
        column: holds the images, as the bytes of image files, or as a struct with a field `bytes` (Hugging Face).
        keep: other columns that come along: numbers, truth values, texts of at most MAX_TEXT characters.
        workers: processes; 1 is this one.
        engine: a pool on this machine, or Ray Data (`dapter.engines`).

    Raises:
        UsageError: no source, no such column, a column of another type, or places that cannot work.
        DataError: the one file is no Parquet file.
        MissingExtra: pyarrow is not installed.
    """
    source, destination = Path(source), Path(destination)
    if not source.exists():
        raise UsageError(f"{source}: no such file or folder. Cure: check the path")
    check_apart(source, destination)
    remove_leftovers(destination)
    files, ignored, failed = walk(source, (".parquet",)) if source.is_dir() else ([source], [], [])
    top = source if source.is_dir() else source.parent
    jobs, kept = [], []
    for file in files:
        try:
            plan = _plan(file, destination / file.relative_to(top), column, keep)
        except DataError as error:
            if file == source:
                raise
            failed.append((file, str(error)))
            continue
        for job in plan:
            if os.path.lexists(job[2]):
                kept.append(job[2])
                failed += _named(job, _left_out(job[2]))
            elif reason := leaves(job[2], destination):
                failed.append((file, reason))
            else:
                jobs.append(job)
    written = []
    results = run_jobs(partial(_convert_group, protect, column, tuple(keep)), jobs, workers, engine)
    for job, found in tqdm(results, "convert", len(jobs), unit="row group", disable=None):
        wrote, reasons = found or (False, [(-1, WORKER_DIED)])
        written += [job[2]] if wrote else []
        failed += _named(job, reasons)
    remove_leftovers(destination)
    return Conversion(tuple(sorted(written)), tuple(kept), tuple(sorted(failed)), tuple(ignored))


def _named(job: Job, failures: Failures) -> list[tuple[Path, str]]:
    """Failures with where they are: `train.parquet#3:17` is row 17 of row group 3, without a row all of it."""
    file, group, _ = job
    return [
        (file.with_name(f"{file.name}#{group}" + ("" if row < 0 else f":{row}")), reason) for row, reason in failures
    ]


def _plan(file: Path, target: Path, column: str, keep: Sequence[str]) -> list[Job]:
    """A job for each row group of a file.

    Raises:
        UsageError, DataError: as `convert_parquet`.
    """
    reader = _pq()
    try:
        opened = reader.ParquetFile(file)
    except Exception as error:  # a damaged file makes the reader raise almost anything
        raise DataError(f"{file}: not a Parquet file that can be read ({error}). Cure: replace or remove it") from error
    with opened:
        schema, groups = opened.schema_arrow, opened.num_row_groups
    missing = [name for name in (column, *keep) if schema.get_field_index(name) < 0]
    if missing:
        raise UsageError(f"{file} has no column {', '.join(missing)}. It has: {', '.join(schema.names)}")
    kinds = need("pyarrow", "ray").types
    image = schema.field(column).type
    if _in_struct(image):
        image = image.field("bytes").type
    if not (kinds.is_binary(image) or kinds.is_large_binary(image)):
        raise UsageError(f"{file}: {column} holds {image}. Cure: the bytes of image files, or a struct with them")
    for name in keep:
        if name == column or not _is_plain(schema.field(name).type):
            raise UsageError(f"{file}: {name} ({schema.field(name).type}) could hold an image. Cure: do not keep it")
    return [(file, group, target.with_name(f"{target.name}-{group:05}.parquet")) for group in range(groups)]


def _left_out(path: Path) -> Failures:
    """The rows that are missing in a file that was written before; a file of others counts as it is."""
    try:
        metadata = _pq().read_schema(path).metadata or {}
        reason = f"was left out when {path} was written. Cure: delete that file and convert again, to see why"
        return [(int(row), reason) for row in json.loads(metadata.get(FAILED, b"[]"))]
    except Exception as error:  # see `_plan`
        return [(-1, f"{path} is there and cannot be read ({error}). Cure: delete it")]


def _convert_group(protect: Protect, column: str, keep: tuple[str, ...], job: Job) -> tuple[bool, Failures]:
    """Convert one row group; whether a file was written, and the rows that it leaves out."""
    file, group, target = job
    failures: Failures = []
    try:
        with _pq().ParquetFile(file) as opened:
            table = opened.read_row_group(group, columns=[column, *keep])
        rows = []
        for number, row in enumerate(table.to_pylist()):
            try:
                rows.append(_convert_row(protect, row, column))
            except DapterError as error:
                failures.append((number, str(error)))
        if rows or not table.num_rows:
            write_atomic(target, _file(rows, _bare(table.schema), [row for row, _ in failures]))
    except Exception as error:  # a damaged row group makes the reader raise almost anything
        return False, [(-1, f"cannot be converted ({error}). Cure: check the file, and space and rights of {target}")]
    return bool(rows or not table.num_rows), failures


def _convert_row(protect: Protect, row: dict[str, Any], column: str) -> dict[str, Any]:
    """The row with its payload for its image; what is beside the bytes in a struct is left out.

    Raises:
        DapterError: there is no image, it cannot be converted, or a text is too long.
    """
    for name, value in row.items():
        if name != column and isinstance(value, str) and len(value) > MAX_TEXT:
            raise DataError(f"{name} has {len(value)} characters, over {MAX_TEXT}. Cure: do not keep it")
    image = row[column]
    content = image["bytes"] if isinstance(image, dict) else image
    if content is None:
        raise DataError(f"{column} is empty. Cure: fill it in, or remove the row")
    payload = encode(protected(protect, open_image(content)))
    return {**row, column: {"bytes": payload} if isinstance(image, dict) else payload}


def _file(rows: list[dict[str, Any]], schema: Any, left_out: list[int]) -> bytes:
    arrow, buffer = need("pyarrow", "ray"), io.BytesIO()
    _pq().write_table(
        arrow.Table.from_pylist(rows, schema=schema.with_metadata({FAILED: json.dumps(left_out)})), buffer
    )
    return buffer.getvalue()


def _bare(schema: Any) -> Any:
    """A schema of the same names and types without anything else: no metadata, neither its own nor of its fields.

    What is beside the bytes in a struct is empty in every row; it keeps its place if it is of a type without parts.
    """
    arrow = need("pyarrow", "ray")

    def bare(kind: Any) -> Any:
        if not _in_struct(kind):
            return kind
        return arrow.struct([(each.name, each.type) for each in kind if each.name == "bytes" or _is_plain(each.type)])

    return arrow.schema([(each.name, bare(each.type)) for each in schema])


def _in_struct(kind: Any) -> bool:
    """Whether images lie as Hugging Face puts them: the bytes of a file, and its path."""
    return bool(need("pyarrow", "ray").types.is_struct(kind)) and kind.get_field_index("bytes") >= 0


def _is_plain(kind: Any) -> bool:
    """Whether a type is one of numbers, truth values and texts."""
    kinds = need("pyarrow", "ray").types
    fits = (kinds.is_boolean, kinds.is_integer, kinds.is_floating, kinds.is_string, kinds.is_large_string)
    return any(fit(kind) for fit in fits)


def _pq() -> Any:
    return need("pyarrow.parquet", "ray")
