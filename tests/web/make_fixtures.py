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
from web.painted import STAMPS, make_painted_release, make_painter

FIXTURES = Path(__file__).parents[2] / "web/tests/fixtures"
SIZES = ((4, 4), (8, 12), (5, 7), (4, 13), (11, 6), (3, 2), (1, 1), (17, 32))
"""Of pictures that Python paints of stamps: whole multiples, others, and too small to show every pixel of a stamp."""


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
        make_painted_release(FIXTURES / "stamps", private)
        make_painted_release(FIXTURES / "stamps_and_more", private, cheat=True)
        make_painted_release(FIXTURES / "budget_without_stamps", private, published=False)
        make_painted_release(FIXTURES / "stamps_without_budget", private, budget=None)
    rng = np.random.default_rng(7)
    image = rng.integers(0, 256, (1, 5, 7, 3), np.uint8)
    write_pair("pair", make_graph(), image)
    write_pair("stamps_pair", make_painter(), image)
    pictures = [STAMPS.paint(rng.integers(0, 4, (1, 4)), size)[0] for size in SIZES]
    (FIXTURES / "pictures.json").write_text(json.dumps([as_record(pixels) for pixels in pictures]) + "\n")


def write_pair(name, graph, image):
    """What a converter makes of an image in Python."""
    payload = Converter(graph.SerializeToString()).convert(image)
    record = {**as_record(image[0]), "payload": payload.ravel().tolist()}
    (FIXTURES / f"{name}.json").write_text(json.dumps(record) + "\n")


def as_record(pixels):
    return {"height": pixels.shape[0], "width": pixels.shape[1], "pixels": pixels.ravel().tolist()}


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
