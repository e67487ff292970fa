"""Writes the signed releases that the tests in web/tests use; they are committed, with the key that signed them.

    python tests/web/make_fixtures.py

Each run makes a new key, and signs all of them anew.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1]))

from dapter.runner import Converter
from releases.make import keys, make_contents, make_graph, make_manifest, make_release

FIXTURES = Path(__file__).parents[2] / "web/tests/fixtures"


def main():
    shutil.rmtree(FIXTURES, ignore_errors=True)
    FIXTURES.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as folder:
        private, public = keys(Path(folder))
        _, stranger = keys(Path(folder), "stranger")
        shutil.copy(public, FIXTURES / "signing.pub")
        shutil.copy(stranger, FIXTURES / "stranger.pub")
        make_release(FIXTURES / "honest", private)
        make_release(FIXTURES / "dial", private, dial=True)
        for name, graph in hostile_graphs().items():
            manifest = make_manifest()
            make_release(FIXTURES / name, private, manifest=manifest, contents=make_contents(manifest, graph))
        other = {**make_manifest(), "format": "dapter-release/2"}
        make_release(FIXTURES / "future", private, manifest=other)
    image = np.random.default_rng(7).integers(0, 256, (1, 5, 7, 3), np.uint8)
    payload = Converter(make_graph().SerializeToString()).convert(image)
    pair = {"height": 5, "width": 7, "image": image.ravel().tolist(), "payload": payload.ravel().tolist()}
    (FIXTURES / "pair.json").write_text(json.dumps(pair) + "\n")


def hostile_graphs():
    """Signed by the provider's own key, and yet no converters."""
    extra = make_graph()
    extra.graph.input.append(helper.make_tensor_value_info("location", TensorProto.FLOAT, []))
    leaky = make_graph()
    leaky.graph.output.append(helper.make_tensor_value_info("residue", TensorProto.FLOAT, ["N", "H", "W", 3]))
    copies = make_graph()
    del copies.graph.node[:], copies.graph.initializer[:]
    copies.graph.node.append(helper.make_node("Identity", ["image"], ["payload"]))
    return {"extra_input": extra, "extra_output": leaky, "gives_the_original": copies}


if __name__ == "__main__":
    main()
