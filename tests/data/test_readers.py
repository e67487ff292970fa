"""Every reader on a small set in its maker's layout: what it reads, and what is peculiar to it."""

import gzip
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from dapter.data import SPLITS, UNKNOWN, load_data
from dapter.errors import DataError, UsageError
from dapter.plugins import names

SETS = ["celeba", "cifar10", "cifar100", "fairface", "folder", "imagenet", "lfw", "mnist", "utkface"]
LABELS = {
    "celeba": {"Eyeglasses": 2, "Young": 2, "identity": 15},
    "cifar10": {"class": 10, "animal_vehicle": 2},
    "cifar100": {"fine_label": 100, "coarse_label": 20},
    "fairface": {"age": 9, "gender": 2, "race": 7},
    "folder": {"colour": 3, "mood": 2},
    "imagenet": {"class": 3},
    "lfw": {"gender": 2, "identity": 20},
    "mnist": {"class": 10, "even_odd": 2},
    "utkface": {"age": 9, "gender": 2, "race": 5},
}


def edit(path, old, new=""):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_every_reader_is_tested_here():
    assert set(names("data")) - {"faces"} == set(SETS)


@pytest.mark.parametrize("name", SETS)
def test_images_come_with_their_labels(write, name):
    settings = write(name)
    data = load_data(name, **settings)
    for split in SPLITS:
        images, (labels,) = data.splits[split].images, data.splits[split].labels.values()
        centre = images[:, images.shape[1] // 2, images.shape[2] // 2, 0].astype(float)
        assert np.abs(centre - (10 + 2 * labels)).max() < 1
    assert data.name == name
    assert not data.skipped
    assert "root" not in data.settings
    assert data.mirror == (name != "mnist")


@pytest.mark.parametrize("name", SETS)
def test_labels_have_upstreams_names(write, name):
    settings = write(name)
    default = load_data(name, **settings).targets[0]
    data = load_data(name, secrets=[label for label in LABELS[name] if label != default], **settings)
    assert {label: len(data.classes[label]) for label in LABELS[name]} == LABELS[name]


@pytest.mark.parametrize("name", [name for name in SETS if name != "folder"])
def test_root_may_be_the_inner_folder_and_a_string(write, tmp_path, name):
    settings = write(name)
    inner = {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python", "mnist": "MNIST/raw",
             "utkface": "UTKFace"}  # fmt: skip
    place = tmp_path / inner.get(name, name)
    data = load_data(name, **{**settings, "root": str(place if place.is_dir() else tmp_path)})
    assert data.digest == load_data(name, **settings).digest


@pytest.mark.parametrize("name", SETS)
def test_nothing_there_is_an_error_with_a_cure(tmp_path, name):
    settings = {"csv": tmp_path / "labels.csv"} if name == "folder" else {"root": tmp_path}
    with pytest.raises(DataError, match=r"labels.csv.*Cure:" if name == "folder" else f"{tmp_path}.*Cure:"):
        load_data(name, **settings)


def test_readers_do_not_import_torch():
    lines = [f"import dapter.data.{name}" for name in SETS]
    script = "\n".join([*lines, "import sys", "sys.exit('torch' in sys.modules)"])
    subprocess.run([sys.executable, "-c", script], check=True)


def test_cifar10_channels_are_last(write, tmp_path):
    settings = write("cifar10")
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    content = path.read_bytes()
    pixels = bytes([12]) * 3072
    assert pixels in content
    path.write_bytes(content.replace(pixels, bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024))
    test = load_data("cifar10", **settings).splits["test"]
    (image,) = test.images[test.labels["class"] == 1]
    assert (image == (1, 2, 3)).all()


def test_cifar10_animals_and_vehicles(write):
    test = load_data("cifar10", secrets=["animal_vehicle"], **write("cifar10")).splits["test"]
    vehicles = test.labels["class"][test.labels["animal_vehicle"] == 1]
    assert sorted(vehicles) == [0, 1, 8, 9]


def test_celeba_keeps_the_official_partition_and_rows_whose_image_is_there(write, tmp_path):
    settings = write("celeba")
    for number in (1, 2, 30):
        (tmp_path / "celeba" / "img_align_celeba" / f"{number:06}.jpg").unlink()
    data = load_data("celeba", secrets=["identity"], **settings)
    assert [len(data.splits[split]) for split in SPLITS] == [18, 4, 5]
    assert data.classes["Male"] == ("not Male", "Male")
    assert data.classes["identity"][0] == "101"


def test_lfw_without_genders_gives_identity(write, tmp_path):
    settings = write("lfw")
    (tmp_path / "lfw" / "gender.csv").unlink()
    data = load_data("lfw", target="identity", **settings)
    assert "Some_One_A" in data.classes["identity"]
    with pytest.raises(UsageError, match="no label gender"):
        load_data("lfw", **settings)


def test_lfw_photos_without_a_gender_are_unknown(write, tmp_path):
    settings = write("lfw")
    edit(tmp_path / "lfw" / "gender.csv", "Some_One_A_0001.jpg,Some_One_A,female\n")
    edit(tmp_path / "lfw" / "gender.csv", "Some_One_A,female", "Some_One_A,")
    data = load_data("lfw", **settings)
    assert sum(map(len, data.splits.values())) == 38
    data = load_data("lfw", target="identity", secrets=["gender"], **settings)
    assert sum((split.labels["gender"] == UNKNOWN).sum() for split in data.splits.values()) == 2


def test_mnist_is_the_same_compressed(write, tmp_path):
    settings = write("mnist")
    digest = load_data("mnist", **settings).digest
    for path in list((tmp_path / "MNIST" / "raw").iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_data("mnist", **settings).digest == digest


def test_mnist_is_padded_not_resized(write):
    settings = write("mnist")
    image = load_data("mnist", **settings).splits["test"].images[0]
    assert image.shape == (32, 32, 3)
    assert not image[:2].any()
    assert image[2:30, 2:30].all()
    assert load_data("mnist", size=28, **settings).image_size == (28, 28)
    with pytest.raises(UsageError, match="28 or more"):
        load_data("mnist", size=27, **settings)


def test_utkface_ages_are_decades(write, tmp_path):
    settings = write("utkface")
    for age in (0, 9, 79, 80, 116):
        path = next((tmp_path / "UTKFace").glob("30_*"))
        (tmp_path / "UTKFace" / f"{age}_0_0_1.jpg").write_bytes(path.read_bytes())
    data = load_data("utkface", target="age", **settings)
    labels = np.concatenate([split.labels["age"] for split in data.splits.values()])
    expected = [(30 + 2 * i) // 10 for i in range(40)] + [0, 0, 7, 8, 11]
    assert sorted(labels) == sorted(min(age, 8) for age in expected)


def test_imagenet_groups_choose_and_group_classes(write, tmp_path):
    settings = write("imagenet")
    table = tmp_path / "groups.csv"
    table.write_text("folder,group\nn03000684,tool\nn02102040,animal\n")
    data = load_data("imagenet", target="group", secrets=["class"], groups=str(table), **settings)
    assert data.classes == {"group": ("animal", "tool"), "class": ("n02102040", "n03000684")}
    assert "groups" not in data.settings
    for split in data.splits.values():
        assert (split.labels["group"] == split.labels["class"]).all()


def test_folder_reads_split_and_identity_and_unknown(write, tmp_path):
    write("folder")
    table = tmp_path / "own.csv"
    lines = [f"{'ab'[i % 2]},person {i // 2},{('train', 'test')[i >= 30]},images/{i}.jpg" for i in range(40)]
    table.write_text("\n".join(["\ufeffletter,identity,split,file", *lines, ""]))
    data = load_data("folder", csv=table, secrets=["identity"], size=4)
    assert data.targets == ("letter",)
    assert len(data.splits["test"]) == 10
    assert data.classes["letter"] == ("a", "b")
    assert "csv" not in data.settings
    mood = load_data("folder", csv=tmp_path / "labels.csv", secrets=["mood"], size=4).splits["train"]
    assert ((mood.labels["mood"] == UNKNOWN) == (mood.labels["colour"] == 0)).all()


def test_folder_takes_images_from_another_root(write, tmp_path):
    digest = load_data("folder", **write("folder")).digest
    (tmp_path / "tables").mkdir()
    (tmp_path / "labels.csv").rename(tmp_path / "tables" / "labels.csv")
    moved = load_data("folder", csv=tmp_path / "tables" / "labels.csv", root=tmp_path, size=8)
    assert moved.digest == digest


def test_folder_needs_no_labels(tmp_path):
    for number in range(20):
        name = tmp_path / "deep" / f"{number}.png"
        name.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((20, 30, 3), number, np.uint8)).save(name)
    data = load_data("folder", root=tmp_path, size=16)
    assert data.targets == ()
    assert data.classes == {}
    assert sum(len(split) for split in data.splits.values()) == 20
    assert data.image_size == (16, 16)


def test_folder_without_images_or_labels_says_so(tmp_path):
    with pytest.raises(UsageError, match="give root, or csv"):
        load_data("folder")
    with pytest.raises(DataError, match="no image is in it"):
        load_data("folder", root=tmp_path)
