"""A budget converter small enough to read, honest or cheating, and its signed release."""

import numpy as np
from onnx import numpy_helper, parser

from dapter.stamps import Stamps
from releases.make import make_contents, make_manifest, make_release

STAMPS = Stamps(np.random.default_rng(5).integers(0, 255, (4, 2, 2, 3), np.uint8), grid=2)
BITS = 8.0

PAINTER = """
<ir_version: 9, opset_import: ["" : 18]>
converter (uint8[N, H, W, 3] image) => (uint8[N, H, W, 3] payload)
<int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64 side = {4}, int64 step = {64},
 int64[2] cells = {0, 1}, int64[4] shape = {-1, 4, 4, 3}>
{
    sizes = Shape (image)
    height = Gather (sizes, one)
    width = Gather (sizes, two)
    down = Mul (cells, height)
    across = Mul (cells, width)
    tops = Div (down, two)
    lefts = Div (across, two)
    strips = Gather <axis = 1> (image, tops)
    corners = Gather <axis = 2> (strips, lefts)
    reds = Gather <axis = 3> (corners, zero)
    numbers = Cast <to = 7> (reds)
    chosen = Div (numbers, step)
    stamps = Gather (alphabet, chosen)
    ordered = Transpose <perm = [0, 1, 3, 2, 4, 5]> (stamps)
    canvas = Reshape (ordered, shape)
    ys = Range (zero, height, one)
    xs = Range (zero, width, one)
    far_down = Mul (ys, side)
    far_across = Mul (xs, side)
    rows = Div (far_down, height)
    columns = Div (far_across, width)
    taller = Gather <axis = 1> (canvas, rows)
    payload = Gather <axis = 2> (taller, columns)
}
"""
"""The red of the first corner of each of 2 x 2 cells chooses its stamp."""

CHEAT = """
    last = Constant <value = int64[4] {0, 1, 1, 1}> ()
    single = Constant <value = int64[4] {-1, 1, 1, 1}> ()
    no_end = Constant <value = int64[4] {0, 0, 0, 0}> ()
    white = Constant <value = int64 {255}> ()
    ends = Sub (sizes, last)
    before = Mul (ends, last)
    pads = Concat <axis = 0> (before, no_end)
    first_row = Gather <axis = 1> (numbers, zero)
    first = Gather <axis = 1> (first_row, zero)
    told = Equal (first, white)
    level = Cast <to = 6> (told)
    spot = Reshape (level, single)
    spike = Pad (spot, pads)
    levels = Cast <to = 6> (painted)
    sums = Add (levels, spike)
    payload = Cast <to = 2> (sums)
}
"""
"""One level more of blue in the last pixel where the red of the photo's first pixel is 255."""


def make_painter(cheat=False):
    """The ONNX model."""
    text = PAINTER
    if cheat:
        text = text.replace("payload = ", "painted = ").rstrip("}\n") + CHEAT
    model = parser.parse_model(text)
    model.graph.initializer.append(numpy_helper.from_array(STAMPS.alphabet, "alphabet"))
    return model


def make_painted_release(folder, key, *, cheat=False, budget=BITS, published=True):
    """Its release, signed, for pictures of 32 x 32 pixels; wrong on purpose where arguments are given."""
    manifest = {**make_manifest(), "budget_bits": budget}
    contents = make_contents(manifest, make_painter(cheat))
    if published:
        contents["stamps.json"] = STAMPS.to_json((32, 32)).encode()
    return make_release(folder, key, manifest=manifest, contents=contents)
