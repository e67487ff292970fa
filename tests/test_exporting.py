from dataclasses import replace

import numpy as np
import pytest

from dapter.cli import main
from dapter.defences import build_defence
from dapter.errors import UsageError
from dapter.export import FOLDER, read_exports
from dapter.exporting import export, subject_of
from dapter.runner import Converter
from dapter.train import load_defence
from helpers import make_service


def test_the_command_exports_what_the_run_does(trained, data, capsys):
    assert main(["export", str(trained.path), "onnx"]) == 0
    shown = capsys.readouterr().out
    assert "converter.onnx" in shown
    assert "values differ" in shown
    (done,) = read_exports(trained.path / FOLDER)
    converter = Converter((trained.path / FOLDER / done.path).read_bytes())
    images = data.splits["test"].images
    assert np.array_equal(converter.convert(images), load_defence(trained).protect(images).pixels)


def test_another_service_or_data_set_is_refused(trained, data, service):
    other = replace(data, digest="0" * 64)
    for wrong in ((make_service(), data), (service, other)):
        with pytest.raises(UsageError, match="another service or data set"):
            export(trained, "onnx", *wrong)


def test_an_unknown_format_lists_those_there_are(trained):
    with pytest.raises(UsageError, match=r"executorch.*onnx"):
        export(trained, "nonsense")


@pytest.mark.parametrize("name", ["split_inference", "retrained"])
def test_what_needs_a_service_of_its_own_is_refused(name):
    with pytest.raises(UsageError, match="only converters for a service that stays"):
        subject_of(build_defence(name, {}), None)


def test_a_run_that_does_not_say_its_size_needs_the_data(data):
    defence = build_defence("dapter", {"width": 2}).setup()
    assert subject_of(defence, data).size == data.image_size
    with pytest.raises(UsageError, match="how large"):
        subject_of(defence, None)


def test_the_dial_is_the_setting_with_a_range(data):
    defence = build_defence("dapter", {"width": 2, "lam": 0.5, "lam_range": [0.2, 0.9]}).setup()
    subject = subject_of(defence, data)
    assert (subject.dial.name, subject.dial.low, subject.dial.high, subject.dial.default) == ("lam", 0.2, 0.9, 0.5)
    images = data.splits["test"].images[:4]
    assert not np.array_equal(subject.protect(images, 0.2), subject.protect(images, 0.9))
    assert np.array_equal(subject.protect(images, 0.5), subject.protect(images, None))
