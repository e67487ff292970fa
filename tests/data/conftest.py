"""Small sets in the layouts that their makers publish. Of each image, the shade tells the default target."""

import csv
import itertools
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

KINDS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
ATTRIBUTES = ["Eyeglasses", *(f"Attribute_{i}" for i in range(37)), "Male", "Young"]


def shade(label: int) -> int:
    return 10 + 2 * label


def write_image(path: Path, label: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (14, 18), (shade(label),) * 3).save(path, "JPEG", quality=100)


def write_table(path: Path, *rows: tuple[object, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_pickle(path: Path, content: object) -> None:
    """As numpy 1 under Python 2 wrote it, as far as names go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2).replace(b"numpy._core.", b"numpy.core."))


def write_cifar_batch(path: Path, **labels: list[int]) -> None:
    first = next(iter(labels.values()))
    data = np.repeat(np.array([shade(label) for label in first], np.uint8)[:, None], 3072, axis=1)
    write_pickle(path, {"data": data, "filenames": [f"{i}.png" for i in range(len(first))], **labels})


def write_cifar10(root: Path) -> dict[str, Any]:
    folder = root / "cifar-10-batches-py"
    for part in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        write_cifar_batch(folder / part, labels=list(range(10)))
    write_pickle(folder / "batches.meta", {"label_names": KINDS, "num_vis": 3072})
    return {"root": root}


def write_cifar100(root: Path) -> dict[str, Any]:
    folder = root / "cifar-100-python"
    for part in ("train", "test"):
        write_cifar_batch(folder / part, fine_labels=list(range(100)), coarse_labels=[i // 5 for i in range(100)])
    names = {"fine_label_names": [f"fine {i}" for i in range(100)], "coarse_label_names": [f"c {i}" for i in range(20)]}
    write_pickle(folder / "meta", names)
    return {"root": root}


def write_celeba(root: Path) -> dict[str, Any]:
    folder = root / "celeba"
    files = [f"{i:06}.jpg" for i in range(1, 31)]
    for i, file in enumerate(files):
        write_image(folder / "img_align_celeba" / file, i % 2)
    values = [[1 if name == "Male" and i % 2 else -1 for name in ATTRIBUTES] for i in range(30)]
    lines = [f"{file} " + " ".join(f"{value:2}" for value in row) for file, row in zip(files, values, strict=True)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["30", " ".join(ATTRIBUTES) + " ", *lines, ""]))
    (folder / "identity_CelebA.txt").write_text("".join(f"{file} {100 + i // 2}\n" for i, file in enumerate(files)))
    parts = [0] * 20 + [1] * 4 + [2] * 6
    (folder / "list_eval_partition.txt").write_text("".join(map("{} {}\n".format, files, parts)))
    return {"root": root, "size": 8}


def write_lfw(root: Path) -> dict[str, Any]:
    rows: list[tuple[object, ...]] = [("file", "name", "gender")]
    for person in range(20):
        for number in (1, 2):
            name = f"Some_One_{chr(65 + person)}"
            file = f"{name}_{number:04}.jpg"
            write_image(root / "lfw" / name / file, person % 2)
            rows.append((file, name, ("female", "male")[person % 2]))
    write_table(root / "lfw" / "gender.csv", *rows)
    return {"root": root, "size": 8}


def write_mnist(root: Path) -> dict[str, Any]:
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 10)):
        labels = np.arange(n, dtype=np.uint8) % 10
        pixels = np.repeat(10 + 2 * labels[:, None], 28 * 28, axis=1)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(
            struct.pack(">4B3I", 0, 0, 8, 3, n, 28, 28) + pixels.tobytes()
        )
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">4BI", 0, 0, 8, 1, n) + labels.tobytes())
    return {"root": root}


def write_fairface(root: Path) -> dict[str, Any]:
    for part, n in (("train", 24), ("val", 6)):
        rows: list[tuple[object, ...]] = [("file", "age", "gender", "race", "service_test")]
        for i in range(1, n + 1):
            file = f"{part}/{i}.jpg"
            write_image(root / file, i % 2)
            rows.append((file, ("0-2", "more than 70")[i % 2], ("Male", "Female")[i % 2], "East Asian", i % 3 == 0))
        write_table(root / f"fairface_label_{part}.csv", *rows)
    return {"root": root, "size": 8}


def write_utkface(root: Path) -> dict[str, Any]:
    for i in range(40):
        write_image(root / "UTKFace" / f"{i * 2 + 30}_{i % 2}_{i % 5}_2017011{i:02}.jpg.chip.jpg", i % 2)
    return {"root": root, "size": 8}


def write_imagenet(root: Path) -> dict[str, Any]:
    for (kind, name), (part, n) in itertools.product(
        enumerate(("n01440764", "n02102040", "n03000684")), (("train", 8), ("val", 3))
    ):
        for i in range(n):
            write_image(root / part / name / f"{name}_{i}.JPEG", kind)
    return {"root": root, "size": 8}


def write_folder(root: Path) -> dict[str, Any]:
    rows: list[tuple[object, ...]] = [("file", "colour", "mood")]
    for i in range(40):
        write_image(root / "images" / f"{i}.jpg", i % 3)
        rows.append((f"images/{i}.jpg", ("amber", "blue", "cyan")[i % 3], ("", "glad", "sad")[i % 3]))
    write_table(root / "labels.csv", *rows)
    return {"csv": root / "labels.csv", "size": 8}


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "celeba": write_celeba,
    "lfw": write_lfw,
    "mnist": write_mnist,
    "fairface": write_fairface,
    "utkface": write_utkface,
    "imagenet": write_imagenet,
    "folder": write_folder,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Write the small set of that name below tmp_path; returns the settings that read it."""
    return lambda name: WRITERS[name](tmp_path)
