"""CIFAR-10: 60,000 images of ten kinds of things, 32 x 32.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import Dataset, Table
from dapter.data._cifar import read_batches, read_names
from dapter.data._files import find_folder

_CURE = "unpack cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html into root"
_PARTS = {**{f"data_batch_{number}": "train" for number in range(1, 6)}, "test_batch": "test"}
_VEHICLES = ("airplane", "automobile", "ship", "truck")


@dataclass(frozen=True)
class Cifar10(Dataset):
    """CIFAR-10, the version for Python.

    Labels: `class` (10) and `animal_vehicle` (0 animal, 1 vehicle), which follows from it.

    Attributes:
        root: the folder that holds `cifar-10-batches-py`.
    """

    licence: ClassVar[str] = "No licence is given by its authors, who ask to be cited; used for research."
    default_target: ClassVar[str] = "class"

    root: Path

    def _read(self) -> Table:
        folder = find_folder(self.root, ["cifar-10-batches-py"], "batches.meta", _CURE)
        names = read_names(folder / "batches.meta", "label_names", 10, _CURE)
        images, labels, split = read_batches(folder, _PARTS, {"labels": 10}, _CURE)
        kind = labels["labels"]
        return Table(
            images=images,
            labels={"class": kind, "animal_vehicle": np.isin(names, _VEHICLES)[kind].astype(np.int64)},
            classes={"class": names, "animal_vehicle": ("animal", "vehicle")},
            split=split,
        )
