"""bom.cdx.json: a CycloneDX 1.6 ML-BOM. The library has no class for a model card, so the JSON is written here."""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dapter.errors import CheckFailed, need
from dapter.release.folder import to_json


def make_bom(manifest: Mapping[str, Any], claims: Sequence[Mapping[str, Any]], weights: bytes) -> bytes:
    """The bill of materials, always the same for the same release: no time, and a serial number from the content.

    Args:
        manifest: release.json, but for `files`.
        claims: of claims.json.
        weights: of weights.safetensors.

    Raises:
        CheckFailed: it does not fit CycloneDX's own schema.
        MissingExtra: the CycloneDX library is not installed.
    """
    training = manifest["training"]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _model(manifest, claims, weights)},
        "components": [
            {
                "type": "data",
                "bom-ref": "training-data",
                "name": training["data"]["name"],
                "data": [{"type": "dataset", "name": training["data"]["name"]}],
                "hashes": [{"alg": "SHA-256", "content": training["data"]["digest"]}],
            },
            *(
                {"type": "library", "bom-ref": name, "name": name, "version": str(training["environment"][name])}
                for name in ("numpy", "torch")
                if name in training["environment"]
            ),
            {"type": "application", "bom-ref": "dapter", "name": "dapter", "version": training["code"]},
        ],
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, hashlib.sha256(to_json(bom)).hexdigest())
    found = to_json({**bom, "serialNumber": f"urn:uuid:{serial}"})
    _validate(found)
    return found


def _model(manifest: Mapping[str, Any], claims: Sequence[Mapping[str, Any]], weights: bytes) -> dict[str, Any]:
    expression = any(word in manifest["licence"] for word in (" AND ", " OR ", " WITH "))
    return {
        "type": "machine-learning-model",
        "bom-ref": "converter",
        "name": manifest["name"],
        "version": manifest["version"],
        "licenses": [{"expression": manifest["licence"]} if expression else {"license": {"name": manifest["licence"]}}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(weights).hexdigest()}],
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "image conversion",
                "architectureFamily": manifest["defence"],
                "datasets": [{"ref": "training-data"}],
                "inputs": [{"format": "uint8 (N, H, W, 3) RGB image"}],
                "outputs": [{"format": "uint8 (N, H, W, 3) RGB image"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": [_metric(claim) for claim in claims]},
            "considerations": {
                "technicalLimitations": [
                    "Figures graded measured say what attacks found, not what there is to find; see MODEL_CARD.md"
                ]
            },
        },
    }


def _metric(claim: Mapping[str, Any]) -> dict[str, Any]:
    about = " ".join(f"{name}={claim[name]}" for name in ("target", "secret", "attack") if claim[name] is not None)
    found: dict[str, Any] = {"type": claim["measure"], "value": json.dumps(claim["value"]), "slice": about}
    if claim["low"] is not None:
        found["confidenceInterval"] = {
            "lowerBound": json.dumps(claim["low"]),
            "upperBound": json.dumps(claim["high"]),
        }
    return found


def _validate(data: bytes) -> None:
    validation = need("cyclonedx.validation.json", "release")
    schema = need("cyclonedx.schema", "release")
    wrong = validation.JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(data.decode())
    if wrong is not None:
        raise CheckFailed(f"the bill of materials does not fit CycloneDX 1.6 ({wrong}). Cure: report this error")
