"""Portraits drawn from numbers: one function a part of the face, from the back to the front.

On the face, `u` runs right and `v` down; the head reaches from about -0.6 to 0.6. Every attribute has its own place:
the hat above -0.4, the fringe below it, brows, glasses, mouth, beard, and long hair beside the face.
"""

from collections.abc import Mapping

import numpy as np

from dapter.data._canvas import Canvas, Pose, box, ellipse, wave

Look = Mapping[str, np.ndarray]
"""For each attribute its class and for each of PERSONAL and PASSING a number in [0, 1): float32 (batch,)."""

PERSONAL = (
    *("skin", "skin_tint", "hair_shade", "eye_colour", "eye_gap", "eye_size", "nose_width", "nose_length"),
    *("mouth_width", "lip_weight", "brow_weight", "head_width", "head_height", "jaw", "ear_size", "parting"),
)
"""What stays the same in all pictures of a person."""

PASSING = (
    *("x", "y", "scale", "tilt", "turn", "gaze", "light_side", "light", "exposure", "warmth", "noise"),
    *("ground", "ground_tone", "ground_other", "pattern", "pattern_place", "pattern_angle"),
    *("shirt", "shirt_tone", "hat", "hat_tone", "hat_shape", "frame", "frame_shape", "lipstick"),
    *("mouth_curve", "mouth_open", "hair_length", "hair_wave", "fringe", "brow_lift", "beard_length"),
)
"""What changes from picture to picture."""

HAIR = ("black", "brown", "red", "blond", "grey")
GROUNDS = ("plain", "gradient", "stripes", "dots")

_HAIR = ((0.10, 0.09, 0.10), (0.38, 0.22, 0.12), (0.76, 0.30, 0.08), (0.93, 0.77, 0.40), (0.72, 0.73, 0.76))
_SKIN = ((0.99, 0.86, 0.77), (0.96, 0.78, 0.65), (0.88, 0.66, 0.50), (0.74, 0.52, 0.37), (0.54, 0.35, 0.24))
_EYES = ((0.30, 0.17, 0.08), (0.45, 0.32, 0.12), (0.22, 0.45, 0.25), (0.25, 0.50, 0.75), (0.45, 0.52, 0.58))
_LIPSTICK = ((0.86, 0.04, 0.14), (0.92, 0.12, 0.42), (0.66, 0.03, 0.26))
_FRAMES = ((0.07, 0.07, 0.09), (0.33, 0.15, 0.07), (0.10, 0.14, 0.38), (0.50, 0.06, 0.10))
_DARK = np.array([[0.10], [0.06], [0.06]], np.float32)
_WHITE = np.array([[0.98], [0.97], [0.95]], np.float32)


def _span(share: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.asarray(low + share * (high - low))


def _choose(colours: tuple[tuple[float, float, float], ...], which: np.ndarray) -> np.ndarray:
    """One of the colours for each picture, (3, batch)."""
    return np.asarray(np.array(colours, np.float32)[which.astype(np.int64)].T)


def _between(colours: tuple[tuple[float, float, float], ...], place: np.ndarray) -> np.ndarray:
    """A colour on the way from the first to the last, (3, batch)."""
    lower = np.minimum((place * (len(colours) - 1)).astype(np.int64), len(colours) - 2)
    rest = place * (len(colours) - 1) - lower.astype(np.float32)
    first, second = _choose(colours, lower), _choose(colours, lower + 1)
    return np.asarray(first + (second - first) * rest)


def _vivid(hue: np.ndarray, strength: np.ndarray | float, value: np.ndarray | float) -> np.ndarray:
    """The colour of that hue, saturation and value, (3, batch)."""
    steps = np.array([[0], [2 / 3], [1 / 3]], np.float32) + hue
    lacking = np.clip(2 - np.abs((steps - np.floor(steps)) * 6 - 3), 0, 1)
    return np.asarray(value * (1 - strength * lacking))


class Portrait:
    """The portraits of one batch, while they are painted."""

    def __init__(self, look: Look, size: int) -> None:
        scale, tilt = _span(look["scale"], 0.97, 1.13), _span(look["tilt"], -0.14, 0.14)
        x, y = _span(look["x"], -0.10, 0.10), _span(look["y"], 0.00, 0.12)
        pose = Pose(x, y, scale * np.cos(tilt), scale * np.sin(tilt))
        self.look = look
        self.canvas = Canvas.blank(size, pose)
        self.turn = _span(look["turn"], -0.05, 0.05)
        angle, self.light = _span(look["light_side"], -1.2, 1.2), _span(look["light"], 0.05, 0.40)
        self.light_u, self.light_v = self.light * np.sin(angle), -self.light * np.cos(angle)
        self.skin = _between(_SKIN, look["skin"]) * np.stack(
            [np.ones_like(x), _span(look["skin_tint"], 0.97, 1.02), _span(look["skin_tint"], 1.03, 0.96)]
        )
        self.hair = _choose(_HAIR, look["Hair_Color"]) * _span(look["hair_shade"], 0.88, 1.08)
        self.eye_gap = _span(look["eye_gap"], 0.165, 0.215)
        self.half_width = _span(look["head_width"], 0.385, 0.415) + 0.085 * look["Round_Face"]
        self.half_height = _span(look["head_height"], 0.585, 0.625) - 0.075 * look["Round_Face"]
        self.taper = _span(look["jaw"], 0.30, 0.45) * (1 - look["Round_Face"])

    def head(self, canvas: Canvas, larger: np.ndarray | float = 0) -> np.ndarray:
        """The distance to the head, narrower towards the chin."""
        narrow = 1 - self.taper * np.maximum(canvas.v, 0)
        return ellipse(canvas.u / narrow, canvas.v, self.half_width + larger, self.half_height + larger)

    def lit(self, canvas: Canvas, colour: np.ndarray, strength: float = 1) -> np.ndarray:
        """The colour under the light: brighter on the side it comes from, (3, height, width, batch)."""
        slope = canvas.u * (strength * self.light_u) + canvas.v * (strength * self.light_v)
        slope += 1
        return np.asarray(colour[:, None, None, :] * slope)


def _paint_ground(art: Portrait) -> None:
    look, canvas = art.look, art.canvas
    kind, place = look["Background"], look["pattern_place"]
    first = _vivid(look["ground"], _span(look["ground_other"], 0.08, 0.40), _span(look["ground_tone"], 0.42, 0.90))
    step = np.copysign(1, 0.5 - look["ground_tone"]) * _span(look["ground_other"], 0.25, 0.38)
    second = np.clip(first + step, 0, 1)
    angle = _span(look["pattern_angle"], -0.7, 0.7) * np.where(kind == 1, 0.8, 1).astype(np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    along, across = canvas.y * cos + canvas.x * sin, canvas.x * cos - canvas.y * sin
    pitch = _span(look["pattern"], 2.2, 3.4)
    dots_u, dots_v = wave(across * pitch + place) + 1, wave(along * pitch + place) + 1
    edge = art.canvas.pixel * pitch * 4
    dots = np.clip(0.5 - (np.sqrt(dots_u * dots_u + dots_v * dots_v) - 0.85) / edge, 0, 1)
    stripes = np.clip(0.5 - (dots_u - 1) / edge, 0, 1)
    mix = np.where(kind == 3, dots, np.where(kind == 2, stripes, np.where(kind == 1, along * 0.5 + 0.5, 0)))
    canvas.pixels[...] = first[:, None, None, :] + (second - first)[:, None, None, :] * mix


def _paint_body(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-1.4, 0.5, 1.4, 1.6)
    shirt = _vivid(look["shirt"], 0.55, _span(look["shirt_tone"], 0.30, 0.85))
    canvas.paint(box(canvas.u, canvas.v - 1.36, 0.74, 0.62, 0.34), art.lit(canvas, shirt, 0.5))


def _paint_back_hair(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.8, -0.75, 0.8, 1.05)
    length = _span(look["hair_length"], 0.76, 0.98)
    bend = wave(canvas.v * 1.6 + look["hair_wave"]) * (0.02 + 0.02 * look["hair_wave"])
    middle, half = (length - 0.62) / 2, (length + 0.62) / 2
    shape = box(np.abs(canvas.u) + bend, canvas.v - middle, art.half_width + 0.15, half, 0.50)
    strands = 0.74 + 0.07 * wave(canvas.u * 9 + bend * 6)
    canvas.paint(shape, art.lit(canvas, art.hair) * strands, look["Long_Hair"])


def _paint_neck(art: Portrait) -> None:
    canvas = art.canvas.crop(-0.5, 0.25, 0.5, 0.95)
    shade = 0.90 - 0.25 * np.clip((0.80 - canvas.v) * 5, 0, 1)
    canvas.paint(box(canvas.u, canvas.v - 0.50, 0.19, 0.34, 0.17), art.skin[:, None, None, :] * shade)


def _paint_head(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.68, -0.68, 0.68, 0.72)
    ears = ellipse(np.abs(canvas.u) - art.half_width, canvas.v - 0.04, 0.075, _span(look["ear_size"], 0.10, 0.14))
    canvas.paint(ears, art.lit(canvas, art.skin * 0.90))
    distance = art.head(canvas)
    rim = np.clip(1 + distance * 5, 0, 1)
    colour = art.lit(canvas, art.skin, 1.2) * (1.00 - 0.18 * rim * rim)
    canvas.paint(distance, colour)
    cheeks = ellipse(np.abs(canvas.u - art.turn) - 0.27, canvas.v - 0.19, 0.12, 0.09)
    canvas.paint(
        cheeks,
        art.skin * np.array([[1.0], [0.70], [0.68]], np.float32),
        0.35 * np.clip(distance * -12, 0, 1),
        blur=0.12,
    )


def _paint_beard(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.6, 0.0, 0.6, 0.8)
    beside = np.abs(canvas.u)
    cheek = np.maximum(beside - 0.19, 0)
    line = 0.22 - 2.4 * cheek * cheek
    shape = np.maximum(art.head(canvas, 0.02 + 0.05 * look["beard_length"]), line - canvas.v)
    curls = 0.76 + 0.10 * wave(canvas.u * 10 + canvas.v * 3) * wave(canvas.v * 9)
    canvas.paint(shape, art.lit(canvas, art.hair) * curls, look["Beard"] * 0.96, blur=0.02)


def _paint_eyes(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.42, -0.16, 0.42, 0.12)
    u, v = canvas.u - art.turn, canvas.v + 0.02
    beside, size = np.abs(u) - art.eye_gap, _span(look["eye_size"], 0.85, 1.15)
    white = np.maximum(ellipse(beside, v, 0.092 * size, 0.062 * size), -0.044 - v)
    canvas.paint(white - 0.016, art.skin * 0.62, 0.8)
    canvas.paint(white, _WHITE)
    gaze = beside - np.copysign(_span(look["gaze"], -0.025, 0.025), u)
    iris = np.sqrt(gaze * gaze + v * v)
    colour = _choose(_EYES, look["eye_colour"] * len(_EYES))
    canvas.paint(np.maximum(iris - 0.050 * size, white), colour)
    canvas.paint(np.maximum(iris - 0.026 * size, white), _DARK)
    glint_u, glint_v = gaze - np.copysign(0.016, u), v + 0.018
    canvas.paint(np.sqrt(glint_u * glint_u + glint_v * glint_v) - 0.013, _WHITE, 0.9)
    canvas.paint(np.maximum(np.abs(white - 0.006) - 0.011, v + 0.018), _DARK, 0.9)


def _paint_brows(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.45, -0.34, 0.45, -0.06)
    beside = (np.abs(canvas.u - art.turn) - art.eye_gap - 0.01) / 0.115
    bow = 1 - (beside - 0.15) * (beside - 0.15)
    height = 0.158 + 0.014 * look["brow_lift"] + look["Arched_Eyebrows"] * (0.075 * bow + 0.012)
    weight = _span(look["brow_weight"], 0.017, 0.026) * (1.15 - 0.40 * np.clip(beside, -1, 1))
    shape = np.maximum(np.abs(canvas.v + height) - weight, (np.abs(beside) - 1) * 0.115)
    canvas.paint(shape, art.hair * 0.38 + art.skin * 0.08)


def _paint_nose(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.25, -0.1, 0.25, 0.28)
    u, v = canvas.u - 1.4 * art.turn, canvas.v
    tip, width = _span(look["nose_length"], 0.14, 0.19), _span(look["nose_width"], 0.050, 0.085)
    side = np.copysign(1, -art.light_u)
    bridge = ellipse(u - side * 0.022, v - tip * 0.5, 0.022, tip * 0.6)
    canvas.paint(bridge, art.skin * 0.80, 0.35 + art.light, blur=0.03)
    canvas.paint(ellipse(u, v - tip, width, 0.040), art.skin * 0.80, 0.75, blur=0.02)
    canvas.paint(ellipse(u + side * 0.012, v - tip + 0.018, width * 0.7, 0.030), art.skin * 1.05, 0.8, blur=0.03)
    canvas.paint(ellipse(np.abs(u) - width * 0.5, v - tip - 0.020, 0.017, 0.010), art.skin * 0.45, 0.8)


def _paint_mouth(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.34, 0.19, 0.34, 0.50)
    smile, lipstick = look["Smiling"], look["Wearing_Lipstick"]
    u, v = canvas.u - art.turn, canvas.v - 0.345
    width = _span(look["mouth_width"], 0.135, 0.165) + smile * 0.035
    curve = np.where(smile > 0, _span(look["mouth_curve"], 0.085, 0.130), _span(look["mouth_curve"], -0.018, 0.022))
    opening = np.where(
        smile > 0, np.maximum(look["mouth_open"] * 0.075 - 0.02, 0), 0.15 * np.maximum(look["mouth_open"] - 0.8, 0)
    )
    bow = np.maximum(1 - (u / width) * (u / width), 0)
    drop = np.abs(v - curve * (bow - 0.6))
    ends, gap = np.abs(u) - width, opening * bow
    lips = gap + (_span(look["lip_weight"], 0.024, 0.034) + 0.006 * lipstick) * (0.45 + 0.55 * bow)
    natural = art.skin * np.array([[0.80], [0.56], [0.54]], np.float32)
    colour = np.where(lipstick > 0, _choose(_LIPSTICK, look["lipstick"] * len(_LIPSTICK)), natural)
    canvas.paint(np.maximum(drop - lips, ends), colour)
    inside = np.where(smile > 0, _WHITE, _DARK)
    canvas.paint(np.maximum(drop - gap, ends), inside, opening > 0)
    canvas.paint(np.maximum(drop - 0.008, ends), colour * 0.45, opening == 0)


def _paint_hair(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.66, -0.84, 0.66, 0.12)
    u, v, parting = canvas.u, canvas.v, _span(look["parting"], -0.07, 0.07)
    locks = 0.010 * wave(u * 4.5 + look["hair_shade"])
    outer = ellipse(u, v + 0.05, art.half_width + 0.085, art.half_height + 0.10) + locks
    aside = u - parting
    hairline = v + 0.44 - 1.5 * aside * aside
    fringe = v + 0.275 + 0.022 * wave(u * 5 + look["fringe"]) - 0.5 * u * u
    sheen = np.maximum(1 - 6 * np.abs(v + 0.56 - 0.7 * aside * aside), 0)
    strands = 0.92 + 0.10 * wave(aside * 9 + v * np.copysign(2.5, aside))
    colour = art.lit(canvas, art.hair, 1.3) * strands + 0.10 * sheen
    canvas.paint(np.maximum(outer, hairline), colour, blur=0.01)
    canvas.paint(np.maximum(np.maximum(outer, fringe), np.abs(u) - art.half_width), colour * 0.92, look["Bangs"])


def _paint_glasses(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.60, -0.20, 0.60, 0.17)
    u, v = canvas.u - art.turn, canvas.v + 0.005
    worn, beside = look["Eyeglasses"], np.abs(u) - art.eye_gap
    half = art.eye_gap - 0.035
    lens = box(beside, v, half, _span(look["frame_shape"], 0.115, 0.145), _span(look["frame_shape"], 0.07, 0.14))
    colour = _choose(_FRAMES, look["frame"] * len(_FRAMES))
    canvas.paint(lens, _WHITE, 0.16 * worn)
    rest = box(np.abs(u) - 0.30, v + 0.04, 0.30, 0.016, 0.01)
    arms = np.maximum(np.maximum(rest, art.eye_gap + half - np.abs(u)), np.abs(canvas.u) - art.half_width - 0.02)
    bridge = np.maximum(np.abs(v + 0.03) - 0.016, np.abs(u) - 0.045)
    canvas.paint(np.minimum(np.minimum(np.abs(lens) - 0.019, arms), bridge), colour, worn)


def _paint_hat(art: Portrait) -> None:
    look, canvas = art.look, art.canvas.crop(-0.85, -1.15, 0.85, -0.28)
    worn, shape = look["Wearing_Hat"], look["hat_shape"]
    colour = _vivid(look["hat"], _span(look["hat_tone"], 0.75, 0.45), _span(look["hat_tone"], 0.35, 0.85))
    across, brim = art.half_width + 0.085, np.where(shape > 0.5, 0.20, 0.02).astype(np.float32)
    crown = box(canvas.u, canvas.v + 0.62, across, _span(shape, 0.30, 0.33), 0.28 - 0.10 * shape)
    crown = np.maximum(crown, canvas.v + 0.44 - 0.10 * canvas.u * canvas.u)
    shade = 1.02 - 0.10 * np.clip(canvas.v * 4 + 2.4, 0, 1)
    canvas.paint(crown, art.lit(canvas, colour, 1.2) * shade, worn)
    canvas.paint(np.maximum(crown, np.abs(canvas.v + 0.535) - 0.045), colour * 0.55, worn)
    band = box(canvas.u, canvas.v + 0.455 - 0.12 * canvas.u * canvas.u, across + brim, 0.042, 0.04)
    canvas.paint(band, art.lit(canvas, colour * 0.85), worn)


PARTS = (
    *(_paint_ground, _paint_body, _paint_back_hair, _paint_neck, _paint_head, _paint_beard, _paint_eyes),
    *(_paint_brows, _paint_nose, _paint_mouth, _paint_hair, _paint_glasses, _paint_hat),
)
"""From the back to the front."""


def paint(look: Look, size: int) -> np.ndarray:
    """Paint a batch of portraits without noise, float32 (batch, size, size, 3) in [0, 1] or a little outside."""
    art = Portrait(look, size)
    for part in PARTS:
        part(art)
    canvas, pixels = art.canvas, art.canvas.pixels
    warm = _span(look["warmth"], -0.06, 0.06)
    tint = np.stack([1 + warm, np.ones_like(warm), 1 - warm]) * _span(look["exposure"], 0.78, 1.12)
    pixels *= tint[:, None, None, :]
    pixels *= 1 + 0.4 * (art.light_u * canvas.x + art.light_v * canvas.y)
    return np.ascontiguousarray(np.moveaxis(pixels, 3, 0).transpose(0, 2, 3, 1))
