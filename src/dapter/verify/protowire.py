"""The wire form of protocol buffers, read strictly: what is unknown, repeated or misshapen is refused.

A lenient reader would merge repeated fields and skip unknown ones; two readers could then see two models in one file.
Source: protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapter.verify.problems import Broken

MAX_DEPTH = 16

PART = 40
"""What a message or text costs, in numbers: about its memory."""


@dataclass(frozen=True)
class Field:
    """One field of a message.

    Attributes:
        name: what it is called here.
        kind: `int`, `float`, `bytes`, `text`, or the message's name.
        many: whether it may be repeated (numbers: packed or not).
    """

    name: str
    kind: str
    many: bool = False


Schema = Mapping[str, Mapping[int, Field]]
"""For each message its fields by number. A field that is not there is refused."""


class Reader:
    """Reads messages of one schema, at most so many of them."""

    def __init__(self, schema: Schema, most: int, refused: Mapping[tuple[str, int], str]) -> None:
        """Make a reader.

        Args:
            most: numbers, bytes of packed numbers, and PART for each message or text, in all; bounds the memory, which
                can exceed the file's size many times.
            refused: what fields are that the schema leaves out, for the message.
        """
        self._schema, self._left, self._refused = schema, most, refused

    def read(self, data: memoryview, message: str, depth: int = 0) -> dict[str, Any]:
        """The fields that are there, by name; repeated ones as lists.

        Raises:
            Broken: not such a message.
        """
        if depth > MAX_DEPTH:
            raise Broken(f"is nested deeper than {MAX_DEPTH} messages")
        found: dict[str, Any] = {}
        for number, wire, value in _fields(data):
            known = self._schema[message].get(number)
            if known is None:
                what = self._refused.get((message, number), f"field {number} of {message}")
                raise Broken(f"has {what}, which no converter needs")
            values = self._values(known, wire, value, message, depth)
            if known.many:
                found.setdefault(known.name, []).extend(values)
            elif known.name in found:
                raise Broken(f"has {message}.{known.name} twice")
            else:
                (found[known.name],) = values
        return found

    def _values(self, known: Field, wire: int, value: Any, message: str, depth: int) -> Sequence[Any]:
        where = f"{message}.{known.name}"
        if known.kind in ("int", "float"):
            self._spend(len(value) if wire == 2 else 1)
            return _numbers(known, wire, value, where)
        if wire != 2:
            raise Broken(f"has {where} in a wrong form")
        self._spend(PART)
        if known.kind == "bytes":
            return [value]
        if known.kind == "text":
            return [_text(value, where)]
        return [self.read(value, known.kind, depth + 1)]

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise Broken("has more parts than any converter needs")


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of each field; the value of bytes is a view, nothing is copied."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        wire, size = key & 7, {1: 8, 5: 4}.get(key & 7)
        if wire == 0:
            value, place = _varint(data, place)
            yield key >> 3, wire, value
            continue
        if wire == 2:
            size, place = _varint(data, place)
        if size is None:
            raise Broken(f"has a field of wire type {wire}")
        if size > len(data) - place:
            raise Broken("ends in the middle of a field: truncated")
        yield key >> 3, wire, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """An unsigned number, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise Broken("ends in the middle of a number: truncated")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, place
    raise Broken("has a number of more than 64 bits")


def _numbers(known: Field, wire: int, value: Any, where: str) -> list[int] | list[float]:
    packed = wire == 2 and known.many
    if known.kind == "float" and (wire == 5 or packed):
        if len(value) % 4:
            raise Broken(f"has {where} in a wrong form")
        return list(struct.unpack(f"<{len(value) // 4}f", value))
    if known.kind == "int" and wire == 0:
        return [_signed(value)]
    if known.kind == "int" and packed:
        numbers, place = [], 0
        while place < len(value):
            number, place = _varint(value, place)
            numbers.append(_signed(number))
        return numbers
    raise Broken(f"has {where} in a wrong form")


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value


def _text(value: memoryview, where: str) -> str:
    try:
        text = bytes(value[:1000]).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Broken(f"has {where} that is not UTF-8") from error
    if len(value) > 1000 or not text.isprintable():
        raise Broken(f"has {where} that is too long, or has letters that cannot be seen")
    return text
