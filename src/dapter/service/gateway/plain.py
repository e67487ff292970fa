"""What may pass as it is: short text that cannot hold an image, or say where one is to be fetched."""

import re
import unicodedata
from urllib.parse import unquote

from dapter.service.refused import Refused

MOST = 4096
"""Characters of plain text in one request, its names and numbers included."""

NUMBERS = 64
"""Numbers in one request, in its JSON and its texts; a row of them can be pixels."""

LONGEST = 64
"""Letters, digits and signs of base64 or percent codes in a row; a UUID has 36, a SHA-256 has 64."""

CODES = 512
"""Characters in rows of over 24, all together: an image can be cut into lines, fields or parts of a query."""

_ROW = re.compile(r"[A-Za-z0-9+/=_%\\-]{25,}")
_NUMBER = re.compile(r"(?<![A-Za-z0-9])(?:0x)?(?:[0-9]+|[0-9a-f]{2})(?![A-Za-z0-9])", re.IGNORECASE)
_ADDRESS = re.compile(
    r"""[a-z][a-z0-9+.\-]*:\\*/\\*/   # any://, also in JSON in a text, which writes :\/\/
    | \b(?:https?|ftp|s3|gs|file|blob):\S
    | \bdata:[a-z;,]
    | (?<![^\s"'(=,])\\*/\\*/\w[\w\-]*\.\w   # //host.example
    | \bwww\.\w""",
    re.IGNORECASE | re.VERBOSE,
)
_IMAGE = re.compile(r"(?<!\w)(?:[/_]9j[/_]|iVBORw0KGgo|R0lGOD|UklGR|(?i:ffd8ff|89504e47))")
"""How JPEG, PNG, GIF and WebP files begin in base64; the first two also in hexadecimal digits."""
_WHITE = "\t\n\r"


class Plain:
    """Counts the plain text of one request."""

    def __init__(self) -> None:
        self._left = MOST
        self._numbers = NUMBERS
        self._codes = CODES

    def check(self, text: str, where: str) -> str:
        """Give the text back if it may pass.

        Raises:
            Refused: it could hold an image or the address of one, or the request has too much text.
        """
        self.count(len(text))
        if any(unicodedata.category(letter)[0] == "C" and letter not in _WHITE for letter in text):
            raise Refused(422, f"{where} is not plain text. Cure: {_CURE}")
        usual = unicodedata.normalize("NFKC", text)  # wide and styled letters are letters
        rows = [len(row) for row in _ROW.findall(usual)]
        self._codes -= sum(rows)
        if max(rows, default=0) > LONGEST or self._codes < 0:
            raise Refused(
                422, f"{where} could hold an image: over {LONGEST} signs in a row, or many rows. Cure: {_CURE}"
            )
        self.address(usual, where)
        self._count_numbers(len(_NUMBER.findall(usual)))
        return text

    def address(self, text: str, where: str) -> None:
        """Refuse the address of an image, also with percent codes.

        Raises:
            Refused: the text holds one.
        """
        if _ADDRESS.search(text) or _ADDRESS.search(unquote(text)):
            raise Refused(
                422, f"{where} holds an address, from which an original could be fetched. Cure: send the image itself"
            )

    def count(self, length: int) -> None:
        """Count that much text.

        Raises:
            Refused: it is too much.
        """
        self._left -= max(1, length)
        if self._left < 0:
            raise Refused(413, f"there are over {MOST} characters beside the images. Cure: {_CURE}")

    def number(self, value: float) -> None:
        """Count a number.

        Raises:
            Refused: there are too many, or it is so long that it could be an image.
        """
        digits = len(str(value))
        self.count(digits)
        self._count_numbers(1)
        if digits > LONGEST:
            raise Refused(422, f"a number has over {LONGEST} digits, and could be an image. Cure: {_CURE}")

    def _count_numbers(self, found: int) -> None:
        self._numbers -= found
        if self._numbers < 0:
            raise Refused(413, f"there are over {NUMBERS} numbers, which could be pixels. Cure: {_CURE}")


def begins_image(text: str) -> bool:
    """Whether an image in base64 or hexadecimal digits begins in a text."""
    return bool(_IMAGE.search(text))


_CURE = "name the path of an image in JSON with --json-path, send a file as a part of its own, secrets as a header"
