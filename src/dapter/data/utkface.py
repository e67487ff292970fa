"""UTKFace: 23,708 faces from 0 to 116 years, labelled in their files' names.

Zhang, Song and Qi, "Age progression/regression by conditional adversarial autoencoder", CVPR 2017.
https://susanqq.github.io/UTKFace
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import Dataset, Table
from dapter.data._files import find_folder, list_images, read_images
from dapter.errors import DataError

_CURE = "get the aligned and cropped faces from https://susanqq.github.io/UTKFace into root/UTKFace"
_FORM = "[age]_[gender]_[race]_[date].jpg"
_NAME = re.compile(r"(1[01]\d|\d\d?)_([01])_([0-4])_\d+\.jpg(\.chip\.jpg)?", re.IGNORECASE | re.ASCII)
_CLASSES = {
    "age": (*(f"{age}-{age + 9}" for age in range(0, 80, 10)), "80 or more"),
    "gender": ("male", "female"),
    "race": ("White", "Black", "Asian", "Indian", "Others"),
}


@dataclass(frozen=True)
class UtkFace(Dataset):
    """UTKFace: `[age]_[gender]_[race]_[date].jpg`, or the same with `.chip.jpg`.

    Labels: `age` in decades (9), `gender` (0 male, 1 female) and `race` (5). Upstream fixes no split and names no
    one: splits are drawn by photo. A few of upstream's files lack a label in their name: those are faults like
    damaged images.

    Attributes:
        root: the folder that holds `UTKFace`, or the images themselves.
        size: height and width of the images.
        on_error: "raise", or "skip" images that cannot be read or are wrongly named, and report them.
    """

    licence: ClassVar[str] = "Non-commercial research only; the images belong to their owners."
    default_target: ClassVar[str] = "gender"

    root: Path
    size: int = 64
    on_error: str = "raise"

    def _read(self) -> Table:
        folder = find_folder(self.root, ["UTKFace", "utkface"], "*_*.jpg", _CURE)
        names = {file: _NAME.fullmatch(file) for file in list_images(folder, ".jpg", _CURE)}
        wrong = tuple(f"{folder / file}: no {_FORM}" for file, name in names.items() if not name)
        if wrong and self.on_error != "skip":
            raise DataError(f"{wrong[0]}. Cure: rename or remove it, or set on_error='skip'")
        good = {file: [int(value) for value in name.groups()[:3]] for file, name in names.items() if name}
        images = read_images([folder / file for file in good], self.size, self.on_error)
        age, gender, race = np.array(list(good.values()), np.int64)[images.kept].T
        return Table(
            images=images.pixels,
            labels={"age": np.minimum(age // 10, 8), "gender": gender, "race": race},
            classes=_CLASSES,
            skipped=wrong + images.skipped,
        )
