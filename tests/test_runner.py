import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dapter.errors import ConversionError, UsageError
from dapter.runner import Converter
from dapter.stamps import Stamps

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
DIAL = {"name": "lam", "low": 0.0, "high": 1.0, "default": 0.5}


def graph(*nodes, dial=False, kind=TensorProto.UINT8, shape=("N", "H", "W", 3)):
    """A graph from `image`, and `lam`, to `payload`."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ("N", "H", "W", 3))
    lam = [helper.make_tensor_value_info("lam", TensorProto.FLOAT, ())] if dial else []
    payload = helper.make_tensor_value_info("payload", kind, shape)
    made = helper.make_graph([helper.make_node(*node[:3], **node[3]) for node in nodes], "g", [image, *lam], [payload])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


SHADE = [
    ("Cast", ["image"], ["floats"], {"to": TensorProto.FLOAT}),
    ("Mul", ["floats", "lam"], ["shade"], {}),
    ("Cast", ["shade"], ["payload"], {"to": TensorProto.UINT8}),
]
INVERT = [("BitwiseNot", ["image"], ["payload"], {})]


def test_it_converts_images_of_every_size_and_number():
    converter = Converter(graph(*INVERT))
    assert np.array_equal(converter.convert(IMAGES), 255 - IMAGES)
    assert np.array_equal(converter.convert(IMAGES[::-1, :, :3]), 255 - IMAGES[::-1, :, :3])
    assert converter.convert(IMAGES[:0]).shape == (0, 4, 6, 3)


def test_many_pixels_are_converted_in_parts(monkeypatch):
    monkeypatch.setattr("dapter.runner.CHUNK_PIXELS", 50)
    assert np.array_equal(Converter(graph(*INVERT)).convert(IMAGES), 255 - IMAGES)


def test_a_release_says_where_its_dial_ends():
    release = SimpleNamespace(
        manifest={"dial": DIAL}, export=lambda form, precision: graph(*SHADE, dial=True), stamps=lambda: None
    )
    converter = Converter.open(release)
    assert converter.dial == "lam"
    assert np.array_equal(converter.convert(IMAGES), IMAGES // 2)
    assert np.array_equal(converter.convert(IMAGES, 0.25), IMAGES // 4)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match=r"from 0\.0 to 1\.0"):
            converter.convert(IMAGES, wrong)


def test_what_is_not_made_of_the_published_stamps_does_not_leave():
    stamps = Stamps(np.array([[[[7, 8, 9]]], [[[1, 2, 3]]]], np.uint8), 2)
    picture = stamps.paint(np.array([[0, 1, 1, 0]]), (4, 6))
    release = SimpleNamespace(
        manifest={"dial": None}, export=lambda form, precision: graph(*INVERT), stamps=lambda: (stamps, (4, 6))
    )
    converter = Converter.open(release)
    assert np.array_equal(converter.convert(255 - picture), picture)
    for off in (1, 254):
        more = picture.copy()
        more[0, 3, 5, 1] ^= off
        with pytest.raises(ConversionError, match="more than stamps"):
            converter.convert(255 - more)
    with pytest.raises(ConversionError, match="below 2 pixels"):
        converter.convert(picture[:, :1])


def test_a_release_that_disagrees_with_its_graph_is_refused():
    release = SimpleNamespace(manifest={"dial": DIAL}, export=lambda form, precision: graph(*INVERT))
    with pytest.raises(ConversionError, match="disagree"):
        Converter.open(release)


def test_a_dial_that_it_does_not_have_is_refused():
    with pytest.raises(UsageError, match="no dial"):
        Converter(graph(*INVERT)).convert(IMAGES, 0.5)


@pytest.mark.parametrize("wrong", [IMAGES[0], IMAGES / 255, IMAGES[..., :1]])
def test_what_is_no_batch_of_images_is_refused(wrong):
    with pytest.raises(UsageError):
        Converter(graph(*INVERT)).convert(wrong)


@pytest.mark.parametrize("content", [b"", b"nonsense", graph(*INVERT)[:-20]])
def test_a_damaged_file_is_refused(content):
    with pytest.raises(ConversionError, match="Cure"):
        Converter(content)


def test_what_is_no_converter_is_refused():
    floats = graph(("Cast", ["image"], ["payload"], {"to": TensorProto.FLOAT}), kind=TensorProto.FLOAT)
    with pytest.raises(ConversionError, match="no converter"):
        Converter(floats)


def test_another_size_than_the_image_is_refused():
    turned = graph(("Transpose", ["image"], ["payload"], {"perm": [0, 2, 1, 3]}), shape=("N", "W", "H", 3))
    with pytest.raises(ConversionError, match=r"\(5, 6, 4, 3\) for \(5, 4, 6, 3\)"):
        Converter(turned).convert(IMAGES)


def test_an_image_that_comes_back_as_it_was_is_refused():
    with pytest.raises(ConversionError, match="original back"):
        Converter(graph(("Identity", ["image"], ["payload"], {}))).convert(IMAGES)
    some = IMAGES.copy()
    some[3] = some[3].clip(7)
    keeps_seven = [("Max", ["image", "seven"], ["payload"], {}), ("Constant", [], ["seven"], {"value": _seven()})]
    converter = Converter(graph(*keeps_seven[::-1]))
    with pytest.raises(ConversionError, match="original back"):
        converter.convert(some)
    some[3] = 7
    assert (converter.convert(some)[3] == 7).all(), "one colour may be what is sent"


def _seven():
    return helper.make_tensor("value", TensorProto.UINT8, (), [7])


def test_it_needs_no_torch():
    code = "import sys, dapter.runner, onnxruntime; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_graphs_of_these_tests_are_sound():
    for content in (graph(*INVERT), graph(*SHADE, dial=True)):
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
