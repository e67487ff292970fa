"""Visual recognition, an attack by people (DAPter 5.2, 7.3.2): the page that asks them. Needs no torch.

The page holds pictures, random item ids and the question; the truth goes into `key.csv`, which stays with whoever
makes the study, beside `study.json`, which says what was asked and when a rater counts. `ratings` scores the answers.
"""

import base64
import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dapter.errors import UsageError
from dapter.figures import picture
from dapter.pages import render
from dapter.runs import derive_seed, write_atomic
from dapter.types import check_images

PAYLOAD, GOLD = "payload", "gold"
"""What an item shows: a payload, or an original, of which everyone should know the answer."""

CANNOT_TELL = "cannot tell"
ANSWER_FIELDS = ("study", "rater", "item", "kind", "answer", "time_ms")
"""The columns of the file that the page saves."""

KEY_FIELDS = ("item", "kind", "label")
KEY, ABOUT = "key.csv", "study.json"
MOST = 10
"""Classes that can be asked for: as many as there are number keys."""


def make_study(
    originals: np.ndarray,
    payloads: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    question: str,
    path: Path,
    *,
    seed: int = 0,
    images: int = 160,
    gold: int = 16,
    threshold: float = 0.7,
    notice: str = "",
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page of a study, and beside it its key: `key.csv` and `study.json`, which the raters must not get.

    The page shows payloads and, among them, originals of other images, each kind balanced over the classes, in
    random order. Ids and order follow from the seed and from all pictures and labels, so that without these nobody
    can draw them again.

    Args:
        originals, payloads: the same images before and after protection, uint8 (N, H, W, 3).
        labels: of each an index into `classes`, -1 where it is unknown, int (N,).
        classes: what the buttons say, 2 to 10.
        question: what people are asked about each picture.
        path: the page, a new file in a folder without another study.
        images: payloads to show.
        gold: originals to show.
        threshold: a rater who gets a smaller share of the originals right does not count; decided before anyone
            has answered.
        notice: who may see the pictures; shown before the first one.
        about: fields of the Measurements that will come of it: at least defence, data, target and secret.

    Raises:
        UsageError: settings that cannot work, too few images of a class, or a study is there already.
        MissingExtra: jinja2 is not installed.
    """
    path, names = Path(path), [str(name) for name in classes]
    _check(originals, payloads, labels, names, images, gold, threshold)
    if taken := [each for each in (path, path.with_name(KEY), path.with_name(ABOUT)) if each.exists()]:
        raise UsageError(f"{taken[0]} exists, and people may have answered it. Cure: name a new folder")
    rng = np.random.default_rng(derive_seed(seed, "study", _digest(originals, payloads, labels, names, question)))
    rows, opened = _draw(labels, len(names), images, gold, rng)
    study, *ids = [f"{number:08x}" for number in rng.choice(2**32, 1 + len(rows), replace=False)]
    kinds = [GOLD if each else PAYLOAD for each in opened]
    items = [
        {"id": item, "kind": kind, "picture": picture((originals if kind == GOLD else payloads)[row])}
        for item, kind, row in zip(ids, kinds, rows, strict=True)
    ]
    page = _page({"id": study, "classes": names, "items": items}, question, notice, originals.shape[1:3])
    asked = {"study": study, "question": question, "classes": names, "threshold": threshold, "seed": seed}
    record = {**asked, "images": images, "gold": gold, "measurement": dict(about or {})}
    write_atomic(path.with_name(ABOUT), json.dumps(record, indent=2, sort_keys=True) + "\n")
    write_atomic(path.with_name(KEY), _table(zip(ids, kinds, (names[labels[row]] for row in rows), strict=True)))
    write_atomic(path, page)
    return path


def _check(
    originals: np.ndarray,
    payloads: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    images: int,
    gold: int,
    threshold: float,
) -> None:
    if check_images(originals).shape != check_images(payloads).shape or labels.shape != (len(originals),):
        raise UsageError(
            f"originals {originals.shape}, payloads {payloads.shape} and labels {labels.shape} do not belong "
            "together. Cure: the same images in the same order"
        )
    if not 2 <= len(classes) <= MOST:
        raise UsageError(f"people cannot choose among {len(classes)} classes. Cure: a label with 2 to {MOST}")
    if len({*classes, CANNOT_TELL, ""}) != len(classes) + 2:
        raise UsageError(f"each of {list(classes)} needs a name of its own, not {CANNOT_TELL!r}. Cure: name them")
    if labels.max(initial=0) >= len(classes):
        raise UsageError(f"a label is {labels.max()}, outside its {len(classes)} classes. Cure: name every class")
    if images < len(classes) or gold < len(classes):
        raise UsageError(f"{images} payloads and {gold} originals are too few. Cure: at least one of every class")
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold {threshold} is no share. Cure: between 0 and 1, such as 0.7")
    each = per_class(len(classes), images, gold)
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    if counts.min() < each:
        raise UsageError(
            f"{counts.min()} images of {classes[int(counts.argmin())]!r}, but a balanced study needs {each}. Cure: "
            f"fewer images, or more data"
        )


def per_class(classes: int, images: int, gold: int) -> int:
    """Images of each class that a study needs at most: no image is shown as payload and as original."""
    return -(-images // classes) + -(-gold // classes)


def _draw(
    labels: np.ndarray, classes: int, images: int, gold: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which images are shown in which order, int (images + gold,), and whether each as original, bool."""
    rows, opened = [], []
    shares = zip(_shares(images, classes, rng), _shares(gold, classes, rng), strict=True)
    for label, (protected, original) in enumerate(shares):
        rows.append(rng.permutation(np.flatnonzero(labels == label))[: protected + original])
        opened.append(np.arange(protected + original) >= protected)
    order = rng.permutation(images + gold)
    return np.concatenate(rows)[order], np.concatenate(opened)[order]


def _shares(total: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """How many of each class: the same, or one more for some, int (classes,)."""
    return total // classes + (rng.permutation(classes) < total % classes).astype(np.int64)


def _digest(
    originals: np.ndarray, payloads: np.ndarray, labels: np.ndarray, classes: Sequence[str], question: str
) -> str:
    digest = hashlib.sha256(json.dumps([question, *classes]).encode())
    for array in (originals, payloads, labels.astype("<i8")):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _table(rows: Iterable[tuple[str, str, str]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(KEY_FIELDS)
    writer.writerows(rows)
    return text.getvalue()


def _page(study: Mapping[str, Any], question: str, notice: str, size: tuple[int, int]) -> str:
    """The whole page. Only its own script may run in it, and it may load nothing."""
    script = resources.files("dapter").joinpath("study.js").read_text(encoding="utf-8")
    return render(
        "study.html.j2",
        study={**study, "fields": ANSWER_FIELDS, "cannotTell": CANNOT_TELL},
        question=question,
        notice=notice,
        size=size,
        columns=-(-len(study["classes"]) // -(-len(study["classes"]) // 5)),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
