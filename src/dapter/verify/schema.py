"""JSON Schema, as much of it as the schemas of this package use; every fault is listed.

The `jsonschema` package would do it, but takes longer to import than a whole verification; the tests compare the two.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

_TYPES: Mapping[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}
_ANNOTATIONS = {"$schema", "$id", "$defs", "title", "required", "properties", "additionalProperties", "items"}
_LIMITS = {
    "minItems": (list, "entries"),
    "maxItems": (list, "entries"),
    "minProperties": (dict, "entries"),
    "maxProperties": (dict, "entries"),
    "minLength": (str, "letters"),
    "maxLength": (str, "letters"),
}


@functools.cache
def load(name: str) -> dict[str, Any]:
    """A schema of this package, by its file's stem."""
    found: dict[str, Any] = json.loads((files("dapter") / "schemas" / f"{name}.schema.json").read_text("utf-8"))
    return found


def faults(value: Any, schema: Mapping[str, Any], where: str = "", root: Mapping[str, Any] | None = None) -> list[str]:
    """Everything in which a JSON value differs from a schema, in plain words."""
    return list(_faults(value, schema, where, root or schema))


def _faults(value: Any, schema: Mapping[str, Any], where: str, root: Mapping[str, Any]) -> Iterator[str]:
    if "$ref" in schema:
        yield from _faults(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], where, root)
        return
    here = where or "the whole"
    kind = schema.get("type")
    if kind and (not isinstance(value, _TYPES[kind]) or isinstance(value, bool)):
        yield f"{here} is {_show(value)}, not {kind}"
        return
    for keyword, wanted in schema.items():
        if keyword not in _ANNOTATIONS and keyword != "type":
            yield from _keyword(keyword, wanted, value, here, where, root)
    if isinstance(value, dict):
        yield from _object(value, schema, where, root)
    if isinstance(value, list) and "items" in schema:
        for place, entry in enumerate(value):
            yield from _faults(entry, schema["items"], f"{where}[{place}]", root)


def _keyword(keyword: str, wanted: Any, value: Any, here: str, where: str, root: Mapping[str, Any]) -> Iterator[str]:
    if keyword == "const":
        wrong = value != wanted or isinstance(value, bool)
    elif keyword == "enum":
        wrong = value not in wanted
    elif keyword == "anyOf":
        wrong = all(faults(value, each, where, root) for each in wanted)
    elif keyword == "pattern":
        wrong = isinstance(value, str) and not re.search(wanted.removesuffix("$") + r"\Z", value)
    elif keyword in ("minimum", "maximum"):
        wrong = isinstance(value, int | float) and (value < wanted if keyword == "minimum" else value > wanted)
    else:
        kind, unit = _LIMITS[keyword]
        long = len(value) if isinstance(value, kind) else wanted
        if long < wanted if keyword.startswith("min") else long > wanted:
            yield f"{here} has {long} {unit}, {keyword} is {wanted}"
        return
    if wrong:
        expected = "one of the allowed forms" if keyword == "anyOf" else f"{keyword} {wanted}"
        yield f"{here} is {_show(value)}, not {expected}"


def _object(value: Mapping[str, Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any]) -> Iterator[str]:
    known = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{f'{where}.{name}'.lstrip('.')} is missing"
    for name, entry in value.items():
        place = f"{where}.{ascii(name)[1:-1]}".lstrip(".")
        if name in known:
            yield from _faults(entry, known[name], place, root)
        elif others is False:
            yield f"{place} is unknown"
        elif others is not True:
            yield from _faults(entry, others, place, root)


def _show(value: Any) -> str:
    return ascii(value)[:80]
