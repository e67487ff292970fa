"""What the base class does for every set: checks, splits, labels, digest."""

import json
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import pytest

from dapter.data import SPLITS, UNKNOWN, Dataset, Table, load_data
from dapter.errors import DataError, UsageError


def make_table(n=100, **changes):
    rng = np.random.default_rng(0)
    table = Table(
        images=rng.integers(0, 256, (n, 4, 4, 3), np.uint8),
        labels={"colour": np.arange(n) % 3, "mood": np.arange(n) % 2, "identity": np.arange(n) // 5},
        classes={"colour": ("amber", "blue", "cyan"), "mood": ("glad", "sad"), "identity": [str(i) for i in range(n)]},
    )
    return replace(table, **changes)


@dataclass(frozen=True)
class Made(Dataset):
    """A set from a table."""

    licence: ClassVar[str] = "none"
    default_target: ClassVar[str] = ""

    root: Table = field(default_factory=make_table)
    size: int = 4

    def _read(self):
        return self.root


def load(target=(), secrets=(), **changes):
    return Made(make_table(**changes)).load(target, secrets)


def parts(data, label):
    return {name: set(split.labels[label].tolist()) for name, split in data.splits.items()}


def test_no_person_is_in_two_splits():
    people = parts(load(secrets=["identity"]), "identity")
    assert sum(map(len, people.values())) == 20
    assert set.union(*people.values()) == set(range(20))


def test_unknown_people_are_split_one_by_one():
    table = make_table()
    labels = {**table.labels, "identity": np.full(100, UNKNOWN)}
    assert [len(load(labels=labels).splits[name]) for name in SPLITS] == [77, 8, 15]


def test_the_makers_split_is_kept_and_val_taken_out_of_train():
    split = np.repeat(["train", "test"], [60, 40])
    data = load(split=split, secrets=["identity"])
    people = parts(data, "identity")
    assert people["test"] == set(range(12, 20))
    assert people["train"] | people["val"] == set(range(12))
    assert not people["train"] & people["val"]


def test_all_three_splits_of_the_makers_are_kept():
    split = np.repeat(["train", "val", "test"], [50, 10, 40])
    assert [len(load(split=split).splits[name]) for name in SPLITS] == [50, 10, 40]


def test_a_person_in_two_of_the_makers_splits():
    with pytest.raises(DataError, match="in two splits"):
        load(split=np.tile(["train", "test"], 50))


@pytest.mark.parametrize("name", ["training", "Test", ""])
def test_a_split_of_another_name(name):
    with pytest.raises(DataError, match=f"no split is named {name}"):
        load(split=np.repeat(["train", "test", name], [50, 45, 5]))


def test_images_and_labels_stay_together():
    table = make_table()
    data = load(secrets=["mood"])
    where = {image.tobytes(): row for row, image in enumerate(table.images)}
    seen = []
    for split in data.splits.values():
        rows = [where[image.tobytes()] for image in split.images]
        seen += rows
        for label in ("colour", "mood"):
            assert split.labels[label].tolist() == table.labels[label][rows].tolist()
    assert sorted(seen) == list(range(100))
    assert set(data.splits["train"].labels) == {"colour", "mood"}


def test_the_same_set_twice_is_the_same():
    first, second = load(), load()
    assert first.digest == second.digest
    for name in SPLITS:
        assert (first.splits[name].images == second.splits[name].images).all()


def test_the_digest_sees_pixels_labels_and_splits():
    table = make_table()
    images = table.images.copy()
    images[7, 1, 1, 1] ^= 1
    labels = {**table.labels, "mood": table.labels["mood"][::-1]}
    changed = [load(images=images), load(labels=labels), load(split=np.repeat(["train", "test"], [60, 40]))]
    assert len({data.digest for data in (load(), *changed)}) == 4


def test_the_digest_does_not_depend_on_what_is_asked():
    assert load().digest == load("mood", ["identity"]).digest


def test_the_usual_target_is_the_first_label():
    assert load().targets == ("colour",)
    assert load(["mood", "colour"]).targets == ("mood", "colour")


def test_images_without_a_target_are_left_out_and_secrets_may_be_unknown():
    colour = np.where(np.arange(100) < 10, UNKNOWN, 0)
    labels = {**make_table().labels, "colour": colour}
    assert sum(map(len, load("colour", labels=labels).splits.values())) == 90
    data = load("mood", ["colour"], labels=labels)
    assert sum(map(len, data.splits.values())) == 100
    assert UNKNOWN in set.union(*parts(data, "colour").values())


@pytest.mark.parametrize(
    ("target", "secrets", "message"),
    [
        ("shape", (), "no label shape. The set has: colour, identity, mood"),
        ("colour", ["shape", "age"], "no label age, shape"),
        ("colour", ["colour"], "named twice"),
        (["mood", "mood"], (), "named twice"),
    ],
)
def test_labels_that_cannot_be(target, secrets, message):
    with pytest.raises(UsageError, match=message):
        load(target, secrets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"colour": np.zeros(99, int)}}, "99 values of colour for 100 images"),
        ({"labels": {"colour": np.full(100, 3)}}, "a value of colour is outside its 3 classes"),
        ({"labels": {"colour": np.full(100, -2)}}, "a value of colour is outside its 3 classes"),
        ({"split": np.array(["train"])}, "1 splits for 100 images"),
        ({"split": np.full(100, "train"), "labels": {"colour": np.zeros(100, int)}}, "in split 'test'.*Cure:"),
    ],
)
def test_tables_that_cannot_be(changes, message):
    with pytest.raises(DataError, match=message):
        load(**changes)


def test_images_of_another_type():
    with pytest.raises(UsageError, match="uint8"):
        load(images=np.zeros((100, 4, 4, 3)))


def test_head_record_and_size():
    data = load(secrets=["mood"])
    head = data.splits["train"].head(5)
    assert len(head) == len(head.labels["mood"]) == 5
    assert data.image_size == (4, 4)
    assert json.loads(json.dumps(data.record()))["digest"] == data.digest
    assert data.settings == {"size": 4}


def test_load_data_names_what_there_is():
    with pytest.raises(UsageError, match=r"no data named 'cifar11'\. There are: .*cifar10"):
        load_data("cifar11")
    with pytest.raises(UsageError, match=r"Its settings: root$"):
        load_data("cifar10", folder="x")
