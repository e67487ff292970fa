"""FairFace: 97,698 faces, balanced over seven races.

Kärkkäinen and Joo, "FairFace: face attribute dataset for balanced race, gender, and age", WACV 2021.
https://github.com/joojs/fairface
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import Dataset, Table
from dapter.data._files import find_folder, read_images
from dapter.data._tables import index_in, inside, read_csv
from dapter.errors import DataError

_CURE = "get the images (padding 0.25) and the two label files from https://github.com/joojs/fairface into root"
_PARTS = {"train": "train", "val": "test"}
_CLASSES = {
    "age": ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "more than 70"),
    "gender": ("Male", "Female"),
    "race": ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern"),
}


@dataclass(frozen=True)
class FairFace(Dataset):
    """FairFace with its labels and their order: `age` (9), `gender` (2) and `race` (7).

    Upstream publishes no test labels: its `val` is the test split here, and `val` is taken out of `train`.

    Attributes:
        root: the folder that holds `train/`, `val/` and the two `fairface_label_*.csv`, or `fairface/` with them.
        size: height and width of the images.
        on_error: "raise", or "skip" images that cannot be read and report them.
    """

    licence: ClassVar[str] = "CC BY 4.0"
    default_target: ClassVar[str] = "gender"

    root: Path
    size: int = 64
    on_error: str = "raise"

    def _read(self) -> Table:
        folder = find_folder(self.root, ["fairface", "FairFace"], "fairface_label_train.csv", _CURE)
        paths: list[Path] = []
        found: dict[str, list[np.ndarray]] = {label: [] for label in _CLASSES}
        split: list[str] = []
        for part, name in _PARTS.items():
            table = folder / f"fairface_label_{part}.csv"
            rows = read_csv(table, _CURE, ("file", *_CLASSES))
            if stray := next((file for file in rows if not file.startswith(f"{part}/")), None):
                raise DataError(f"{table}: {stray} is not in {part}/. Cure: {_CURE}")
            paths += [inside(folder, file, table) for file in rows]
            split += [name] * len(rows)
            for label, classes in _CLASSES.items():
                found[label].append(index_in(classes, (row[label] for row in rows.values()), table, _CURE))
        images = read_images(paths, self.size, self.on_error)
        return Table(
            images=images.pixels,
            labels={label: np.concatenate(values)[images.kept] for label, values in found.items()},
            classes=_CLASSES,
            split=np.array(split)[images.kept],
            skipped=images.skipped,
        )
