"""The README's picture of all that a released budget converter of one cell can send: its stamps, eight in a row.

`python benchmarks/stamps.py releases/celeba-Male-budget` writes it.
"""

import sys
from pathlib import Path

import numpy as np

from dapter.errors import UsageError
from dapter.imagefile import encode
from dapter.runs import write_atomic
from dapter.stamps import read_stamps

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "stamps.png"
COLUMNS = 8
SIDE = 64
GAP = 6


def sheet(release: Path) -> np.ndarray:
    """The pictures, in the order of the alphabet, uint8 (H, W, 3)."""
    stamps, _ = read_stamps((release / "stamps.json").read_bytes())
    if stamps.grid != 1:
        raise UsageError(f"{release} paints {stamps.grid} x {stamps.grid} stamps. Cure: a release of one cell")
    pictures = stamps.paint(np.arange(len(stamps.alphabet))[:, None], (SIDE, SIDE))
    rows = -(-len(pictures) // COLUMNS)
    made = np.full((rows * (SIDE + GAP) - GAP, COLUMNS * (SIDE + GAP) - GAP, 3), 255, np.uint8)
    for place, picture in enumerate(pictures):
        top, left = (at * (SIDE + GAP) for at in divmod(place, COLUMNS))
        made[top : top + SIDE, left : left + SIDE] = picture
    return made


def main() -> None:
    """Write the picture."""
    write_atomic(PICTURE, encode(sheet(Path(sys.argv[1]))))
    print(PICTURE)


if __name__ == "__main__":
    main()
