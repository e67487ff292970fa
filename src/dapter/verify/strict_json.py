"""JSON that has one meaning only: no repeated names, no NaN, no odd letters, nothing deep, nothing huge."""

import json
from collections import Counter
from typing import Any

from dapter.verify.problems import Broken

MAX_DEPTH = 24


def loads(data: bytes) -> Any:
    """The value.

    Raises:
        Broken: not such JSON.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Broken(f"is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise Broken(f"is nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:  # broken JSON, or a number of thousands of digits
        raise Broken(f"is not JSON ({str(error)[:200]})") from error
    _check(value)
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        raise Broken(f"has the name {counts.most_common(1)[0][0]!a} twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise Broken(f"holds {name}, which is no number")


def _check(value: Any) -> None:
    """Raise where the value is too deep, or has letters that a reader would not see."""
    level = [value]
    for _ in range(MAX_DEPTH):
        for text in level:
            if isinstance(text, str) and not text.isprintable() and not set(text) <= _plain(text):
                raise Broken(f"has letters that cannot be seen: {text[:60]!a}")
            if isinstance(text, float) and text in (float("inf"), float("-inf")):
                raise Broken("holds a number that is too large")
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in ([*outer, *outer.values()] if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise Broken(f"is nested deeper than {MAX_DEPTH}")


def _plain(text: str) -> set[str]:
    return {letter for letter in set(text) if letter.isprintable() or letter in "\n\t"}
