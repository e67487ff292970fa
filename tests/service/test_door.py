"""The door: a few bytes in, the picture that the client would have sent out, the service's answer back."""

import json
import socket
import urllib.error
import urllib.request
from functools import partial
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest

from dapter.cli import main
from dapter.client import Client, Policy
from dapter.defences import build_defence
from dapter.errors import ConversionError, ServiceError, UsageError
from dapter.export.onnx import Onnx
from dapter.exporting import subject_of
from dapter.service.door import Door, Published
from dapter.service.gateway.running import Settings, open_gateway, serving
from dapter.stamps import Stamps
from dapter.verify import verify_release
from helpers import make_data
from releases.make import keys, make_contents, make_manifest, make_release
from upstream import Reply, Upstream, answer, metadata, pixels_of

CLASSES = {"Smiling": ("no", "yes")}
SIZE = (32, 32)
STAMPS = Stamps((np.arange(27 * 3) * 3).astype(np.uint8).reshape(27, 1, 1, 3), 4)
QUICK = Policy(timeout_s=5, pause_s=0.01)


def drawn(n, seed=0):
    return np.random.default_rng(seed).integers(0, 27, (n, 16))


@pytest.fixture
def upstream():
    with Upstream(partial(answer, classes=CLASSES)) as running:
        yield running


@pytest.fixture
def door(upstream):
    """The URL of a door in front of `upstream`."""
    with serving(Door(Published(STAMPS, SIZE, most=3), upstream.url)) as url:
        yield f"{url}/v2/models/model"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release of an untrained budget converter; and one without stamps."""
    folder = tmp_path_factory.mktemp("release")
    private, public = keys(folder)
    budget = build_defence("budget", {"width": 2, "grid": 4, "alphabet": 5, "patch": 2}).setup(3)
    Onnx().write(subject_of(budget, make_data(size=32)), folder / "budget.onnx", "float32", SIZE, np.zeros(0))
    manifest = {**make_manifest(), "budget_bits": 16 * np.log2(5)}
    contents = make_contents(manifest, (folder / "budget.onnx").read_bytes())
    stamps = {"stamps.json": budget.published().to_json(SIZE).encode()}
    return SimpleNamespace(
        stamps=make_release(folder / "stamps", private, manifest=manifest, contents={**contents, **stamps}),
        plain=make_release(folder / "plain", private),
        folder=folder,
        private=private,
        manifest=manifest,
        contents=contents,
        key=public,
        budget=budget,
    )


def post(url, body, headers=()):
    request = urllib.request.Request(f"{url}/packed", body, {"Content-Type": "any", **dict(headers)})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return reply.read()


def refused(url, body):
    with pytest.raises(urllib.error.HTTPError) as caught:
        post(url, body)
    with caught.value as error:
        return error.code, json.loads(error.read())["error"]


def asked(upstream):
    return [each for each in upstream.requests if each.path.endswith("/infer")]


def test_bytes_become_the_pictures_of_the_client(door, upstream):
    indices = drawn(3)
    body = b"".join(STAMPS.pack(each) for each in indices)
    assert len(body) == 30
    reply = post(door, body)
    assert np.array_equal(np.stack(pixels_of(asked(upstream)[0].infer_request())), STAMPS.paint(indices, SIZE))
    assert b"Smiling.probabilities" in reply
    post(door, body)
    assert [each.method for each in upstream.requests] == ["GET", "POST", "POST"]


def test_a_service_that_takes_files_only_gets_files(upstream):
    def files_only(received):
        if received.method == "POST":
            return answer(received, CLASSES)
        described = metadata(classes=CLASSES)
        return Reply(json.dumps({**described, "inputs": described["inputs"][1:]}).encode())

    upstream.answer = files_only
    with serving(Door(Published(STAMPS, SIZE), upstream.url)) as url:
        post(f"{url}/v2/models/model", STAMPS.pack(drawn(1)[0]))
    (request,) = [each.infer_request() for each in asked(upstream)]
    assert request.inputs[0].name == "encoded"
    assert np.array_equal(pixels_of(request)[0], STAMPS.paint(drawn(1), SIZE)[0])


@pytest.mark.parametrize(
    ("body", "code"), [(b"", 400), (bytes(9), 400), (bytes(11), 400), (b"\xff" * 10, 400), (bytes(40), 413)]
)
def test_what_no_converter_sends_is_refused_and_not_passed_on(door, upstream, body, code):
    found, text = refused(door, body)
    assert found == code
    assert "Cure" in text
    assert upstream.requests == []


def test_a_compressed_body_is_not_taken_for_payloads(door, upstream):
    with pytest.raises(urllib.error.HTTPError, match="415"):
        post(door, STAMPS.pack(drawn(1)[0]), {"Content-Encoding": "gzip"})
    assert upstream.requests == []


def test_a_body_that_does_not_arrive_is_not_waited_for(door, upstream, monkeypatch):
    monkeypatch.setattr("dapter.service.door.BODY_S", 0.2)
    with socket.create_connection(("127.0.0.1", urlsplit(door).port), timeout=3) as connection:
        connection.sendall(b"POST /v2/models/model/packed HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nab")
        said = b"".join(iter(lambda: connection.recv(4096), b""))  # until the door hangs up
    assert said.startswith(b"HTTP/1.1 408")
    assert upstream.requests == []


def test_more_requests_than_it_takes_are_told_to_come_back(door, upstream, monkeypatch):
    monkeypatch.setattr("dapter.service.door.MOST_REQUESTS", 0)
    code, text = refused(door, STAMPS.pack(drawn(1)[0]))
    assert (code, upstream.requests) == (503, [])
    assert "busy" in text


@pytest.mark.parametrize(("status", "code"), [(401, 401), (503, 503), (302, 502), (999, 502)])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_service_refuses_comes_back_and_it_sends_nobody_elsewhere(upstream, method, status, code):
    wrong = Reply(b'{"error": "no"}', status, {"Location": "http://127.0.0.1:9"})
    upstream.answer = lambda received: wrong if received.method == method else answer(received, CLASSES)
    with serving(Door(Published(STAMPS, SIZE), upstream.url)) as url:
        assert refused(f"{url}/v2/models/model", STAMPS.pack(drawn(1)[0]))[0] == code


def test_what_the_service_says_passes_and_so_does_who_pays(door, upstream):
    with urllib.request.urlopen(door, timeout=10) as reply:
        assert json.loads(reply.read()) == metadata(classes=CLASSES)
    post(door, STAMPS.pack(drawn(1)[0]), {"Authorization": "Bearer sixteen-letters-x", "X-Mine": "1"})
    assert upstream.requests[-1].headers["authorization"] == "Bearer sixteen-letters-x"
    assert "x-mine" not in upstream.requests[-1].headers
    upstream.answer = lambda _: Reply(b'{"error": "busy"}', status=503)
    assert refused(door, STAMPS.pack(drawn(1)[0]))[0] == 503


@pytest.mark.parametrize("said", [b"[]", b"[" * 100_000, b'{"inputs": [{"name": [], "datatype": 1}]}'])
def test_a_service_that_does_not_say_that_it_takes_images(upstream, said):
    upstream.answer = lambda _: Reply(said)
    with serving(Door(Published(STAMPS, SIZE), upstream.url)) as url:
        assert refused(f"{url}/v2/models/model", STAMPS.pack(drawn(1)[0]))[0] == 502
        assert urllib.request.urlopen(f"{url}/v2/models/model", timeout=10).read() == said


def test_a_fault_of_the_door_is_logged_without_what_was_sent(upstream, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("with what was sent")

    monkeypatch.setattr(Stamps, "unpack", broken)
    with serving(Door(Published(STAMPS, SIZE), upstream.url)) as url:
        assert refused(f"{url}/v2/models/model", STAMPS.pack(drawn(1)[0]))[0] == 500
    assert "a request failed: RuntimeError" in caplog.text
    assert "what was sent" not in caplog.text


def test_a_service_that_is_not_there():
    with serving(Door(Published(STAMPS, SIZE), "http://127.0.0.1:9/v2/models/other")) as url:
        assert refused(f"{url}/v2/models/other", STAMPS.pack(drawn(1)[0]))[0] == 502
    with pytest.raises(UsageError, match="not protected"):
        Door(Published(STAMPS, SIZE), "http://example.com")


def test_the_client_gets_the_same_answer_for_a_few_bytes(release, upstream):
    photo = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    published = Published(*verify_release(release.stamps, release.key).stamps())
    with serving(Door(published, upstream.url)) as url:
        with Client(url, release.stamps, release.key, packed=True, policy=QUICK) as client:
            few = client.classify(photo)
        with Client(upstream.url, release.stamps, release.key, policy=QUICK) as client:
            whole = client.classify(photo)
    assert (few.sent.encoding, len(few.sent.data)) == ("stamps", 5)  # 16 cells x log2(5) = 37.2 bits
    assert few.sent.request_bytes == 5
    assert few.labels == whole.labels
    first, second = (pixels_of(each.infer_request())[0] for each in asked(upstream))
    assert np.array_equal(first, second)
    assert np.array_equal(first, few.sent.payload)


def test_a_service_behind_the_door_that_names_its_classes_in_another_order_is_refused(release, upstream):
    upstream.answer = partial(answer, classes={"Smiling": ("yes", "no")}, labels=True)
    published = Published(*verify_release(release.stamps, release.key).stamps())
    with (
        serving(Door(published, upstream.url)) as url,
        Client(url, release.stamps, release.key, packed=True, policy=QUICK) as client,
        pytest.raises(ServiceError, match="its order is another"),
    ):
        client.classify(np.zeros((40, 50, 3), np.uint8))


def test_packing_needs_published_stamps_of_this_size(release, upstream):
    with pytest.raises(UsageError, match="no stamps"):
        Client(upstream.url, release.plain, release.key, packed=True)
    with pytest.raises(UsageError, match=r"\(32, 32\)"):
        Client(upstream.url, release.stamps, release.key, packed=True, size=(64, 64))


@pytest.mark.parametrize("packed", [True, False])
def test_a_payload_that_is_no_stamps_does_not_leave(release, upstream, tmp_path, packed):
    """A release whose graph is not that of its stamps: nothing is sent, packed or not."""
    other = build_defence("budget", {"width": 2, "grid": 4, "alphabet": 5, "patch": 2}).setup(4)
    wrong = {**release.contents, "stamps.json": other.published().to_json(SIZE).encode()}
    made = make_release(tmp_path / "wrong", release.private, manifest=release.manifest, contents=wrong)
    with (
        Client(upstream.url, made, release.key, packed=packed) as client,
        pytest.raises(ConversionError, match=r"nothing was sent: .* more than stamps"),
    ):
        client.classify(np.zeros((40, 40, 3), np.uint8))
    with pytest.raises(ConversionError, match="more than stamps"):
        open_gateway(made, release.key, Settings(upstream.url))
    assert upstream.requests == []


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    (tmp_path / "stamps.json").write_text(STAMPS.to_json(SIZE))
    where = ["door", "--upstream", "http://127.0.0.1:9", "--stamps"]
    assert main([*where, str(tmp_path / "nothing.json")]) == 1
    assert main([*where, str(tmp_path / "stamps.json"), "--max-payloads", "0"]) == 2
    assert main(["door", "--upstream", "http://example.com", "--stamps", str(tmp_path / "stamps.json")]) == 2
    assert capsys.readouterr().err.count("Cure") == 3


def test_a_door_that_is_not_there(release, upstream):
    url = upstream.url
    upstream.answer = lambda received: (
        Reply(b"{}", status=404) if received.method == "POST" else answer(received, CLASSES)
    )
    client = Client(url, release.stamps, release.key, packed=True, policy=QUICK)
    with client, pytest.raises(ServiceError, match="404"):
        client.classify(np.zeros((40, 40, 3), np.uint8))
