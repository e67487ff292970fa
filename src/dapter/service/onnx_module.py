"""An ONNX image classifier as a torch module, so that gradients reach the images.

A small interpreter: torchvision-free, inference only. Parity with onnxruntime is tested.
"""

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from dapter.errors import ServiceError, need
from dapter.service.onnx_operators import DTYPES, OPERATORS

OLDEST_OPSET = 13
"""Older models are converted to it on loading."""


@dataclass(frozen=True)
class _Step:
    """One node: its operator, the names of its values, its attributes, the values that nobody needs after it."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    spent: tuple[str, ...]


class OnnxModule(nn.Module):
    """The graph of an ONNX model with one image input; gives its first output.

    Attributes:
        input_size: (height, width) where the graph fixes them, else None.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        graph = _modern(model).graph
        self._constants: dict[str, Tensor] = {}
        self._buffer_of: dict[str, str] = {}
        for name, value in _constants(graph):
            self._keep(name, value)
        inputs = [entry for entry in graph.input if not self._knows(entry.name)]
        if len(inputs) != 1:
            names = ", ".join(entry.name for entry in inputs)
            raise ServiceError(f"the ONNX model has the inputs {names}. Cure: export a net that takes images only")
        self._input, self._output = inputs[0].name, graph.output[0].name
        kind = inputs[0].type.tensor_type
        self._dtype = DTYPES[kind.elem_type]
        sizes = [dim.dim_value for dim in kind.shape.dim]
        self.input_size: tuple[int, int] | None = (sizes[2], sizes[3]) if len(sizes) == 4 and all(sizes[2:]) else None
        self._steps = _steps(graph, self._output)

    @classmethod
    def load(cls, path: Path) -> tuple[Self, str]:
        """Read a model; also the SHA-256 over its file and the files of weights that it names.

        Raises:
            ServiceError: it cannot be read, or has an operator that is not supported.
            MissingExtra: onnx is not installed.
        """
        onnx = need("onnx", "onnx")
        digest = hashlib.sha256(path.read_bytes())
        try:
            model = onnx.load(path, load_external_data=False)
            entries = [entry for tensor in model.graph.initializer for entry in tensor.external_data]
            onnx.load_external_data_for_model(model, str(path.parent))
            for name in sorted({entry.value for entry in entries if entry.key == "location"}):
                digest.update((path.parent / name).read_bytes())
            return cls(model), digest.hexdigest()
        except ServiceError:
            raise
        except Exception as error:  # protobuf's and onnx's own errors have no common base
            raise ServiceError(f"{path} cannot be read as ONNX ({error}). Cure: export it again") from error

    def forward(self, images: Tensor) -> Tensor:
        """The first output for images (N, 3, H, W), as the graph takes them."""
        values: dict[str, Tensor | None] = {"": None, self._input: images.to(self._dtype), **self._constants}
        values.update((name, getattr(self, buffer)) for name, buffer in self._buffer_of.items())
        for step in self._steps:
            found = OPERATORS[step.operator](*(values[name] for name in step.inputs), **step.attributes)
            values.update(zip(step.outputs, found if isinstance(found, tuple) else (found,), strict=False))
            for name in step.spent:
                del values[name]
        output = values[self._output]
        assert output is not None
        return output

    def _knows(self, name: str) -> bool:
        return name in self._constants or name in self._buffer_of

    def _keep(self, name: str, value: Tensor) -> None:
        """Weights become buffers and follow the module; single numbers and shapes stay on the CPU."""
        if value.ndim == 0 or (value.ndim == 1 and not value.is_floating_point()):
            self._constants[name] = value
        else:
            self._buffer_of[name] = f"value_{len(self._buffer_of)}"
            self.register_buffer(self._buffer_of[name], value)


def _modern(model: Any) -> Any:
    """The model without functions of its own, in an opset that the table knows."""
    if model.functions:
        model = need("onnx.inliner", "onnx").inline_local_functions(model)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OLDEST_OPSET)
    if opset < OLDEST_OPSET:
        model = need("onnx.version_converter", "onnx").convert_version(model, OLDEST_OPSET)
    return model


def _tensor(proto: Any) -> Tensor:
    array = need("onnx.numpy_helper", "onnx").to_array(proto)
    if DTYPES.get(proto.data_type) == torch.bfloat16:
        return torch.from_numpy(array.astype("float32")).bfloat16()
    return torch.from_numpy(array.copy())


def _constants(graph: Any) -> Iterator[tuple[str, Tensor]]:
    """Every value that the file holds, by name."""
    for proto in graph.initializer:
        yield proto.name, _tensor(proto)
    for node in graph.node:
        if node.op_type == "Constant":
            value = next(iter(_attributes(node).values()))
            yield node.output[0], value if isinstance(value, Tensor) else torch.tensor(value)


def _attributes(node: Any) -> dict[str, Any]:
    helper = need("onnx.helper", "onnx")
    found = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.HasField("t"):
            value = _tensor(value)
        found[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return found


def _steps(graph: Any, output: str) -> list[_Step]:
    """The graph's nodes, checked against the table.

    Raises:
        ServiceError: operators, inputs or attributes that are not supported; the message names them.
    """
    cure = "Cure: export the net with torch.export to .pt2"
    nodes = [node for node in graph.node if node.op_type != "Constant"]
    known = {node.op_type for node in nodes if node.domain in ("", "ai.onnx")} & set(OPERATORS)
    strange = sorted({f"{node.domain} {node.op_type}".strip() for node in nodes if node.op_type not in known})
    if strange:
        raise ServiceError(f"the ONNX operators {', '.join(strange)} are not supported. {cure}")
    last = {name: place for place, node in enumerate(nodes) for name in node.input}
    used = {output, *last}
    steps = []
    for place, node in enumerate(nodes):
        attributes = _attributes(node)
        if node.op_type == "Split" and len(node.input) == 1:
            attributes.setdefault("num_outputs", len(node.output))
        try:
            inspect.signature(OPERATORS[node.op_type]).bind(*node.input, **attributes)
            if node.op_type != "Split" and used & set(node.output[1:]):
                raise TypeError(f"its output {node.output[1]} is needed")
        except TypeError as error:
            raise ServiceError(
                f"this use of the ONNX operator {node.op_type} is not supported ({error}). {cure}"
            ) from None
        spent = tuple(name for name in set(node.input) if name not in ("", output) and last[name] == place)
        steps.append(_Step(node.op_type, tuple(node.input), tuple(node.output), attributes, spent))
    return steps
