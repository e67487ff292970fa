"""What the gateway makes of bodies of every kind, without a network."""

import base64
import json
import zipfile
from io import BytesIO

import numpy as np
import pytest

from dapter.errors import ConversionError, UsageError
from dapter.service.gateway.images import Images
from dapter.service.gateway.json_body import parse_path
from dapter.service.gateway.plain import CODES, LONGEST, MOST, NUMBERS
from dapter.service.gateway.rewrite import Incoming, rewrite
from dapter.service.refused import Refused
from dapter.service.wire import Output, Request, Tensor, decode_request, encode_request
from originals import Original, form, image_in

ORIGINAL = Original(1)
PATHS = [parse_path(path) for path in ("$.requests[*].image.content", "$.Image.Bytes", "$.url", "$['image url'][0]")]
INFER = b"/v2/models/model/infer"
FORM = "multipart/form-data; boundary=limit"


def invert(images):
    return 255 - images


def post(body, kind="application/json", path=b"/v1/annotate", images=None, **more):
    body = json.dumps(body).encode() if isinstance(body, dict | list) else body
    new = rewrite(Incoming("POST", path, kind=kind, body=body, **more), images or Images(invert), PATHS)
    assert not ORIGINAL.is_in(new.body)
    return new


def check_payload(content, original=ORIGINAL):
    pixels, info = image_in(content)
    np.testing.assert_array_equal(pixels, 255 - original.pixels)
    assert info == {}


@pytest.mark.parametrize("kind", ["image/jpeg", "IMAGE/PNG; q=1", "application/octet-stream"])
def test_a_bare_image_file(kind):
    new = post(ORIGINAL.file, kind)
    check_payload(new.body)
    expected = kind if kind.startswith("app") else "image/png"
    assert (new.images, new.headers) == (1, {"Content-Type": expected})


def test_an_image_file_is_resized_to_where_the_converter_was_measured():
    assert image_in(post(ORIGINAL.file, "image/jpeg", images=Images(invert, (16, 24))).body)[0].shape == (16, 24, 3)


def test_base64_in_json_at_known_places():
    features = [{"type": "LABEL", "maxResults": 5}]
    new = post({"requests": [{"image": {"content": ORIGINAL.base64}, "features": features}] * 2})
    record = json.loads(new.body)
    assert new.images == 2
    assert record["requests"][1]["features"] == features
    check_payload(base64.b64decode(record["requests"][1]["image"]["content"], validate=True))
    in_url = json.loads(post({"url": f"data:image/jpeg;base64,{ORIGINAL.base64}", "detail": None}).body)
    assert in_url["url"].startswith("data:image/png;base64,")
    check_payload(base64.b64decode(in_url["url"].partition(",")[2]))
    url_safe = ORIGINAL.base64.replace("+", "-").replace("/", "_").rstrip("=")
    check_payload(
        base64.b64decode(json.loads(post({"image url": [f"{url_safe[:76]}\r\n{url_safe[76:]}"]}).body)["image url"][0])
    )
    assert json.loads(post({"Image": {"Other": "text"}, "n": 3}).body) == {"Image": {"Other": "text"}, "n": 3}


def test_a_form_with_files_and_fields():
    other = Original(2)
    body = form(
        ("image", "holiday in Rome.jpg", "image/jpeg", ORIGINAL.file),
        ("model", None, None, b"resnet"),
        ("second[]", "IMG_20260101_120000.jpg", "application/octet-stream", other.file),
        ("options", None, "application/json", json.dumps({"url": ORIGINAL.base64, "top": 3}).encode()),
        ("note", None, "text/plain; charset=utf-8", "déjà vu".encode()),
    )
    new = post(body, FORM)
    assert new.images == 3
    for gone in (b"Rome", b"IMG_", b"limit", b"jpeg"):
        assert gone not in new.body
    boundary = new.headers["Content-Type"].partition("boundary=")[2].encode()
    parts = [part.strip(b"\r\n").partition(b"\r\n\r\n") for part in new.body.split(b"--" + boundary)[1:-1]]
    check_payload(parts[0][2])
    check_payload(parts[2][2], other)
    assert (parts[1][2], parts[4][2]) == (b"resnet", "déjà vu".encode())
    check_payload(base64.b64decode(json.loads(parts[3][2])["url"]))
    assert (
        parts[0][0]
        == b'Content-Disposition: form-data; name="image"; filename="image-1.png"\r\nContent-Type: image/png'
    )


@pytest.mark.parametrize("binary", [True, False])
def test_tensors_of_the_open_inference_protocol(binary):
    files = np.empty(1, object)
    files[0] = ORIGINAL.file
    asked = Request(
        (Tensor("image", ORIGINAL.pixels[None]), Tensor("encoded", files)),
        (Output("probabilities", binary, {"classification": 3}),),
        id="7",
        parameters={"priority": 1},
    )
    message = encode_request(asked, binary=binary)
    length = None if message.header_length is None else str(message.header_length)
    new = post(message.body, message.headers["Content-Type"], INFER, length=length)
    assert new.images == 2
    got = decode_request(new.body, int(new.headers["Inference-Header-Content-Length"]) if binary else None)
    np.testing.assert_array_equal(got.inputs[0].data[0], 255 - ORIGINAL.pixels)
    check_payload(got.inputs[1].data[0])
    assert (got.outputs, got.id, got.parameters) == (asked.outputs, "7", {"priority": 1})


def infer(**changes):
    entry = {"name": "image", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": list(range(12)), **changes}
    return {"inputs": [entry]}


def test_the_smallest_tensor_passes():
    assert post(infer(), path=INFER).images == 1


def archive():
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("photo.jpg", ORIGINAL.file)
    return buffer.getvalue()


def in_lines(text, length):
    return [text[start : start + length] for start in range(0, len(text), length)][:60]


HIDDEN = base64.b64encode(ORIGINAL.file).decode()
URL_SAFE = base64.urlsafe_b64encode(ORIGINAL.file).decode()
WIDE = {number: number + 0xFEE0 for number in range(0x21, 0x7F)}
REFUSED = {
    "no type": (ORIGINAL.file, {"kind": ""}),
    "unknown type": (ORIGINAL.file, {"kind": "application/x-www-form-urlencoded"}),
    "text": (HIDDEN.encode(), {"kind": "text/plain"}),
    "video": (ORIGINAL.file, {"kind": "video/mp4"}),
    "pdf": (b"%PDF-1.4", {"kind": "application/pdf"}),
    "archive": (archive(), {"kind": "application/zip"}),
    "archive as bytes": (archive(), {"kind": "application/octet-stream"}),
    "no image": (b"no image", {"kind": "image/png"}),
    "cut image": (ORIGINAL.file[:-200], {"kind": "image/jpeg"}),
    "vector image": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {"kind": "image/svg+xml"}),
    "no JSON": (ORIGINAL.file, {}),
    "JSON with a name twice": (b'{"url": "a", "url": "b"}', {}),
    "JSON with NaN": (b'{"n": NaN}', {}),
    "JSON without end": (b'{"n": 1e999}', {}),
    "huge number": (b'{"n": ' + b"1" * 5000 + b"}", {}),
    "deep JSON": (b'{"a":' * 40 + b"1" + b"}" * 40, {}),
    "very deep JSON": (b"[" * 100_000, {}),
    "image at another place": ({"requests": [{"photo": HIDDEN}]}, {}),
    "image in a name": ({HIDDEN: 1}, {}),
    "image in lines": ({"photo": "\n".join(HIDDEN[start : start + 76] for start in range(0, len(HIDDEN), 76))}, {}),
    "image in hex": ({"photo": ORIGINAL.file.hex()}, {}),
    "image as raw text": ({"photo": ORIGINAL.file[:300].decode("latin-1")}, {}),
    "image as numbers": ({"photo": list(ORIGINAL.file[:200])}, {}),
    "image in short lines": ({"photo": "\n".join(in_lines(HIDDEN[:3000], 64))}, {}),
    "image in a list of texts": ({"photo": in_lines(HIDDEN[:3000], 60)}, {}),
    "image in names": (dict.fromkeys(in_lines(HIDDEN[:3000], 60)), {}),
    "image in spaced hex": ({"photo": ORIGINAL.file[:300].hex(" ")}, {}),
    "image as numbers in a text": ({"photo": ",".join(map(str, ORIGINAL.file[:200]))}, {}),
    "image as one number": (json.dumps({"photo": int.from_bytes(ORIGINAL.file[:1000], "big")}).encode(), {}),
    "image in wide letters": ({"photo": HIDDEN[:200].translate(WIDE)}, {}),
    "image in JSON in a text": ({"payload": json.dumps({"content": HIDDEN[:200]}).replace("/", "\\/")}, {}),
    "image in names of parts": (form(*[(each, None, None, b"x") for each in in_lines(URL_SAFE, 60)]), {"kind": FORM}),
    "image in fields": (form(*[("a", None, None, each.encode()) for each in in_lines(HIDDEN, 60)]), {"kind": FORM}),
    "image in a query of many": (b"", {"query": "&p=".join(in_lines(URL_SAFE, 60)).encode()}),
    "image in names of tensors": (
        {"inputs": [{**infer()["inputs"][0], "name": n} for n in in_lines(HIDDEN, 60)]},
        {"path": INFER},
    ),
    "image in parts of a path": (b"", {"path": "/".join(["", *in_lines(URL_SAFE, 60)]).encode()}),
    "address as JSON in a text": ({"payload": r'{"url":"http:\/\/example.com\/a.jpg"}'}, {}),
    "address without a scheme": ({"photo": "//cdn.example.com/a.jpg"}, {}),
    "address with a slash less": ({"photo": "https:example.com/a.jpg"}, {}),
    "address in percent codes": ({"photo": "https%3A%2F%2Fexample.com"}, {}),
    "address in wide letters": ({"photo": "https://example.com/a.jpg".translate(WIDE)}, {}),
    "address of the web": ({"photo": "www.example.com/a.jpg"}, {}),
    "data URI without a type": ({"photo": "data:;base64,AAAA"}, {}),
    "address in the path": (b"", {"path": b"/fetch/https://example.com/a.jpg"}),
    "address in the path in percent codes": (b"", {"path": b"/fetch/https%253A%252F%252Fexample.com%252Fa.jpg"}),
    "image by address": ({"image": {"source": {"imageUri": "gs://bucket/photo.jpg"}}}, {}),
    "image by web address": ({"photo": "see HTTPS://example.com/a.jpg"}, {}),
    "image as data URI elsewhere": ({"photo": "data:image/png;base64,AAAA"}, {}),
    "no base64": ({"url": "!!"}, {}),
    "base64 of no image": ({"url": base64.b64encode(b"text").decode()}, {}),
    "number for an image": ({"url": 3}, {}),
    "list for an image": ({"url": [HIDDEN]}, {}),
    "much text": ({"prompt": "word " * MOST}, {}),
    "many names": ({str(number): None for number in range(MOST)}, {}),
    "form without boundary": (form(("image", "a", None, ORIGINAL.file)), {"kind": "multipart/form-data"}),
    "form with another boundary": (form(("image", "a", None, ORIGINAL.file), boundary="other"), {"kind": FORM}),
    "cut form": (form(("image", "a", "image/png", ORIGINAL.file))[:-30], {"kind": FORM}),
    "empty form": (b"--limit--\r\n", {"kind": FORM}),
    "mixed": (form(("image", "a", None, ORIGINAL.file)), {"kind": "multipart/mixed; boundary=limit"}),
    "form in a form": (form(("a", None, FORM, form(("b", "c", None, ORIGINAL.file)))), {"kind": FORM}),
    "file that is no image": (form(("notes", "a.txt", "text/plain", b"text")), {"kind": FORM}),
    "archive in a form": (form(("image", "a.zip", "application/zip", archive())), {"kind": FORM}),
    "image as a field": (form(("image", None, None, HIDDEN.encode())), {"kind": FORM}),
    "raw image as a field": (form(("image", None, None, ORIGINAL.file)), {"kind": FORM}),
    "strange type in a form": (form(("image", None, "video/mp4", b"x")), {"kind": FORM}),
    "image in a part's name": (form((HIDDEN[:600], None, None, b"x")), {"kind": FORM}),
    "part without a name": (b"--limit\r\nContent-Type: image/png\r\n\r\nx\r\n--limit--\r\n", {"kind": FORM}),
    "encoded part": (
        form(("a", None, None, b"x")).replace(b'"a"', b'"a"\r\nContent-Transfer-Encoding: base64'),
        {"kind": FORM},
    ),
    "many parts": (form(*[("a", None, None, b"x")] * 100), {"kind": FORM}),
    "tensors elsewhere": (encode_request(Request((Tensor("a", ORIGINAL.pixels[None]),))).body, {"length": "100"}),
    "tensor of no image": (infer(datatype="FP32", shape=[1, 3, 2, 2]), {"path": INFER}),
    "tensor of another order": (infer(shape=[1, 3, 2, 2]), {"path": INFER}),
    "tensor of nothing": (infer(shape=[1, 0, 10**40, 3], data=[]), {"path": INFER}),
    "no tensor at all": (infer(shape=[0, 99, 99, 3], data=[]), {"path": INFER}),
    "a parameter without end": (
        json.dumps({**infer(), "parameters": {"a": 0}}).replace(": 0}", ": 1e999}").encode(),
        {"path": INFER},
    ),
    "tensor without a batch": (infer(shape=[2, 2, 3]), {"path": INFER}),
    "tensor in shared memory": (infer(parameters={"shared_memory_region": "a"}), {"path": INFER}),
    "tensor of bytes that are no image": (infer(datatype="BYTES", shape=[1], data=["text"]), {"path": INFER}),
    "an image as the id": ({**infer(), "id": HIDDEN}, {"path": INFER}),
    "an image as a parameter": ({**infer(), "parameters": {"note": HIDDEN}}, {"path": INFER}),
    "an image as an output": ({**infer(), "outputs": [{"name": HIDDEN}]}, {"path": INFER}),
    "bytes without tensors": (ORIGINAL.file, {"path": INFER, "length": "0"}),
    "a length that is none": (json.dumps(infer()).encode(), {"path": INFER, "length": "-1"}),
    "an image in the path": (b"", {"path": b"/" + HIDDEN[:400].replace("/", "_").encode()}),
    "an image in the query": (b"", {"query": b"image=" + HIDDEN[:400].encode()}),
    "an address in the query": (b"", {"query": b"url=https%3A%2F%2Fexample.com%2Fa.jpg"}),
    "a query of bytes": (b"", {"query": b"a=%FF%D8%FF"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_with_a_cure(name):
    body, more = REFUSED[name]
    with pytest.raises(Refused) as refused:
        post(body, **more)
    assert 400 <= refused.value.status < 500
    assert "Cure" in str(refused.value)
    assert HIDDEN[:30] not in str(refused.value)


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"])
def test_other_methods_are_refused(method):
    with pytest.raises(Refused, match="not forwarded"):
        rewrite(Incoming(method, b"/"), Images(invert))


def test_requests_without_a_body_pass():
    assert rewrite(Incoming("GET", b"/v2/models/model", b"a=b+c"), Images(invert)).body == b""
    with pytest.raises(Refused, match="with a body"):
        rewrite(Incoming("GET", b"/", body=b"x"), Images(invert))


def test_the_limits_of_plain_text_are_as_said():
    post({"a": "x" * LONGEST, "numbers": [1] * NUMBERS})
    post({"a": ["x" * LONGEST] * (CODES // LONGEST), "text": "what a day, 21.11.2026 // see: data: metadata:x, 3:4"})
    long = [{"a": "x" * (LONGEST + 1)}, {"numbers": [1] * (NUMBERS + 1)}, {"numbers": "1 " * (NUMBERS + 1)}]
    for wrong in (*long, {"a": ["x" * LONGEST] * (CODES // LONGEST + 1)}, {"n": 10**LONGEST}):
        with pytest.raises(Refused):
            post(wrong)


def fails(error):
    def convert(images):
        raise error

    return convert


@pytest.mark.parametrize("error", [ConversionError("the original came back"), MemoryError()])
def test_a_converter_that_fails_is_an_error_and_nothing_is_sent(error):
    for body, more in ((ORIGINAL.file, {"kind": "image/png"}), (infer(), {"path": INFER})):
        with pytest.raises(Refused, match="Nothing was sent") as refused:
            post(body, images=Images(fails(error)), **more)
        assert refused.value.status == 500


def test_images_that_are_too_large_are_refused_before_they_are_unpacked():
    small = Images(fails(AssertionError()), max_pixels=100)
    for body, more in (
        (ORIGINAL.file, {"kind": "image/png"}),
        (infer(shape=[1, 20, 20, 3], data=[0] * 1200), {"path": INFER}),
    ):
        with pytest.raises(Refused, match="over 100 pixels"):
            post(body, images=small, **more)


def test_sizes_that_the_release_is_not_for_are_refused():
    for body, more in ((ORIGINAL.file, {"kind": "image/png"}), (infer(), {"path": INFER})):
        with pytest.raises(Refused, match="Cure: send 32 x 64"):
            post(body, images=Images(fails(AssertionError()), allowed=[(32, 64)]), **more)
    assert post(infer(), path=INFER, images=Images(invert, allowed=[(2, 2)])).images == 1


@pytest.mark.parametrize("path", ["", "$", "a.b", "$..a", "$.a[?(@.b)]", "$.a[*", "$a"])
def test_paths_that_are_more_than_names_are_refused(path):
    with pytest.raises(UsageError, match="is no path"):
        parse_path(path)


def test_the_files_of_a_request_are_counted_for_each_request_anew(monkeypatch):
    monkeypatch.setattr("dapter.service.gateway.images.PER_REQUEST", 2)
    images = Images(invert)

    def send(count):
        return post({"requests": [{"image": {"content": ORIGINAL.base64}}] * count}, images=images).images

    assert [send(2), send(2)] == [2, 2]
    with pytest.raises(Refused, match="over 2 images"):
        send(3)
