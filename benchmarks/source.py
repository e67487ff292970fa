"""The command that a line of results came from."""

import shlex
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any

FOLDERS = ("root", "runs", "results", "workers")
"""Settings on which no result depends: where things are, and the number of processes."""


def command(script: str, settings: Any, always: Sequence[str]) -> str:
    """What to run to get the same lines, but for `FOLDERS`.

    Args:
        script: its path in the project.
        settings: the dataclass that it reads its command line into.
        always: the settings that are named first, whether or not they are the usual ones.
    """
    changed = [entry.name for entry in fields(settings) if getattr(settings, entry.name) != entry.default]
    words = [script]
    for name in [*always, *(name for name in changed if name not in (*always, *FOLDERS))]:
        words += _option(name.replace("_", "-"), getattr(settings, name))
    return shlex.join(words)


def made_alike(source: str, other: str, but: Collection[str]) -> bool:
    """Whether two lines' commands differ in these options at most, each named with all of its words."""
    return _without(source, but) == _without(other, but)


def _without(source: str, options: Collection[str]) -> list[list[str]]:
    """The words of a command, an option with its values each, in the order of the alphabet."""
    parts: list[list[str]] = [[]]
    for word in shlex.split(source):
        if word.startswith("--"):
            parts.append([])
        parts[-1].append(word)
    return sorted(part for part in parts if part[0].removeprefix("--") not in options)


def _option(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    return [f"--{name}", *_words(value)]


def _words(value: Any) -> list[str]:
    return [word for each in value for word in _words(each)] if isinstance(value, tuple) else [str(value)]
