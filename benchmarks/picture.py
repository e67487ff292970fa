r"""The README's picture: generated portraits, what leaves the device, its residue, and what an attacker restores.

After `make demo`, this trains the attacker and writes the picture:

    dapter audit runs/demo/dapter-faces-* --service runs/demo/service-* --n 6000 --attacks reconstruction \
        --preset tiny --out runs/demo
    python benchmarks/picture.py runs/demo
"""

import json
import sys
from pathlib import Path

import numpy as np

from dapter.errors import UsageError
from dapter.evaluate import PICTURES
from dapter.figures import amplify
from dapter.imagefile import encode
from dapter.runs import write_atomic

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "before_after.png"
ZOOM = 2
GAP = 6


def rows(root: Path) -> list[np.ndarray]:
    """Originals, payloads, amplified payloads and restored images, each uint8 (N, H, W, 3).

    Only generated people may be shown: the folder must be that of the demo.
    """
    for folder in sorted(root.glob("attacks/reconstruction-dapter-faces-*")):
        if json.loads((folder / "manifest.json").read_text())["settings"]["family"] == "unet":
            with np.load(folder / PICTURES) as found:
                return [found["original"], found["payload"], amplify(found["payload"])[0], found["restored"]]
    raise UsageError(f"{root} holds no restored portraits. Cure: the commands at the top of this file")


def main() -> None:
    """Write the picture."""
    shown = rows(Path(sys.argv[1]))
    n, height, width, _ = shown[0].shape
    sheet = np.full((len(shown) * (height * ZOOM + GAP) - GAP, n * (width * ZOOM + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(shown):
        for x, image in enumerate(row):
            top, left = y * (height * ZOOM + GAP), x * (width * ZOOM + GAP)
            sheet[top : top + height * ZOOM, left : left + width * ZOOM] = image.repeat(ZOOM, 0).repeat(ZOOM, 1)
    write_atomic(PICTURE, encode(sheet))
    print(PICTURE)


if __name__ == "__main__":
    main()
