"""Broken images through the client, against a service that keeps every byte.

    python tests/fuzz/images.py --count 10000 --seed 0

Each file is opened and its payload sent, or it is refused with an error that says why and nothing is sent. In no case
does a piece of the file, or of its pixels, leave; the same seed gives the same files.
"""

import argparse
import io
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from dapter.client import Client
from dapter.errors import DapterError
from dapter.imagefile import open_image
from releases.make import keys, make_release
from upstream import Upstream, answer, pixels_of

PIECE = 32
"""Bytes in a row that would be a piece of the original."""


def corpus(random):
    """Whole image files of many kinds, of noise: no piece of them can be in a payload by chance."""
    noise = random.integers(0, 256, (30, 44, 3), np.uint8)
    alpha = random.integers(0, 256, (30, 44, 4), np.uint8)
    deep = random.integers(0, 65536, (30, 44), np.uint16)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, random.bytes(60).hex()
    rgb = Image.fromarray(noise)
    saved = [
        (rgb, "PNG", {}),
        (rgb, "JPEG", {"quality": 92, "exif": exif}),
        (rgb, "JPEG", {"progressive": True}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb, "WEBP", {"lossless": True}),
        (rgb, "WEBP", {"quality": 80}),
        (rgb, "BMP", {}),
        (rgb, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {}),
        (rgb.quantize(64), "PNG", {"transparency": 3}),
        (rgb.convert("L"), "PNG", {}),
        (rgb.convert("1"), "PNG", {}),
        (Image.fromarray(alpha), "PNG", {}),
        (Image.fromarray(deep), "PNG", {}),
        (Image.fromarray(deep), "TIFF", {}),
        (rgb.quantize(32), "GIF", {"save_all": True, "append_images": [rgb.rotate(90, expand=False).quantize(32)]}),
    ]
    files = []
    for image, kind, options in saved:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        files.append(buffer.getvalue())
    return files


def damage(files, random):
    """One file out of them, damaged in one of several ways."""
    file = bytearray(files[random.integers(len(files))])
    way = random.integers(7)
    if way == 0:  # cut off
        del file[random.integers(1, len(file)) :]
    elif way == 1:  # single bits
        for place in random.integers(0, len(file), random.integers(1, 9)):
            file[place] ^= 1 << int(random.integers(8))
    elif way == 2:  # the header, where sizes and types stand
        for place in random.integers(0, min(64, len(file)), 4):
            file[place] = random.choice([0, 1, 127, 128, 255])
    elif way == 3:  # a piece of another file
        other = files[random.integers(len(files))]
        start, end = sorted(random.integers(0, len(other), 2))
        place = random.integers(len(file))
        file[place : place + (end - start)] = other[start:end]
    elif way == 4:  # a piece twice, or gone
        start, end = sorted(random.integers(0, len(file), 2))
        file[start:end] = file[start:end] * int(random.choice([0, 2]))
    elif way == 5:  # nothing but noise, with the beginning of a file
        file = file[: random.integers(0, 24)] + bytearray(random.bytes(int(random.integers(0, 400))))
    return bytes(file)  # way 6: whole


def fuzz(count, seed=0, progress=lambda done: None):
    """Try `count` files; gives how many were sent, and how many refused with which error.

    Raises:
        AssertionError: an original left, another payload than the converter's, an error without a cure; or any crash.
    """
    random = np.random.default_rng(seed)
    files, outcomes = corpus(random), Counter()
    with tempfile.TemporaryDirectory() as folder, Upstream(partial(answer, classes={"Smiling": ("no", "yes")})) as up:
        private, public = keys(Path(folder))
        release = make_release(Path(folder) / "release", private)
        with Client(up.url, release, public) as client:
            client.classify(files[0])
            for done in range(count):
                file = damage(files, random)
                up.received.clear()
                up.requests.clear()
                outcomes[_try(client, up, file)] += 1
                progress(done + 1)
    return outcomes


def _try(client, up, file):
    try:
        found = client.classify(file)
    except DapterError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert str(refused).startswith("nothing was sent: "), refused
        assert "Cure: " in str(refused), refused
        assert not up.received
        return type(refused).__name__
    (request,) = up.requests
    (sent,) = pixels_of(request.infer_request())
    original = open_image(file, (32, 32), square=True)
    assert np.array_equal(sent, client._protector.converter.convert(original[None])[0])
    assert np.array_equal(sent, found.sent.payload)
    rows = [row.tobytes() for row in original if len(np.unique(row)) > 40]
    assert up.received_nothing_of(file, *rows, run=PIECE)
    return "sent"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    warnings.simplefilter("ignore")  # Pillow's, of damaged files
    began = time.monotonic()

    def progress(done):
        if done % 500 == 0:
            print(f"{done:,} files in {time.monotonic() - began:.0f} s", flush=True)

    outcomes = fuzz(args.count, args.seed, progress)
    print(f"{args.count:,} files, no crash, no original sent: {dict(outcomes)}")


if __name__ == "__main__":
    main()
