"""A results file: one measurement a line."""

import sys
import traceback
from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from pathlib import Path

from source import made_alike

from dapter.runs import hold, write_atomic
from dapter.types import Measurement

Key = Callable[[Measurement], Hashable]
"""What a measurement is of."""


def read(path: Path) -> list[Measurement]:
    """The measurements of a results file; none if it is not there yet."""
    return [Measurement.from_json(line) for line in path.read_text().splitlines()] if path.exists() else []


def replace_lines(path: Path, found: Collection[Measurement], key: Key) -> None:
    """Put new measurements in the place of old ones with the same key; every other line stays.

    Args:
        path: the results file; written whole or not at all, and by one process at a time.
        found: the new measurements; they come last.
        key: what a measurement is of.
    """
    again = {key(entry) for entry in found}
    path.parent.mkdir(parents=True, exist_ok=True)
    with hold(path.parent):
        kept = [entry for entry in read(path) if key(entry) not in again]
        write_atomic(path, "".join(entry.to_json() + "\n" for entry in [*kept, *found]))


def refuse_others(path: Path, source: str, size: Sequence[int], but: Collection[str]) -> None:
    """End the program if a results file has lines of images of that size which were measured with other settings.

    Args:
        path: the results file, in which figures stand side by side.
        source: the command of the lines that are to come.
        size: height and width of the images.
        but: the options in which the commands of lines may differ.
    """
    for entry in read(path):
        if entry.settings["image_size"] == list(size) and not made_alike(entry.source, source, but):
            sys.exit(
                f"{path} has lines of other settings, which cannot stand beside these: {entry.source}\n"
                "Cure: the same settings; or --results, another folder"
            )


def chosen(asked: Sequence[str], known: Iterable[str], option: str) -> list[str]:
    """What a command line names, or everything that is known; an unknown name ends the program."""
    every = list(known)
    unknown = [name for name in asked if name not in every]
    if unknown:
        sys.exit(f"{option}: unknown {', '.join(unknown)}. Cure: one or more of {', '.join(every)}")
    return list(asked) or every


def measure_each(
    names: Sequence[str], lines: Callable[[str], Iterable[Measurement]], path: Path, key: Key, option: str
) -> int:
    """Measure one after the other, and write the file after each; one that fails is named and stops no other.

    Args:
        names: what to measure.
        lines: measures one.
        path, key: as of `replace_lines`.
        option: of the command line, which repeats those that failed.

    Returns:
        The exit code.
    """
    failed = []
    for name in names:
        try:
            found = list(lines(name))
            if not found:
                raise ValueError(f"nothing was measured of {name}. Cure: name a seed at least")
            replace_lines(path, found, key)
        except Exception:  # whatever is wrong with one, hours of others follow
            traceback.print_exc()
            failed.append(name)
    print(path)
    if failed:
        print(f"Failed, see above: {', '.join(failed)}. Cure: mend them and repeat with {option}")
    return 1 if failed else 0
