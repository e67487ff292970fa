"""The payload of the budget converter as a few bytes: stamp indices, packed, and painted at the service's door.

Whoever wants the bandwidth sends these bytes; an adapter without state in front of the unchanged service makes the
picture of them that the client would have sent. No torch.
"""

import math
from dataclasses import dataclass

import numpy as np

from dapter.errors import DataError


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
