"""The contract of an export, for every format that is found."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from dapter import plugins
from dapter.errors import CheckFailed, RunError, UsageError
from dapter.export import Dial, Export, Subject, read_exports

SIZE = (16, 24)


class Shade(nn.Module):
    """A converter of one convolution, with a dial between its picture and grey."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        self.layers[1].running_mean.fill_(0.1)

    def forward(self, images, dial=None):
        small = self.layers(images)
        large = self.last(nn.functional.interpolate(small, images.shape[-2:], mode="nearest"))
        return torch.sigmoid(large if dial is None else large * dial)


def subject(dial=None, off=0):
    """What is exported; its own bytes are off by a number of levels."""
    client = Shade().eval()

    @torch.no_grad()
    def protect(images, value):
        floats = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
        found = client(floats) if value is None else client(floats, torch.tensor(value))
        levels = (found * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return levels + np.uint8(off)

    return Subject(client, protect, SIZE, dial)


@pytest.fixture(scope="module", params=plugins.names("export"))
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def exporter(kind):
    found = plugins.find("export", kind)()
    if missing := found.missing():
        pytest.skip(missing)
    return found


@pytest.fixture(scope="module")
def ready(kind, exporter, tmp_path_factory):
    """The folder of an export, and what is known of it."""
    folder = tmp_path_factory.mktemp(kind)
    return folder, exporter.export(subject(), folder)


def test_an_export_gives_what_the_converter_gives(ready, kind, exporter):
    folder, done = ready
    assert done.format == kind
    assert done.precision == "float32"
    assert done.path == f"converter{exporter.suffix}"
    assert done.bytes == (folder / done.path).stat().st_size
    assert done.parity["most_off"] <= 1
    assert done.parity["off"] <= 0.001
    assert done.sizes == ("any" if exporter.any_size else [list(SIZE)])


def test_only_the_file_and_its_record_are_left(ready):
    folder, done = ready
    assert sorted(path.name for path in folder.iterdir()) == [done.path, f"{done.path}.json"]
    assert read_exports(folder) == [done]
    assert Export.from_record(json.loads(json.dumps(done.record()))) == done


def test_a_second_export_is_the_same_to_the_last_byte(ready, exporter, tmp_path):
    assert exporter.export(subject(), tmp_path) == ready[1]


def test_nothing_in_it_names_this_machine(ready):
    folder, done = ready
    content = (folder / done.path).read_bytes()
    assert not [word for word in (b"/home", b"/tmp", b"/work", b"/usr", b"site-packages", b".py") if word in content]


def test_a_dial_is_an_input(exporter, tmp_path):
    dial = Dial("lam", 0.0, 1.0, 0.5)
    done = exporter.export(subject(dial), tmp_path)
    assert done.dial == dial
    assert done.parity["off"] <= 0.001


def test_what_differs_is_not_kept(ready, exporter, tmp_path, monkeypatch):
    folder, done = ready
    content = (folder / done.path).read_bytes()
    monkeypatch.setattr(exporter, "write", lambda subject, path, *_: path.write_bytes(content))
    with pytest.raises(CheckFailed, match=r"100\.000%.*by up to .*Cure"):
        exporter.export(subject(off=2), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_judged_is_refused(exporter, tmp_path):
    for precision in ("float16", "int8"):
        with pytest.raises(UsageError, match="Cure"):
            exporter.export(subject(), tmp_path, precision)
    if exporter.any_size:
        with pytest.raises(UsageError, match="every size"):
            exporter.export(subject(), tmp_path, size=(8, 8))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_changed_later_is_not_read(tmp_path, ready):
    folder, done = ready
    for name in (done.path, f"{done.path}.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / done.path).write_bytes(b"other")
    with pytest.raises(RunError, match="not the file that was checked"):
        read_exports(tmp_path)
