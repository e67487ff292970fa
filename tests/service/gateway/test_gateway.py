"""The gateway on real sockets, in front of a service that keeps every byte and misbehaves."""

import contextlib
import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest

from dapter.client.protect import Protector
from dapter.errors import CheckFailed, ServiceError, UsageError
from dapter.runner import Converter
from dapter.service.gateway.app import Limits
from dapter.service.gateway.running import Settings, open_gateway, serving
from dapter.service.gateway.upstream import Upstream as Way
from dapter.service.listening import listen
from dapter.service.wire import LENGTH_HEADER, Request, Tensor, decode_response, encode_request
from originals import Original, form, image_in
from releases.make import keys, make_release
from upstream import Reply, answer

ORIGINAL = Original(5)
IMAGE = {"Content-Type": "image/jpeg"}


def post(url, body=ORIGINAL.file, headers=IMAGE, path="/v1/classify", **more):
    return httpx2.post(url + path, content=body, headers=headers, timeout=20, trust_env=False, **more)


def drawn(pixels):
    """What the converter of the test's release makes of pixels."""
    return np.clip(np.round((pixels.astype(np.float32) - 128) * np.float32(0.1) + 128), 0, 255).astype(np.uint8)


def test_an_app_that_knows_only_the_service_gets_its_answer(gateway, upstream):
    reply = post(gateway)
    assert (reply.status_code, reply.json()["name"]) == (200, "classify")
    (received,) = upstream.requests
    pixels, info = image_in(received.body)
    np.testing.assert_array_equal(pixels, drawn(ORIGINAL.pixels))
    assert info == {}
    assert not ORIGINAL.is_in(bytes(upstream.received))


def test_the_open_inference_protocol_passes_in_binary(gateway, upstream):
    message = encode_request(Request((Tensor("image", ORIGINAL.pixels[None]),)))
    reply = post(gateway, message.body, message.headers, "/v2/models/model/infer")
    found = decode_response(reply.content, int(reply.headers.get(LENGTH_HEADER, 0)) or None)
    assert found.output("colour.logits").shape == (1, 2)
    assert httpx2.get(f"{gateway}/v2/models/model", trust_env=False).json()["inputs"]
    assert not ORIGINAL.is_in(bytes(upstream.received))


def test_headers_that_pass_and_those_that_do_not(gateway, upstream):
    upstream.answer = lambda _: Reply(
        b"odd", 418, {"X-Kept": "1", "Set-Cookie": "a=b", "Alt-Svc": 'h3=":443"', "Content-Type": "text/odd"}
    )
    secret = {"Cookie": "session=1", "Referer": "https://app/holiday", "User-Agent": "phone", "X-Device": "1"}
    secret |= {"Digest": "sha-256=of the original", "X-Forwarded-For": "192.0.2.1", "Accept-Language": "de"}
    reply = post(gateway, headers={**IMAGE, **secret, "Authorization": "Bearer t", "X-API-Key": "k", "Accept": "a/b"})
    assert (reply.status_code, reply.content, reply.headers["x-kept"]) == (418, b"odd", "1")
    assert reply.headers["content-type"] == "text/odd"
    assert not {"set-cookie", "alt-svc"} & set(reply.headers)
    headers = upstream.requests[0].headers
    assert (headers["authorization"], headers["x-api-key"], headers["accept"]) == ("Bearer t", "k", "a/b")
    assert headers["user-agent"] == "dapter-gateway"
    assert set(headers) == {
        "host", "accept", "accept-encoding", "authorization", "connection", "content-length", "content-type",
        "user-agent", "x-api-key",
    }  # fmt: skip


def misbehaving():
    half = json.dumps({"outputs": ["answer"] * 100}).encode()
    return {
        "cuts the line before answering": (Reply(cut=0), 502),
        "cuts the answer": (Reply(half, cut=200), 502),
        "is cut in the headers": (Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Le"), 502),
        "answers rubbish": (Reply(raw=b"\x00\x01\x02 rubbish\r\n\r\n"), 502),
        "is slow": (Reply(delay=3), 504),
        "sends apps elsewhere": (Reply(status=307, headers={"Location": "http://127.0.0.1:9/"}), 502),
        "answers too much": (Reply(b"x" * 3000), 502),
        "fails": (Reply(b"failed", 500), 500),
    }


@pytest.mark.parametrize("fault", misbehaving())
def test_a_service_that_misbehaves(release, upstream, fault):
    reply, status = misbehaving()[fault]
    upstream.answer = lambda _: reply
    gateway = open_gateway(*release, Settings(upstream.url, timeout_s=1))
    gateway._upstream._max_bytes = 2000
    with serving(gateway) as url:
        found = post(url)
        assert found.status_code == status
        if status != 500:
            assert "No original was sent" in found.json()["error"]
            assert "location" not in found.headers
        assert not ORIGINAL.is_in(bytes(upstream.received))
        upstream.answer = answer
        assert post(url).status_code == 200


def test_a_service_that_is_down(release):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with serving(open_gateway(*release, Settings(f"http://127.0.0.1:{port}"))) as url:
        reply = post(url)
        assert (reply.status_code, "cannot be reached" in reply.text) == (502, True)


def test_a_release_that_is_not_what_was_signed_does_not_start(tmp_path, release):
    folder, public = release
    shutil.copytree(folder, tmp_path / "release")
    graph = tmp_path / "release/exports/converter.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    settings = Settings("http://127.0.0.1:9")
    with pytest.raises(CheckFailed, match=r"converter\.onnx"):
        open_gateway(tmp_path / "release", public, settings)
    with pytest.raises(CheckFailed):
        open_gateway(folder, keys(tmp_path, "another")[1], settings)


def test_a_release_that_changes_or_goes_while_the_gateway_runs_changes_nothing(tmp_path, upstream):
    private, public = keys(tmp_path)
    folder = make_release(tmp_path / "release", private)
    with serving(open_gateway(folder, public, Settings(upstream.url, keep_size=True))) as url:
        for change in (lambda: (folder / "exports/converter.onnx").write_bytes(b"evil"), lambda: shutil.rmtree(folder)):
            change()
            assert post(url).status_code == 200
            np.testing.assert_array_equal(image_in(upstream.requests[-1].body)[0], drawn(ORIGINAL.pixels))


def test_image_files_are_resized_as_the_client_does(release, upstream):
    with serving(open_gateway(*release, Settings(upstream.url))) as url:
        assert post(url).status_code == 200
    sent, _ = image_in(upstream.requests[0].body)
    assert sent.shape == (32, 32, 3)
    np.testing.assert_array_equal(sent, Protector.open(*release).protect(ORIGINAL.file).payload)


def test_no_memory_for_one_image(release, upstream, monkeypatch):
    convert = Converter.convert

    def greedy(self, images, dial=None):
        if images.shape[1] == ORIGINAL.pixels.shape[0]:
            raise MemoryError
        return convert(self, images, dial)

    monkeypatch.setattr(Converter, "convert", greedy)
    with serving(open_gateway(*release, Settings(upstream.url, keep_size=True))) as url:
        reply = post(url)
        assert (reply.status_code, "not enough memory" in reply.text, upstream.requests) == (500, True, [])
        other = Original(6, height=39)
        assert post(url, other.file).status_code == 200
    assert not ORIGINAL.is_in(bytes(upstream.received))


def test_no_memory_to_open_one_image(release, upstream, monkeypatch):
    def greedy(*_):
        raise MemoryError

    with serving(open_gateway(*release, Settings(upstream.url, keep_size=True))) as url:
        monkeypatch.setattr("dapter.imagefile._to_rgb", greedy)
        reply = post(url)
    assert (reply.status_code, "not enough memory" in reply.text, upstream.requests) == (500, True, [])


def test_a_fault_of_the_gateway_sends_and_tells_nothing(release, upstream, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError(f"fault: {ORIGINAL.base64}")

    monkeypatch.setattr("dapter.service.gateway.app.rewrite", broken)
    with caplog.at_level(logging.DEBUG), serving(open_gateway(*release, Settings(upstream.url))) as url:
        reply = post(url)
    assert (reply.status_code, upstream.requests) == (500, [])
    assert not ORIGINAL.is_in(reply.content + caplog.text.encode())


def test_nothing_is_logged_of_what_apps_send(gateway, caplog):
    name = "name-in-the-query"
    with caplog.at_level(logging.DEBUG):
        post(gateway, path=f"/v1/{name}?who={name}")
        post(gateway, b"SECRETBODY" * 9, path=f"/v1/{name}", headers={**IMAGE, "Cookie": "SECRETCOOKIE"})
    ours = "".join(record.getMessage() for record in caplog.records)
    assert "POST 200, 1 images" in ours
    assert "SECRET" not in ours
    assert name not in ours


def test_limits_of_size_time_and_number(release, upstream):
    limits = Limits(body_bytes=10_000, body_s=0.5, requests=1)
    with serving(open_gateway(*release, Settings(upstream.url, limits=limits))) as url:
        with contextlib.suppress(httpx2.TransportError):  # it hangs up while we are still sending
            assert post(url, b"x" * 3_000_000).status_code == 413
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\nContent-Type: image/png\r\n\r\nabc")
            time.sleep(0.1)
            busy = post(url)
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            assert b"408" in slow.recv(100)
        with socket.create_connection((host, int(port))) as gone:
            gone.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        time.sleep(0.1)
        assert post(url).status_code == 200
    assert len(upstream.requests) == 1


def test_what_headers_say_of_the_body_must_be_clear(gateway, upstream):
    twice = [("Content-Type", "image/jpeg"), ("Content-Type", "text/plain")]
    for headers, status in (
        ({**IMAGE, "Content-Encoding": "gzip"}, 415),
        (twice, 400),
        ([*IMAGE.items(), ("Authorization", "a"), ("Authorization", "b")], 431),
        ({**IMAGE, "Authorization": "AWS4-HMAC-SHA256 Credential=a"}, 400),
        ({**IMAGE, "X-API-Key": "k" * 9000}, 431),
        ({**IMAGE, "X-API-Key": "k" * 5000, "API-Key": "k" * 5000}, 431),
        ({**IMAGE, "Accept": "text/plain," * 30}, 431),
        ({**IMAGE, "X-API-Key": ORIGINAL.base64[:500]}, 422),
        ([*IMAGE.items(), ("X-API-Key", "clé".encode())], 422),
    ):
        reply = post(gateway, headers=headers)
        assert (reply.status_code, "Cure" in reply.json()["error"]) == (status, True)
    assert upstream.requests == []


def whole(connection):
    """Everything until the other side hangs up."""
    with connection.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize("target", [b"//evil.example/x", b"/..//evil.example", b"/a%2F..%2Fb", b"/@evil.example/"])
def test_no_path_leads_to_another_host(gateway, upstream, target):
    host, port = gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET " + target + b" HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        reply = whole(connection)
    assert reply.startswith((b"HTTP/1.1 200", b"HTTP/1.1 4"))
    assert len(upstream.requests) == reply.startswith(b"HTTP/1.1 200")
    assert all(received.headers["host"] == upstream.url[7:] for received in upstream.requests)


def test_a_whole_address_for_a_path_is_refused(gateway, upstream):
    host, port = gateway.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET http://evil.example/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert whole(connection).startswith(b"HTTP/1.1 4")
    assert upstream.requests == []


def test_many_at_once(gateway, upstream):
    originals = [Original(seed, 20 + seed, 30) for seed in range(16)]
    body = [form(("image", "a.jpg", "image/jpeg", each.file)) for each in originals]
    headers = {"Content-Type": "multipart/form-data; boundary=limit"}
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda each: post(gateway, each, headers), body))
    assert [reply.status_code for reply in replies] == [200] * 16
    received = bytes(upstream.received)
    assert not any(each.is_in(received) for each in originals)
    health = httpx2.get(f"{gateway}/dapter/health", trust_env=False).json()
    assert (health["release"], health["images"], health["refused"]) == ("faces-Smiling", 16, 0)


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        *((url, ()) for url in ("http://example.com", "ftp://a", "https://", "https://a?b=c", "https://u:p@a")),
        ("https://a", ("Host",)),
        ("https://a", ("content-length",)),
        *((url, ()) for url in ("http://[::1", "http://127.0.0.1:abc", "https://..x", "https://:p@a")),
    ],
)
def test_a_way_that_is_not_safe_is_refused(url, headers):
    with pytest.raises(UsageError, match="Cure"):
        Way(url, headers)


def test_a_file_of_who_vouches_that_cannot_be_read_is_refused(tmp_path):
    (tmp_path / "empty.pem").write_text("nothing")
    for name in ("missing.pem", "empty.pem"):
        with pytest.raises(UsageError, match=rf"{name} cannot be read.*Cure"):
            Way("https://a", ca=tmp_path / name)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 0, -1])
def test_times_that_cannot_be_waited_for_are_refused(seconds):
    with pytest.raises(UsageError, match=r"timeout is .* seconds.*Cure"):
        Way("https://a", timeout_s=seconds)
    with pytest.raises(UsageError, match=r"body_seconds is .* seconds.*Cure"):
        Limits(body_s=seconds)


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(UsageError, match=f"{port} is no port.*Cure"):
        listen("127.0.0.1", port)


def test_a_host_that_is_none_is_refused():
    with pytest.raises(ServiceError, match="cannot listen"):
        listen("..x", 0)


def certificate(folder):
    subject = "/CN=localhost"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", subject]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", folder / "tls.key", "-out", folder / "tls.pem"]
    subprocess.run([*command, *names], check=True, capture_output=True)
    return folder / "tls.pem", folder / "tls.key"


def test_the_service_must_prove_who_it_is(release, tmp_path):
    pem, private = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)
    received = []

    def answer_once(listener):
        with contextlib.suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            received.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            connection.recv(65536)

    for ca, status in ((None, 502), (pem, 200)):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            thread = threading.Thread(target=answer_once, args=(listener,))
            thread.start()
            settings = Settings(f"https://localhost:{listener.getsockname()[1]}", ca=ca)
            with serving(open_gateway(*release, settings)) as url:
                assert post(url).status_code == status
            thread.join()
    assert len(received) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
def test_a_full_disk_stops_nothing(release, upstream):
    """The gateway runs as a command that may not write a single byte to any file."""
    folder, public = release
    command = [sys.executable, "-m", "dapter", "gateway", "--release", str(folder), "--key", str(public)]
    command += ["--upstream", upstream.url, "--port", "0"]
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # a pipe: pytest's own stderr is a file
        text=True,
        env={**os.environ, "TMPDIR": "/nowhere", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"},
    )
    try:
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "answers at" in line:
                break
        assert "answers at" in "".join(said), said
        url = said[-1].split()[-1]
        large = Original(9, 700, 700, "BMP")  # over a megabyte, which others keep in a file
        body = form(("image", "a.bmp", "image/bmp", large.file))
        headers = {"Content-Type": "multipart/form-data; boundary=limit"}
        assert post(url, body, headers).status_code == 200
        assert post(url).status_code == 200
    finally:
        process.terminate()
        process.communicate()
    assert len(upstream.requests) == 2
    assert not ORIGINAL.is_in(bytes(upstream.received))
