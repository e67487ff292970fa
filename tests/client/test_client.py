"""The client: what it sends, what it gives back, and that nothing of the original leaves, whatever goes wrong."""

import asyncio
import shutil
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

import dapter
from dapter.client import AsyncClient, Client, Policy
from dapter.errors import CheckFailed, ConversionError, DataError, ServiceError, UsageError, WireError
from dapter.imagefile import open_image
from dapter.runner import Converter
from releases.make import make_contents, make_graph, make_manifest, make_release, make_results
from upstream import Reply, Upstream, answer, metadata, pixels_of

CLASSES = {"Smiling": ("no", "yes")}
QUICK = Policy(timeout_s=2, pause_s=0.01)


def connect(upstream, releases, release="plain", **options):
    return Client(
        upstream.url, getattr(releases, release), releases.key, policy=options.pop("policy", QUICK), **options
    )


def payloads(upstream):
    """Every image that was received."""
    asked = [each for each in upstream.requests if each.path.endswith("/infer")]
    return [image for each in asked for image in pixels_of(each.infer_request())]


def expected(releases, photo, release="plain", dial=None, size=(32, 32)):
    from dapter.verify import verify_release

    converter = Converter.open(verify_release(getattr(releases, release), releases.key))
    return converter.convert(open_image(photo, size, square=size[0] == size[1])[None], dial)[0]


def test_only_the_payload_leaves(upstream, releases, photo):
    with connect(upstream, releases) as client:
        found = client.classify(photo.path)
    (sent,) = payloads(upstream)
    assert np.array_equal(sent, expected(releases, photo.path))
    assert np.array_equal(found.sent.payload, sent)
    assert found.sent.data in upstream.received
    assert upstream.received_nothing_of(*photo.secrets)
    assert [(each.method, each.path) for each in upstream.requests] == [
        ("GET", "/v2/models/model"),
        ("POST", "/v2/models/model/infer"),
    ]


def test_the_answer_and_what_was_sent_for_it(upstream, releases, photo, tmp_path):
    with connect(upstream, releases) as client:
        found = client.classify(str(photo.path))
    assert found.label in CLASSES["Smiling"]
    assert found.label == max(found.probabilities, key=found.probabilities.get)
    assert found.probability == found.probabilities[found.label] == found.labels["Smiling"].probability
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert (found.sent.encoding, found.sent.budget_bits, found.sent.dial) == ("PNG", None, None)
    assert set(found.sent.seconds) == {"open", "convert", "encode", "send"}
    assert found.sent.request_bytes == len(upstream.requests[-1].body)
    assert f"{len(found.sent.data):,} bytes (PNG, 32 x 32 pixels)" in found.sent.describe()
    assert len(repr(found)) < 400
    assert np.array_equal(np.array(Image.open(found.sent.save(tmp_path / "sent.png"))), found.sent.payload)


def test_bytes_and_pixels_are_photos_too(upstream, releases, photo):
    with connect(upstream, releases) as client:
        client.classify_all([photo.path.read_bytes(), photo.pixels])
    first, second = payloads(upstream)
    assert np.array_equal(first, expected(releases, photo.path))
    assert np.abs(first.astype(int) - second).mean() < 2  # the JPEG decoder shrinks on the way


@pytest.mark.parametrize(
    ("options", "shape"),
    [({"size": (20, 40)}, (20, 40)), ({"square": False}, (32, 32)), ({"codec": "WEBP"}, (32, 32))],
)
def test_choices(upstream, releases, photo, options, shape):
    with connect(upstream, releases, **options) as client:
        found = client.classify(photo.path)
    assert payloads(upstream)[0].shape == (*shape, 3)
    assert np.array_equal(payloads(upstream)[0], found.sent.payload)


def test_the_dial(upstream, releases, photo):
    with connect(upstream, releases, "dial") as first, connect(upstream, releases, "dial", dial=0.5) as second:
        assert first.classify(photo.path).sent.dial == 0.9
        assert second.classify(photo.path).sent.dial == 0.5
    assert np.array_equal(payloads(upstream)[1], expected(releases, photo.path, "dial", 0.5))


def test_a_service_that_takes_no_files_gets_pixels(releases, photo):
    with Upstream(partial(answer, classes=CLASSES, encoded=False)) as upstream:
        with connect(upstream, releases) as client:
            found = client.classify(photo.path)
        assert np.array_equal(payloads(upstream)[0], found.sent.payload)
        assert (found.sent.encoding, len(found.sent.data)) == ("pixels", 32 * 32 * 3)
        assert upstream.received_nothing_of(*photo.secrets)


def test_several_photos_share_requests(upstream, releases, photo):
    rng = np.random.default_rng(0)
    photos = [rng.integers(0, 256, (40, 40, 3), np.uint8) for _ in range(5)]
    with connect(upstream, releases, batch=2) as client:
        found = client.classify_all(photos)
        assert client.classify_all([]) == []
    assert [len(each.infer_request().inputs[0].data) for each in upstream.requests[1:]] == [2, 2, 1]
    assert all(np.array_equal(sent, each.sent.payload) for sent, each in zip(payloads(upstream), found, strict=True))


def test_asynchronously(upstream, releases, photo):
    async def ask():
        async with AsyncClient(upstream.url, releases.plain, releases.key, policy=QUICK) as client:
            return await asyncio.gather(client.classify(photo.path), client.classify_all([photo.path] * 2))

    first, others = asyncio.run(ask())
    assert {each.label for each in [first, *others]} == {first.label}
    assert upstream.received_nothing_of(*photo.secrets)


@pytest.fixture
def tiring():
    """A service that answers one request."""
    replies = [answer] * 2

    def reply(received):
        return replies.pop()(received, CLASSES) if replies else refuse(500)

    with Upstream(reply) as upstream:
        yield upstream


def test_answers_before_a_request_that_fails_are_kept(tiring, releases, photo):
    found = []
    with connect(tiring, releases, batch=2) as client, pytest.raises(ServiceError, match="500"):
        found.extend(each.label for each in client.classify_each([photo.path] * 3))
    assert len(found) == 2


def test_answers_before_a_request_that_fails_are_kept_asynchronously(tiring, releases, photo):
    found = []

    async def ask():
        async with AsyncClient(tiring.url, releases.plain, releases.key, policy=QUICK, batch=2) as client:
            async for each in client.classify_each([photo.path] * 3):
                found.append(each)  # noqa: PERF401 (what came before the error is kept)

    with pytest.raises(ServiceError, match="500"):
        asyncio.run(ask())
    assert len(found) == 2


def test_the_token_is_sent_and_not_shown(upstream, releases, photo):
    with connect(upstream, releases, token="a-very-secret-token") as client:
        client.classify(photo.path)
        assert "a-very-secret-token" not in repr(client)
    assert {each.headers["authorization"] for each in upstream.requests} == {"Bearer a-very-secret-token"}


def test_a_token_is_sent_without_what_surrounds_it(upstream, releases, photo):
    with connect(upstream, releases, token=" a-very-secret-token\n") as client:
        client.classify(photo.path)
    assert {each.headers["authorization"] for each in upstream.requests} == {"Bearer a-very-secret-token"}


@pytest.mark.parametrize("token", ["sek\nret", "sek\0ret", "sekr\u00e9t", "\u200bsekret"])
def test_a_token_that_no_header_holds_is_refused_and_not_repeated(upstream, releases, token):
    with pytest.raises(UsageError, match=r"characters that cannot be sent.*Cure: ") as refused:
        connect(upstream, releases, token=token)
    assert "sek" not in str(refused.value)


@pytest.mark.parametrize("url", ["http://user:hunter2@127.0.0.1", "https://:hunter2@a", "https://user:hun/hunter2@a"])
def test_a_password_in_the_url_is_refused_and_not_repeated(releases, url):
    with pytest.raises(UsageError, match="Cure: ") as refused:
        Client(url, releases.plain, releases.key)
    assert "hunter2" not in str(refused.value)


def classify(client, photo):
    """What either client says of a photo, in a context of its own."""
    if isinstance(client, Client):
        with client:
            return client.classify(photo)

    async def ask():
        async with client:
            return await client.classify(photo)

    return asyncio.run(ask())


@pytest.mark.parametrize("token", [None, "a-very-secret-token"])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_nothing_is_sent_where_others_can_read_along(releases, kind, token):
    with pytest.raises(UsageError, match=r"not protected.*Cure: https"):
        kind("http://service.example", releases.plain, releases.key, token=token)


def test_a_client_is_closed_as_often_as_one_likes_and_then_asks_nothing(upstream, releases, photo):
    client = connect(upstream, releases)
    with client:
        client.classify(photo.path)
        client.close()
    asked = len(upstream.requests)
    with pytest.raises(UsageError, match="closed"):
        client.classify(photo.path)
    assert len(upstream.requests) == asked


def test_a_client_that_is_forgotten_leaves_no_thread(upstream, releases):
    import gc
    import threading

    def threads():
        return {thread for thread in threading.enumerate() if thread.name == "dapter-client"}

    before = threads()
    client = connect(upstream, releases)
    (own,) = threads() - before
    del client
    gc.collect()
    own.join(5)
    assert not own.is_alive()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_token_to_this_machine_goes_through_no_proxy(upstream, releases, photo, monkeypatch, kind):
    with Upstream() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        client = kind(upstream.url, releases.plain, releases.key, token="a-very-secret-token", policy=QUICK)
        classify(client, photo.path)
    assert proxy.received == b""
    assert len(upstream.requests) == 2


def test_it_works_with_the_reference_service(server, releases, photo, tmp_path):
    manifest = make_manifest()
    manifest["targets"], manifest["service"]["targets"] = {"colour": ["red", "blue"]}, ["colour"]
    manifest["training"]["data"]["targets"] = ["colour"]
    results = [replace(line, target="colour") for line in make_results(manifest)]
    contents = make_contents(manifest, results=results)
    release = make_release(tmp_path / "release", releases.private, manifest=manifest, contents=contents)
    with dapter.Client(f"{server.url}/v2/models/other", release=release, key=releases.key) as client:
        found = client.classify_all([np.full((32, 32, 3), colour, np.uint8) for colour in [(255, 0, 0), (0, 0, 255)]])
    assert [each.label for each in found] == ["red", "blue"]
    assert found[0].sent.encoding == "PNG"


@pytest.mark.parametrize(
    ("classes", "fine"),
    [(("no", "yes"), True), (("yes", "no"), False), (("0", "1"), True)],
    ids=["own", "turned", "other"],
)
def test_a_service_that_names_its_classes_in_another_order_is_refused(releases, photo, classes, fine):
    with (
        Upstream(partial(answer, classes={"Smiling": classes}, labels=True)) as upstream,
        connect(upstream, releases) as client,
    ):
        if fine:
            assert client.classify(photo.path).label in CLASSES["Smiling"]
        else:
            with pytest.raises(ServiceError, match=r"its order is another. Cure: "):
                client.classify(photo.path)


def refuse(status, error="no"):
    return Reply(f'{{"error": "{error}"}}'.encode(), status=status)


def infer_only(reply):
    """A service that describes itself well and answers images with one reply."""
    return lambda received: reply if received.path.endswith("/infer") else answer(received, CLASSES)


RUBBISH = {
    "slow": Reply(delay=3),
    "cut in the headers": Reply(cut=20),
    "cut in the body": Reply(b'{"model_name": "model"}' * 9, cut=100),
    "closed at once": Reply(raw=b""),
    "not HTTP": Reply(raw=b"SSH-2.0-OpenSSH_9.2\r\n"),
    "not JSON": Reply(b"<html>"),
    "an empty answer": Reply(b"{}"),
    "wrong length": Reply(b"{}", headers={"Inference-Header-Content-Length": "99"}),
    "refused": refuse(400, "bad \\u001b[2J image"),
    "failing": refuse(500),
    "no such model": refuse(404),
    "elsewhere": Reply(status=307, headers={"Location": "http://127.0.0.1:9/other"}),
    "endless": Reply(b"x" * (5 * 2**20)),
}


def shaped(table):
    """Probabilities as given, for one image."""
    import json

    output = {"name": "Smiling.probabilities", "datatype": "FP32", "shape": list(np.shape(table))}
    return Reply(json.dumps({"model_name": "m", "outputs": [{**output, "data": np.ravel(table).tolist()}]}).encode())


RUBBISH |= {
    "too many images": shaped([[0.5, 0.5], [0.5, 0.5]]),
    "too many classes": shaped([[0.5, 0.25, 0.25]]),
    "no probabilities": shaped([[3.0, -2.0]]),
    "half a probability": shaped([[0.5, 0.0]]),
}


@pytest.mark.parametrize("reply", RUBBISH.values(), ids=RUBBISH)
@pytest.mark.parametrize("when", ["at once", "at the image"])
def test_a_service_that_misbehaves_is_an_error_and_no_original_leaves(releases, photo, reply, when):
    with Upstream(infer_only(reply) if when == "at the image" else lambda received: reply) as upstream:
        with (
            connect(upstream, releases, policy=Policy(timeout_s=1, pause_s=0.01)) as client,
            pytest.raises((ServiceError, WireError), match="Cure: ") as failed,
        ):
            client.classify(photo.path)
        assert upstream.received_nothing_of(*photo.secrets)
        assert "\x1b" not in str(failed.value)
        sent = payloads(upstream)
    assert len(sent) == (when == "at the image")
    assert all(np.array_equal(each, expected(releases, photo.path)) for each in sent)


def test_a_service_that_is_down(releases, photo):
    with Upstream() as upstream:
        pass
    with connect(upstream, releases) as client, pytest.raises(ServiceError, match="no original was sent"):
        client.classify(photo.path)


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "HTTP/1.1 200 OK\r\nX: "])
@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_an_answer_that_drips_is_given_up(releases, photo, head, kind):
    import socketserver
    import threading

    class Drip(socketserver.BaseRequestHandler):
        def handle(self):
            self.request.recv(65536)
            self.request.sendall(head.encode())
            for _ in range(60):
                time.sleep(0.1)
                try:
                    self.request.sendall(b"x")
                except OSError:
                    return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Drip) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        began = time.monotonic()
        client = kind(url, releases.plain, releases.key, policy=Policy(timeout_s=0.6))
        with pytest.raises(ServiceError, match=r"within 0\.6 s"):
            classify(client, photo.path)
        assert time.monotonic() - began < 3
        server.shutdown()


def test_only_safe_failures_are_repeated(upstream, releases, photo):
    def scripted(*statuses):
        left = list(statuses)
        upstream.requests.clear()
        return lambda received: (
            answer(received, CLASSES) if not left or not received.path.endswith("/infer") else refuse(left.pop(0))
        )

    with connect(upstream, releases, policy=Policy(timeout_s=2, pause_s=0.01, attempts=3)) as client:
        for statuses, asked, fine in [((503, 429), 3, True), ((503,) * 3, 3, False), ((500,), 1, False)]:
            upstream.answer = scripted(*statuses)
            if fine:
                client.classify(photo.path)
            else:
                with pytest.raises(ServiceError):
                    client.classify(photo.path)
            assert len([each for each in upstream.requests if each.path.endswith("/infer")]) == asked


@pytest.mark.parametrize(
    "described",
    [
        metadata(classes={"Male": ("a", "b")}),
        metadata(classes={"Smiling": ("a", "b", "c")}),
        {**metadata(classes=CLASSES), "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}]},
        {**metadata(classes=CLASSES), "outputs": [{"name": 3}]},
    ],
)
def test_another_service_than_the_releases_gets_nothing(releases, photo, described):
    import json

    with Upstream(lambda received: Reply(json.dumps(described).encode())) as upstream:
        with connect(upstream, releases) as client, pytest.raises(ServiceError, match="Cure: "):
            client.classify(photo.path)
        assert [each.method for each in upstream.requests] == ["GET"]


def test_a_release_that_fails_verification_is_not_used(upstream, releases, tmp_path):
    shutil.copytree(releases.plain, tmp_path / "release")
    with (tmp_path / "release/exports/converter.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(CheckFailed, match="failed verification"):
        Client(upstream.url, tmp_path / "release", releases.key)
    with pytest.raises(UsageError):
        Client(upstream.url, tmp_path / "nothing", releases.key)
    with pytest.raises(UsageError):
        Client(upstream.url, releases.plain, tmp_path / "no.key")


def test_a_release_that_changes_or_goes_changes_nothing(upstream, releases, photo, tmp_path):
    release = shutil.copytree(releases.plain, tmp_path / "release")
    with Client(upstream.url, release, releases.key, policy=QUICK) as client:
        before = client.classify(photo.path).sent.data
        (release / "exports/converter.onnx").write_bytes(b"another converter")
        assert client.classify(photo.path).sent.data == before
        shutil.rmtree(release)
        assert client.classify(photo.path).sent.data == before


def test_a_converter_that_gives_the_original_back_is_refused(upstream, releases, photo, tmp_path):
    from onnx import helper

    model = make_graph()
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("Identity", ["image"], ["payload"]))
    del model.graph.initializer[:]
    manifest = make_manifest()
    release = make_release(
        tmp_path / "release", releases.private, manifest=manifest, contents=make_contents(manifest, model)
    )
    with connect(upstream, releases) as client:  # as if such a release had passed
        client._protector = type(client._protector)(
            manifest, Converter((release / "exports/converter.onnx").read_bytes()), (32, 32)
        )
        with pytest.raises(ConversionError, match="nothing was sent"):
            client.classify(photo.path)
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"dial": 0.5}, "this converter has none"),
        ({"size": (0, 5)}, "is no size"),
        ({"codec": "JPEG"}, "lossless codec"),
        ({"batch": 0}, "photos in a request"),
        ({"policy": None}, "timeout above 0"),
    ],
)
def test_settings_that_cannot_work(upstream, releases, settings, reason):
    with pytest.raises(UsageError, match=reason):
        connect(upstream, releases, **{**settings, **({"policy": Policy(timeout_s=0)} if "policy" in settings else {})})


@pytest.mark.parametrize(
    "url",
    [
        *("", "service.example", "ftp://service.example", "http://", "http://host/?a=b", "http://host?", "http://[::1"),
        *("http://127.0.0.1:abc", "http://127.0.0.1:99999", "http://127.0.0.1:0", "http://..x", "http://a b"),
        *("http://a\x1b", f"http://{'a' * 70}.example", "http://\u2603.example"),
    ],
)
def test_a_url_that_is_none(releases, url):
    with pytest.raises(UsageError, match="is no URL"):
        Client(url, releases.plain, releases.key)


def test_one_bad_photo_and_none_of_the_call_is_sent(upstream, releases, photo, tmp_path):
    with connect(upstream, releases) as client, pytest.raises(DataError, match="nothing was sent"):
        client.classify_all([photo.path, tmp_path / "missing.jpg"])
    assert not upstream.received


def test_an_error_holds_nothing_of_the_photo(upstream, releases, photo, monkeypatch):
    def fail(self, images, dial=None):
        raise RuntimeError(f"with {images[0, 0].tolist()}")

    monkeypatch.setattr(Converter, "convert", fail)
    with connect(upstream, releases) as client, pytest.raises(ConversionError) as failed:
        client.classify(photo.path)
    error, held = failed.value, []
    assert (error.__cause__, error.__context__) == (None, None)
    trace = error.__traceback__
    while trace is not None:
        if "site-packages" not in trace.tb_frame.f_code.co_filename and trace.tb_frame.f_code.co_name != "fail":
            held += [value for value in trace.tb_frame.f_locals.values() if isinstance(value, np.ndarray)]
        trace = trace.tb_next
    assert held == []
    assert "with [" not in str(error)


def test_no_memory_for_one_image(upstream, releases, photo, monkeypatch):
    def fail(self, images, dial=None):
        raise MemoryError

    monkeypatch.setattr(Converter, "convert", fail)
    with connect(upstream, releases) as client, pytest.raises(ConversionError, match="not enough memory"):
        client.classify(photo.path)
    assert not upstream.received


def test_the_log_says_nothing_of_the_photo(upstream, releases, photo, caplog):
    caplog.set_level("DEBUG")
    with connect(upstream, releases) as client:
        client.classify(photo.path)
    assert photo.path.name not in caplog.text
    assert "PNG" not in caplog.text
