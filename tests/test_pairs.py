import dataclasses

import numpy as np
import pytest
from PIL import Image

from dapter.attacks.as_is import AsIs
from dapter.attacks.recognition import Recognition
from dapter.audit import audit
from dapter.cli import main
from dapter.errors import DataError, UsageError
from dapter.leaks import LEAK
from dapter.loop import Plan
from dapter.pairs import read_pairs
from dapter.subjects import Subject, Tool
from helpers import CLASSES, draw, make_service

COUNT = 90


@pytest.fixture
def folders(tmp_path):
    """Originals in a tree, the negative of each beside them, and a table."""
    drawn = draw(COUNT, 16, 0)
    originals, protected = tmp_path / "originals", tmp_path / "protected"
    rows = ["file,colour,shape,identity"]
    for number, image in enumerate(drawn.images):
        name = f"{number % 3}/{number:03}.png"
        endings = {0: ".png", 1: ".png.png", 2: ".webp"}
        other = protected / name.replace(".png", endings[number % 3])
        for path, pixels in ((originals / name, image), (other, 255 - image)):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path, lossless=True)
        words = [CLASSES[label][drawn.labels[label][number]] for label in ("colour", "shape")]
        rows.append(f"{name},{','.join(words)},person {number // 2}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows))
    return originals, protected, table


def test_files_find_their_partners_and_follow_them_into_the_splits(folders):
    subject = read_pairs(*folders)
    data = subject.data
    drawn = draw(COUNT, 16, 0)
    place = {image.tobytes(): number for number, image in enumerate(drawn.images)}
    people = {}
    for name, split in data.splits.items():
        assert np.array_equal(subject.observe(name).payloads, 255 - split.images)
        numbers = [place[image.tobytes()] for image in split.images]
        people[name] = {number // 2 for number in numbers}
        for label in ("colour", "shape"):
            known = [data.classes[label][index] for index in split.labels[label]]
            assert known == [CLASSES[label][drawn.labels[label][number]] for number in numbers]
    assert sum(map(len, data.splits.values())) == COUNT
    assert sum(map(len, people.values())) == len(set.union(*people.values()))
    assert (data.name, data.targets, data.secrets) == ("folder", (), ("colour", "shape"))
    assert set(data.classes) == {"colour", "shape"}
    assert len(subject.record["weights"]) == 64


def test_labels_that_the_service_answers_are_its_targets_in_its_order(folders):
    service = make_service("colour")
    subject = read_pairs(*folders, service=service)
    assert (subject.data.targets, subject.data.secrets) == (("colour",), ("shape",))
    assert subject.data.classes["colour"] == service.classes["colour"] == ("red", "blue")
    test = subject.data.splits["test"]
    red = test.images[:, :, :, 0].max(axis=(1, 2)) > 200
    assert np.array_equal(test.labels["colour"] == 0, red)
    assert set(subject.observe("test").answers.logits) == {"colour"}
    text = folders[2].read_text()
    folders[2].write_text(text.replace("blue", "green"))
    with pytest.raises(UsageError, match="knows no colour green, only red, blue"):
        read_pairs(*folders, service=service)


def test_without_labels_only_the_images_are_attacked(folders):
    subject = read_pairs(*folders[:2])
    assert (subject.data.targets, subject.data.secrets) == ((), ())
    assert sum(map(len, subject.data.splits.values())) == COUNT


def spoil(folders):
    """Everything that can be wrong with two folders, a file each."""
    originals, protected, _ = folders
    (protected / "0/000.png").unlink()
    (protected / "stray.png").write_bytes((protected / "0/003.png").read_bytes())
    (protected / "0/006.png").write_bytes(b"no image")
    Image.new("RGB", (8, 16)).save(protected / "0/009.png")
    Image.new("RGB", (16, 16)).save(protected / "0/012.bmp")
    Image.new("RGB", (16, 16)).save(originals / "unnamed.png")
    (originals / "0/015.png").unlink()
    return {
        "000.png: 0 files in",
        "stray.png: 0 originals in",
        "006.png: not an image that can be read",
        "009.png are 16 x 16 and 8 x 16; most are 16 x 16",
        "012.png: 2 files in",
        "unnamed.png: ",
        "015.png: no such file, but",
    }


def test_what_cannot_be_paired_is_told_or_passed_over(folders):
    wrong = spoil(folders)
    with pytest.raises(DataError, match=r"8 files cannot be paired:(?s:.*)and 3 more\n  Cure: .*--on-error skip"):
        read_pairs(*folders)
    subject = read_pairs(*folders, on_error="skip")
    assert sum(map(len, subject.data.splits.values())) == COUNT - 5
    for each in wrong:
        assert any(each in line for line in subject.data.skipped), each
    for name, split in subject.data.splits.items():
        assert np.array_equal(subject.observe(name).payloads, 255 - split.images)


def test_what_cannot_be_read_as_pairs_is_refused(folders, tmp_path):
    originals, protected, table = folders
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no such folder"):
        read_pairs(tmp_path / "nowhere", protected)
    with pytest.raises(DataError, match="hold no images"):
        read_pairs(empty, empty)
    with pytest.raises(UsageError, match="letters and digits"):
        read_pairs(originals, protected, table, name="a tool/")
    with pytest.raises(UsageError, match="is a defence of dapter"):
        read_pairs(originals, protected, table, name="identity")
    with pytest.raises(UsageError, match="no label hat"):
        read_pairs(originals, protected, table, secrets=("hat",))


def test_two_originals_of_one_name_cannot_share_a_protected_file(folders):
    originals, protected, _ = folders
    Image.new("RGB", (16, 16)).save(originals / "0/000.bmp")
    with pytest.raises(DataError, match="2 originals in"):
        read_pairs(originals, protected)


def test_a_tool_is_audited_without_a_service_from_the_command_line(folders, tmp_path, capsys):
    originals, protected, table = map(str, folders)
    command = ["audit", "--originals", originals, "--protected", protected, "--labels", table]
    common = ["--preset", "tiny", "--workers", "1", "--out", str(tmp_path / "runs"), "--name", "negative"]
    assert main([*command, *common, "--attacks", "as_is", "stolen"]) == 0
    said = capsys.readouterr().out
    for words in ("attacks that know it were skipped (inversion)", "No service was given", "Processor time"):
        assert words in said
    assert "negative" in said
    assert main([*command, *common, "--attacks", "inversion"]) == 2
    assert "the client part was not given" in capsys.readouterr().err
    for wrong in (
        ["audit", "--originals", originals],
        [*command, "--data", "cifar10"],
        [*command, "identity", "--service", "a.safetensors"],
    ):
        assert main(wrong) == 2
        assert "Cure:" in capsys.readouterr().err


def test_the_floor_without_a_service_is_the_frequency_of_the_labels(service, tmp_path):
    """Payloads that are the originals, of which nine in ten are squares."""
    from planted import make_secret_data

    data = make_secret_data(counts=(240, 96, 128))
    rare = {}
    for name, split in data.splits.items():
        rows = np.flatnonzero((split.labels["shape"] == 0) | (np.arange(len(split)) % 8 == 0))
        rare[name] = type(split)(split.images[rows], {key: value[rows] for key, value in split.labels.items()})
    data = dataclasses.replace(data, splits=rare, targets=())
    tool = Tool("copy", {name: split.images for name, split in rare.items()})
    reader = Recognition("cnn", "raw", width=8, plan=Plan(epochs=8, batch_size=32, bfloat16=False))
    lines = audit([Subject(tool, None, data)], None, data, attacks=(reader, AsIs()), root=tmp_path, preset="tiny")
    mark = {"client_not_given", "no_service"}
    assert all(mark <= set(line.flags) for line in lines if line.attack)
    (plain,) = [line for line in lines if (line.attack, line.measure) == ("recognition", "secret_accuracy")]
    squares = np.mean(rare["test"].labels["shape"] == 0)
    assert plain.floor == pytest.approx(squares)
    assert squares > 0.7
    headlines = {line.secret: line for line in lines if line.measure == LEAK}
    assert headlines["image"].value > 0.99
    assert headlines["shape"].low <= 1 <= headlines["shape"].high
    assert not any("no answer" in line.measure for line in lines)
