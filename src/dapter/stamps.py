"""The payload of the budget converter as a few bytes: stamp indices, packed, and painted at the service's door.

Whoever wants the bandwidth sends these bytes; an adapter without state in front of the unchanged service makes the
picture of them that the client would have sent. No torch.
"""

import json
import math
import secrets
from dataclasses import dataclass

import numpy as np

from dapter.errors import CheckFailed, DataError, UsageError

FORMAT = "dapter-stamps/1"
MOST_STAMPS = 4096
MOST_PIXELS = 4096
"""Of a side, in a file: bounds what a door paints."""

MOST_CELLS = 256
"""Of a side: packing and unpacking take time that grows with the square of the number of cells."""


@dataclass(frozen=True)
class Stamps:
    """A published alphabet on a grid.

    Attributes:
        alphabet: uint8 (K, s, s, 3).
        grid: cells on a side.
    """

    alphabet: np.ndarray
    grid: int

    @property
    def packed_bytes(self) -> int:
        """Of a packed payload: the hard budget, grid^2 log2 K bits, rounded up."""
        most: int = len(self.alphabet) ** self.grid**2 - 1
        return math.ceil(most.bit_length() / 8)

    def pack(self, indices: np.ndarray) -> bytes:
        """The stamps of one payload, int (grid^2,), row by row, as one number to the base K, most significant first."""
        number = 0
        for index in indices.tolist():
            number = number * len(self.alphabet) + index
        return number.to_bytes(self.packed_bytes, "big")

    def unpack(self, content: bytes) -> np.ndarray:
        """Read what `pack` gave, int64 (grid^2,).

        Raises:
            DataError: bytes that no payload gives.
        """
        number = int.from_bytes(content, "big")
        if len(content) != self.packed_bytes or number >= len(self.alphabet) ** self.grid**2:
            cure = f"Cure: {self.packed_bytes} bytes, as `pack` gives them"
            raise DataError(f"{len(content)} bytes are no payload of {self.grid} x {self.grid} stamps. {cure}")
        indices = np.empty(self.grid**2, np.int64)
        for cell in reversed(range(len(indices))):
            number, indices[cell] = divmod(number, len(self.alphabet))
        return indices

    def paint(self, indices: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """The pictures that the client would have sent, uint8 (N, H, W, 3).

        Args:
            indices: int (N, grid^2).
            size: height and width in pixels.
        """
        side = self.alphabet.shape[1]
        cells = self.alphabet[indices].reshape(-1, self.grid, self.grid, side, side, 3)
        canvas = cells.transpose(0, 1, 3, 2, 4, 5).reshape(-1, self.grid * side, self.grid * side, 3)
        rows, columns = (np.arange(length) * self.grid * side // length for length in size)
        return np.ascontiguousarray(canvas[:, rows][:, :, columns])

    def read(self, pictures: np.ndarray) -> np.ndarray:
        """The stamps that pictures show, uint8 (N, H, W, 3), as int64 (N, grid^2); undoes `paint`.

        Raises:
            CheckFailed: a picture is not, to the last bit, made of these stamps.
            UsageError: pictures too small to show every pixel of every stamp.
        """
        size, patch = pictures.shape[1:3], self.alphabet.shape[1]
        side = self.grid * patch
        if min(size) < side:
            raise UsageError(f"stamps cannot be read from pictures below {side} pixels a side. Cure: larger images")
        rows, columns = (-(-np.arange(side) * length // side) for length in size)  # the first that shows each pixel
        canvas = pictures[:, rows][:, :, columns].reshape(-1, self.grid, patch, self.grid, patch, 3)
        seen = canvas.transpose(0, 1, 3, 2, 4, 5).reshape(-1, patch * patch * 3)
        known = {stamp.tobytes(): index for index, stamp in reversed(list(enumerate(self.alphabet)))}
        found = np.array([known.get(each.tobytes(), 0) for each in seen], np.int64).reshape(-1, self.grid**2)
        if not np.array_equal(self.paint(found, size), pictures):
            raise CheckFailed("a payload shows more than stamps of the alphabet. Cure: send only what `protect` gives")
        return found

    def distinct(self) -> tuple["Stamps", np.ndarray]:
        """The stamps that look different, in the order of the first of each; and which of them each is, int64 (K,)."""
        _, first, which = np.unique(self.alphabet, axis=0, return_index=True, return_inverse=True)
        order = np.argsort(first)
        return Stamps(self.alphabet[first[order]], self.grid), np.argsort(order)[which.reshape(-1)]

    def to_json(self, size: tuple[int, int]) -> str:
        """What is published.

        Args:
            size: height and width of the pictures.
        """
        record = {"format": FORMAT, "grid": self.grid, "size": list(size), "alphabet": self.alphabet.tolist()}
        return json.dumps(record, sort_keys=True) + "\n"


def read_stamps(text: str | bytes) -> tuple[Stamps, tuple[int, int]]:
    """What `to_json` gave: the stamps, and height and width of the pictures.

    Raises:
        DataError: it is nothing of that kind.
    """
    try:
        record = json.loads(text)
        (height, width), grid = record["size"], record["grid"]
        found = Stamps(np.array(record["alphabet"], np.uint8), grid)
        right = found.to_json((height, width)) == json.dumps(record, sort_keys=True) + "\n"
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise DataError(f"these are no published stamps ({error}). Cure: stamps.json of a release") from error
    shape, sides = found.alphabet.shape, (height, width, grid)
    right = right and all(type(side) is int and 1 <= side <= MOST_PIXELS for side in sides)
    right = right and len(shape) == 4 and shape[1] == shape[2] and shape[3] == 3 and 2 <= shape[0] <= MOST_STAMPS
    if not right or grid > MOST_CELLS or grid * shape[1] > min(height, width):
        raise DataError(f"these are no stamps in the format {FORMAT}. Cure: stamps.json of a release")
    return found, (height, width)


def flip(indices: np.ndarray, alphabet: int, probability: float, seed: int | None = None) -> np.ndarray:
    """Stamps, int (...), each replaced with a probability by one drawn evenly from the alphabet, maybe the same.

    What that bounds: dapter.bits. 64 bits are drawn for each decision.

    Args:
        indices: from 0 to `alphabet` - 1.
        seed: repeats a measurement. None, as in use: every bit is drawn from the operating system, because whoever
            could draw the same again would see what was replaced.
    """
    words = 2 * indices.size
    content = secrets.token_bytes(8 * words) if seed is None else np.random.default_rng(seed).bytes(8 * words)
    when, what = np.frombuffer(content, np.uint64).reshape(2, *indices.shape)
    return np.where(when < np.uint64(int(probability * 2**64)), (what % np.uint64(alphabet)).astype(np.int64), indices)
