"""What may pass as it is: short text that cannot hold an image, or say where one is to be fetched."""

import re
import unicodedata

from dapter.service.refused import Refused

MOST = 4096
"""Characters of plain text in one request, its names and numbers included."""

NUMBERS = 64
"""Numbers in the JSON of one request; a row of them can be pixels."""

LONGEST = 64
"""Letters, digits and signs of base64 or percent codes in a row; a UUID has 36, a SHA-256 has 64."""

_RUN = re.compile(rf"[A-Za-z0-9+/=_%\\-]{{{LONGEST + 1},}}")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.\-]*://|data:[a-z]", re.IGNORECASE)
_WHITE = "\t\n\r"


class Plain:
    """Counts the plain text of one request."""

    def __init__(self) -> None:
        self._left = MOST
        self._numbers = NUMBERS

    def check(self, text: str, where: str) -> str:
        """Give the text back if it may pass.

        Raises:
            Refused: it could hold an image or the address of one, or the request has too much text.
        """
        self.count(len(text))
        if any(unicodedata.category(letter)[0] == "C" and letter not in _WHITE for letter in text):
            raise Refused(422, f"{where} is not plain text. Cure: {_CURE}")
        if _RUN.search(text):
            raise Refused(422, f"{where} could hold an image: over {LONGEST} signs in a row. Cure: {_CURE}")
        if _ADDRESS.search(text):
            raise Refused(
                422, f"{where} holds an address, from which an original could be fetched. Cure: send the image itself"
            )
        return text

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
            Refused: there are too many.
        """
        self.count(len(str(value)))
        self._numbers -= 1
        if self._numbers < 0:
            raise Refused(413, f"there are over {NUMBERS} numbers in the JSON, which could be pixels. Cure: {_CURE}")


_CURE = "name the path of an image in JSON with --json-path, send a file as a part of its own, secrets as a header"
