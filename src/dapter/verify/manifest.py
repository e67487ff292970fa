"""release.json: what a release says it holds, against its schema, against itself and against the files."""

from collections.abc import Iterator, Mapping
from typing import Any

from dapter.verify import strict_json
from dapter.verify.folder import Folder
from dapter.verify.limits import MANIFEST, REQUIRED, SIGNATURE, SUFFIXES, name_fault, place_fault
from dapter.verify.problems import Broken, Problem
from dapter.verify.schema import faults, load

FORMAT = "dapter-release/1"


def read_manifest(data: bytes) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The manifest, and what is wrong with it; None if it cannot be used.

    Args:
        data: of release.json.
    """
    try:
        value = strict_json.loads(data)
    except Broken as fault:
        return None, [Problem("manifest", MANIFEST, str(fault))]
    if isinstance(value, dict) and value.get("format") != FORMAT:
        found = ascii(value.get("format"))[:80]
        return None, [Problem("manifest", MANIFEST, f"is of format {found}, this reader knows {FORMAT}")]
    wrong = faults(value, load("release-1"))
    if wrong:
        return None, [Problem("manifest", MANIFEST, each) for each in wrong]
    return value, [Problem("manifest", MANIFEST, each) for each in _contradictions(value)]


def _contradictions(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Where a manifest that fits the schema contradicts itself or the format."""
    if sorted(manifest["service"]["targets"]) != sorted(manifest["targets"]):
        yield "targets and service.targets name different targets"
    for target, classes in manifest["targets"].items():
        if len(set(classes)) < len(classes):
            yield f"targets.{target} names a class twice"
    dial = manifest["dial"]
    if dial and not dial["low"] <= dial["default"] <= dial["high"]:
        yield f"dial.default {dial['default']} is outside {dial['low']} to {dial['high']}"
    yield from _export_contradictions(manifest)
    files = manifest["files"]
    for name in REQUIRED:
        if name not in files:
            yield f"files does not name {name}"
    if not any(name.startswith("runner/") for name in files):
        yield "files names nothing in runner/"
    for name in files:
        if name in (MANIFEST, SIGNATURE):
            yield f"files names {name}, which it cannot cover"
        elif fault := name_fault(name) or place_fault(name):
            yield f"files names {ascii(name)[1:-1]}: {fault}"


def _export_contradictions(manifest: Mapping[str, Any]) -> Iterator[str]:
    exports, files = manifest["exports"], manifest["files"]
    paths = [export["path"] for export in exports]
    if len(set(paths)) < len(paths):
        yield "exports names a file twice"
    if not any(export["format"] == "onnx" for export in exports):
        yield "exports holds no ONNX graph, the form that can be checked"
    for export in exports:
        if export["path"] not in files:
            yield f"exports names {export['path']}, files does not"
        if not export["path"].endswith(SUFFIXES[export["format"]]):
            yield f"{export['path']} is called {export['format']}, whose files end in {SUFFIXES[export['format']]}"
        if (export["opset"] is not None) != (export["format"] == "onnx"):
            yield f"{export['path']}: opset belongs to onnx, and only to it"
    for name in files:
        if name.startswith("exports/") and name not in paths:
            yield f"files names {ascii(name)[1:-1]}, exports does not describe it"


def compare_files(manifest: Mapping[str, Any], folder: Folder) -> list[Problem]:
    """Where the files on the disk are not those of the manifest: nothing missing, nothing extra, nothing changed."""
    found = []
    files = manifest["files"]
    unreadable = {problem.path for problem in folder.problems}
    for name in sorted({*files, *folder.stamps} - {MANIFEST, SIGNATURE}):
        stamp, wanted = folder.stamps.get(name), files.get(name)
        if wanted is None:
            found.append(Problem("files", name, "is in the folder, but not in release.json: an added file"))
        elif stamp is None:
            if name not in unreadable:
                found.append(Problem("files", ascii(name)[1:-1], "is in release.json, but not in the folder"))
        elif stamp.size != wanted["bytes"]:
            how = "truncated" if stamp.size < wanted["bytes"] else "too long"
            found.append(
                Problem("files", name, f"is {how}: {stamp.size:,} bytes, release.json says {wanted['bytes']:,}")
            )
        elif stamp.sha256 != wanted["sha256"]:
            found.append(Problem("files", name, "is not the file of release.json: its SHA-256 differs"))
    return found
