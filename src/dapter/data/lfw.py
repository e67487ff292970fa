"""Labeled Faces in the Wild: 13,233 photos of 5,749 people.

Huang et al., "Labeled faces in the wild", University of Massachusetts, 2007.
http://vis-www.cs.umass.edu/lfw
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import UNKNOWN, Dataset, Table
from dapter.data._files import find_folder, read_images
from dapter.data._tables import index_in, read_csv, sort_classes
from dapter.errors import DataError

_CURE = "unpack lfw.tgz, or its aligned form, from http://vis-www.cs.umass.edu/lfw into root"
_FOLDERS = ("lfw/lfw_aligned", "lfw", "lfw-deepfunneled", "lfw_funneled")
_GENDERS = ("female", "male")
_CURE_GENDER = "give the columns file,gender, a row a photo, with female, male or nothing"


@dataclass(frozen=True)
class Lfw(Dataset):
    """LFW, original or aligned: `<Name>/<Name>_nnnn.jpg`, of any size.

    Labels: `identity`, and `gender` (0 female, 1 male) if there is a `gender.csv` with the columns file and gender;
    a photo that it leaves out has no known gender. Upstream fixes pairs, not splits: splits are drawn by identity.
    Photos lose what makes them oblong, equally on both sides, and are then resized.

    Attributes:
        root: the folder that holds `lfw`, with a folder a person, and `gender.csv`.
        size: height and width of the images.
        on_error: "raise", or "skip" images that cannot be read and report them.
    """

    licence: ClassVar[str] = "No licence is given; press photos, published for research on face recognition."
    default_target: ClassVar[str] = "gender"

    root: Path
    size: int = 64
    on_error: str = "raise"

    def _read(self) -> Table:
        folder = find_folder(self.root, _FOLDERS, "*/*_[0-9][0-9][0-9][0-9].jpg", _CURE)
        paths = sorted(folder.glob("*/*.jpg"))
        if stray := next((path for path in paths if path.stem.rsplit("_", 1)[0] != path.parent.name), None):
            raise DataError(f"{stray}: not named after its folder, <Name>/<Name>_nnnn.jpg. Cure: move or remove it")
        gender = _read_gender(Path(self.root), folder, [path.name for path in paths])
        images = read_images(paths, self.size, self.on_error)
        people = [paths[row].parent.name for row in images.kept]
        classes = {"identity": sort_classes(people)}
        labels = {"identity": index_in(classes["identity"], people, folder, _CURE)}
        if gender is not None:
            labels, classes = {"gender": gender[images.kept], **labels}, {"gender": _GENDERS, **classes}
        return Table(images.pixels, labels, classes, skipped=images.skipped)


def _read_gender(root: Path, folder: Path, files: list[str]) -> np.ndarray | None:
    places = [place / "gender.csv" for place in (folder, root / "lfw", root)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    table = read_csv(path, _CURE_GENDER, ("file", "gender"))
    if missing := sorted(set(table) - set(files)):
        raise DataError(f"{path}: {missing[0]} is not in {folder}. Cure: {_CURE}, or remove the row")
    values = index_in(_GENDERS, (row["gender"] for row in table.values()), path, _CURE_GENDER)
    codes = dict(zip(table, values, strict=True))
    return np.array([codes.get(file, UNKNOWN) for file in files])
