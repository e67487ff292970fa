"""ONNX: one file for servers, desktops and browsers, and for images of every size."""

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from dapter.errors import need
from dapter.export import Dial, Exporter, Precision, Runner, Subject
from dapter.export._graph import Graph
from dapter.export._quiet import quiet
from dapter.runner import IMAGE, PAYLOAD, Converter

AXES = ("N", "H", "W")
"""The names of the sizes that are open."""

QUANTISED = ("Conv", "Relu", "Concat", "Resize")
"""Computed with 8-bit integers, where the precision is int8; the last convolution is not: near grey, one level of its
output is finer than a step of eight bits over its range."""


class Onnx(Exporter):
    """For ONNX Runtime, native and in browsers."""

    suffix: ClassVar[str] = ".onnx"
    precisions: ClassVar[tuple[Precision, ...]] = ("float32", "float16", "int8")
    any_size: ClassVar[bool] = True
    opset: ClassVar[int | None] = 18

    def write(
        self, subject: Subject, path: Path, precision: Precision, size: tuple[int, int], calibration: np.ndarray
    ) -> None:
        """Write the file, unchecked."""
        onnx = need("onnx", "export")
        graph = Graph(subject.client, torch.float16 if precision == "float16" else torch.float32)
        model = _trace(graph, subject.dial)
        if precision == "int8":
            model = _quantise(model, calibration, subject.dial)
        _strip(model)
        onnx.checker.check_model(model, full_check=True)
        path.write_bytes(model.SerializeToString(deterministic=True))

    def open(self, path: Path) -> Runner:
        """The file, ready to convert."""
        return Converter(path.read_bytes()).convert


def _trace(graph: Graph, dial: Dial | None) -> Any:
    """The graph as an onnx.ModelProto, simplified; number, height and width of the images are open."""
    need("onnxscript", "export")
    slim = need("onnxslim", "export").slim
    names = [IMAGE] if dial is None else [IMAGE, dial.name]
    example = (torch.zeros(2, 33, 47, 3, dtype=torch.uint8), torch.tensor(0.0))
    opened = dict.fromkeys(range(len(AXES)), torch.export.Dim.DYNAMIC)
    with quiet():
        program = torch.onnx.export(
            graph.eval(),
            example[: len(names)],
            dynamo=True,
            verbose=False,
            opset_version=Onnx.opset,
            input_names=names,
            output_names=[PAYLOAD],
            dynamic_shapes=(opened, None)[: len(names)],
        )
        assert program is not None  # it is, of what is not written to a file at once
        return slim(program.model_proto)


def _quantise(model: Any, images: np.ndarray, dial: Dial | None) -> Any:
    """The model with 8-bit integers inside; activations unsigned, which ONNX Runtime computes fastest on CPUs.

    Args:
        images: to take the ranges from, uint8 (N, H, W, 3).
        dial: the ranges hold from its low to its high end.
    """
    onnx, tools = need("onnx", "export"), need("onnxruntime.quantization", "export")
    values = [None] if dial is None else np.linspace(dial.low, dial.high, len(images)).tolist()
    batches = [
        {IMAGE: image[None], **({} if dial is None else {dial.name: np.array(values[i], np.float32)})}
        for i, image in enumerate(images)
    ]

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined] # a class that is imported late
        def get_next(self) -> dict[str, np.ndarray] | None:
            return batches.pop() if batches else None

    convolutions = [node.name for node in model.graph.node if node.op_type == "Conv"]
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        tools.quantize_static(
            model,
            path,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=convolutions[-1:],
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
        )
        return onnx.load(path)


def _strip(model: Any) -> None:
    """Take out, in place, who made it where: names of tools, paths, notes; and name the open sizes."""
    model.ClearField("doc_string")
    model.ClearField("metadata_props")
    model.ClearField("producer_version")
    model.producer_name, model.graph.name = "dapter", "converter"
    del model.graph.value_info[:]
    parts = [*model.graph.node, *model.graph.input, *model.graph.output, *model.graph.initializer, model.graph]
    for part in parts:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for i, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{i}"
    for value in (model.graph.input[0], model.graph.output[0]):
        for axis, name in enumerate(AXES):
            value.type.tensor_type.shape.dim[axis].dim_param = name
