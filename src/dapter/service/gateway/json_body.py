"""JSON with images in base64 at known places, the shape of the well-known vision APIs."""

import base64
import binascii
import json
import re
from collections.abc import Sequence
from typing import Any

from dapter.errors import UsageError
from dapter.service.gateway.images import Images
from dapter.service.gateway.plain import Plain
from dapter.service.refused import Refused

Path = tuple[str | int | None, ...]
"""The way from the top to a value: names, numbers, None for any element of a list."""

DEPTH = 32
_STEP = re.compile(r"\.([A-Za-z_][\w-]*)|\[(\d+|\*)\]|\[['\"]([^'\"]+)['\"]\]")
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)


def parse_path(text: str) -> Path:
    """Read a path in a small part of JSONPath (RFC 9535): `$.requests[*].image.content`.

    Raises:
        UsageError: it uses more than names, numbers and `[*]`.
    """
    steps: list[str | int | None] = []
    place = 1
    while place < len(text) and (found := _STEP.match(text, place)):
        name, number, quoted = found.groups()
        steps.append(name or quoted or (None if number == "*" else int(number)))
        place = found.end()
    if not text.startswith("$") or place != len(text) or not steps:
        raise UsageError(f"{text} is no path. Cure: like $.requests[*].image.content")
    return tuple(steps)


def rewrite_json(body: bytes, paths: Sequence[Path], images: Images, plain: Plain) -> tuple[bytes, int]:
    """The same JSON with payloads for its images, and how many there were.

    Raises:
        Refused: it is no JSON, an image is not where it should be, or something else could be one.
    """
    try:
        record = json.loads(body, parse_constant=_refuse, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is no JSON that is clear. Cure: each name once, no NaN, in UTF-8") from None
    walk = _Walk(paths, images, plain)
    try:
        return json.dumps(walk.value(record, ()), allow_nan=False).encode(), walk.images_found
    except ValueError:
        raise Refused(400, "the JSON holds a number without end. Cure: leave it out") from None


class _Walk:
    """Builds the new value of every value."""

    def __init__(self, paths: Sequence[Path], images: Images, plain: Plain) -> None:
        self._paths, self._images, self._plain = paths, images, plain
        self.images_found = 0

    def value(self, value: Any, place: Path) -> Any:
        where = "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
        if any(_fits(path, place) for path in self._paths):
            self.images_found += 1
            return self._image(value, where[:80])
        if len(place) > DEPTH:
            raise Refused(400, f"the JSON is nested over {DEPTH} deep. Cure: send it flatter")
        if isinstance(value, dict):
            self._plain.count(1)
            return {
                self._plain.check(name, "a name in the JSON"): self.value(inner, (*place, name))
                for name, inner in value.items()
            }
        if isinstance(value, list):
            self._plain.count(1)
            return [self.value(inner, (*place, number)) for number, inner in enumerate(value)]
        if isinstance(value, str):
            return self._plain.check(value, where[:80])
        self._plain.number(value or 0)
        return value

    def _image(self, value: Any, where: str) -> str:
        """The payload of an image in base64, with or without the beginning of a data URI."""
        if not isinstance(value, str):
            raise Refused(422, f"{where} is no image in base64. Cure: check --json-path")
        found = _DATA_URI.match(value)
        text = re.sub(r"\s", "", value[found.end() :] if found else value).translate(_STANDARD).rstrip("=")
        try:
            content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise Refused(422, f"{where} is no base64. Cure: encode the image file so") from None
        payload = base64.b64encode(self._images.file(content)).decode()
        return f"data:image/png;base64,{payload}" if found else payload


_STANDARD = str.maketrans("-_", "+/")


def _fits(path: Path, place: Path) -> bool:
    return len(path) == len(place) and all(
        isinstance(found, int) if wanted is None else wanted == found for wanted, found in zip(path, place, strict=True)
    )


def _refuse(name: str) -> None:
    raise ValueError(name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found
