"""Multipart forms: files become payloads, short texts stay, everything else is refused. All in memory."""

import logging
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dapter.errors import need
from dapter.service.gateway.images import Images
from dapter.service.gateway.json_body import Path, rewrite_json
from dapter.service.gateway.plain import Plain
from dapter.service.refused import Refused

PARTS = 64
HEADERS = 8
HEADER_BYTES = 1024
_NAME = re.compile(r"[\w.\-\[\]]{1,64}", re.ASCII)
_CURE = "Cure: send files as form parts of an image type, and short texts"


@dataclass
class _Part:
    headers: dict[str, str] = field(default_factory=dict)
    content: bytearray = field(default_factory=bytearray)


def rewrite_multipart(
    body: bytes, boundary: bytes, paths: Sequence[Path], images: Images, plain: Plain
) -> tuple[bytes, str, int]:
    """A new form, its content type, and how many images there were. File names are replaced.

    Raises:
        Refused: it is no whole form, or a part is neither an image nor short text nor JSON.
    """
    new, found = secrets.token_hex(16), 0
    lines: list[bytes] = []
    for part in _read(body, boundary):
        name, filename, kind = _describe(part)
        extra = ""
        if filename is not None or kind.startswith("image/") or kind == "application/octet-stream":
            found += 1
            content = images.file(bytes(part.content))
            extra = f'; filename="image-{found}.png"\r\nContent-Type: image/png'
        elif kind == "application/json":
            content, inside = rewrite_json(bytes(part.content), paths, images, plain)
            found += inside
            extra = "\r\nContent-Type: application/json"
        elif kind in ("", "text/plain"):
            content = plain.check(_text(part), f"the field {name}").encode()
        else:
            raise Refused(415, f"the part {name} is of a type that is not understood. {_CURE}")
        plain.check(name, "the name of a part")
        lines.append(f'--{new}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + content)
    return b"\r\n".join([*lines, f"--{new}--\r\n".encode()]), f"multipart/form-data; boundary={new}", found


def _describe(part: _Part) -> tuple[str, bytes | None, str]:
    """Name, file name if there is one, and type of a part.

    Raises:
        Refused: it has none, or a strange one.
    """
    parse = need("python_multipart", "gateway").multipart.parse_options_header
    disposition, options = parse(part.headers.get("content-disposition", ""))
    name = options.get(b"name", b"").decode(errors="replace")
    if disposition != b"form-data" or not _NAME.fullmatch(name):
        raise Refused(400, f"a part has no name, or a strange one. {_CURE}")
    if part.headers.get("content-transfer-encoding", "binary").lower() not in ("binary", "8bit", "7bit"):
        raise Refused(415, f"the part {name} is encoded. Cure: send its bytes as they are")
    kind, _ = parse(part.headers.get("content-type", ""))
    return name, options.get(b"filename"), kind.decode(errors="replace").lower()


def _text(part: _Part) -> str:
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        raise Refused(422, f"a field is no text in UTF-8. {_CURE}") from None


def _read(body: bytes, boundary: bytes) -> list[_Part]:
    """The parts of a form.

    Raises:
        Refused: it is broken, cut off, or has too many or too large parts.
    """
    library = need("python_multipart", "gateway")
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it shows what it could not read
    reader = _Reader()
    try:
        parser = library.MultipartParser(boundary, reader.callbacks())
        parser.write(body)
        parser.finalize()
    except (library.exceptions.FormParserError, UnicodeDecodeError):
        raise Refused(400, f"the form cannot be read. {_CURE}") from None
    if not reader.ended or not reader.parts:
        raise Refused(400, f"the form is empty or cut off. {_CURE}")
    return reader.parts


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False
        self._name = b""
        self._value = b""

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self.parts[-1].content.extend(data[start:end]),
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == PARTS:
            raise Refused(413, f"the form has over {PARTS} parts. Cure: send fewer at a time")
        self.parts.append(_Part())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        if len(self._value) > HEADER_BYTES:
            raise Refused(413, f"a part has a header over {HEADER_BYTES} bytes. {_CURE}")

    def _header_end(self) -> None:
        headers, name = self.parts[-1].headers, self._name.decode("ascii").lower()
        if name in headers or len(headers) == HEADERS:
            raise Refused(400, f"a part has a header twice, or too many. {_CURE}")
        headers[name] = self._value.decode()
        self._name = self._value = b""

    def _end(self) -> None:
        self.ended = True
