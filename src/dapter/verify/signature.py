"""model.sig: an OpenSSF model signature (a Sigstore bundle, in it a DSSE envelope, in it an in-toto statement).

Read here with `cryptography` alone, because the `model-signing` package takes longer to import than a whole
verification; the tests check that the two agree. Sources: github.com/sigstore/model-transparency,
github.com/secure-systems-lab/dsse (protocol 1.0.0).
"""

import base64
import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dapter.errors import UsageError, need
from dapter.verify import strict_json
from dapter.verify.folder import Stamp
from dapter.verify.limits import MANIFEST, MEBI, SIGNATURE
from dapter.verify.problems import Broken, Problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"


@dataclass(frozen=True)
class Identity:
    """Who signs without a key of their own, by Sigstore.

    Attributes:
        name: such as an e-mail address, as in the certificate.
        issuer: the URL of the OpenID Connect provider that vouches for the name.
    """

    name: str
    issuer: str


def load_key(path: Path) -> "EllipticCurvePublicKey":
    """A public key, PEM, ECDSA on the curve P-256.

    Raises:
        UsageError: no such key there.
        MissingExtra: `cryptography` is not installed.
    """
    need("cryptography", "verify")
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        with path.open("rb") as file:
            key = load_pem_public_key(file.read(MEBI))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no public key ({error}). Cure: the provider's signing.pub, PEM") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise UsageError(f"{path} is no ECDSA key on P-256. Cure: the provider's signing.pub, PEM")
    return key


def fingerprint(key: "EllipticCurvePublicKey") -> str:
    """SHA-256 of the key's PEM, 64 hex digits, as model-signing writes it into a signature."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def read_signature(data: bytes, key: "EllipticCurvePublicKey") -> dict[str, str]:
    """What was signed: the SHA-256 of each file.

    Args:
        data: of model.sig.

    Raises:
        Broken: not a signature of this key, or not of this form.
    """
    with _form():
        bundle = strict_json.loads(data)
        if bundle["mediaType"] != BUNDLE:
            raise Broken(f"is of type {ascii(bundle['mediaType'])[:80]}, not {BUNDLE}")
        _check_hint(bundle["verificationMaterial"], key)
        _check_names(bundle)
        signature, payload = _open(bundle)
        _check(key, signature, payload)
        return _resources(strict_json.loads(payload))


def read_sigstore(folder: Path, data: bytes, signer: Identity) -> dict[str, str]:
    """What was signed without a key: the SHA-256 of each file. Needs the `release` extra and, at first, a network.

    Args:
        folder: the release.
        data: of model.sig.

    Raises:
        Broken: not a signature of that identity, or not of this form.
        MissingExtra: `model-signing` is not installed.
    """
    config = need("model_signing.verifying", "release").Config()
    config.use_sigstore_verifier(identity=signer.name, oidc_issuer=signer.issuer)
    try:
        config.verify(folder, folder / SIGNATURE)
    except Exception as error:  # the library lets the errors of its network and its parsers through
        raise Broken(f"is not a valid Sigstore signature of {signer.name} ({error})") from error
    with _form():
        return _resources(strict_json.loads(_open(strict_json.loads(data))[1]))


def compare_signature(signed: Mapping[str, str], stamps: Mapping[str, Stamp], covered: bool) -> list[Problem]:
    """Where the files on the disk are not those that were signed.

    Args:
        signed: as `read_signature` gives it.
        stamps: of the files that are there.
        covered: whether release.json and the files agree with one another.
    """
    here = {name: stamp.sha256 for name, stamp in stamps.items() if name != SIGNATURE}
    if covered and MANIFEST in here and signed.get(MANIFEST) != here[MANIFEST]:
        return [Problem("signature", SIGNATURE, "is a true signature, but of another version of this release")]
    return [
        Problem("signature", ascii(name)[1:-1], _difference(signed.get(name), here.get(name)))
        for name in sorted({*signed, *here})
        if signed.get(name) != here.get(name)
    ]


def _difference(signed: str | None, here: str | None) -> str:
    if signed is None:
        return "is not covered by the signature"
    return "was signed, but cannot be read or is missing" if here is None else "is not the file that was signed"


@contextlib.contextmanager
def _form() -> Iterator[None]:
    """Turn what a misshapen signature raises into one message."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Broken(f"is not of the form of an OpenSSF model signature ({type(error).__name__}: {error})") from error


def _open(bundle: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """The signature and the payload of a bundle's envelope."""
    envelope = bundle["dsseEnvelope"]
    if envelope["payloadType"] != PAYLOAD:
        raise Broken(f"signs {ascii(envelope['payloadType'])[:80]}, not {PAYLOAD}")
    (signature,) = envelope["signatures"]
    return _decode(signature["sig"]), _decode(envelope["payload"])


def _decode(text: str) -> bytes:
    """Base64 that is written in the one usual way."""
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise Broken("holds base64 that is written in an unusual way")
    return data


def _check_names(bundle: Mapping[str, Any]) -> None:
    """Raise unless a bundle says nothing beside the signature: what is not read could mean something to others."""
    envelope = bundle["dsseEnvelope"]
    material = bundle["verificationMaterial"]
    said = [set(bundle), set(material), set(material["publicKey"]), set(envelope)]
    said += [set(signature) for signature in envelope["signatures"]]
    usual = [
        {"mediaType", "verificationMaterial", "dsseEnvelope"},
        {"publicKey", "tlogEntries"},
        {"hint"},
        {"payload", "payloadType", "signatures"},
        {"sig", "keyid"},
    ]
    if said[: len(usual)] != usual or material["tlogEntries"] != [] or envelope["signatures"][0]["keyid"] != "":
        raise Broken("says more than a signature with a key pair does")


def _check_hint(material: Mapping[str, Any], key: "EllipticCurvePublicKey") -> None:
    if "publicKey" not in material:
        raise Broken("is not made with a key pair. Cure: verify it by --identity and --issuer")
    hint = material["publicKey"]["hint"]
    if hint != fingerprint(key):
        raise Broken(f"was made with another key, {ascii(hint)[1:20]}..., not with {fingerprint(key)[:16]}...")


def _check(key: "EllipticCurvePublicKey", signature: bytes, payload: bytes) -> None:
    """Raise unless the key signed the payload (DSSE's pre-authentication encoding)."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    encoded = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    try:
        key.verify(signature, encoded, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise Broken("is not valid: the key did not sign this") from error


def _resources(statement: Mapping[str, Any]) -> dict[str, str]:
    """The SHA-256 of each file that a statement covers."""
    if statement["_type"] != STATEMENT or statement["predicateType"] != PREDICATE:
        raise Broken("signs something else than a model")
    predicate = statement["predicate"]
    if predicate["serialization"]["method"] != "files":
        raise Broken("does not sign whole files")
    found: dict[str, str] = {}
    root = hashlib.sha256()
    for entry in predicate["resources"]:
        if entry["algorithm"] != "sha256" or entry["name"] in found:
            raise Broken(f"names {ascii(entry['name'])[:80]} twice, or with another hash than SHA-256")
        found[entry["name"]] = bytes.fromhex(entry["digest"]).hex()
        root.update(bytes.fromhex(entry["digest"]))
    (subject,) = statement["subject"]
    if subject["digest"] != {"sha256": root.hexdigest()}:
        raise Broken("contradicts itself: its root digest is not that of its files")
    return found
