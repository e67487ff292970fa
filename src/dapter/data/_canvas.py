"""A batch of pictures painted shape by shape, each shape given by its distance.

Fields are float32 (height, width, batch) and the pictures' numbers (batch,), so that formulas read as for one
picture. A distance is negative inside a shape; its edge is softened over a pixel, which is the anti-aliasing. Only
+ - * /, sqrt, abs, floor, minimum and maximum touch pixels: all are exactly defined, so a picture does not depend on
the others in its batch.
"""

from dataclasses import dataclass

import numpy as np


def ellipse(
    u: np.ndarray, v: np.ndarray, half_width: np.ndarray | float, half_height: np.ndarray | float
) -> np.ndarray:
    """The distance to an ellipse around the origin, exact at its edge to first order."""
    a, b = u / half_width, v / half_height
    radius = np.sqrt(a * a + b * b)
    a /= half_width
    b /= half_height
    slope = np.sqrt(a * a + b * b)
    return np.asarray(radius * (radius - 1) / np.maximum(slope, 1e-3))


def box(
    u: np.ndarray,
    v: np.ndarray,
    half_width: np.ndarray | float,
    half_height: np.ndarray | float,
    corner: np.ndarray | float,
) -> np.ndarray:
    """The distance to a box around the origin with round corners."""
    a, b = np.abs(u) - half_width + corner, np.abs(v) - half_height + corner
    outside = np.sqrt(np.maximum(a, 0) ** 2 + np.maximum(b, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(a, b), 0) - corner)


def wave(phase: np.ndarray) -> np.ndarray:
    """A triangle wave of period 1 between -1 and 1."""
    return np.asarray(4 * np.abs(phase - np.floor(phase + np.float32(0.5))) - 1)


@dataclass(frozen=True)
class Pose:
    """Where each picture has its face, every number (batch,) float32.

    Attributes:
        x, y: the middle of the face in the picture, whose sides are -1 and 1, right and down.
        across, down: where a step of 1 to the right on the face leads in the picture (scale and tilt).
    """

    x: np.ndarray
    y: np.ndarray
    across: np.ndarray
    down: np.ndarray

    def bounds(self, left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        """The box in the picture that holds this box of the face in all pictures."""
        x = [self.x + self.across * u - self.down * v for u in (left, right) for v in (top, bottom)]
        y = [self.y + self.down * u + self.across * v for u in (left, right) for v in (top, bottom)]
        return float(np.min(x)), float(np.min(y)), float(np.max(x)), float(np.max(y))


@dataclass(frozen=True)
class Canvas:
    """Pictures, or the same part of each.

    Attributes:
        pose: where the faces are.
        pixels: float32 (3, height, width, batch) in [0, 1], painted in place.
        x, y: where each pixel is in the picture, (1, width, 1) and (height, 1, 1).
        u, v: where each pixel is on the face, (height, width, batch).
        pixel: the size of a pixel on the face, (batch,).
    """

    pose: Pose
    pixels: np.ndarray
    x: np.ndarray
    y: np.ndarray
    u: np.ndarray
    v: np.ndarray
    pixel: np.ndarray

    @classmethod
    def blank(cls, size: int, pose: Pose) -> "Canvas":
        """Black pictures, (size, size)."""
        line = (np.arange(size, dtype=np.float32) * 2 + 1) / np.float32(size) - 1
        x, y = line[None, :, None], line[:, None, None]
        square = pose.across**2 + pose.down**2
        cos, sin = pose.across / square, pose.down / square
        u = cos * (x - pose.x) + sin * (y - pose.y)
        v = cos * (y - pose.y) - sin * (x - pose.x)
        return cls(pose, np.zeros((3, *u.shape), np.float32), x, y, u, v, 2 / np.sqrt(square) / np.float32(size))

    def crop(self, left: float, top: float, right: float, bottom: float) -> "Canvas":
        """The rows and columns in which some picture has that box of the face; a view."""
        low_x, low_y, high_x, high_y = self.pose.bounds(left, top, right, bottom)
        columns = slice(*np.searchsorted(self.x[0, :, 0], (low_x, high_x)))
        rows = slice(*np.searchsorted(self.y[:, 0, 0], (low_y, high_y)))
        pixels, u, v = self.pixels[:, rows, columns], self.u[rows, columns], self.v[rows, columns]
        return Canvas(self.pose, pixels, self.x[:, columns], self.y[rows], u, v, self.pixel)

    def paint(
        self, distance: np.ndarray, colour: np.ndarray, opacity: np.ndarray | float = 1, blur: np.ndarray | float = 0
    ) -> None:
        """Lay a colour, (3, batch) or (3, height, width, batch), over the shape.

        Args:
            distance: the shape, (height, width, batch).
            opacity: (batch,) or of every pixel; 0 where a picture has no such shape.
            blur: how far, on the face, the edge fades, beyond the pixel of every edge.
        """
        cover = np.clip(0.5 - distance / (self.pixel + blur), 0, 1)
        cover *= opacity
        change = (colour[:, None, None, :] if colour.ndim == 2 else colour) - self.pixels
        change *= cover
        self.pixels[...] += change
