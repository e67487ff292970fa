"""An ONNX file, read without running it: only the parts that a converter needs; all else is refused by name.

Source: onnx.proto3 of github.com/onnx/onnx; field numbers are its own. Left out on purpose, and so refused: functions,
training, subgraphs, sparse tensors, sequences, maps, optional and opaque types, devices, external data, references to
attributes, quantisation annotations, metadata, comments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dapter.verify.problems import Broken
from dapter.verify.protowire import Field, Reader, Schema

MOST_PARTS = 4_000_000
"""Of one file, as `protowire.Reader` counts them. Weights that are raw bytes, as exporters write them, count as one."""

SCHEMA: Schema = {
    "ModelProto": {
        1: Field("ir_version", "int"),
        2: Field("producer_name", "text"),
        3: Field("producer_version", "text"),
        4: Field("domain", "text"),
        5: Field("model_version", "int"),
        7: Field("graph", "GraphProto"),
        8: Field("opset_import", "OperatorSetIdProto", many=True),
    },
    "OperatorSetIdProto": {1: Field("domain", "text"), 2: Field("version", "int")},
    "GraphProto": {
        1: Field("node", "NodeProto", many=True),
        2: Field("name", "text"),
        5: Field("initializer", "TensorProto", many=True),
        11: Field("input", "ValueInfoProto", many=True),
        12: Field("output", "ValueInfoProto", many=True),
        13: Field("value_info", "ValueInfoProto", many=True),
    },
    "NodeProto": {
        1: Field("input", "text", many=True),
        2: Field("output", "text", many=True),
        3: Field("name", "text"),
        4: Field("op_type", "text"),
        5: Field("attribute", "AttributeProto", many=True),
        7: Field("domain", "text"),
    },
    "AttributeProto": {
        1: Field("name", "text"),
        2: Field("f", "float"),
        3: Field("i", "int"),
        4: Field("s", "bytes"),
        5: Field("t", "TensorProto"),
        7: Field("floats", "float", many=True),
        8: Field("ints", "int", many=True),
        9: Field("strings", "bytes", many=True),
        20: Field("type", "int"),
    },
    "TensorProto": {
        1: Field("dims", "int", many=True),
        2: Field("data_type", "int"),
        4: Field("float_data", "float", many=True),
        5: Field("int32_data", "int", many=True),
        7: Field("int64_data", "int", many=True),
        8: Field("name", "text"),
        9: Field("raw_data", "bytes"),
        14: Field("data_location", "int"),
    },
    "ValueInfoProto": {1: Field("name", "text"), 2: Field("type", "TypeProto")},
    "TypeProto": {1: Field("tensor_type", "TensorTypeProto")},
    "TensorTypeProto": {1: Field("elem_type", "int"), 2: Field("shape", "TensorShapeProto")},
    "TensorShapeProto": {1: Field("dim", "DimensionProto", many=True)},
    "DimensionProto": {1: Field("dim_value", "int"), 2: Field("dim_param", "text")},
}

REFUSED = {
    ("ModelProto", 6): "a comment",
    ("ModelProto", 14): "metadata",
    ("ModelProto", 20): "a part for training",
    ("ModelProto", 25): "functions of its own",
    ("GraphProto", 10): "a comment",
    ("GraphProto", 14): "quantisation annotations",
    ("GraphProto", 15): "sparse weights",
    ("GraphProto", 16): "metadata",
    ("NodeProto", 6): "a comment",
    ("NodeProto", 9): "metadata",
    ("AttributeProto", 6): "a subgraph (control flow)",
    ("AttributeProto", 11): "subgraphs (control flow)",
    ("AttributeProto", 21): "an attribute of a function",
    ("TensorProto", 6): "texts among its weights",
    ("TensorProto", 12): "a comment",
    ("TensorProto", 13): "weights in another file (external data)",
}
"""What the commonest refused fields are, for the message."""

WIDTHS = {1: 4, 2: 1, 3: 1, 4: 2, 5: 2, 6: 4, 7: 8, 9: 1, 10: 2, 11: 8, 12: 4, 13: 8, 16: 2}
"""Bytes of an element, by the number of its type: all that are plain numbers."""

FLOAT, UINT8, INT64 = 1, 2, 7


@dataclass(frozen=True)
class Tensor:
    """A constant.

    Attributes:
        kind: the number of its element type.
        shape: of whole numbers of at least 0.
        integers: its elements, where they are int64 and few; else None.
    """

    name: str
    kind: int
    shape: tuple[int, ...]
    integers: tuple[int, ...] | None


@dataclass(frozen=True)
class Value:
    """An input or output.

    Attributes:
        shape: numbers, names, or None for each dimension; None where the rank is open.
    """

    name: str
    kind: int
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Graph:
    """What an ONNX file computes.

    Attributes:
        opset: of the standard domain.
        domains: of all operator sets that are imported.
    """

    opset: int
    domains: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def read_graph(data: bytes) -> Graph:
    """The graph in an ONNX file.

    Raises:
        Broken: not an ONNX file, or one with parts that a converter has no use for.
    """
    model = Reader(SCHEMA, MOST_PARTS, REFUSED).read(memoryview(data), "ModelProto")
    graph = model.get("graph")
    if graph is None:
        raise Broken("holds no graph")
    sets = [(entry.get("domain", ""), entry.get("version", 0)) for entry in model.get("opset_import", [])]
    constants = [_tensor(entry) for entry in graph.get("initializer", [])]
    names = [constant.name for constant in constants]
    if len(set(names)) < len(names):
        raise Broken("has two weights of the same name")
    return Graph(
        opset=next((version for domain, version in sets if domain in ("", "ai.onnx")), 0),
        domains=tuple(domain for domain, _ in sets),
        nodes=tuple(_node(entry) for entry in graph.get("node", [])),
        constants=dict(zip(names, constants, strict=True)),
        inputs=tuple(_value(entry) for entry in graph.get("input", [])),
        outputs=tuple(_value(entry) for entry in graph.get("output", [])),
    )


def _node(fields: Mapping[str, Any]) -> Node:
    attributes: dict[str, Any] = {}
    for entry in fields.get("attribute", []):
        name = entry.get("name", "")
        if name in attributes:
            raise Broken(f"gives the attribute {name} twice")
        value = next((value for key, value in entry.items() if key not in ("name", "type")), None)
        attributes[name] = _tensor(value) if isinstance(value, dict) else value
    return Node(
        fields.get("op_type", ""),
        fields.get("domain", ""),
        tuple(fields.get("input", [])),
        tuple(fields.get("output", [])),
        attributes,
    )


def _tensor(fields: Mapping[str, Any]) -> Tensor:
    """A constant whose declared elements are those that are held.

    Raises:
        Broken: they are not, its type is no plain number, or its data lies elsewhere.
    """
    name, kind, shape = fields.get("name", ""), fields.get("data_type", 0), tuple(fields.get("dims", []))
    here = f"the weights {name or 'without a name'}"
    if fields.get("data_location", 0) != 0:
        raise Broken(f"{here} lie in another file (external data)")
    if kind not in WIDTHS:
        raise Broken(f"{here} are of type {kind}, which holds no plain numbers")
    declared = _elements(shape, here)
    forms = [form for form in ("raw_data", "float_data", "int32_data", "int64_data") if fields.get(form)]
    if len(forms) > 1:
        raise Broken(f"{here} are given twice")
    held: Sequence[Any] = fields[forms[0]] if forms else ()
    count = len(held) if forms != ["raw_data"] else len(held) // WIDTHS[kind]
    if count != declared or (forms == ["raw_data"] and len(held) % WIDTHS[kind]):
        raise Broken(f"{here} declare {declared:,} elements {shape}, but hold {count:,}")
    integers = None
    if kind == INT64 and declared <= 64:
        integers = _integers(held, forms)
    return Tensor(name, kind, shape, integers)


def _integers(held: Sequence[Any], forms: Sequence[str]) -> tuple[int, ...]:
    if forms == ["raw_data"]:
        raw = bytes(held)
        return tuple(int.from_bytes(raw[at : at + 8], "little", signed=True) for at in range(0, len(raw), 8))
    return tuple(held)


def _elements(shape: Sequence[int], here: str) -> int:
    count = 1
    if len(shape) > 8:
        raise Broken(f"{here} have {len(shape)} dimensions")
    for size in shape:
        if size < 0:
            raise Broken(f"{here} have a negative size, {tuple(shape)}")
        count *= size
    return count


def _value(fields: Mapping[str, Any]) -> Value:
    kind = fields.get("type", {}).get("tensor_type", {})
    shape = kind.get("shape")
    sizes = None
    if shape is not None:
        sizes = tuple(size.get("dim_value", size.get("dim_param")) for size in shape.get("dim", []))
    return Value(fields.get("name", ""), kind.get("elem_type", 0), sizes)
