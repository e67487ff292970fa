"""The recording upstream really keeps what it is sent: the proof that no original left rests on it."""

import http.client

import numpy as np

from dapter.service.wire import Request, Tensor, decode_response, encode_request, read_length
from upstream import Reply, Upstream


def post(upstream, message):
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=10)
    connection.request("POST", "/v2/models/model/infer", message.body, message.headers)
    reply = connection.getresponse()
    body = reply.read()
    connection.close()
    return decode_response(body, read_length(reply.headers.get("Inference-Header-Content-Length")))


def test_it_answers_and_keeps_every_byte():
    red = np.zeros((1, 4, 4, 3), np.uint8)
    red[..., 0] = 255
    secret = np.random.default_rng(0).bytes(100)
    with Upstream() as upstream:
        found = post(upstream, encode_request(Request((Tensor("image", red),), binary=True)))
        assert found.output("colour.probabilities").argmax() == 0
        assert upstream.received_nothing_of(secret)
        message = encode_request(Request((Tensor("image", red),), id="8"), binary=False)
        assert post(upstream, message).id == "8"
        assert message.body in upstream.received
        assert not upstream.received_nothing_of(red.tobytes())


def test_it_sees_a_secret_inside_of_other_bytes():
    secret = np.random.default_rng(0).bytes(3000)
    with Upstream(lambda received: Reply()) as upstream:
        connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=10)
        connection.request("POST", "/", b"before" + secret[1000:1100] + b"after")
        connection.getresponse().read()
        connection.close()
        assert not upstream.received_nothing_of(secret)
