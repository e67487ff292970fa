"""The rules for an exported graph: what goes in and out, which operations, how large; and that nothing is hidden."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dapter.verify.onnx_file import FLOAT, UINT8, Graph, Node, Tensor, Value, read_graph
from dapter.verify.problems import Broken

IMAGE, PAYLOAD = "image", "payload"

MAX_NODES = 4096
MAX_ELEMENTS = 2**24
"""Of what a constant shape may ask for."""

MAX_SCALE = 64
"""How often larger one node may make an image."""

_ALLOWED = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape Conv
DepthToSpace DequantizeLinear Div Elu Equal Erf Exp Expand Flatten Floor Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity
InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul Max MaxPool Mean Min Mish
Mod Mul Neg Not OneHot Or PRelu Pad Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceSum
Relu Reshape Resize Round Selu Shape Sigmoid Sign Size Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub
Sum Tanh Tile Transpose Trilu Unsqueeze Where Xor
"""

OPERATORS = frozenset(_ALLOWED.split())
"""All of them are arithmetic on what goes in: no control flow, no random source, no state, no file, no text."""

SHAPED_BY = {
    "ConstantOfShape": 0,
    **dict.fromkeys(("Expand", "OneHot", "Pad", "Range", "Reshape", "Tile"), 1),
    "Resize": 3,
}
"""The input that says how large the result of an operation is."""

REASONS = {
    **dict.fromkeys(("If", "Loop", "Scan", "SequenceMap"), "control flow"),
    **dict.fromkeys(
        (
            "RandomNormal",
            "RandomNormalLike",
            "RandomUniform",
            "RandomUniformLike",
            "Bernoulli",
            "Multinomial",
            "Dropout",
        ),
        "a random source",
    ),
    **dict.fromkeys(("LSTM", "GRU", "RNN"), "a state"),
    "ConvTranspose": "an operation that phones and browsers compute differently",
}


def graph_faults(data: bytes, export: Mapping[str, Any], dial: Mapping[str, Any] | None) -> list[str]:
    """Everything that is wrong with an ONNX file.

    Args:
        data: the file.
        export: its entry in the manifest.
        dial: of the manifest.
    """
    try:
        graph = read_graph(data)
    except Broken as fault:
        return [str(fault)]
    return [*_sets(graph, export), *_ends(graph, dial), *_operations(graph), *_links(graph), *_bombs(graph)]


def _sets(graph: Graph, export: Mapping[str, Any]) -> Iterator[str]:
    foreign = sorted(set(graph.domains) - {"", "ai.onnx"})
    if foreign:
        yield f"imports operators of {', '.join(map(ascii, foreign))}: only the standard ones are allowed"
    if len(graph.domains) != len(set(graph.domains)):
        yield "imports an operator set twice"
    if graph.opset != export["opset"]:
        yield f"is of opset {graph.opset}, the manifest says {export['opset']}"


def _ends(graph: Graph, dial: Mapping[str, Any] | None) -> Iterator[str]:
    """Whether an 8-bit image goes in, the dial if there is one, and an 8-bit image of the same size comes out."""
    inputs = {value.name: value for value in graph.inputs if value.name not in graph.constants}
    expected = {IMAGE, dial["name"]} if dial else {IMAGE}
    if set(inputs) != expected:
        yield f"takes {', '.join(map(ascii, sorted(inputs))) or 'nothing'}; allowed: {', '.join(sorted(expected))}"
    if any(value.name in graph.constants for value in graph.inputs):
        yield "takes weights as inputs, which whoever runs it could replace"
    if [value.name for value in graph.outputs] != [PAYLOAD]:
        names = ", ".join(ascii(value.name) for value in graph.outputs)
        yield f"gives {names or 'nothing'}; allowed: {PAYLOAD} alone"
    image = inputs.get(IMAGE)
    payload = next((value for value in graph.outputs if value.name == PAYLOAD), None)
    for value in (image, payload):
        if value and (value.kind != UINT8 or value.shape is None or len(value.shape) != 4 or value.shape[3] != 3):
            yield f"{value.name} is not uint8 (N, H, W, 3), but type {value.kind}, shape {value.shape}"
    if image and payload and image.shape and payload.shape:
        yield from _sizes(image, payload)
    if dial and dial["name"] in inputs:
        value = inputs[dial["name"]]
        if value.kind != FLOAT or value.shape != ():
            yield f"{value.name} is not one float32, but type {value.kind}, shape {value.shape}"


def _sizes(image: Value, payload: Value) -> Iterator[str]:
    assert image.shape is not None and payload.shape is not None  # noqa: PT018
    for ours, theirs in zip(image.shape, payload.shape, strict=False):
        if isinstance(ours, int) and isinstance(theirs, int) and ours != theirs:
            yield f"gives a payload {payload.shape} for an image {image.shape}: another size"
            return


def _operations(graph: Graph) -> Iterator[str]:
    if len(graph.nodes) > MAX_NODES:
        yield f"has {len(graph.nodes):,} operations, more than {MAX_NODES:,}"
    for op, domain in sorted({(node.op, node.domain) for node in graph.nodes}):
        if domain not in ("", "ai.onnx"):
            yield f"has the custom operator {ascii(domain)[1:-1]}.{ascii(op)[1:-1]}"
        elif op not in OPERATORS:
            yield f"has the operator {ascii(op)[1:-1]}, which is not allowed ({REASONS.get(op, 'not in the list')})"


def _links(graph: Graph) -> Iterator[str]:
    """Whether every value is made once, before it is used, and none for nothing."""
    made = {*graph.constants, *(value.name for value in graph.inputs)}
    used = {value.name for value in graph.outputs}
    for node in graph.nodes:
        for name in node.inputs:
            if name and name not in made:
                yield f"uses {name!a} before it is made: a cycle, or a missing part"
            used.add(name)
        for name in node.outputs:
            if name and name in made:
                yield f"makes {name!a} twice"
            made.add(name)
    for value in graph.outputs:
        if value.name not in made:
            yield f"never makes its output {value.name!a}"
    idle = sorted(set(graph.constants) - used)
    if idle:
        yield f"holds weights that nothing uses: {', '.join(map(ascii, idle[:5]))}"
    loose = [node.op for node in graph.nodes if not used.intersection(node.outputs)]
    if loose:
        yield f"has operations whose result nothing uses: {', '.join(map(ascii, loose[:5]))}"


def _bombs(graph: Graph) -> Iterator[str]:
    """Where a constant asks for a tensor far larger than any image needs."""
    constants = dict(graph.constants)
    for node in graph.nodes:
        value = node.attributes.get("value")
        if node.op == "Constant" and isinstance(value, Tensor) and len(node.outputs) == 1:
            constants[node.outputs[0]] = value
    for node in graph.nodes:
        for asked in _asked(node, constants):
            if asked > (MAX_SCALE if node.op == "Tile" else MAX_ELEMENTS):
                yield f"{node.op} asks for {asked:,} elements, a bomb"
        if len(node.inputs) > MAX_SCALE * 4:
            yield f"{node.op!a} joins {len(node.inputs)} inputs"


def _asked(node: Node, constants: Mapping[str, Tensor]) -> Iterator[int]:
    place = SHAPED_BY.get(node.op)
    if place is not None and place < len(node.inputs):
        constant = constants.get(node.inputs[place])
        if constant is not None and constant.integers:
            yield math.prod(max(1, abs(size)) for size in constant.integers)
