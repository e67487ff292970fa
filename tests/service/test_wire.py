"""Messages of the Open Inference Protocol: what is written can be read, and what is wrong is refused, never a crash."""

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dapter.errors import WireError
from dapter.service.tensors import BYTES, TYPES, pack, unpack
from dapter.service.wire import (
    LENGTH_HEADER,
    Output,
    Request,
    Response,
    Tensor,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    read_length,
)


def of_bytes(*values):
    found = np.empty(len(values), object)
    found[:] = values
    return found


NUMERIC = st.sampled_from(list(TYPES)).flatmap(
    lambda kind: hnp.arrays(
        TYPES[kind],
        hnp.array_shapes(max_dims=4, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if kind.startswith("FP") else None,
    )
)
TENSORS = st.one_of(
    NUMERIC, st.lists(st.binary(max_size=9), min_size=1, max_size=4).map(lambda found: of_bytes(*found))
)


def same(first, second):
    return (
        first.name == second.name
        and first.datatype == second.datatype
        and first.data.shape == second.data.shape
        and np.array_equal(first.data, second.data)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(TENSORS, min_size=1, max_size=3), st.booleans())
def test_what_is_written_can_be_read(arrays, binary):
    tensors = tuple(Tensor(f"t{place}", data) for place, data in enumerate(arrays))
    asked = Request(tensors, (Output("y", binary=True), Output("z")), id="7", parameters={"limit": 2})
    message = encode_request(asked, binary=binary)
    found = decode_request(message.body, message.header_length)
    assert all(same(one, other) for one, other in zip(found.inputs, tensors, strict=True))
    assert (found.outputs, found.id, found.parameters) == (asked.outputs, "7", {"limit": 2})

    reply = encode_response(Response("m", "1", tensors, "7"), Request((), binary=binary))
    back = decode_response(reply.body, reply.header_length)
    assert (back.model, back.version, back.id) == ("m", "1", "7")
    assert all(same(one, other) for one, other in zip(back.outputs, tensors, strict=True))


def test_each_output_comes_as_it_was_asked_for():
    outputs = (Tensor("a", np.zeros(2, np.float32)), Tensor("b", np.zeros(2, np.float32)))
    message = encode_response(Response("m", "1", outputs), Request((), (Output("a", binary=True), Output("b"))))
    first, second = json.loads(message.body[: message.header_length])["outputs"]
    assert first["parameters"] == {"binary_data_size": 8}
    assert second["data"] == [0, 0]
    assert message.headers[LENGTH_HEADER] == str(message.header_length)
    assert len(message.body) == message.header_length + 8


def test_the_bytes_are_those_of_the_protocol():
    assert pack(np.array([1, 258], ">u2")[::-1].astype("<u2")) == b"\x02\x01\x01\x00"
    assert pack(of_bytes(b"ab", b"")) == b"\x02\0\0\0ab\0\0\0\0"
    assert pack(np.array([True, False])) == b"\x01\0"


def test_integers_above_2_63_are_kept_beside_small_ones():
    large = np.array([2**64 - 1, 1], np.uint64)
    message = encode_request(Request((Tensor("x", large),)), binary=False)
    assert decode_request(message.body).inputs[0].data.tolist() == [2**64 - 1, 1]


def test_files_can_be_sent_in_json():
    message = encode_request(Request((Tensor("encoded", of_bytes(b"\x89PNG")),)), binary=False)
    (entry,) = json.loads(message.body)["inputs"]
    assert entry["parameters"] == {"content_type": "base64"}
    assert decode_request(message.body).inputs[0].data.tolist() == [b"\x89PNG"]


def one(**changes):
    tensor = {"name": "x", "datatype": "UINT8", "shape": [2], "data": [1, 2]}
    tensor = {name: value for name, value in {**tensor, **changes}.items() if value is not None}
    return json.dumps({"inputs": [tensor]}).encode()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "inputs is no list"),
        (b'{"inputs": [3]}', "inputs is no list"),
        (b'{"inputs": [], "id": 3}', "id is no text"),
        (b'{"inputs": [], "outputs": {}}', "outputs is no list"),
        (b'{"inputs": [], "parameters": {"a": {}}}', "parameters is no object"),
        (b'{"inputs": [], "parameters": {"binary_data_output": 1}}', "neither true nor false"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [NaN]}]}', "not JSON"),
        (b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1e999]}]}', "values that FP32 has not"),
        (one(name=None), "name is no text"),
        (one(datatype="BF16"), "has the datatype 'BF16'"),
        (one(shape=[-1]), "shape is no list"),
        (one(shape=[2.0]), "shape is no list"),
        (one(shape=[True, 2]), "shape is no list"),
        (one(shape=[1] * 9), "shape is no list"),
        (one(shape=[10**12]), "does not hold 1000000000000"),
        (one(shape=[0, 10**40], data=[]), "a shape has over"),
        (one(data=None), "has no data"),
        (one(data=[1]), "does not hold 2 values"),
        (one(data=[1, 256]), "values that UINT8 has not"),
        (one(data=[1, -1]), "values that UINT8 has not"),
        (one(data=[1, 1.5]), "does not hold 2 values of UINT8"),
        (one(data=[1, "a"]), "does not hold 2 values of UINT8"),
        (one(data=[[1], [2, 3]]), "does not hold"),
        (one(data=[1, 10**30]), "does not hold"),
        (one(datatype="BYTES"), "does not hold 2 strings"),
        (one(datatype="BYTES", data=["a", "?"], parameters={"content_type": "base64"}), "not base64"),
        (one(data=None, parameters={"binary_data_size": 2}), "does not fit the body"),
        (one(parameters={"binary_data_size": 0}), "does not fit the body"),
    ],
)
def test_what_is_wrong_is_refused(body, reason):
    with pytest.raises(WireError, match=reason) as refused:
        decode_request(body)
    assert "Cure: " in str(refused.value)


@pytest.mark.parametrize(
    ("tail", "size", "reason"),
    [
        (b"12", 3, "does not fit the body"),
        (b"123", 2, "belong to no tensor"),
        (b"123", 3, "are no UINT8 tensor"),
        (b"12", True, "does not fit the body"),
        (b"12", -1, "does not fit the body"),
    ],
)
def test_raw_bytes_fit_exactly(tail, size, reason):
    head = one(data=None, parameters={"binary_data_size": size})
    with pytest.raises(WireError, match=reason):
        decode_request(head + tail, len(head))


@pytest.mark.parametrize("length", [0, -1, 10_000])
def test_the_length_of_the_json_lies_in_the_body(length):
    with pytest.raises(WireError, match=LENGTH_HEADER):
        decode_request(one(), length)


@pytest.mark.parametrize("header", ["", "-1", "1e3", "٣", "9" * 30])
def test_the_length_header_is_a_number(header):
    with pytest.raises(WireError, match="no number"):
        read_length(header)


@pytest.mark.parametrize("raw", [b"\1", b"\5\0\0\0abc", b"\1\0\0\0a", b"\1\0\0\0a" * 3, b"\xff\xff\xff\xffa"])
def test_damaged_byte_strings_are_refused(raw):
    with pytest.raises(WireError):
        unpack(BYTES, (2,), raw)


def test_two_tensors_of_one_name_are_refused():
    tensor = {"name": "x", "datatype": "UINT8", "shape": [1], "data": [1]}
    with pytest.raises(WireError, match="same name"):
        decode_request(json.dumps({"inputs": [tensor, tensor]}).encode())


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_messages_are_read_or_refused(data):
    message = encode_request(Request((Tensor("x", np.arange(6, dtype=np.uint8)), Tensor("y", of_bytes(b"abc")))))
    body = bytearray(message.body)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    with contextlib.suppress(WireError):
        decode_request(bytes(body), data.draw(st.sampled_from([message.header_length, None, 5])))
