"""CIFAR-100: 60,000 images of a hundred kinds of things in twenty groups, 32 x 32.

Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dapter.data import Dataset, Table
from dapter.data._cifar import read_batches, read_names
from dapter.data._files import find_folder

_CURE = "unpack cifar-100-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html into root"
_CLASSES = {"fine_label": 100, "coarse_label": 20}


@dataclass(frozen=True)
class Cifar100(Dataset):
    """CIFAR-100, the version for Python.

    Labels: `fine_label` (100) and `coarse_label` (20), which follows from it.

    Attributes:
        root: the folder that holds `cifar-100-python`.
    """

    licence: ClassVar[str] = "No licence is given by its authors, who ask to be cited; used for research."
    default_target: ClassVar[str] = "fine_label"

    root: Path

    def _read(self) -> Table:
        folder = find_folder(self.root, ["cifar-100-python"], "meta", _CURE)
        keys = {f"{label}s": n for label, n in _CLASSES.items()}
        images, labels, split = read_batches(folder, {"train": "train", "test": "test"}, keys, _CURE)
        return Table(
            images=images,
            labels={label: labels[f"{label}s"] for label in _CLASSES},
            classes={label: read_names(folder / "meta", f"{label}_names", n, _CURE) for label, n in _CLASSES.items()},
            split=split,
        )
