"""Write the files of a release: its table of checksums, and its signature."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dapter.errors import UsageError, need
from dapter.verify.limits import MANIFEST, SIGNATURE


def to_json(value: Any) -> bytes:
    """JSON for people and for hashes: sorted, indented, always the same bytes for the same value."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def write_files(folder: Path, manifest: Mapping[str, Any], contents: Mapping[str, bytes]) -> None:
    """Write the files of a release that is not signed yet.

    Args:
        folder: new.
        manifest: all of release.json but `files`.
        contents: every other file, by its path in the release.
    """
    table = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    for name, data in {**contents, MANIFEST: to_json({**manifest, "files": table})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def sign_with_key(folder: Path, key: Path, password: str | None = None) -> None:
    """Sign every file of a folder with a private key (PEM, ECDSA on P-256), offline, into `model.sig`.

    The library has no deterministic ECDSA: two signatures of the same files differ, and both are valid.

    Raises:
        UsageError: no such key, or a wrong password.
        MissingExtra: `model-signing` is not installed.
    """
    config = _config(folder)
    try:
        config.use_elliptic_key_signer(private_key=key, password=password)
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{key} cannot sign ({error}). Cure: a key made as docs/release_format.md says") from error
    config.sign(folder, folder / SIGNATURE)


def sign_with_sigstore(folder: Path) -> None:
    """Sign every file of a folder with Sigstore: no key, but a network, a login and a public log.

    Raises:
        MissingExtra: `model-signing` is not installed.
    """
    _config(folder).use_sigstore_signer(use_ambient_credentials=True).sign(folder, folder / SIGNATURE)


def _config(folder: Path) -> Any:
    signing = need("model_signing.signing", "release")
    hashing = need("model_signing.hashing", "release")
    hashed = hashing.Config().set_ignored_paths(paths=[folder / SIGNATURE], ignore_git_paths=False)
    return signing.Config().set_hashing_config(hashed)
