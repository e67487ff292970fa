"""The readers against the libraries that they stand in for, and against bytes that nobody meant."""

import copy
import random
import sys
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from dapter.verify.onnx_file import read_graph
from dapter.verify.problems import Broken
from dapter.verify.schema import faults, load
from dapter.verify.strict_json import loads
from releases.make import OPSET, make_contents, make_graph, make_manifest

sys.path.insert(0, str(Path(__file__).parents[1] / "fuzz"))
import release_readers

MUTATIONS = 400
"""Of each reader's bytes; `python tests/fuzz/release_readers.py` does many more, led by coverage."""


def manifests():
    """Manifests that fit the schema, and that do not, each by one change."""
    whole = {**make_manifest(dial=True), "files": {"LICENSE": {"sha256": "0" * 64, "bytes": 1}}}
    found = [whole]
    values = [None, True, 0, -1, 1.5, "", "text", "any", [], [1, 2], {}, {"name": 1}]
    for name in whole:
        found += [{**whole, name: value} for value in values]
        found.append({other: value for other, value in whole.items() if other != name})
    for path in (
        ("image", "sizes"),
        ("image", "trained"),
        ("service", "digest"),
        ("dial", "low"),
        ("training", "data"),
    ):
        for value in values:
            changed = copy.deepcopy(whole)
            changed[path[0]][path[1]] = value
            found.append(changed)
    return [*found, {**whole, "more": 1}, [], "text"]


def test_our_schema_reader_agrees_with_jsonschema():
    schema = load("release-1")
    judge = jsonschema.Draft202012Validator(schema)
    judge.check_schema(schema)
    verdicts = []
    for value in manifests():
        assert bool(faults(value, schema)) != judge.is_valid(value), (value, faults(value, schema))
        verdicts.append(judge.is_valid(value))
    assert any(verdicts)
    claims = load("claims-1")
    jsonschema.Draft202012Validator.check_schema(claims)
    made = loads(make_contents(make_manifest())["claims.json"])
    assert not faults(made, claims)
    for name in made[0]:
        for value in (None, True, 0, "", "text", [], {}):
            changed = [{**made[0], name: value}]
            assert bool(faults(changed, claims)) != jsonschema.Draft202012Validator(claims).is_valid(changed)


@pytest.mark.parametrize("dial", [False, True])
def test_our_graph_reader_agrees_with_onnx(dial):
    check_graph(make_graph(dial))


def test_our_graph_reader_agrees_with_onnx_on_an_export(trained, service, data):
    from dapter.exporting import export

    if not (trained.path / "exports").exists():
        export(trained, "onnx", service, data)
    check_graph(onnx.load(trained.path / "exports/converter.onnx"))


def check_graph(model):
    found = read_graph(model.SerializeToString())
    assert [node.op for node in found.nodes] == [node.op_type for node in model.graph.node]
    assert [(node.inputs, node.outputs) for node in found.nodes] == [
        (tuple(node.input), tuple(node.output)) for node in model.graph.node
    ]
    assert {name: (tensor.kind, tensor.shape) for name, tensor in found.constants.items()} == {
        tensor.name: (tensor.data_type, tuple(tensor.dims)) for tensor in model.graph.initializer
    }
    for ours, theirs in ((found.inputs, model.graph.input), (found.outputs, model.graph.output)):
        assert [(value.name, value.kind) for value in ours] == [
            (value.name, value.type.tensor_type.elem_type) for value in theirs
        ]
    assert found.opset == next(entry.version for entry in model.opset_import if not entry.domain)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT32, TensorProto.UINT8])
@pytest.mark.parametrize("raw", [False, True])
def test_weights_are_counted_however_they_are_written(kind, raw):
    values = np.arange(6, dtype=helper.tensor_dtype_to_np_dtype(kind))
    tensor = helper.make_tensor("w", kind, [2, 3], values.tobytes() if raw else values, raw=raw)
    graph = helper.make_graph([], "g", [], [], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    found = read_graph(model.SerializeToString()).constants["w"]
    assert found.shape == (2, 3)
    assert found.integers == (tuple(range(6)) if kind == TensorProto.INT64 else None)
    tensor.dims[0] = 3
    graph = helper.make_graph([], "g", [], [], [tensor])
    with pytest.raises(Broken, match=r"declare 9 elements .*, but hold 6"):
        read_graph(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize("name", list(release_readers.targets()))
def test_a_reader_survives_anything(name):
    run, seeds = release_readers.targets()[name]
    draw = random.Random(name)
    for number in range(MUTATIONS):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(draw.randint(1, 4)):
            start = draw.randrange(len(data) + 1)
            end = min(len(data), start + draw.choice((0, 1, 1, 8, 64)))
            data[start:end] = draw.choice((b"", draw.randbytes(end - start), data[start:end] * 2, draw.randbytes(3)))
        run(bytes(data))
