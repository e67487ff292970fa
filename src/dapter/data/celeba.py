"""CelebA: 202,599 aligned photos of 10,177 celebrities with 40 attributes each.

Liu et al., "Deep learning face attributes in the wild", ICCV 2015.
https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import SPLITS, Dataset, Table
from dapter.data._files import find_folder, list_images, read_images
from dapter.data._tables import index_in, read_columns, read_text, sort_classes
from dapter.errors import DataError

_CURE = "get it from https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html: img_align_celeba and the text files of Anno"


@dataclass(frozen=True)
class CelebA(Dataset):
    """CelebA, aligned and cropped, with the official partition.

    Labels: the 40 attributes under upstream's names (0 without, 1 with: of `Male`, 1 is a man), and `identity`.
    The upright images (178 x 218) lose an equal part above and below to become square, and are then resized. A part
    of the images is enough: rows without their image are left out.

    Attributes:
        root: the folder that holds `celeba`, with `img_align_celeba/` and the text files.
        size: height and width of the images.
        on_error: "raise", or "skip" images that cannot be read and report them.
    """

    licence: ClassVar[str] = "Non-commercial research only; the images are not to be passed on."
    default_target: ClassVar[str] = "Male"

    root: Path
    size: int = 64
    on_error: str = "raise"

    def _read(self) -> Table:
        folder = find_folder(self.root, ["celeba"], "img_align_celeba", _CURE)
        names, attributes = _read_attributes(folder / "list_attr_celeba.txt")
        people = read_columns(folder / "identity_CelebA.txt", 2, _CURE)
        partition = read_columns(folder / "list_eval_partition.txt", 2, _CURE)
        files = list_images(folder / "img_align_celeba", ".jpg", _CURE)
        for name, table in (("list_attr", attributes), ("identity", people), ("list_eval_partition", partition)):
            if missing := next((file for file in files if file not in table), None):
                raise DataError(f"{folder / 'img_align_celeba' / missing}: no row in {name}*.txt. Cure: {_CURE}")
        images = read_images([folder / "img_align_celeba" / file for file in files], self.size, self.on_error)
        kept = [files[row] for row in images.kept]
        has = np.array([attributes[file] for file in kept]) == "1"
        persons = [people[file][0] for file in kept]
        classes = {**{name: (f"not {name}", name) for name in names}, "identity": sort_classes(persons)}
        identity = index_in(classes["identity"], persons, folder / "identity_CelebA.txt", _CURE)
        return Table(
            images=images.pixels,
            labels={**{name: has[:, i].astype(np.int64) for i, name in enumerate(names)}, "identity": identity},
            classes=classes,
            split=_read_split(folder, [partition[file][0] for file in kept]),
            skipped=images.skipped,
        )


def _read_attributes(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    count, header, *_ = [*read_text(path, _CURE).splitlines()[:2], "", ""]
    names = header.split()
    if len(names) != 40:
        raise DataError(f"{path}: {len(names)} attributes, not 40. Cure: {_CURE}")
    table = read_columns(path, 41, _CURE, skip=2)
    if count.strip() != str(len(table)):
        raise DataError(f"{path}: {len(table)} rows, but it announces {count.strip()}. Cure: {_CURE}")
    strange = next((file for file, values in table.items() if set(values) - {"1", "-1"}), None)
    if strange:
        raise DataError(f"{path}: a value of {strange} is neither 1 nor -1. Cure: {_CURE}")
    return names, table


def _read_split(folder: Path, codes: list[str]) -> np.ndarray:
    strange = set(codes) - {"0", "1", "2"}
    if strange:
        raise DataError(f"{folder / 'list_eval_partition.txt'}: {strange} are none of 0, 1, 2. Cure: {_CURE}")
    return np.array([SPLITS[int(code)] for code in codes])
