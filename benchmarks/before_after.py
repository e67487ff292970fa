"""The README's picture: test images of a measured run, their payloads, and the payloads with their residue amplified.

    python benchmarks/before_after.py runs/demo/dapter-faces-Smiling-...

writes `docs/images/before_after.png`. Generated portraits only: pictures of real people are not published.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from dapter.evaluate import PICTURES
from dapter.figures import amplify
from dapter.imagefile import encode
from dapter.runs import Run, write_atomic

PICTURE = Path(__file__).parents[1] / "docs/images/before_after.png"
GAP = 4
"""White pixels around each image."""


@dataclass(frozen=True)
class Settings:
    """What to show."""

    run: tyro.conf.Positional[Path]
    """A measured run of `dapter train` on faces."""
    zoom: int = 2
    """Each pixel of an image becomes a square of that side."""


def main(settings: Settings) -> None:
    run = Run.load(settings.run)
    if run.manifest["data"]["name"] != "faces":
        raise SystemExit("only generated portraits may be shown. Cure: a run on --data faces")
    with np.load(run.path / PICTURES) as pictures:
        original, payload = pictures["original"], pictures["payload"]
    rows = [original, payload, amplify(payload)[0]]
    frame = [(0, 0), (GAP, GAP), (GAP, GAP), (0, 0)]
    lines = [
        np.concatenate(
            list(np.pad(row.repeat(settings.zoom, 1).repeat(settings.zoom, 2), frame, constant_values=255)), 1
        )
        for row in rows
    ]
    write_atomic(PICTURE, encode(np.concatenate(lines)))
    print(PICTURE)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
