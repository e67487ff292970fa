"""Check a release without running it: pure rules over bytes, no torch, no ONNX Runtime.

The format, and what these checks prove: docs/release_format.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dapter.errors import CheckFailed
from dapter.stamps import Stamps, read_stamps
from dapter.types import Measurement
from dapter.verify.claims import check_claims, read_claims, read_results
from dapter.verify.folder import Folder
from dapter.verify.graphs import graph_faults
from dapter.verify.limits import CLAIMS, MANIFEST, RESULTS, SIGNATURE, STAMPS, WEIGHTS
from dapter.verify.manifest import compare_files, read_manifest
from dapter.verify.problems import Broken, Problem
from dapter.verify.signature import (
    Identity,
    compare_signature,
    fingerprint,
    load_key,
    read_signature,
    read_sigstore,
)
from dapter.verify.stamps import stamps_faults
from dapter.verify.weights import mobile_faults, weights_faults


@dataclass(frozen=True)
class Release:
    """A release that was verified; what is read from it is what was verified, or an error.

    Attributes:
        path: the folder.
        signer: SHA-256 of the public key (PEM) that signed it, 64 hex digits; or the name that Sigstore vouches for.
        manifest: release.json.
        claims: claims.json.
        results: the lines of results.jsonl.
    """

    path: Path
    signer: str
    manifest: Mapping[str, Any]
    claims: tuple[Mapping[str, Any], ...]
    results: tuple[Measurement, ...]
    _folder: Folder

    def read(self, path: str) -> bytes:
        """The bytes of a file of the release, by its path in it.

        Raises:
            CheckFailed: it has changed since it was verified, or is not in the release.
        """
        try:
            return self._folder.read(path)
        except Broken as fault:
            raise CheckFailed(f"{path} in {self.path} {fault}. Cure: verify the release again") from fault

    def export(self, form: str = "onnx", precision: str = "float32") -> bytes:
        """The bytes of an export.

        Args:
            form: `onnx`, `executorch` or `litert`.
            precision: `float32`, `float16` or `int8`.

        Raises:
            CheckFailed: the release has none like that, or it has changed.
        """
        for entry in self.manifest["exports"]:
            if (entry["format"], entry["precision"]) == (form, precision):
                return self.read(entry["path"])
        there = ", ".join(f"{entry['format']} {entry['precision']}" for entry in self.manifest["exports"])
        raise CheckFailed(f"{self.path} has no {form} {precision} export. Cure: choose one of: {there}")

    def stamps(self) -> tuple[Stamps, tuple[int, int]] | None:
        """What payloads are made of, and height and width of the pictures; None: it has no hard budget of bits.

        Raises:
            CheckFailed: the stamps have changed since they were verified.
        """
        return read_stamps(self.read(STAMPS)) if STAMPS in self.manifest["files"] else None


@dataclass(frozen=True)
class Findings:
    """What a check of a release came to.

    Attributes:
        problems: everything that is wrong; none: the release was verified.
        signer: who was asked for, as in `Release`.
        release: what could be read of it, verified or not; None without a usable manifest.
    """

    path: Path
    problems: tuple[Problem, ...]
    signer: str
    release: Release | None

    def require(self) -> Release:
        """The release, if nothing is wrong with it.

        Raises:
            CheckFailed: something is; the message lists all of it.
        """
        if not self.problems and self.release is not None:
            return self.release
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        raise CheckFailed(
            f"{self.path} failed verification, do not use it:\n{listed}\nCure: get the release again from its maker"
        )


def verify_release(path: Path | str, key: Path | str | Identity) -> Release:
    """A release, once every rule holds.

    Args:
        path: the folder.
        key: the provider's public key, a PEM file that you got in another way than with the release; or who signed it
            by Sigstore.

    Raises:
        CheckFailed: something is wrong; the message lists all of it.
        UsageError: no folder, or no public key.
    """
    return inspect_release(path, key).require()


def inspect_release(path: Path | str, key: Path | str | Identity) -> Findings:
    """Check every rule and list what is broken.

    Args:
        path, key: as for `verify_release`.

    Raises:
        UsageError: no folder, or no public key.
    """
    public = key if isinstance(key, Identity) else load_key(Path(key))
    folder = Folder.scan(Path(path))
    problems = list(folder.problems)
    manifest = _manifest(folder, problems)
    uncovered = compare_files(manifest, folder) if manifest else []
    problems += uncovered
    try:
        data = folder.read(SIGNATURE)
        if isinstance(public, Identity):
            signed = read_sigstore(folder.root, data, public)
        else:
            signed = read_signature(data, public)
        problems += compare_signature(signed, folder.stamps, covered=bool(manifest) and not uncovered)
    except Broken as fault:
        problems.append(Problem("signature", SIGNATURE, str(fault)))
    signer = public.name if isinstance(public, Identity) else fingerprint(public)
    if manifest is None:
        return Findings(folder.root, tuple(problems), signer, None)
    problems += _exports(folder, manifest)
    claims, results = _claims(folder, manifest, problems)
    release = Release(folder.root, signer, manifest, tuple(claims), tuple(results), folder)
    return Findings(folder.root, tuple(problems), signer, release)


def _manifest(folder: Folder, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        manifest, found = read_manifest(folder.read(MANIFEST))
    except Broken as fault:
        manifest, found = None, [Problem("manifest", MANIFEST, str(fault))]
    problems += found
    return manifest


def _exports(folder: Folder, manifest: Mapping[str, Any]) -> list[Problem]:
    """What is wrong with the weights, the stamps and the exports that can be read."""
    found = []
    if manifest["budget_bits"] is not None and STAMPS not in manifest["files"]:
        message = f"missing: what payloads of at most {manifest['budget_bits']} bits are made of must be published"
        found.append(Problem("stamps", STAMPS, message))
    for path in (WEIGHTS, STAMPS, *(entry["path"] for entry in manifest["exports"])):
        if path not in folder.stamps:
            continue  # listed already
        try:
            data = folder.read(path)
        except Broken as fault:
            found.append(Problem("files", path, str(fault)))
            continue
        if path == WEIGHTS:
            found += [Problem("weights", path, each) for each in weights_faults(data)]
        elif path == STAMPS:
            found += [Problem("stamps", path, each) for each in stamps_faults(data, manifest)]
        elif path.endswith(".onnx"):
            entry = next(entry for entry in manifest["exports"] if entry["path"] == path)
            found += [Problem("graph", path, each) for each in graph_faults(data, entry, manifest["dial"])]
        else:
            found += [Problem("graph", path, each) for each in mobile_faults(path, data)]
    return found


def _claims(
    folder: Folder, manifest: Mapping[str, Any], problems: list[Problem]
) -> tuple[list[dict[str, Any]], list[Measurement]]:
    try:
        claims, faults = read_claims(folder.read(CLAIMS))
        results, others = read_results(folder.read(RESULTS))
    except Broken as fault:
        problems.append(Problem("claims", CLAIMS, str(fault)))
        return [], []
    problems += faults + others
    if not faults and not others:
        problems += check_claims(claims, results, manifest)
    return claims, results
