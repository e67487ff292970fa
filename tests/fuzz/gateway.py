"""Requests of every kind, broken in every way, against the gateway: no crash, no original sent, a clear error each.

    python tests/fuzz/gateway.py --requests 10000 --seed 0

Every request is built around a photograph of noise, well-formed, and then mutated: bytes flipped, cut, doubled and
moved, types and lengths exchanged, the original added at places where none belongs. What the gateway would send is
searched for pieces of the original: its file, pixels, thumbnail and EXIF, also in base64, and for its pixels in any
image file that is in it.
"""

import argparse
import base64
import json
import random
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from dapter.service.gateway.images import Images
from dapter.service.gateway.json_body import parse_path
from dapter.service.gateway.rewrite import Incoming, Outgoing, rewrite
from dapter.service.refused import Refused
from dapter.service.wire import Output, Request, Tensor, decode_request, encode_request
from originals import Original, form, image_in

PATHS = [parse_path(path) for path in ("$.requests[*].image.content", "$.Image.Bytes", "$.url")]
INFER = b"/v2/models/model/infer"
FORMS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
KINDS = (
    "application/json",
    "application/octet-stream",
    "image/jpeg",
    "image/png",
    "multipart/form-data; boundary=limit",
)
KINDS += (
    "multipart/form-data; boundary=",
    "multipart/mixed; boundary=limit",
    "text/plain",
    "",
    "application/zip",
    "\xff/\x00",
)


def draw_away(images):
    """A converter that keeps a tenth of what differs from grey, as that of the tests' releases does."""
    return np.round((images.astype(np.float32) - 128) * np.float32(0.1) + 128).astype(np.uint8)


def well_formed(rng, original):
    """A request as an honest app sends it."""
    kind = rng.choice(("file", "octets", "json", "form", "tensor", "encoded", "none"))
    if kind == "file":
        return Incoming("POST", b"/v1/classify", kind="image/jpeg", body=original.file)
    if kind == "octets":
        return Incoming("POST", b"/v1/classify", kind="application/octet-stream", body=original.file)
    if kind == "none":
        return Incoming("GET", b"/v2/models/model", rng.choice((b"", b"a=b&c=%20d")))
    if kind == "json":
        uri = f"data:image/jpeg;base64,{original.base64}"
        record = rng.choice(
            (
                {"requests": [{"image": {"content": original.base64}, "features": [{"type": "LABEL", "n": 3}]}]},
                {"Image": {"Bytes": original.base64}, "MaxLabels": 10, "MinConfidence": 0.5},
                {"url": uri, "text": "what is this?"},
            )
        )
        return Incoming("POST", b"/v1/annotate", kind=KINDS[0], body=json.dumps(record).encode())
    if kind == "form":
        parts = [("image", "a.jpg", "image/jpeg", original.file), ("n", None, None, b"5")]
        rng.shuffle(parts)
        return Incoming("POST", b"/upload", kind=KINDS[4], body=form(*parts))
    files = np.empty(1, object)
    files[0] = original.file
    tensor = Tensor("image", original.pixels[None] if kind == "tensor" else files)
    binary = rng.random() < 0.5
    message = encode_request(Request((tensor,), (Output("probabilities", binary),), "1"), binary=binary)
    length = None if message.header_length is None else str(message.header_length)
    return Incoming("POST", INFER, kind=message.headers["Content-Type"], length=length, body=message.body)


def mutate(rng, asked, original):
    """The same request, broken somewhere; sometimes whole."""
    fields = vars(asked).copy()
    for _ in range(rng.choice((0, 1, 1, 2, 3, 6))):
        what = rng.randrange(14)
        body = bytearray(fields["body"])
        place, other = (rng.randrange(len(body) + 1) for _ in range(2))
        if what <= 3 and body:
            for _ in range(rng.choice((1, 2, 8, 64))):
                body[rng.randrange(len(body))] = rng.randrange(256)
        elif what == 4:
            body = body[:place]
        elif what == 5:
            body[place:place] = body[min(place, other) : max(place, other)]
        elif what == 6:
            del body[min(place, other) : min(place, other) + rng.choice((1, 4, 100))]
        elif what == 7:
            body[place:place] = rng.choice((original.file, original.base64.encode(), original.pixels.tobytes()))
        elif what == 8:
            body += rng.choice((original.file, b"\r\n", b"\x00" * 9, b'{"a":1}', b"--limit--\r\n"))
        elif what == 9:
            fields["kind"] = rng.choice(KINDS)
        elif what == 10:
            fields["length"] = rng.choice((None, "0", "1", "99999999", "-1", "x", str(rng.randrange(len(body) + 2))))
        elif what == 11:
            fields["path"] = rng.choice((INFER, b"/", b"//a", b"/%00", b"/\xff", b"/v2/models/model/infer/x", b"x"))
        elif what == 12:
            fields["query"] = rng.choice((original.base64[:200].encode(), b"u=http://a/", b"%ff", b"a=1"))
        else:
            fields["method"] = rng.choice(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "\u0130"))
        fields["body"] = bytes(body)
    if rng.random() < 0.2 and fields["kind"] == "application/json":
        fields["body"] = smuggle(rng, fields["body"], original)
    return Incoming(**fields)


def smuggle(rng, body, original):
    """JSON with the original at a further place."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return body
    if not isinstance(record, dict):
        return body
    numbers = list(original.file[:2000])
    hidden = rng.choice((original.base64, original.file.hex(), original.file.decode("latin-1"), numbers))
    record[rng.choice(("thumbnail", "Image", "parameters", "id", "note", "requests"))] = rng.choice(
        (hidden, [hidden], {"a": hidden})
    )
    if rng.random() < 0.1:
        record[original.base64[:500]] = 1
    return json.dumps(record).encode()


def check(outgoing, asked, original):
    """Say what is wrong with what would be sent; nothing if all is well."""
    if not isinstance(outgoing, Outgoing):
        return f"gave {outgoing!r:.80}"
    sent = outgoing.body + repr(outgoing.headers).encode() + asked.path + asked.query
    if original.is_in(sent):
        return "a piece of the original"
    shown = [image_in(content)[0] for content in files_in(outgoing, asked)]
    if any(pixels.shape == original.pixels.shape and (pixels == original.pixels).mean() > 0.5 for pixels in shown):
        return "the original's pixels"
    return ""


def files_in(outgoing, asked):
    """Image files in what would be sent: PNG only, for that is all that the gateway writes."""
    body = outgoing.body
    if b"v2/models" in asked.path and b"infer" in asked.path:
        length = outgoing.headers.get("Inference-Header-Content-Length")
        tensors = decode_request(body, None if length is None else int(length)).inputs if body else ()
        return [bytes(value) for tensor in tensors if tensor.datatype == "BYTES" for value in tensor.data.ravel()]
    found = [body[start:] for start in starts(body, b"\x89PNG")]
    for start in starts(body, b"iVBORw0KGgo"):
        text = body[start:].split(b'"')[0]
        found.append(base64.b64decode(text))
    return found


def starts(body, mark):
    place = body.find(mark)
    while place >= 0:
        yield place
        place = body.find(mark, place + 1)


def fuzz(requests, seed=0):
    """How many requests ended how; the first fault is an error."""
    rng, images, counts = random.Random(seed), Images(draw_away, max_pixels=100_000), Counter()
    for number in range(requests):
        if number % 50 == 0:
            original = Original(rng.randrange(2**32), rng.randrange(8, 48), rng.randrange(8, 48), rng.choice(FORMS))
        asked = mutate(rng, well_formed(rng, original), original)
        try:
            with warnings.catch_warnings(action="ignore"):  # Pillow's, about damaged files
                outgoing = rewrite(asked, images, PATHS)
        except Refused as refused:
            if not (400 <= refused.status < 500 and "Cure" in str(refused)) or original.is_in(str(refused).encode()):
                raise AssertionError(
                    f"request {number} of seed {seed}: unclear error {refused.status} {refused}"
                ) from None
            counts[refused.status] += 1
            continue
        except Exception as error:
            raise AssertionError(f"request {number} of seed {seed}: crash") from error
        if wrong := check(outgoing, asked, original):
            raise AssertionError(f"request {number} of seed {seed}: {wrong} would be sent for {asked}")
        counts["with images" if outgoing.images else "without images"] += 1
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started = time.perf_counter()
    counts = fuzz(options.requests, options.seed)
    seconds = time.perf_counter() - started
    print(f"{options.requests:,} requests, seed {options.seed}, {seconds:.0f} s: no crash, no original")
    for end, count in sorted(counts.items(), key=str):
        print(f"  {end}: {count:,}")


if __name__ == "__main__":
    main()
