"""Small signed releases for tests, made in milliseconds: a hand-made converter, invented figures, new keys."""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save

from dapter.release.folder import sign_with_key, to_json, write_files
from dapter.types import Measurement
from dapter.verify.claims import claims_of

OPSET = 18
DIGEST = hashlib.sha256(b"no data").hexdigest()
SERVICE = hashlib.sha256(b"no service").hexdigest()
SEED = 3


@cache
def keys(folder: Path, name: str = "signing") -> tuple[Path, Path]:
    """A new private and public key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def make_graph(dial=False):
    """An ONNX model that keeps a tenth (or 1 - lam) of what differs from grey; any number and size of images."""
    weights = {"grey": np.float32(128), "low": np.float32(0), "high": np.float32(255)}
    if dial:
        weights["one"] = np.float32(1)
        kept = [helper.make_node("Sub", ["one", "lam"], ["keep"])]
    else:
        weights["keep"] = np.float32(0.1)
        kept = []
    nodes = [
        *kept,
        helper.make_node("Cast", ["image"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["levels", "grey"], ["residue"]),
        helper.make_node("Mul", ["residue", "keep"], ["less"]),
        helper.make_node("Add", ["less", "grey"], ["drawn"]),
        helper.make_node("Round", ["drawn"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "low", "high"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["payload"], to=TensorProto.UINT8),
    ]
    sizes = ["N", "H", "W", 3]
    inputs = [helper.make_tensor_value_info("image", TensorProto.UINT8, sizes)]
    if dial:
        inputs.append(helper.make_tensor_value_info("lam", TensorProto.FLOAT, []))
    graph = helper.make_graph(
        nodes,
        "converter",
        inputs,
        [helper.make_tensor_value_info("payload", TensorProto.UINT8, sizes)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def make_manifest(dial=False, exports=("exports/converter.onnx",)):
    """All of release.json but its table of files."""
    settings = {"lam": 0.9, "net": "paper", "width": 8}
    data = {"name": "faces", "settings": {"n": 200}, "targets": ["Smiling"], "secrets": [], "digest": DIGEST}
    entry = {"format": "onnx", "precision": "float32", "opset": OPSET, "sizes": "any", "parity": {}}
    return {
        "format": "dapter-release/1",
        "name": "faces-Smiling",
        "version": "1.0.0",
        "licence": "Apache-2.0",
        "targets": {"Smiling": ["no", "yes"]},
        "defence": "dapter",
        "settings": settings,
        "service": {"digest": SERVICE, "targets": ["Smiling"]},
        "image": {"channels": "RGB", "dtype": "uint8", "layout": "NHWC", "sizes": "any", "trained": [32, 32]},
        "dial": {"name": "lam", "low": 0.0, "high": 0.98, "default": 0.9} if dial else None,
        "budget_bits": None,
        "exports": [{"path": path, **entry} for path in exports],
        "training": {"code": "0.1.0", "data": data, "seed": SEED, "plan": {"epochs": 1}, "environment": {}},
    }


def make_results(manifest):
    """Lines of results as a small audit leaves them; the figures are invented."""
    common = {
        "defence": manifest["defence"],
        "data": "faces",
        "target": "Smiling",
        "settings": {**manifest["settings"], "image_size": [32, 32]},
        "seed": SEED,
        "data_digest": DIGEST,
        "source": "tests/releases/make.py",
    }
    attacked = {**common, "secret": "Eyeglasses", "attack": "recognition", "floor": 0.5, "ceiling": 0.9, "leak": 0.75}
    return [
        Measurement(measure="target_accuracy", value=0.9, low=0.8256, high=0.9448, n=100, **common),
        Measurement(measure="target_accuracy_original", value=0.95, low=0.8882, high=0.9785, n=100, **common),
        Measurement(measure="agreement", value=0.92, low=0.8500, high=0.9589, n=100, **common),
        Measurement(measure="secret_balanced_accuracy", value=0.8, low=0.71, high=0.87, n=100, **attacked),
        Measurement(measure="leak", value=0.75, low=0.5, high=0.9, n=100, **attacked),
    ]


def make_contents(manifest, graph=None, results=None):
    """Every file of a release but release.json and the signature."""
    results = make_results(manifest) if results is None else results
    graph = make_graph(bool(manifest["dial"])) if graph is None else graph
    model = graph if isinstance(graph, bytes) else graph.SerializeToString(deterministic=True)
    return {
        "claims.json": to_json(claims_of(results)),
        "results.jsonl": "".join(line.to_json() + "\n" for line in results).encode(),
        "weights.safetensors": save({"keep": np.array([0.1], np.float32)}),
        "MODEL_CARD.md": b"# A converter for tests\n",
        "bom.cdx.json": json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6"}).encode(),
        "LICENSE": b"Apache-2.0\n",
        "runner/convert.py": b"print('a runner')\n",
        **{entry["path"]: model for entry in manifest["exports"]},
    }


def make_release(folder: Path, key: Path, *, dial=False, manifest=None, contents=None) -> Path:
    """A release in a new folder, signed; wrong on purpose where `manifest` or `contents` are."""
    manifest = manifest or make_manifest(dial)
    write_files(folder, manifest, contents or make_contents(manifest))
    sign_with_key(folder, key)
    return folder
