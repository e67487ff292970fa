"""ImageNet (ILSVRC 2012), or a part of it, or any set in its layout: a folder of images a class.

Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015.
https://www.image-net.org
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from dapter.data import Dataset, Table
from dapter.data._files import find_folder, list_images, read_images
from dapter.data._tables import index_in, read_csv, sort_classes
from dapter.errors import DataError

_CURE = "put the images into root/train/<class>/ and root/val/<class>/, as *.JPEG"
_CURE_GROUPS = "give the columns folder,group, a row a class"
_PARTS = {"train": "train", "val": "test"}


@dataclass(frozen=True)
class ImageNet(Dataset):
    """ImageNet: `train/<class>/*.JPEG` and `val/<class>/*.JPEG`, classes being upstream's wnids.

    Labels: `class`, the folder, and with `groups` also `group`. Upstream publishes no test labels: its `val` is the
    test split here, and `val` is taken out of `train`. Photos lose what makes them oblong, equally on both sides,
    and are then resized. All images are held in memory: 64 px take 12 KB each, 224 px 150 KB.

    Attributes:
        root: the folder that holds `train/` and `val/`.
        groups: a CSV with the columns folder,group that names the classes to read and the group of each, as of the
            eight groups of 32 classes that are called ImageNet8:32; by default every class, and no groups.
        size: height and width of the images.
        on_error: "raise", or "skip" images that cannot be read and report them.
    """

    licence: ClassVar[str] = "Non-commercial research and education only; the images belong to their owners."
    default_target: ClassVar[str] = "class"

    root: Path
    groups: Path | None = None
    size: int = 64
    on_error: str = "raise"

    def _read(self) -> Table:
        root = find_folder(self.root, ["imagenet", "ILSVRC/Data/CLS-LOC"], "train", _CURE)
        group_of = None if self.groups is None else _read_groups(Path(self.groups))
        names = sort_classes(group_of) if group_of is not None else _list_classes(root)
        files = [
            (root / part / name / file, kind, split)
            for part, split in _PARTS.items()
            for kind, name in enumerate(names)
            for file in list_images(root / part / name, ".jpeg", _CURE)
        ]
        images = read_images([path for path, _, _ in files], self.size, self.on_error)
        kind = np.array([kind for _, kind, _ in files])[images.kept]
        labels, classes = {"class": kind}, {"class": names}
        if group_of is not None and self.groups is not None:
            groups = [group_of[name] for name in names]
            classes["group"] = sort_classes(groups)
            labels["group"] = index_in(classes["group"], groups, Path(self.groups), _CURE_GROUPS)[kind]
        split = np.array([split for _, _, split in files])[images.kept]
        return Table(images.pixels, labels, classes, split, images.skipped)


def _read_groups(path: Path) -> dict[str, str]:
    rows = read_csv(path, _CURE_GROUPS, ("folder", "group"))
    if wrong := next((name for name, row in rows.items() if not row["group"] or Path(name).name != name), None):
        raise DataError(f"{path}: {wrong!r} has no group, or is not the name of a folder. Cure: {_CURE_GROUPS}")
    return {name: row["group"] for name, row in rows.items()}


def _list_classes(root: Path) -> tuple[str, ...]:
    train, val = ({path.name for path in root.glob(f"{part}/*") if path.is_dir()} for part in _PARTS)
    if only := sorted(train ^ val):
        raise DataError(f"{root}: {only[0]} is not both in train and in val. Cure: {_CURE}")
    return sort_classes(train)
