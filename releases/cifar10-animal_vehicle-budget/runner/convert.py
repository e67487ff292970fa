"""Convert image files with the converter of this release.

Use it as: python runner/convert.py PHOTO... --out FOLDER

Needs Python 3.11, numpy, onnxruntime and pillow. It compares the files that it uses with their checksums in
release.json; whether that is the provider's, only the signature tells (`dapter verify`, or `model_signing verify key`).
Every file that it writes holds what leaves the device, and nothing of the original's metadata.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parents[1]
MOST_PIXELS = 50_000_000


def open_converter(manifest: dict) -> onnxruntime.InferenceSession:
    """The float32 ONNX export."""
    entry = next(entry for entry in manifest["exports"] if (entry["format"], entry["precision"]) == ("onnx", "float32"))
    return onnxruntime.InferenceSession(read(manifest, entry["path"]), providers=["CPUExecutionProvider"])


def open_stamps(manifest: dict) -> dict | None:
    """What payloads are made of, if their bits are limited."""
    return None if manifest["budget_bits"] is None else json.loads(read(manifest, "stamps.json"))


def read(manifest: dict, path: str) -> bytes:
    """A file of the release, if it is the file of the manifest."""
    data = (HERE / path).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["files"][path]["sha256"]:
        raise SystemExit(f"{path} is not the file of release.json: do not use it")
    return data


def open_photo(path: Path) -> np.ndarray:
    """An image file as uint8 (1, H, W, 3), RGB, upright."""
    with Image.open(path) as photo:
        if photo.width * photo.height > MOST_PIXELS:
            raise SystemExit(f"{path} has {photo.width * photo.height:,} pixels, more than {MOST_PIXELS:,}")
        return np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))[None]


def made_of(stamps: dict | None, payload: np.ndarray) -> bool:
    """Whether a payload, uint8 (1, H, W, 3), shows stamps of the release and nothing else; None: it publishes none."""
    if stamps is None:
        return True
    alphabet, grid = np.array(stamps["alphabet"], np.uint8), stamps["grid"]
    side, sizes = grid * alphabet.shape[1], payload.shape[1:3]
    if min(sizes) < side:
        return False
    to_canvas = [-(-np.arange(side) * size // side) for size in sizes]  # the first pixel that shows each
    to_picture = [np.arange(size) * side // size for size in sizes]
    canvas = payload[0][np.ix_(*to_canvas)]
    patches = canvas.reshape(grid, alphabet.shape[1], grid, alphabet.shape[1], 3).swapaxes(1, 2).reshape(grid**2, -1)
    known = {each.tobytes() for each in alphabet}
    return np.array_equal(canvas[np.ix_(*to_picture)], payload[0]) and all(each.tobytes() in known for each in patches)


def main() -> None:
    """Convert the files that were named."""
    parser = argparse.ArgumentParser(description="Convert image files with the converter of this release.")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dial", type=float, help="for a converter that has one; by default the release's")
    given = parser.parse_args()
    manifest = json.loads((HERE / "release.json").read_text(encoding="utf-8"))
    converter, stamps, dial = open_converter(manifest), open_stamps(manifest), manifest["dial"]
    inputs = {}
    if dial:
        value = dial["default"] if given.dial is None else given.dial
        if not dial["low"] <= value <= dial["high"]:
            raise SystemExit(f"--dial {value} is outside {dial['low']} to {dial['high']}")
        inputs = {dial["name"]: np.array(value, np.float32)}
    given.out.mkdir(parents=True, exist_ok=True)
    for path in given.photos:
        image = open_photo(path)
        (payload,) = converter.run(["payload"], {"image": image, **inputs})
        if payload.shape != image.shape or payload.dtype != np.uint8 or np.array_equal(payload, image):
            raise SystemExit(f"{path}: the converter gave back something else than a payload; nothing was written")
        if not made_of(stamps, payload):
            raise SystemExit(f"{path}: the payload shows more than the stamps of stamps.json; nothing was written")
        Image.fromarray(payload[0]).save(given.out / f"{path.name}.png")


if __name__ == "__main__":
    main()
