import json
import subprocess
import sys
import time

import numpy as np
import pytest

from dapter.data import SPLITS, load_data
from dapter.data.faces import ATTRIBUTES, Faces, render
from dapter.errors import UsageError

CENTRED = ("x", "y", "scale", "tilt", "turn")

# Where, on the face, an attribute may change pixels: left, top, right, bottom.
PLACES = {
    "Smiling": (-0.30, 0.20, 0.30, 0.50),
    "Wearing_Lipstick": (-0.25, 0.25, 0.25, 0.50),
    "Eyeglasses": (-0.60, -0.20, 0.60, 0.20),
    "Arched_Eyebrows": (-0.40, -0.32, 0.40, -0.09),
    "Bangs": (-0.55, -0.75, 0.55, -0.10),
    "Wearing_Hat": (-0.85, -1.20, 0.85, -0.28),
    "Beard": (-0.62, 0.00, 0.62, 0.75),
}
# Where an attribute that lies around the face must leave the pixels alone.
SPARED = {
    "Long_Hair": (-0.28, -0.35, 0.28, 0.38),
    "Round_Face": (-0.12, -0.15, 0.12, 0.30),
    "Hair_Color": (-0.28, -0.08, 0.28, 0.40),
    "Background": (-0.28, -0.40, 0.28, 0.38),
}


def phi(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first, second)[0, 1])


def present(labels: dict[str, np.ndarray], name: str) -> np.ndarray:
    return labels[name] >= ATTRIBUTES[name].cut


def changed(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which pixels of upright, centred faces the attribute changes, and where on the face each pixel is."""
    _, look = Faces(n=24, seed=3).describe()
    half = np.full(24, 0.5, np.float32)
    look |= dict.fromkeys(CENTRED, half) | {"Beard": half * 0, "Wearing_Hat": half * 0}
    off, on = (render({**look, name: half * 2 * value}, 64) for value in (0, 1))
    line = (np.arange(64) * 2 + 1) / 64 - 1
    return (off != on).any(axis=(0, 3)), line[None, :] / 1.05, (line[:, None] - 0.06) / 1.05


def inside(box: tuple[float, float, float, float], u: np.ndarray, v: np.ndarray) -> np.ndarray:
    left, top, right, bottom = box
    return (left < u) & (u < right) & (top < v) & (v < bottom)


def test_same_settings_same_bytes() -> None:
    first, again, other = (Faces(n=30, size=32, seed=seed).load() for seed in (0, 0, 1))
    assert first.digest == again.digest != other.digest
    assert not np.array_equal(first.splits["train"].images, other.splits["train"].images)


def test_the_number_of_threads_changes_nothing() -> None:
    _, look = Faces(n=150).describe()
    assert np.array_equal(render(look, 64, threads=1), render(look, 64, threads=3))


@pytest.mark.parametrize("size", [16, 28, 64, 224])
def test_any_size(size: int) -> None:
    data = load_data("faces", n=12, size=size)
    assert data.image_size == (size, size)
    assert data.splits["train"].images.std() > 20
    assert data.targets == ("Smiling",)


def test_sizes_show_the_same_pictures() -> None:
    _, look = Faces(n=10).describe()
    small, large = render(look, 32).astype(float), render(look, 128).astype(float)
    shrunk = large.reshape(10, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small).mean() < 8


def test_all_labels_load() -> None:
    data = load_data("faces", n=60, size=16, secrets=[name for name in ATTRIBUTES if name != "Smiling"])
    assert data.classes["Hair_Color"] == ("black", "brown", "red", "blond", "grey")
    assert all(len(data.splits[part]) for part in SPLITS)


def test_marginals() -> None:
    labels, _ = Faces(n=20000, identities=10000).describe()
    for name, attribute in ATTRIBUTES.items():
        assert sum(attribute.shares) == pytest.approx(1)
        shares = np.bincount(labels[name], minlength=len(attribute.classes)) / 20000
        assert shares == pytest.approx(attribute.shares, abs=0.02), name


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ("Smiling", "Eyeglasses", 0.4),
        ("Smiling", "Wearing_Lipstick", -0.6),
        ("Beard", "Wearing_Lipstick", -0.45),
        ("Wearing_Hat", "Bangs", 0.6),
        ("Smiling", "Round_Face", 0.5),
        ("Round_Face", "Hair_Color", 0.3),
        ("Hair_Color", "Background", -0.3),
    ],
)
def test_cooccurrence(first: str, second: str, wanted: float) -> None:
    labels, _ = Faces(n=20000, identities=10000, cooccurrence=((first, second, wanted),)).describe()
    assert phi(present(labels, first), present(labels, second)) == pytest.approx(wanted, abs=0.03)
    for name in (first, second):
        assert present(labels, name).mean() == pytest.approx(ATTRIBUTES[name].present, abs=0.02)


def test_every_pair_can_be_set() -> None:
    names = list(ATTRIBUTES)
    pairs = tuple((a, b, 0.15) for row, a in enumerate(names) for b in names[:row])
    labels, _ = Faces(n=20000, identities=10000, cooccurrence=pairs).describe()
    for a, b, wanted in pairs:
        assert phi(present(labels, a), present(labels, b)) == pytest.approx(wanted, abs=0.04), (a, b)


def test_attributes_are_independent_by_default() -> None:
    labels, _ = Faces(n=20000, identities=10000).describe()
    table = np.corrcoef([present(labels, name) for name in ATTRIBUTES])
    assert np.abs(table - np.eye(len(table))).max() < 0.04


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ((("Smiling", "Wearing_Hat", 0.9),), "above .* and below"),
        ((("Smiling", "Wearing_Hat", float("nan")),), "impossible"),
        ((("Smiling", "Bangs", 0.5), ("Smiling", "Beard", 0.5), ("Bangs", "Beard", -0.3)), "together"),
        ((("Smiling", "Moustache", 0.2),), r"no attribute Moustache\. There are: .*Eyeglasses"),
        ((("Smiling", "Smiling", 0.2),), "two different"),
        ((("Smiling", "Bangs", 0.2), ("Bangs", "Smiling", 0.1)), "each pair once"),
        ((("Smiling", "Bangs"),), "Cure: give"),
        (0.3, "Cure: give"),
    ],
)
def test_impossible_cooccurrence(pairs: tuple, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Faces(n=100, cooccurrence=pairs)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n": 2}, "identities"),
        ({"n": 10, "identities": 11}, "as many images"),
        ({"identities": 2}, "at least 3"),
        ({"size": 15}, "at least 16"),
    ],
)
def test_impossible_settings(settings: dict, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Faces(**settings)


def test_settings_are_json_and_hashable() -> None:
    dataset = Faces(n=12, size=16, cooccurrence=[["Smiling", "Bangs", 0]])  # as JSON and a command line give them
    assert dataset.cooccurrence == (("Smiling", "Bangs", 0.0),)
    assert hash(dataset) == hash(Faces(n=12, size=16, cooccurrence=(("Smiling", "Bangs", 0.0),)))
    assert json.loads(json.dumps(dataset.load().settings))["n"] == 12


def test_nobody_is_in_two_splits() -> None:
    data = Faces(n=200, size=16, identities=40).load(secrets=["identity"])
    people = [set(data.splits[part].labels["identity"].tolist()) for part in SPLITS]
    assert sum(map(len, people)) == len(set.union(*people)) == 40


def test_a_person_keeps_face_and_hair() -> None:
    labels, look = Faces(n=60, identities=6).describe()
    for name in ("skin", "eye_gap", "nose_width", "Round_Face", "Hair_Color"):
        for person in range(6):
            assert len(set(look[name][labels["identity"] == person].tolist())) == 1
    assert len(set(look["light"].tolist())) == 60


@pytest.mark.parametrize("name", PLACES)
def test_attribute_changes_its_place_only(name: str) -> None:
    pixels, u, v = changed(name)
    assert pixels.sum() >= 20
    assert not (pixels & ~inside(PLACES[name], u, v)).any()


@pytest.mark.parametrize("name", SPARED)
def test_attribute_spares_the_middle_of_the_face(name: str) -> None:
    pixels, u, v = changed(name)
    assert pixels.sum() >= 100
    assert not (pixels & inside(SPARED[name], u, v)).any()


def test_every_attribute_has_a_place() -> None:
    assert set(PLACES) | set(SPARED) == set(ATTRIBUTES)


def test_quick() -> None:
    _, look = Faces(n=640).describe()
    start = time.process_time()
    render(look, 64)
    assert time.process_time() - start < 5


def test_needs_no_torch() -> None:
    code = "import dapter.data.faces, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
