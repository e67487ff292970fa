"""A results file: one measurement a line."""

from collections.abc import Callable, Collection, Hashable
from pathlib import Path

from dapter.runs import write_atomic
from dapter.types import Measurement


def read(path: Path) -> list[Measurement]:
    """The measurements of a results file; none if it is not there yet."""
    return [Measurement.from_json(line) for line in path.read_text().splitlines()] if path.exists() else []


def replace_lines(path: Path, found: Collection[Measurement], key: Callable[[Measurement], Hashable]) -> None:
    """Put new measurements in the place of old ones with the same key; every other line stays.

    Args:
        path: the results file; written whole or not at all.
        found: the new measurements; they come last.
        key: what a measurement is of.
    """
    again = {key(entry) for entry in found}
    kept = [entry for entry in read(path) if key(entry) not in again]
    write_atomic(path, "".join(entry.to_json() + "\n" for entry in [*kept, *found]))
