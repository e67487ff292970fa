"""The reference service, met over real sockets by the client of its ecosystem."""

import contextlib
import datetime
import ipaddress
import logging
import socket
import ssl
import threading
import time

import httpx2
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dapter.errors import ServiceError, UsageError
from dapter.imagefile import encode
from dapter.service.inference import Limits, Model
from dapter.service.listening import listen
from dapter.service.server import Server, Settings
from service_model import MODEL, answer

TOKEN = "0123456789abcdef-secret"


def image(colour, size=(8, 9)):
    found = np.zeros((*size, 3), np.uint8)
    found[..., 0 if colour == "red" else 2] = 255
    return found


BOTH = np.stack([image("red"), image("blue")])


@contextlib.contextmanager
def triton(server, protocol, **options):
    module, address = (
        (triton_http, server.url.partition("//")[2]) if protocol == "http" else (triton_grpc, server.grpc_address)
    )
    client = module.InferenceServerClient(address, **options)
    try:
        yield module, client
    finally:
        client.close()


def infer(server, protocol, tensor, name="image", *, binary=True, outputs=None, version="", kind="UINT8"):
    with triton(server, protocol) as (module, client):
        asked = module.InferInput(name, tensor.shape, kind)
        wanted = [
            module.InferRequestedOutput(each, **({"binary_data": binary} if protocol == "http" else {}))
            for each in outputs or ["colour.logits", "colour.probabilities", "colour.label"]
        ]
        asked.set_data_from_numpy(tensor, **({"binary_data": binary} if protocol == "http" else {}))
        return client.infer("shapes", [asked], outputs=wanted, model_version=version, request_id="5")


WAYS = pytest.mark.parametrize(
    ("protocol", "binary"), [("http", True), ("http", False), ("grpc", True)], ids=["http", "json", "grpc"]
)


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_ecosystems_client_finds_health_and_metadata(server, protocol):
    with triton(server, protocol) as (_, client):
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("shapes")
        assert client.is_model_ready("other", "10")
        assert not client.is_model_ready("nothing")
        assert client.get_server_metadata(**({"as_json": True} if protocol == "grpc" else {}))["name"] == "dapter"
        found = client.get_model_metadata("shapes", **({"as_json": True} if protocol == "grpc" else {}))
    assert found["versions"] == ["1", "2"]
    assert [each["name"] for each in found["inputs"]] == ["image", "encoded"]
    assert {"name": "colour.probabilities", "datatype": "FP32"}.items() <= found["outputs"][1].items()
    assert [int(side) for side in found["outputs"][1]["shape"]] == [-1, 2]


@WAYS
def test_it_answers_pixels(server, protocol, binary):
    found = infer(server, protocol, BOTH, binary=binary, version="1")
    np.testing.assert_allclose(found.as_numpy("colour.logits"), answer(BOTH)["colour"], rtol=1e-6)
    np.testing.assert_allclose(found.as_numpy("colour.probabilities").sum(axis=1), 1, rtol=1e-6)
    assert [each if isinstance(each, str) else each.decode() for each in found.as_numpy("colour.label")] == [
        "red", "blue"
    ]  # fmt: skip


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_it_answers_files_of_several_sizes_in_their_order(server, protocol):
    shapes = [("blue", (5, 6)), ("red", (8, 8)), ("blue", (8, 8)), ("red", (5, 6))]
    files = np.empty(4, object)
    files[:] = [encode(image(*each)) for each in shapes]
    found = infer(server, protocol, files, "encoded", outputs=["colour.label"], version="1", kind="BYTES")
    assert found.as_numpy("colour.label").tolist() == [b"blue", b"red", b"blue", b"red"]


@pytest.mark.parametrize("codec", [("PNG", None), ("JPEG", 90), ("WEBP", None)])
def test_it_reads_the_usual_codecs(server, codec):
    files = np.array([encode(image("red", (32, 32)), *codec)], object)
    found = infer(server, "http", files, "encoded", outputs=["colour.label"], version="1", kind="BYTES")
    assert found.as_numpy("colour.label").tolist() == [b"red"]


@WAYS
def test_the_newest_version_answers_unless_one_is_named(server, protocol, binary):
    newest, first = (infer(server, protocol, BOTH, binary=binary, version=version) for version in ("", "1"))
    np.testing.assert_allclose(newest.as_numpy("colour.logits"), -first.as_numpy("colour.logits"))


def test_typed_contents_of_grpc_are_read(server):
    import grpc
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc as stubs

    with grpc.insecure_channel(server.grpc_address) as channel:
        asked = pb.ModelInferRequest(model_name="other")
        tensor = asked.inputs.add(name="image", datatype="UINT8", shape=[1, 2, 2, 3])
        tensor.contents.uint_contents.extend([255, 0, 0] * 4)
        found = stubs.GRPCInferenceServiceStub(channel).ModelInfer(asked)
        assert found.outputs[2].name == "colour.label"
        assert found.raw_output_contents[2][4:] == b"red"
        tensor.contents.uint_contents[0] = 256
        with pytest.raises(grpc.RpcError, match="values that UINT8 has not"):
            stubs.GRPCInferenceServiceStub(channel).ModelInfer(asked)


def test_asynchronous_clients_are_batched():
    sizes, gate = [], threading.Event()

    def slow(images):
        sizes.append(len(images))
        gate.wait(5)
        return answer(images)

    with (
        Server([Model("shapes", "1", MODEL.classes, slow)], Settings(port=0, grpc_port=None)) as running,
        triton(running, "http", concurrency=6) as (module, client),
    ):
        asked = module.InferInput("image", [1, 8, 9, 3], "UINT8")
        asked.set_data_from_numpy(BOTH[:1])
        first = client.async_infer("shapes", [asked])
        wait_for(lambda: sizes)
        others = [client.async_infer("shapes", [asked]) for _ in range(5)]
        time.sleep(0.5)
        gate.set()
        for each in [first, *others]:
            assert each.get_result().as_numpy("colour.label").tolist() == [b"red"]
    assert sizes == [1, 5]


def wait_for(true, seconds=5):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def metric(server, name):
    page = httpx2.get(f"{server.url}/metrics").text
    return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(f"{name}{{"))


def test_prometheus_is_told(server):
    before = metric(server, "dapter_requests_total")
    infer(server, "http", BOTH)
    infer(server, "grpc", BOTH)
    httpx2.post(f"{server.url}/v2/models/never-{'x' * 50}/infer", json={"inputs": []})
    assert metric(server, "dapter_requests_total") == before + 3
    page = httpx2.get(f"{server.url}/metrics").text
    assert 'dapter_requests_total{model="shapes",protocol="grpc",status="200"}' in page
    assert "never-" not in page


def ask(server, tensor, **changes):
    record = {"name": "image", "datatype": "UINT8", "shape": list(np.shape(tensor)), "data": np.ravel(tensor).tolist()}
    return httpx2.post(f"{server.url}/v2/models/shapes/infer", json={"inputs": [{**record, **changes}]})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "pixels"}, "a request has one input"),
        ({"shape": [3]}, "does not hold"),
        ({"datatype": "FP32"}, "uint8"),
        ({"name": "encoded"}, "no list of BYTES"),
        ({"name": "encoded", "datatype": "BYTES", "shape": [1], "data": ["none"]}, "payload 0 of 1: .* can be read"),
        ({"shape": [0, 8, 9, 3], "data": []}, "0 payloads in a request"),
        ({"shape": [1, 0, 9, 3], "data": []}, "0 pixels in a request"),
        ({"shape": [100, 1, 1, 3], "data": [0] * 300}, "100 payloads in a request"),
    ],
)
def test_what_cannot_be_answered_is_refused_and_says_why(server, changes, reason):
    found = ask(server, BOTH[:1], **changes)
    assert found.status_code == 400
    assert "Cure: " in found.json()["error"]
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(found.json()["error"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nothing", 404),
        ("GET", "/v2/models/shapes/versions/3", 404),
        ("GET", "/v2/models/shapes/infer", 405),
        ("GET", "/nothing", 404),
        ("POST", "/v2/models/nothing/infer", 404),
    ],
)
def test_other_paths_answer_in_the_protocols_json(server, method, path, status):
    found = httpx2.request(method, server.url + path)
    assert found.status_code == status
    assert "Cure: " in found.json()["error"]


def test_an_unknown_output_is_refused(server):
    with pytest.raises(triton_http.InferenceServerException, match="there is no output"):
        infer(server, "http", BOTH, outputs=["colour.nothing"])
    with pytest.raises(triton_grpc.InferenceServerException, match="there is no output"):
        infer(server, "grpc", BOTH, outputs=["colour.nothing"])


def test_compressed_bodies_are_refused(server):
    found = httpx2.post(f"{server.url}/v2/models/shapes/infer", content=b"{}", headers={"Content-Encoding": "gzip"})
    assert found.status_code == 415


def test_a_failure_inside_tells_nothing_and_the_server_goes_on(caplog):
    def failing(images):
        if images[0, 0, 0, 0] == 255:
            raise RuntimeError("private words")
        return answer(images)

    with Server([Model("shapes", "1", MODEL.classes, failing)], Settings(port=0, grpc_port=0)) as running:
        found = ask(running, BOTH[:1])
        assert found.status_code == 500
        assert "private words" not in found.text
        with pytest.raises(triton_grpc.InferenceServerException, match="INTERNAL"):
            infer(running, "grpc", BOTH[:1])
        assert ask(running, BOTH[1:]).status_code == 200


def limited(**limits):
    return Settings(port=0, grpc_port=0, limits=Limits(**limits))


def test_size_is_limited():
    with Server([MODEL], limited(max_bytes=2000, max_pixels=100)) as running:
        many = ask(running, np.zeros((1, 11, 11, 3), np.uint8))
        assert (many.status_code, "121 pixels" in many.text) == (400, True)
        assert ask(running, np.zeros((1, 30, 30, 3), np.uint8)).status_code == 413
        with pytest.raises(triton_grpc.InferenceServerException, match="RESOURCE_EXHAUSTED"):
            infer(running, "grpc", np.zeros((1, 30, 30, 3), np.uint8))
        bomb = np.array([encode(np.zeros((64, 64, 3), np.uint8))], object)
        with pytest.raises(triton_http.InferenceServerException, match="over 100 pixels"):
            infer(running, "http", bomb, "encoded", kind="BYTES")


def test_time_and_concurrency_are_limited():
    gate = threading.Event()

    def stuck(images):
        gate.wait(10)
        return answer(images)

    with Server([Model("shapes", "1", MODEL.classes, stuck)], limited(timeout_s=0.5, max_requests=1)) as running:
        with triton(running, "http", concurrency=2) as (module, client):
            asked = module.InferInput("image", [1, 8, 9, 3], "UINT8")
            asked.set_data_from_numpy(BOTH[:1])
            first = client.async_infer("shapes", [asked])
            wait_for(lambda: metric(running, "dapter_batch_images_count") == 1)
            second = ask(running, BOTH[:1])
            assert (second.status_code, second.headers["retry-after"]) == (503, "1")
            with pytest.raises(triton_http.InferenceServerException, match="took too long"):
                first.get_result()
        gate.set()
        wait_for(lambda: ask(running, BOTH[:1]).status_code == 200)


def test_a_body_that_never_ends_is_cut_off():
    with Server([MODEL], limited(timeout_s=0.3)) as running:
        port = int(running.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"POST /v2/models/shapes/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
            received = b"".join(iter(lambda: connection.recv(4096), b""))
    assert received.startswith(b"HTTP/1.1 504")


def test_tokens_guard_all_but_health():
    with Server([MODEL], Settings(port=0, grpc_port=0, tokens=(TOKEN,))) as running:
        assert httpx2.get(f"{running.url}/v2/health/ready").json() == {"ready": True}
        for path in ("/v2", "/metrics", "/openapi.json", "/v2/models/shapes"):
            found = httpx2.get(running.url + path)
            assert (found.status_code, found.headers["www-authenticate"]) == (401, "Bearer")
            wrong = httpx2.get(running.url + path, headers={"Authorization": "Bearer wrong"})
            assert wrong.status_code == 401
            assert httpx2.get(running.url + path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert ask(running, BOTH).status_code == 401
        with triton(running, "grpc") as (_, client):
            assert client.is_server_ready()
            with pytest.raises(triton_grpc.InferenceServerException, match="UNAUTHENTICATED"):
                client.get_model_metadata("shapes")
            client.get_model_metadata("shapes", headers={"authorization": f"Bearer {TOKEN}"})


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 signed by itself, and its key, as PEM files."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(1))
    built = built.add_extension(names, False).add_extension(x509.BasicConstraints(True, 0), True)
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(built.sign(key, hashes.SHA256()).public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


def test_tls(certificate):
    settings = Settings(port=0, grpc_port=0, certificate=certificate[0], private_key=certificate[1])
    with Server([MODEL], settings) as running:
        assert running.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=certificate[0])
        assert httpx2.get(f"{running.url}/v2/health/live", verify=trusting).json() == {"live": True}
        with triton(running, "grpc", ssl=True, root_certificates=str(certificate[0])) as (_, client):
            assert client.is_server_live()
        with pytest.raises(httpx2.HTTPError):
            httpx2.get(f"{running.url}/v2/health/live")


def test_scripts_of_named_pages_may_ask():
    with Server([MODEL], Settings(port=0, grpc_port=None, origins=("https://page.example",))) as running:
        headers = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
        for origin, status in (("https://page.example", 200), ("https://other.example", 400)):
            found = httpx2.options(f"{running.url}/v2/models/shapes/infer", headers={"Origin": origin, **headers})
            assert found.status_code == status
        found = httpx2.get(f"{running.url}/v2", headers={"Origin": "https://page.example"})
        assert found.headers["access-control-allow-origin"] == "https://page.example"


def test_requests_in_flight_are_finished_when_it_stops():
    begun, gate, found = threading.Event(), threading.Event(), []

    def slow(images):
        begun.set()
        gate.wait(5)
        return answer(images)

    with Server([Model("shapes", "1", MODEL.classes, slow)], Settings(port=0, grpc_port=0)) as running:
        asking = threading.Thread(target=lambda: found.append(ask(running, BOTH)))
        asking.start()
        begun.wait(5)
        threading.Timer(0.3, gate.set).start()
    asking.join()
    assert found[0].status_code == 200


def test_answers_are_not_delayed_by_the_kernel():
    with listen("127.0.0.1", 0) as listener:
        listener.listen()
        with socket.create_connection(listener.getsockname()):
            accepted, _ = listener.accept()
            with accepted:
                assert accepted.proto == socket.IPPROTO_TCP  # for asyncio, which sets TCP_NODELAY on no other


def test_what_is_asked_is_not_logged():
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    log = logging.getLogger("uvicorn.access")
    with Server([MODEL], Settings(port=0, grpc_port=None)) as running:
        log.addHandler(handler)  # as an app does that sets up its log late
        try:
            httpx2.get(f"{running.url}/v2/models/name?who=name", trust_env=False)
        finally:
            log.removeHandler(handler)
    assert found == []


def test_a_taken_port_is_said():
    with Server([MODEL], Settings(port=0, grpc_port=0)) as running:
        taken = int(running.url.rpartition(":")[2])
        with pytest.raises(ServiceError, match="choose another port"), Server([MODEL], Settings(port=taken)):
            pass
        taken = int(running.grpc_address.rpartition(":")[2])
        with pytest.raises(ServiceError, match="choose another port"):
            Server([MODEL], Settings(port=0, grpc_port=taken)).__enter__()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (lambda: Settings(tokens=("short",)), "shorter than 16"),
        (lambda: Settings(certificate="a.pem"), "both a certificate"),
        (lambda: Server([], Settings(port=0)).__enter__(), "no model to serve"),
        (lambda: Server([MODEL, MODEL], Settings(port=0)).__enter__(), "two versions 1"),
    ],
)
def test_settings_that_cannot_work(settings, reason):
    with pytest.raises(UsageError, match=reason):
        settings()
