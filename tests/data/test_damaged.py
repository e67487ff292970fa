"""What is wrong with a set is said, with the file and the cure; what may be skipped is counted."""

import logging
import pickle
import struct

import numpy as np
import pytest

from dapter.data import load_data
from dapter.errors import DataError, UsageError


def edit(file, old, new):
    """Replace the first occurrence in a text file."""

    def damage(root):
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return damage


def put(file, content):
    return lambda root: (root / file).write_bytes(content)


def delete(file):
    return lambda root: (root / file).unlink()


def cut(file, n=10):
    return lambda root: (root / file).write_bytes((root / file).read_bytes()[:-n])


def copy(file, to):
    def damage(root):
        (root / to).parent.mkdir(parents=True, exist_ok=True)
        (root / to).write_bytes((root / file).read_bytes())

    return damage


def batch(file, **changes):
    """A CIFAR batch of two images, otherwise than it should be."""
    good = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 1]}
    return put(file, pickle.dumps({**good, **changes}, protocol=2))


def idx(file, *numbers):
    return put(file, struct.pack(f">4B{len(numbers) - 4}I", *numbers) + bytes(784))


class Hostile:
    def __reduce__(self):
        return (print, ("this must never run",))


C10, C100, RAW = "cifar-10-batches-py", "cifar-100-python", "MNIST/raw"
ATTR, WHO, PART = "celeba/list_attr_celeba.txt", "celeba/identity_CelebA.txt", "celeba/list_eval_partition.txt"
FACE, UTK = "celeba/img_align_celeba/000003.jpg", "UTKFace/30_0_0_201701100.jpg.chip.jpg"

CASES = [
    ("cifar10", delete(f"{C10}/data_batch_3"), "data_batch_3: no such file"),
    ("cifar10", cut(f"{C10}/test_batch", 200), "test_batch: not a CIFAR file"),
    ("cifar10", put(f"{C10}/test_batch", b""), "test_batch: not a CIFAR file"),
    ("cifar10", put(f"{C10}/test_batch", b"no pickle"), "test_batch: not a CIFAR file"),
    ("cifar10", put(f"{C10}/test_batch", pickle.dumps([1], 2)), "test_batch: .* no dictionary"),
    ("cifar10", put(f"{C10}/test_batch", pickle.dumps(Hostile(), 2)), r"test_batch: .*asks for __builtin__.print"),
    ("cifar10", batch(f"{C10}/test_batch", extra=Hostile()), r"test_batch: .*asks for __builtin__.print"),
    ("cifar10", batch(f"{C10}/test_batch", extra=np.array([None])), "test_batch: .*an array of O8"),
    ("cifar10", batch(f"{C10}/test_batch", data=np.zeros((2, 3072))), "test_batch: .*an array of f8"),
    ("cifar10", batch(f"{C10}/test_batch", data=np.zeros((2, 99), np.uint8)), "test_batch: no images of 3 x 32 x 32"),
    ("cifar10", batch(f"{C10}/test_batch", data=None), "test_batch: no images"),
    ("cifar10", batch(f"{C10}/test_batch", labels=[0, 10]), "test_batch: no list of numbers below 10 under labels"),
    ("cifar10", batch(f"{C10}/test_batch", labels=None), "test_batch: no list of numbers"),
    ("cifar10", batch(f"{C10}/test_batch", labels=[0]), "test_batch: 1 values of labels for 2 images"),
    ("cifar10", put(f"{C10}/batches.meta", pickle.dumps({"label_names": ["cat"]}, 2)), "batches.meta: no 10 names"),
    ("cifar100", delete(f"{C100}/test"), "test: no such file"),
    ("cifar100", batch(f"{C100}/test"), "test: no list of numbers below 100 under fine_labels"),
    ("cifar100", put(f"{C100}/meta", pickle.dumps({}, 2)), "meta: no 100 names under fine_label_names"),
    ("celeba", delete(ATTR), "list_attr_celeba.txt: no such file"),
    ("celeba", delete(WHO), "identity_CelebA.txt: no such file"),
    ("celeba", delete(PART), "list_eval_partition.txt: no such file"),
    ("celeba", cut(ATTR, 131), "list_attr_celeba.txt: 29 rows, but it announces 30"),
    ("celeba", cut(ATTR, 20), "list_attr_celeba.txt, line 32: .* columns, not 41"),
    ("celeba", put(ATTR, b""), "list_attr_celeba.txt: 0 attributes, not 40"),
    ("celeba", put(ATTR, b"\xff\xfe\x00"), "list_attr_celeba.txt: not UTF-8"),
    ("celeba", edit(ATTR, " Young", ""), "list_attr_celeba.txt: 39 attributes"),
    ("celeba", edit(ATTR, "000003.jpg -1", "000003.jpg  2"), "list_attr_celeba.txt: a value of 000003.jpg"),
    ("celeba", edit(ATTR, "000003.jpg", "000004.jpg"), "list_attr_celeba.txt, line 6: a second row for 000004.jpg"),
    ("celeba", edit(WHO, "000003.jpg 101\n", ""), "000003.jpg: no row in identity"),
    ("celeba", put(WHO, b"\n"), "identity_CelebA.txt: it has no rows"),
    ("celeba", edit(PART, "000003.jpg 0", "000003.jpg 7"), "list_eval_partition.txt: .*none of 0, 1, 2"),
    ("celeba", put(FACE, b"no image"), "000003.jpg: not an image"),
    ("celeba", cut(FACE, 60), "000003.jpg: not an image"),
    ("celeba", copy(FACE, "celeba/img_align_celeba/999999.jpg"), "999999.jpg: no row in list_attr"),
    ("lfw", put("lfw/Some_One_C/Some_One_C_0001.jpg", b""), "Some_One_C_0001.jpg: not an image"),
    ("lfw", copy("lfw/Some_One_C/Some_One_C_0001.jpg", "lfw/Some_One_C/x.jpg"), "x.jpg: not named after its folder"),
    ("lfw", delete("lfw/Some_One_C/Some_One_C_0001.jpg"), "gender.csv: Some_One_C_0001.jpg is not in"),
    ("lfw", edit("lfw/gender.csv", "female", "girl"), "gender.csv: 'girl' is none of female, male"),
    ("lfw", edit("lfw/gender.csv", "file,", "image,"), "gender.csv: no column file among image, name, gender"),
    ("mnist", delete(f"{RAW}/t10k-labels-idx1-ubyte"), "t10k-labels-idx1-ubyte: no such file"),
    ("mnist", cut(f"{RAW}/t10k-images-idx3-ubyte"), "t10k-images-idx3-ubyte: 7830 bytes for the shape"),
    ("mnist", put(f"{RAW}/t10k-images-idx3-ubyte", b"\0\0"), "t10k-images-idx3-ubyte: not an idx file"),
    ("mnist", idx(f"{RAW}/t10k-images-idx3-ubyte", 0, 0, 13, 3, 1, 28, 28), "t10k-images-idx3-ubyte: not an idx file"),
    ("mnist", idx(f"{RAW}/t10k-images-idx3-ubyte", 0, 0, 8, 3, 1, 14, 56), r"t10k-images.*: images of \(14, 56\)"),
    ("mnist", idx(f"{RAW}/t10k-images-idx3-ubyte", 0, 0, 8, 3, 1, 28, 28), "t10k-labels.*: 10 labels for 1 images"),
    ("mnist", put(f"{RAW}/t10k-labels-idx1-ubyte", b"\0\0\x08\x01\0\0\0\1\x0b"), "labels.*: 1 labels for 10 images"),
    ("mnist", put(f"{RAW}/t10k-labels-idx1-ubyte", struct.pack(">4BI10B", 0, 0, 8, 1, 10, *[11] * 10)), "label is 11"),
    ("fairface", delete("fairface_label_val.csv"), "fairface_label_val.csv: no such file"),
    ("fairface", delete("val/3.jpg"), "3.jpg: no such file"),
    ("fairface", edit("fairface_label_val.csv", "East Asian", "Martian"), "fairface_label_val.csv: 'Martian' is none"),
    ("fairface", edit("fairface_label_val.csv", "gender", "sex"), "fairface_label_val.csv: no column gender"),
    ("fairface", edit("fairface_label_val.csv", "val/1.jpg", "train/1.jpg"), "fairface_label_val.csv: train/1.jpg"),
    ("fairface", edit("fairface_label_val.csv", "val/1.jpg", "val/../../1.jpg"), "leads out of"),
    ("fairface", edit("fairface_label_val.csv", "val/1.jpg", "val/2.jpg"), "val.csv, line 3: a second row for val/2"),
    ("utkface", copy(UTK, "UTKFace/39_1_20170116174525125.jpg"), "39_1_20170116174525125.jpg: no .age._.gender._.race"),
    ("utkface", copy(UTK, "UTKFace/30_2_0_1.jpg"), "30_2_0_1.jpg: no"),
    ("utkface", copy(UTK, "UTKFace/200_1_0_1.jpg"), "200_1_0_1.jpg: no"),
    ("utkface", put(UTK, b"RIFF"), "30_0_0_201701100.jpg.chip.jpg: not an image"),
    ("imagenet", copy("val/n02102040/n02102040_0.JPEG", "val/n09/0.JPEG"), "n09 is not both in train and in val"),
    ("folder", put("labels.csv", b""), "labels.csv: no column file"),
    ("folder", put("labels.csv", b"file,a\n"), "labels.csv: it has no rows"),
    ("folder", put("labels.csv", b"file\nimages/1.jpg\n"), "labels.csv: it has no label"),
    ("folder", put("labels.csv", b"file,a\nimages/1.jpg\n"), "labels.csv, line 2: 1 columns, not 2"),
    ("folder", put("labels.csv", b"file,a,a\nimages/1.jpg,1,2\n"), "labels.csv: a column without a name, or two"),
    ("folder", put("labels.csv", b"file,a\nimages/1.jpg,\xff\n"), "labels.csv: not UTF-8"),
    ("folder", put("labels.csv", b'file,a\n"images/1.jpg"x,b\n'), "labels.csv, line 2: not CSV"),
    ("folder", put("labels.csv", b"file,a\n/etc/passwd,b\n"), "labels.csv: '/etc/passwd' leads out of"),
    ("folder", put("labels.csv", b"file,a\n..\\x.jpg,b\n"), "labels.csv: .* leads out of"),
    ("folder", put("labels.csv", b"file,a,split\nimages/1.jpg,b,training\n"), "labels.csv: 'training' is no split"),
    ("folder", edit("labels.csv", "images/7.jpg", "images/77.jpg"), "images/77.jpg: no such file"),
    ("folder", edit("labels.csv", "images/7.jpg", "images"), "images: not an image"),
    ("folder", edit("labels.csv", "images/7.jpg", "images/8.jpg"), "a second row for images/8.jpg"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "damage", "message"), CASES, ids=[f"{case[0]}: {case[2][:40]}" for case in CASES])
def test_damage_is_named_with_a_cure(write, tmp_path, capsys, name, damage, message):
    settings = write(name)
    damage(tmp_path)
    with pytest.raises(DataError, match=f"{message}.*Cure: "):
        load_data(name, **settings)
    assert capsys.readouterr().out == ""


def test_a_link_may_not_lead_out_of_the_folder(write, tmp_path):
    settings = write("folder")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "0.jpg").symlink_to(tmp_path / "images" / "0.jpg")
    (tmp_path / "own" / "labels.csv").write_text("file,a\n0.jpg,b\n")
    with pytest.raises(DataError, match="leads out of"):
        load_data("folder", **{**settings, "csv": tmp_path / "own" / "labels.csv"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("folder,group\nn01440764,\n", "'n01440764' has no group"),
        ("folder,group\n../n01440764,fish\n", "'../n01440764' has no group, or is not the name of a folder"),
        ("folder,group\nn77,fish\n", "n77: no .jpeg images there"),
        ("folder\nn01440764\n", "groups.csv: no column group"),
    ],
)
def test_bad_groups_of_imagenet(write, tmp_path, text, message):
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(DataError, match=f"{message}.*Cure: "):
        load_data("imagenet", groups=tmp_path / "groups.csv", **write("imagenet"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("celeba", FACE),
        ("fairface", "train/5.jpg"),
        ("folder", "images/5.jpg"),
        ("imagenet", "train/n02102040/n02102040_5.JPEG"),
        ("lfw", "lfw/Some_One_C/Some_One_C_0002.jpg"),
        ("utkface", UTK),
    ],
)
def test_unreadable_images_can_be_skipped(write, tmp_path, caplog, name, file):
    settings = write(name)
    whole = load_data(name, **settings)
    put(file, b"no image")(tmp_path)
    with caplog.at_level(logging.WARNING):
        data = load_data(name, on_error="skip", **settings)
    (line,) = data.skipped
    assert file in line
    assert "1 images skipped" in caplog.text
    assert sum(map(len, data.splits.values())) == sum(map(len, whole.splits.values())) - 1
    for split in data.splits.values():
        (labels,) = split.labels.values()
        assert np.abs(split.images[:, 4, 4, 0] - (10.0 + 2 * labels)).max() < 1


def test_wrongly_named_files_of_utkface_can_be_skipped(write, tmp_path):
    settings = write("utkface")
    copy(UTK, "UTKFace/39_1_20170116174525125.jpg")(tmp_path)
    (line,) = load_data("utkface", on_error="skip", **settings).skipped
    assert "39_1_20170116174525125.jpg" in line


def test_a_set_of_unreadable_images_only_is_an_error(write, tmp_path):
    settings = write("folder")
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(DataError, match=r"none of 40 images can be read\. Cure: "):
        load_data("folder", on_error="skip", **settings)


@pytest.mark.parametrize("setting", [{"on_error": "ignore"}, {"size": 0}])
def test_impossible_settings(write, setting):
    with pytest.raises(UsageError, match="on_error is one of"):
        load_data("folder", **{**write("folder"), **setting})
