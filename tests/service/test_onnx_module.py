"""Parity of the ONNX interpreter with onnxruntime, operator by operator. Whole nets: test_load.py."""

import pickle

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from dapter.errors import ServiceError
from dapter.service.onnx_module import OnnxModule

SHAPE = (2, 4, 7, 6)
ints, floats = (lambda *n: np.array(n, np.int64)), (lambda *n: np.array(n, np.float32))
empty = np.zeros(0, np.float32)


def model(nodes, initializers=(), opset=20, shape=SHAPE, element=TensorProto.FLOAT):
    image = helper.make_tensor_value_info("x", element, shape)
    output = helper.make_tensor_value_info("y", element, None)
    tensors = [numpy_helper.from_array(array, name) for name, array in initializers]
    graph = helper.make_graph(nodes, "test", [image], [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def single(name, inputs=(), opset=20, outputs=("y",), **attributes):
    named = [(f"i{place}", array) for place, array in enumerate(inputs) if array is not None]
    names = [f"i{place}" if array is not None else "" for place, array in enumerate(inputs)]
    return model([helper.make_node(name, ["x", *names], list(outputs), **attributes)], named, opset)


def random(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


CASES = {
    "abs": single("Abs"),
    "reciprocal": single("Reciprocal"),
    "hardswish": single("HardSwish"),
    "softsign": single("Softsign"),
    "erf": single("Erf"),
    "gelu-tanh": single("Gelu", approximate="tanh"),
    "leaky": single("LeakyRelu", alpha=0.3),
    "elu": single("Elu", alpha=0.5),
    "hardsigmoid": single("HardSigmoid", alpha=0.3),
    "prelu": single("PRelu", [random(4, 1, 1)]),
    "softmax": single("Softmax", axis=1),
    "logsoftmax": single("LogSoftmax", axis=2),
    "clip": single("Clip", [np.float32(-0.5), np.float32(0.7)]),
    "clip-high": single("Clip", [None, np.float32(0.7)]),
    "sub": single("Sub", [random(6)]),
    "pow": single("Pow", [floats(2.0)]),
    "max": single("Max", [random(6), floats(0.1)]),
    "sum": single("Sum", [random(6)]),
    "matmul": single("MatMul", [random(6, 3)]),
    "conv-same-upper": single("Conv", [random(3, 4, 3, 2), random(3)], auto_pad="SAME_UPPER", strides=[2, 2]),
    "conv-same-lower": single("Conv", [random(3, 4, 2, 2)], auto_pad="SAME_LOWER"),
    "conv-uneven": single("Conv", [random(3, 4, 3, 3)], pads=[0, 1, 2, 1], dilations=[1, 2]),
    "conv-group": single("Conv", [random(8, 1, 3, 3)], group=4, pads=[1, 1, 1, 1]),
    "maxpool": single("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    "maxpool-uneven": single("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 1, 1]),
    "maxpool-ceil": single("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1),
    "avgpool": single("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    "avgpool-include": single("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    "avgpool-uneven": single("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1]),
    "avgpool-same": single("AveragePool", kernel_shape=[2, 2], auto_pad="SAME_UPPER", strides=[2, 2]),
    "avgpool-uneven-include": single("AveragePool", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    "globalmax": single("GlobalMaxPool"),
    "globalaverage": single("GlobalAveragePool"),
    "reducemean-input": single("ReduceMean", [ints(2, 3)], keepdims=0),
    "reducemean-attribute": single("ReduceMean", opset=13, axes=[1], keepdims=1),
    "reducemax-all": single("ReduceMax", keepdims=0),
    "reduce-none": single("ReduceSum", [ints()], noop_with_empty_axes=1),
    "reducel2": single("ReduceL2", [ints(1)]),
    "batchnorm": single("BatchNormalization", [random(4), random(4), random(4), np.abs(random(4))], epsilon=0.1),
    "layernorm": single("LayerNormalization", [random(7, 6), random(7, 6)], axis=2, epsilon=0.1),
    "instancenorm": single("InstanceNormalization", [random(4), random(4)]),
    "groupnorm": single("GroupNormalization", [random(4), random(4)], opset=21, num_groups=2),
    "lrn": single("LRN", size=3, alpha=0.5),
    "reshape-zero": single("Reshape", [ints(0, -1, 6)]),
    "flatten": single("Flatten", axis=2),
    "flatten-first": single("Flatten", axis=0),
    "transpose": single("Transpose"),
    "squeeze-unsqueeze": model(
        [helper.make_node("Unsqueeze", ["x", "a"], ["z"]), helper.make_node("Squeeze", ["z", "a"], ["y"])],
        [("a", ints(0, -1))],
    ),
    "slice": single("Slice", [ints(1, -3), ints(2**62, -1), ints(1, 3)]),
    "slice-back": single("Slice", [ints(-1), ints(-(2**62)), ints(2), ints(-2)]),
    "slice-step": single("Slice", [ints(0), ints(5), ints(-1), ints(2)]),
    "gather": single("Gather", [np.array([[0, -1], [2, 1]])], axis=1),
    "gather-one": single("Gather", [np.array(-2)], axis=3),
    "gathernd": single("GatherND", [np.array([[0, 1], [1, 3]])]),
    "expand": single("Expand", [ints(3, 1, 1, 1, 1)]),
    "tile": single("Tile", [ints(1, 2, 1, 3)]),
    "cast": model([helper.make_node("Cast", ["x"], ["a"], to=7), helper.make_node("Cast", ["a"], ["y"], to=1)]),
    "concat": model([helper.make_node("Concat", ["x", "x"], ["y"], axis=-1)]),
    "pad": single("Pad", [ints(0, 1, 0, 2, 0, 0, 1, 0), np.float32(0.5)]),
    "pad-axes": single("Pad", [ints(1, 2), None, ints(-1)]),
    "pad-reflect": single("Pad", [ints(0, 0, 1, 2, 0, 0, 3, 1)], mode="reflect"),
    "pad-edge": single("Pad", [ints(0, 0, 1, 2, 0, 0, 3, 1)], mode="edge"),
    "resize-linear": single("Resize", [None, None, ints(2, 4, 9, 4)], mode="linear"),
    "resize-scales": single("Resize", [empty, floats(1, 1, 2, 2)], mode="linear"),
    "resize-corners": single(
        "Resize", [None, floats(1, 1, 2, 3)], mode="linear", coordinate_transformation_mode="align_corners"
    ),
    "resize-antialias": single("Resize", [None, None, ints(2, 4, 3, 3)], mode="linear", antialias=1, exclude_outside=1),
    "resize-cubic": single("Resize", [None, None, ints(2, 4, 14, 12)], mode="cubic"),
    "resize-nearest": single(
        "Resize", [None, floats(1, 1, 2, 2)], coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "resize-nearest-half": single("Resize", [None, floats(1, 1, 2, 3)]),
    "depth": single("DepthToSpace", blocksize=2),
    "depth-crd": single("DepthToSpace", blocksize=2, mode="CRD"),
    "dropout": single("Dropout", [np.float32(0.5)]),
    "castlike": single("CastLike", [floats(1)]),
    "split": model(
        [helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1), helper.make_node("Mul", ["a", "b"], ["y"])],
        [("s", ints(2, 2))],
    ),
    "split-outputs": model(
        [helper.make_node("Split", ["x"], ["a", "b"], axis=3), helper.make_node("Sub", ["a", "b"], ["y"])], opset=13
    ),
    "where": model(
        [helper.make_node("Greater", ["x", "z"], ["c"]), helper.make_node("Where", ["c", "x", "z"], ["y"])],
        [("z", np.float32(0.1))],
    ),
    "gemm": model(
        [
            helper.make_node("Flatten", ["x"], ["f"]),
            helper.make_node("Gemm", ["f", "w", "b"], ["y"], alpha=0.5, beta=2.0, transB=1),
        ],
        [("w", random(3, 168)), ("b", random(3))],
    ),
    "shapes": model(
        [
            helper.make_node("Shape", ["x"], ["s"], start=0, end=1),
            helper.make_node("Constant", [], ["rest"], value_ints=[-1]),
            helper.make_node("Concat", ["s", "rest"], ["both"], axis=0),
            helper.make_node("Reshape", ["x", "both"], ["flat"]),
            helper.make_node("Constant", [], ["two"], value_int=2),
            helper.make_node("Div", ["s", "two"], ["half"]),
            helper.make_node("ConstantOfShape", ["half"], ["ones"], value=numpy_helper.from_array(floats(1.0))),
            helper.make_node("Add", ["flat", "ones"], ["y"]),
        ]
    ),
    "range": model(
        [helper.make_node("Range", ["a", "b", "c"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])],
        [("a", np.float32(0)), ("b", np.float32(6)), ("c", np.float32(1))],
    ),
    "opset-11": single("Clip", [np.float32(-0.5), np.float32(0.5)], opset=11),
    "opset-9-squeeze": model([helper.make_node("Unsqueeze", ["x"], ["y"], axes=[1])], opset=9),
}


@pytest.mark.parametrize("case", CASES)
def test_an_operator_agrees_with_onnxruntime(case):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(CASES[case].SerializeToString(), options)
    images = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    (expected,) = session.run(None, {"x": images})
    found = OnnxModule(CASES[case])(torch.from_numpy(images))
    assert found.shape == expected.shape
    assert np.allclose(found.numpy(), expected, atol=1e-5, rtol=1e-4)


def test_a_model_can_be_given_to_another_process():
    module, image = OnnxModule(CASES["elu"]), torch.from_numpy(random(*SHAPE))
    assert torch.equal(pickle.loads(pickle.dumps(module))(image), module(image))


def test_functions_of_the_model_are_inlined():
    body = [helper.make_node("Relu", ["a"], ["b"])]
    function = helper.make_function("own", "Mine", ["a"], ["b"], body, [helper.make_opsetid("", 20)])
    found = model([helper.make_node("Mine", ["x"], ["y"], domain="own")])
    found.functions.append(function)
    found.opset_import.append(helper.make_opsetid("own", 1))
    images = torch.randn(SHAPE)
    assert torch.equal(OnnxModule(found)(images), images.relu())


def test_half_precision_models_take_float_images():
    half = model([helper.make_node("Relu", ["x"], ["y"])], element=TensorProto.FLOAT16)
    assert OnnxModule(half)(torch.rand(SHAPE)).dtype == torch.float16


def test_bfloat16_weights_are_read():
    weight = helper.make_tensor("w", TensorProto.BFLOAT16, [1], [1.5])
    found = model([helper.make_node("Cast", ["w"], ["f"], to=1), helper.make_node("Mul", ["x", "f"], ["y"])])
    found.graph.initializer.append(weight)
    images = torch.randn(SHAPE)
    assert torch.allclose(OnnxModule(found)(images), images * 1.5)


def test_the_digest_covers_weights_in_other_files(tmp_path):
    def write(value):
        whole = single("Mul", [np.full((7, 6), value, np.float32)])
        onnx.save(whole, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
        return OnnxModule.load(tmp_path / "net.onnx")

    (one, first), (_, second) = write(1.0), write(2.0)
    assert first != second
    assert one.input_size == (7, 6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (single("Hardmax"), "Hardmax are not supported"),
        (single("MaxPool", kernel_shape=[2, 2], outputs=("values", "y")), "MaxPool is not supported"),
        (single("ReduceLogSum"), "ReduceLogSum"),
        (single("GatherND", [np.array([[0], [1]])], batch_dims=1), "batch_dims"),
        (single("Pad", [ints(0, 1, 0, 0, 0, 0, 0, 0)], mode="reflect"), "mode reflect"),
        (single("Resize", [None, floats(1, 1, 2, 2)], mode="cubic", cubic_coeff_a=-0.5), "cubic"),
        (single("Resize"), "without scales"),
        (
            single("AveragePool", kernel_shape=[2, 2], dilations=[2, 2]),
            "dilations",
        ),
        (
            single("BatchNormalization", [random(4)] * 4, training_mode=1, outputs=("y", "mean", "var")),
            "training mode",
        ),
    ],
)
def test_what_is_not_supported_is_named_with_the_cure(wrong, message):
    with pytest.raises(ServiceError, match=rf"(?s){message}.*Cure"):
        OnnxModule(wrong)(torch.rand(SHAPE))


def test_a_second_input_is_refused():
    found = model([helper.make_node("Add", ["x", "z"], ["y"])])
    found.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    with pytest.raises(ServiceError, match="inputs x, z"):
        OnnxModule(found)


def test_a_file_that_is_not_onnx_is_refused(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"nonsense")
    with pytest.raises(ServiceError, match="cannot be read as ONNX"):
        OnnxModule.load(tmp_path / "net.onnx")
