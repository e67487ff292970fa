"""What the ONNX files of real converters hold and do."""

from dataclasses import replace

import onnx
import pytest
import torch
from torch import nn

from dapter.defences import build_defence
from dapter.errors import CheckFailed
from dapter.export import Evidence, Subject
from dapter.export.onnx import Onnx
from dapter.exporting import subject_of
from dapter.nets.painters import Nearest
from dapter.runner import Converter
from dapter.verify.graphs import graph_faults
from helpers import draw, make_service


def untrained(name, data, **settings):
    """A converter whose normalisations are none of the identity's, and whose stamps say something."""
    defence = build_defence(name, settings).setup(1, make_service(*data.targets))
    for part in defence.learner.nets.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2)
        if isinstance(part, Nearest):
            nn.init.normal_(part.says)
    return subject_of(defence, data)


class Grey(nn.Module):
    def forward(self, images):
        return images * 0 + 0.5


class Paler(nn.Module):
    """Half the contrast, by two convolutions: the answer stays."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(*(nn.Conv2d(3, 3, 3, padding=1) for _ in range(2)))
        for layer in self.layers:
            nn.init.dirac_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images):
        return self.layers(images) / 2 + 0.25


@pytest.fixture(scope="module")
def paler():
    client = Paler().eval()

    @torch.no_grad()
    def protect(images, _):
        floats = client(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)
        return (floats * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    return Subject(client, protect, (16, 16))


@pytest.fixture(scope="module")
def evidence(service, data):
    return Evidence(service, data.splits["train"].images, draw(1000, 16, 9))


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dapter", {"net": "fast", "width": 4, "lam_range": [0.2, 0.9], "lam": 0.5}),
        ("budget", {"width": 2}),
        ("budget", {"width": 2, "budget_bits_range": [0.5, 2.0]}),
        ("budget", {"width": 2, "grid": 4, "alphabet": 32, "budget_bits": 8.0}),
        ("budget", {"width": 2, "grid": 4, "stamps": "flat", "alphabet": 27, "budget_bits_range": [1.0, 16.0]}),
    ],
)
def test_every_kind_of_converter_passes_the_rules_of_a_release(name, settings, data, tmp_path):
    done = Onnx().export(untrained(name, data, **settings), tmp_path)
    content = (tmp_path / done.path).read_bytes()
    dial = None if done.dial is None else {"name": done.dial.name}
    assert graph_faults(content, {"opset": done.opset}, dial) == []
    assert done.parity["off"] <= 0.001
    if name == "budget":
        assert done.parity["off"] == 0


def test_float16_and_int8_keep_the_answer(paler, evidence, tmp_path):
    sizes = {}
    for precision in ("float16", "int8"):
        done = Onnx().export(paler, tmp_path, precision, evidence=evidence)
        (answer,) = done.parity["answers"]
        assert answer["n"] == 1000
        assert answer["accuracy_before"] > 0.8
        assert abs(answer["accuracy"] - answer["accuracy_before"]) <= 0.002
        content = (tmp_path / done.path).read_bytes()
        assert graph_faults(content, {"opset": done.opset}, None) == []
        kinds = {tensor.data_type for tensor in onnx.load_from_string(content).graph.initializer}
        assert {"float16": onnx.TensorProto.FLOAT16, "int8": onnx.TensorProto.INT8}[precision] in kinds
        assert Converter(content).convert(evidence.val.images[:2]).shape == (2, 16, 16, 3)
        sizes[precision] = done.path
    assert sizes == {"float16": "converter.float16.onnx", "int8": "converter.int8.onnx"}


def test_stamps_keep_their_colours_in_float16(data, evidence, tmp_path):
    """The hard bound of the budget holds for every file: no other colour than the alphabet's."""
    subject = untrained("budget", data, width=2, grid=4, alphabet=32, budget_bits=8.0)
    Onnx().write(subject, tmp_path / "half.onnx", "float16", (16, 16), evidence.train[:0])
    found = Onnx().open(tmp_path / "half.onnx")(evidence.val.images[:50], None)
    colours = {tuple(pixel) for pixel in subject.protect(evidence.val.images, None).reshape(-1, 3).tolist()}
    stamps = torch.sigmoid(subject.client.painter.stamps.detach())
    allowed = {tuple(pixel) for pixel in (stamps * 255).round().permute(0, 2, 3, 1).reshape(-1, 3).int().tolist()}
    assert colours <= allowed
    assert {tuple(pixel) for pixel in found.reshape(-1, 3).tolist()} <= allowed


def test_an_answer_that_suffers_is_refused_with_both_figures(paler, evidence, tmp_path):
    grey = replace(paler, client=Grey())
    with pytest.raises(CheckFailed, match=r"accuracy of \d+\.\d+% in float16, of \d+\.\d+% by .*n = 1000"):
        Onnx().export(grey, tmp_path, "float16", evidence=evidence)
    assert list(tmp_path.iterdir()) == []


def test_a_payload_that_breaks_a_guarantee_is_refused(paler, evidence, tmp_path):
    def inspect(*_):
        raise CheckFailed("more than stamps")

    broken = replace(paler, inspect=inspect)
    with pytest.raises(CheckFailed, match="more than stamps"):
        Onnx().export(broken, tmp_path, evidence=evidence)
    assert list(tmp_path.iterdir()) == []
