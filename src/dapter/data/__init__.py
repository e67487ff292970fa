"""The contract of a data set: labelled images in three splits, read from the layout that its makers publish.

One file a data set. A reader is a frozen dataclass whose fields are its settings; it implements `_read`, and
the base class owns everything that all sets share: checking, splitting, choosing labels, the digest.
"""

import abc
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from dapter.errors import DataError, UsageError
from dapter.plugins import find
from dapter.runs import derive_seed
from dapter.types import check_images

_logger = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
UNKNOWN = -1
"""The label of an image whose label is not known."""

IDENTITY = "identity"
"""The label that says who is in an image: no person is in two splits."""

SPLIT_SEED = 0
"""Splits are drawn once, with this seed, whatever the seed of a run: runs stay comparable."""


@dataclass(frozen=True)
class Table:
    """All images of a set with all their labels, as a reader found them.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: for each label, int64 (N,), each an index into `classes` or UNKNOWN. The label `identity`, where
            there is one, says who is in the image: no person is in two splits.
        classes: for each label, the names of its values.
        split: for each image one of SPLITS, (N,); or one of "train" and "test" (the base takes `val` out of
            train); None if the makers fix no split.
        skipped: what was passed over, a line each: file and reason.
    """

    images: np.ndarray
    labels: Mapping[str, np.ndarray]
    classes: Mapping[str, Sequence[str]]
    split: np.ndarray | None = None
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Split:
    """Images with their labels.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: for each chosen label, int64 (N,); UNKNOWN occurs in secrets only.
    """

    images: np.ndarray
    labels: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)

    def head(self, n: int) -> "Split":
        """The first `n` images; splits are shuffled, so this is a random sample."""
        return Split(self.images[:n], {name: values[:n] for name, values in self.labels.items()})


@dataclass(frozen=True)
class Data:
    """A data set, ready for work: which label the service answers, which ones are secret.

    Attributes:
        name: the data set's plug-in.
        targets: the labels that the service answers; none for images without labels.
        secrets: labels that an attacker wants.
        classes: for each of these labels, the names of its values.
        splits: `train`, `val` and `test`.
        licence: the terms under which the images may be used.
        digest: SHA-256 over all pixels, labels and splits of the set.
        settings: the reader's settings, without the place on this machine.
        skipped: what was passed over, a line each.
        mirror: whether a mirrored image keeps its labels.
    """

    name: str
    targets: tuple[str, ...]
    secrets: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, Split]
    licence: str
    digest: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    mirror: bool = True

    @property
    def readable(self) -> tuple[str, ...]:
        """The secrets whose values an attacker can learn to read: not IDENTITY, whose values differ between splits."""
        return tuple(secret for secret in self.secrets if secret != IDENTITY)

    def record(self) -> dict[str, Any]:
        """What a run's manifest says of its data, as JSON values."""
        return {
            "name": self.name,
            "settings": dict(self.settings),
            "targets": list(self.targets),
            "secrets": list(self.secrets),
            "digest": self.digest,
        }

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.splits["train"].images.shape[1:3]
        return height, width


class Dataset(abc.ABC):
    """A reader of one data set: a frozen dataclass of settings and one hook, `_read`."""

    licence: ClassVar[str]
    """The terms under which the images may be used, in a sentence."""

    default_target: ClassVar[str]
    """The label that a service answers when the user names none; empty: the first one of the table."""

    mirror: ClassVar[bool] = True
    """Whether a mirrored image keeps its labels."""

    @abc.abstractmethod
    def _read(self) -> Table:
        """Read everything.

        Raises:
            DataError: a file is missing, damaged or of another layout; the message names it and the cure.
        """

    def settings(self) -> dict[str, Any]:
        """The settings that decide what is read, without the place on this machine."""
        hidden = {"root", "csv", "groups"}
        return {name: value for name, value in vars(self).items() if name not in hidden}

    def load(self, target: str | Sequence[str] = (), secrets: Sequence[str] = ()) -> Data:
        """Read the set, check it, split it and keep the chosen labels.

        Args:
            target: the label, or labels, that the service answers; images on which one is unknown are left out. By
                default the set's usual one; none if the set has no labels at all.
            secrets: labels that an attacker wants.

        Raises:
            DataError: the set cannot be read, or is inconsistent.
            UsageError: a label that the set does not have, or one that is both target and secret.
        """
        table = self._read()
        _check_table(table, type(self).__name__)
        if table.skipped:
            _logger.warning("%d images skipped, the first: %s", len(table.skipped), table.skipped[0])
        usual = (self.default_target,) if self.default_target else tuple(table.labels)[:1]
        targets = (target,) if isinstance(target, str) else tuple(target) or usual
        _check_choice(targets, tuple(secrets), table)
        split = _split(table)
        known = np.all([table.labels[name] != UNKNOWN for name in targets], axis=0)
        splits = {}
        for part in SPLITS:
            rows = np.flatnonzero(known & (split == part))
            if len(rows) == 0:
                raise DataError(f"{type(self).__name__}: no image is left in split {part!r}. Cure: give more images")
            rows = np.random.default_rng(derive_seed(SPLIT_SEED, "order", part)).permutation(rows)
            chosen = {name: table.labels[name][rows].astype(np.int64) for name in (*targets, *secrets)}
            splits[part] = Split(table.images[rows], chosen)
        return Data(
            name=type(self).__module__.rsplit(".", 1)[-1],
            targets=targets,
            secrets=tuple(secrets),
            classes={name: tuple(table.classes[name]) for name in (*targets, *secrets)},
            splits=splits,
            licence=self.licence,
            digest=_digest(table, split),
            settings=self.settings(),
            skipped=table.skipped,
            mirror=self.mirror,
        )


def load_data(name: str, *, target: str | Sequence[str] = (), secrets: Sequence[str] = (), **settings: Any) -> Data:
    """Load a data set by its plug-in's name.

    Args:
        name: `faces`, `cifar10`, `celeba`, `folder`, ...
        target: the label, or labels, that the service answers; by default the set's usual one.
        secrets: labels that an attacker wants.
        settings: the reader's fields, for most sets `root`, the folder that holds it.

    Raises:
        UsageError: no such set, setting or label.
        DataError: the set cannot be read.
    """
    reader = find("data", name)
    try:
        dataset = reader(**settings)
    except TypeError as error:
        raise UsageError(
            f"data set {name}: {error}. Its settings: {', '.join(entry.name for entry in fields(reader))}"
        ) from error
    found: Data = dataset.load(target, secrets)
    return found


def _check_table(table: Table, name: str) -> None:
    check_images(table.images)
    if table.split is not None and table.split.shape != (len(table.images),):
        raise DataError(f"{name}: {len(table.split)} splits for {len(table.images)} images")
    for label, values in table.labels.items():
        if values.shape != (len(table.images),):
            raise DataError(f"{name}: {len(values)} values of {label} for {len(table.images)} images")
        if len(values) and not UNKNOWN <= values.min() <= values.max() < len(table.classes[label]):
            raise DataError(f"{name}: a value of {label} is outside its {len(table.classes[label])} classes")


def _check_choice(targets: tuple[str, ...], secrets: tuple[str, ...], table: Table) -> None:
    chosen = (*targets, *secrets)
    missing = sorted(set(chosen) - set(table.labels))
    if missing:
        raise UsageError(f"no label {', '.join(missing)}. The set has: {', '.join(sorted(table.labels))}")
    if len(set(chosen)) != len(chosen):
        raise UsageError(f"a label is named twice among targets {targets} and secrets {secrets}. Cure: name it once")


def _split(table: Table) -> np.ndarray:
    """One of SPLITS for each image; drawn by identity where identities are known."""
    n = len(table.images)
    groups = table.labels.get(IDENTITY, np.arange(n))
    groups = np.where(groups == UNKNOWN, groups.max(initial=0) + 1 + np.arange(n), groups)
    split = np.full(n, "train") if table.split is None else table.split.astype(np.str_)
    if strange := sorted(set(split.tolist()) - set(SPLITS)):
        raise DataError(f"no split is named {', '.join(strange)}. There are: {', '.join(SPLITS)}")
    if len(set(zip(groups.tolist(), split.tolist(), strict=True))) > len(set(groups.tolist())):
        raise DataError("one identity is in two splits. Cure: keep all images of a person in the same split")
    rng = np.random.default_rng(derive_seed(SPLIT_SEED, "splits"))
    if table.split is None:
        _move(split, groups, "test", 0.15, rng)
    if "val" not in split:
        _move(split, groups, "val", 0.1, rng)
    return split


def _move(split: np.ndarray, groups: np.ndarray, to: str, share: float, rng: np.random.Generator) -> None:
    """Move about that share of the training groups to another split, in place."""
    people = rng.permutation(np.unique(groups[split == "train"]))
    chosen = people[: max(1, round(share * len(people)))]
    split[np.isin(groups, chosen) & (split == "train")] = to


def _digest(table: Table, split: np.ndarray) -> str:
    digest = hashlib.sha256()
    digest.update(str(table.images.shape).encode())
    for image in table.images:
        digest.update(image.tobytes())
    for label in sorted(table.labels):
        digest.update(label.encode() + table.labels[label].astype("<i8").tobytes())
    digest.update("".join(split).encode())
    return digest.hexdigest()
