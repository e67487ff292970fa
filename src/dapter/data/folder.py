"""Your own images, with a CSV of their labels, or without any labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from dapter.data import Dataset, Table
from dapter.data._files import read_images
from dapter.data._tables import OF_LABELS, inside, label_rows, read_csv, split_rows
from dapter.errors import DataError, UsageError
from dapter.imagefile import SUFFIXES


@dataclass(frozen=True)
class Folder(Dataset):
    """Images anywhere below a folder, named by the column `file` of a CSV, relative to that folder.

    Every other column is a label, its values are the names of its classes, and nothing means unknown. Two columns are
    special: `identity` says who is in the image (no person may be in two splits), and `split` is one of train, val
    and test (without val, it is taken out of train; without the column, all are drawn). The first label is the
    target if you name none. Without a CSV, every image below the folder is read, without labels: enough to train a
    converter on the service's own answers. Photos lose what makes them oblong, equally on both sides, and are then
    resized.

    Attributes:
        csv: the table; None: no labels.
        root: the folder of the images; by default the one that the table is in.
        size: height and width of the images.
        on_error: "raise", or "skip" images that cannot be read and report them.
    """

    licence: ClassVar[str] = "Yours: dapter knows no terms of these images."
    default_target: ClassVar[str] = ""

    csv: Path | None = None
    root: Path | None = None
    size: int = 64
    on_error: str = "raise"

    def _read(self) -> Table:
        return self._read_unlabelled() if self.csv is None else self._read_labelled(Path(self.csv))

    def _read_unlabelled(self) -> Table:
        if self.root is None:
            raise UsageError("folder: neither images nor labels are named. Cure: give root, or csv")
        files = sorted(path for path in Path(self.root).rglob("*") if path.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"{self.root}: no image is in it. Cure: give a folder with {', '.join(SUFFIXES)} files")
        images = read_images(files, self.size, self.on_error)
        return Table(images.pixels, {}, {}, skipped=images.skipped)

    def _read_labelled(self, table: Path) -> Table:
        rows = read_csv(table, OF_LABELS)
        columns = [name for name in next(iter(rows.values())) if name not in ("file", "split", "identity")]
        if not columns:
            raise DataError(f"{table}: it has no label. Cure: {OF_LABELS}")
        root = table.parent if self.root is None else Path(self.root)
        images = read_images([inside(root, file, table) for file in rows], self.size, self.on_error)
        kept = [list(rows.values())[row] for row in images.kept]
        return Table(images.pixels, *label_rows(kept, table), split_rows(kept, table), images.skipped)
