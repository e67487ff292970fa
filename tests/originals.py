"""Photographs that must not leave: noise, with everything that a camera adds, and what would betray them."""

import base64
import io

import numpy as np
from PIL import Image

RUN = 24
"""Bytes in a row that betray an original; of noise, no two pieces are alike."""

HEAD = 33
"""Bytes at the beginning of a PNG file that are the same for all of one size."""


class Original:
    """One photograph.

    Attributes:
        pixels: uint8 (height, width, 3), as they are in the file.
        file: its bytes.
        secrets: what must not be in anything that was sent.
    """

    def __init__(self, seed, height=40, width=32, form="JPEG"):
        rng = np.random.default_rng(seed)
        thumbnail = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(thumbnail, "JPEG", quality=95)
        exif = Image.Exif()
        exif[0x010F], exif[0x9286] = f"SECRETCAMERA{seed:020}", thumbnail.getvalue()
        extras = {"exif": exif} if form in ("JPEG", "PNG", "WEBP") else {}
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(buffer, form, **extras)
        self.file = buffer.getvalue()
        with Image.open(io.BytesIO(self.file)) as image:
            self.pixels = np.array(image.convert("RGB"))
        raw = [self.file[HEAD:], self.pixels.tobytes(), thumbnail.getvalue(), exif.tobytes()]
        self.base64 = base64.b64encode(self.file).decode()
        self.secrets = [*raw, *(base64.b64encode(each[start:]) for each in raw for start in range(3))]

    def is_in(self, sent):
        """Whether a piece of it is in the bytes that were sent."""
        pieces = {sent[start : start + RUN] for start in range(len(sent) - RUN + 1)}
        return any(
            secret[start : start + RUN] in pieces
            for secret in self.secrets
            for start in range(0, len(secret) - RUN + 1, RUN // 2)
        )


def image_in(content):
    """The pixels of an image file, and everything else that is in it."""
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image), image.info


def form(*parts, boundary="limit"):
    """A multipart body: (name, file name or None, type or None, content) each."""
    body = b""
    for name, filename, kind, content in parts:
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"'.encode()
        body += b"" if filename is None else f'; filename="{filename}"'.encode()
        body += b"" if kind is None else f"\r\nContent-Type: {kind}".encode()
        body += b"\r\n\r\n" + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()
