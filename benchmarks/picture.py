"""The README's picture: originals, payloads and amplified payloads of a run on generated portraits.

make demo && python benchmarks/picture.py runs/demo/dapter-faces-*
"""

import sys
from pathlib import Path

import numpy as np

from dapter.errors import UsageError
from dapter.evaluate import PICTURES
from dapter.figures import amplify
from dapter.imagefile import encode
from dapter.runs import Run, write_atomic

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "before_after.png"
ZOOM = 2
GAP = 6


def main() -> None:
    """Write the picture; only generated people may be shown."""
    run = Run.load(sys.argv[1])
    if run.manifest["data"]["name"] != "faces":
        raise UsageError("only generated portraits may be published. Cure: name a run on --data faces")
    with np.load(run.path / PICTURES) as found:
        rows = [found["original"], found["payload"], amplify(found["payload"])[0]]
    n, height, width, _ = rows[0].shape
    sheet = np.full((3 * (height * ZOOM + GAP) - GAP, n * (width * ZOOM + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            top, left = y * (height * ZOOM + GAP), x * (width * ZOOM + GAP)
            sheet[top : top + height * ZOOM, left : left + width * ZOOM] = image.repeat(ZOOM, 0).repeat(ZOOM, 1)
    write_atomic(PICTURE, encode(sheet))
    print(PICTURE)


if __name__ == "__main__":
    main()
