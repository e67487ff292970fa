"""Convert image files with the converter of this release.

Use it as: python runner/convert.py PHOTO... --out FOLDER

Needs Python 3.11, numpy, onnxruntime and pillow. It compares the converter with its checksum in release.json; whether
release.json is the provider's, only the signature tells (`dapter verify`, or `model_signing verify key`).
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
    """The float32 ONNX export, if it is the file of the manifest."""
    entry = next(entry for entry in manifest["exports"] if (entry["format"], entry["precision"]) == ("onnx", "float32"))
    data = (HERE / entry["path"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != manifest["files"][entry["path"]]["sha256"]:
        raise SystemExit(f"{entry['path']} is not the file of release.json: do not use it")
    return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])


def open_photo(path: Path) -> np.ndarray:
    """An image file as uint8 (1, H, W, 3), RGB, upright."""
    with Image.open(path) as photo:
        if photo.width * photo.height > MOST_PIXELS:
            raise SystemExit(f"{path} has {photo.width * photo.height:,} pixels, more than {MOST_PIXELS:,}")
        return np.asarray(ImageOps.exif_transpose(photo).convert("RGB"))[None]


def main() -> None:
    """Convert the files that were named."""
    parser = argparse.ArgumentParser(description="Convert image files with the converter of this release.")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dial", type=float, help="for a converter that has one; by default the release's")
    given = parser.parse_args()
    manifest = json.loads((HERE / "release.json").read_text(encoding="utf-8"))
    converter, dial = open_converter(manifest), manifest["dial"]
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
        Image.fromarray(payload[0]).save(given.out / f"{path.name}.png")


if __name__ == "__main__":
    main()
