"""Convert image files with the converter of this release.

Use it as: python runner/convert.py PHOTO... --out FOLDER

Needs Python 3.11, numpy, onnxruntime and pillow. It compares the files that it uses with their checksums in
release.json; whether that is the provider's, only the signature tells (`dapter verify`, or `model_signing verify key`).
Every file that it writes holds what leaves the device, and nothing of the original's metadata; none is overwritten. A
photo that cannot be converted is named, the others are converted, and the exit code is 1.
"""

import argparse
import hashlib
import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

HERE = Path(__file__).resolve().parents[1]
MOST_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")


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
    """An image file as uint8 (1, H, W, 3), RGB, upright, as `dapter.imagefile.open_image` opens it."""
    Image.init()
    with Image.open(path, formats=[name for name in FORMATS if name in Image.OPEN]) as photo:
        if photo.width * photo.height > MOST_PIXELS:
            raise ValueError(f"{photo.width * photo.height:,} pixels, more than {MOST_PIXELS:,}")
        return np.asarray(to_rgb(ImageOps.exif_transpose(photo)))[None]


def to_rgb(photo: Image.Image) -> Image.Image:
    """What is shown, and nothing that transparency hides: laid over grey. 16 bits are scaled to 8."""
    if photo.mode == "F":
        raise ValueError("its pixels are floats, whose white is not known: save it with 8 or 16 bits")
    if photo.mode.startswith("I"):
        depth = np.asarray(photo, dtype=np.float64)
        photo = Image.fromarray(np.clip(np.rint(depth / 257), 0, 255).astype(np.uint8))
    if photo.has_transparency_data:
        layered = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", layered.size, (128, 128, 128, 255)), layered)
    return photo.convert("RGB")


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


def convert(
    converter: onnxruntime.InferenceSession, inputs: dict, stamps: dict | None, path: Path, target: Path
) -> None:
    """Convert one file to a new one, written whole or not at all; any error means that nothing was written."""
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists and is not overwritten")
    image = open_photo(path)
    (payload,) = converter.run(["payload"], {"image": image, **inputs})
    if payload.shape != image.shape or payload.dtype != np.uint8 or np.array_equal(payload, image):
        raise ValueError("the converter gave back something else than a payload")
    if not made_of(stamps, payload):
        raise ValueError("the payload shows more than the stamps of stamps.json")
    encoded, temporary = io.BytesIO(), target.with_name(f".{target.name}.{os.getpid()}.tmp")
    Image.fromarray(payload[0]).save(encoded, "PNG")
    try:
        temporary.write_bytes(encoded.getvalue())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    """Convert the files that were named."""
    parser = argparse.ArgumentParser(description="Convert image files with the converter of this release.")
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="a folder; nothing in it is overwritten")
    parser.add_argument("--dial", type=float, help="for a converter that has one; by default the release's")
    given = parser.parse_args()
    if len({path.name for path in given.photos}) < len(given.photos):
        parser.error("two photos have the same name, and so would their copies: convert them into two folders")
    manifest = json.loads((HERE / "release.json").read_text(encoding="utf-8"))
    converter, stamps, dial = open_converter(manifest), open_stamps(manifest), manifest["dial"]
    inputs = {}
    if dial:
        value = dial["default"] if given.dial is None else given.dial
        if not dial["low"] <= value <= dial["high"]:
            raise SystemExit(f"--dial {value} is outside {dial['low']} to {dial['high']}")
        inputs = {dial["name"]: np.array(value, np.float32)}
    try:
        given.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out {given.out} is no folder that can be written ({error})")
    failed = 0
    for path in given.photos:
        try:
            convert(converter, inputs, stamps, path, given.out / f"{path.name}.png")
        except Exception as error:  # a damaged file makes the decoders raise almost anything
            print(f"{path}: not converted, nothing was written: {error}", file=sys.stderr)
            failed += 1
    if failed:
        raise SystemExit(f"{failed} of {len(given.photos)} photos were not converted")


if __name__ == "__main__":
    main()
