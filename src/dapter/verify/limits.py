"""How large anything in a release may be. Nothing is read beyond these, whatever a file says of itself."""

import re
from pathlib import PurePosixPath

MANIFEST = "release.json"
CLAIMS = "claims.json"
RESULTS = "results.jsonl"
WEIGHTS = "weights.safetensors"
CARD = "MODEL_CARD.md"
BOM = "bom.cdx.json"
LICENCE = "LICENSE"
SIGNATURE = "model.sig"
STAMPS = "stamps.json"
"""The stamps that payloads are made of, for whoever sends or paints them packed; of some defences."""

REQUIRED = (CLAIMS, RESULTS, WEIGHTS, CARD, BOM, LICENCE)
"""Files that every release has, beside the manifest, the signature, an export and a runner."""

SUFFIXES = {"onnx": ".onnx", "executorch": ".pte", "litert": ".tflite"}
"""Of exports, by format."""

MEBI = 2**20
BYTES = {MANIFEST: MEBI, CLAIMS: MEBI, RESULTS: 16 * MEBI, WEIGHTS: 512 * MEBI, SIGNATURE: MEBI, BOM: MEBI}
EXPORT_BYTES = 128 * MEBI
OTHER_BYTES = MEBI
TOTAL_BYTES = 1024 * MEBI

MAX_FILES = 256
MAX_DEPTH = 3
MAX_NAME = 100
"""Letters of one part of a path."""

CHUNK = MEBI
"""Bytes that are hashed at a time."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_PLACES = (
    re.compile(r"exports/[^/]+\.(onnx|pte|tflite)"),
    re.compile(r"runner/[^/]+\.(py|md|txt)"),
)


def limit_of(path: str) -> int:
    """The most bytes that the file of that path may have."""
    if path.startswith("exports/"):
        return EXPORT_BYTES
    return BYTES.get(path, OTHER_BYTES)


def name_fault(path: str) -> str:
    """Why a path may not be in a release; empty if it may.

    Names are plain ASCII, so that no two look alike, none hides, and all mean the same on every system.
    """
    parts = path.split("/")
    if path.startswith("/") or "\\" in path or ".." in parts or ":" in path:
        return f"the path {path!a} leads out of the release"
    if len(parts) > MAX_DEPTH:
        return f"lies more than {MAX_DEPTH} folders deep"
    for part in parts:
        if len(part) > MAX_NAME:
            return f"a name of more than {MAX_NAME} letters"
        if part.startswith("."):
            return "a hidden file or folder"
        if not _PART.fullmatch(part) or part.endswith("."):
            return f"the name {part!a} has letters other than A-Z, a-z, 0-9, '.', '_' and '-'"
        if _RESERVED.fullmatch(part):
            return f"the name {part} is reserved on Windows"
    return ""


def place_fault(path: str) -> str:
    """Why a file has no place in the format; empty if it has one."""
    if path in (MANIFEST, SIGNATURE, STAMPS, *REQUIRED) or any(place.fullmatch(path) for place in _PLACES):
        return ""
    suffix = PurePosixPath(path).suffix
    return f"a file that has no place in the format (only data and source are allowed, no {suffix or 'such file'})"
