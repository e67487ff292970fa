"""Running a release and measuring it again: what is honest is confirmed, what is not is contradicted."""

import dataclasses
import itertools

import numpy as np
import onnx
import pytest
from onnx import helper

from dapter.attacks.as_is import AsIs
from dapter.errors import ConversionError
from dapter.evaluate import evaluate
from dapter.exporting import export
from dapter.recompute import recompute
from dapter.recompute.channel import look_for_channel, plant
from dapter.recompute.retrain import retrain
from dapter.recompute.sandbox import convert_apart
from dapter.release.build import Terms, build_release
from dapter.release.folder import sign_with_key
from dapter.verify import inspect_release, verify_release
from releases.make import keys, make_contents, make_graph, make_release

ATTACKS = (AsIs(),)
"""Quick ones: what is tested here is the comparison."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def honest(trained, service, data, pair, tmp_path_factory):
    """A verified release of a real run."""
    evaluate(trained, service, data, source="tests")
    if not (trained.path / "exports").exists():
        export(trained, "onnx", service, data)
    folder = tmp_path_factory.mktemp("releases")
    (folder / "LICENSE").write_text("terms")
    built = build_release(
        trained,
        folder / "honest",
        service=service,
        sign=lambda draft: sign_with_key(draft, pair[0]),
        check=lambda draft: inspect_release(draft, pair[1]),
        terms=Terms(licence_file=folder / "LICENSE"),
    )
    return verify_release(built, pair[1])


def forge(release, pair, folder, *, results=None, graph=None):
    """The release with other results or another graph, signed again with the true key: no rule is broken."""
    manifest = {name: value for name, value in release.manifest.items() if name != "files"}
    contents = {name: release.read(name) for name in release.manifest["files"]}
    if results is not None:
        fresh = make_contents(manifest, graph=b"", results=results)
        contents |= {name: fresh[name] for name in ("claims.json", "results.jsonl")}
    if graph is not None:
        contents["exports/converter.onnx"] = graph.SerializeToString()
    return verify_release(make_release(folder, pair[0], manifest=manifest, contents=contents), pair[1])


def verdicts(outcomes):
    return {outcome.what: outcome.verdict for outcome in outcomes}


def again(release, data, service, root):
    return recompute(release, data, service, attacks=ATTACKS, preset="tiny", root=root)


def test_an_honest_release_is_confirmed(honest, data, service, tmp_path):
    found = verdicts(again(honest, data, service, tmp_path))
    assert found["exports/converter.onnx gives what the weights give"] == "confirmed"
    assert found["accuracy of the answer (colour)"] == "confirmed"
    assert "contradicted" not in {verdict for what, verdict in found.items() if "channel" not in what}
    assert found["leak of image"] == "could not check"  # measured, but the release claims nothing about it


def test_a_false_accuracy_is_contradicted(honest, pair, data, service, tmp_path):
    results = [
        dataclasses.replace(line, value=0.2, low=0.05, high=0.35) if line.measure == "target_accuracy" else line
        for line in honest.results
    ]
    forged = forge(honest, pair, tmp_path / "forged", results=results)
    assert verdicts(again(forged, data, service, tmp_path))["accuracy of the answer (colour)"] == "contradicted"


def test_a_leak_that_is_larger_than_claimed_is_contradicted(honest, pair, data, service, tmp_path):
    own = honest.results[0]
    attacked = {"secret": "image", "attack": "as_is", "floor": 0.1, "ceiling": 1.0, "leak": -0.9, "n": 48}
    line = dataclasses.replace(own, measure="ssim", value=-0.7, low=-0.71, high=-0.69, **attacked)
    head = dataclasses.replace(line, measure="leak", value=-0.9, low=-0.91, high=-0.89)
    forged = forge(honest, pair, tmp_path / "forged", results=[*honest.results, line, head])
    assert verdicts(again(forged, data, service, tmp_path))["image, leak (colour)"] == "contradicted"


def test_data_whose_classes_are_in_another_order_check_no_claim(honest, data, service, tmp_path):
    turned = dataclasses.replace(data, classes={"colour": ("blue", "red")})
    found = [
        each for each in again(honest, turned, service, tmp_path) if each.what == "accuracy of the answer (colour)"
    ]
    assert [each.verdict for each in found] == ["could not check"]
    assert "class 0 of colour is red to the service" in found[0].reason


def test_without_a_service_no_claim_can_be_checked(honest, data, tmp_path):
    found = verdicts(again(honest, data, None, tmp_path))
    assert found["accuracy of the answer (colour)"] == "could not check"
    assert found["exports/converter.onnx gives what the weights give"] == "confirmed"


def backdoor(honest):
    """The honest export, but the lowest bit of every value is that of the original: nobody sees it, a program does."""
    model = onnx.load_from_string(honest.export())
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            if name == "payload":
                node.output[place] = "fair"
    parts = [("two", 2), ("one", 1)]
    model.graph.initializer.extend(
        [helper.make_tensor(name, onnx.TensorProto.UINT8, [], [value]) for name, value in parts]
    )
    model.graph.node.extend(
        [
            helper.make_node("Div", ["fair", "two"], ["half"]),
            helper.make_node("Mul", ["half", "two"], ["even"]),
            helper.make_node("Mod", ["image", "two"], ["hidden"]),
            helper.make_node("Mul", ["hidden", "one"], ["faint"]),
            helper.make_node("Add", ["even", "faint"], ["payload"]),
        ]
    )
    return model


def test_a_backdoor_that_copies_faint_details_is_contradicted(honest, pair, data, service, tmp_path):
    forged = forge(honest, pair, tmp_path / "forged", graph=backdoor(honest))  # no rule of the light check is broken
    found = verdicts(recompute(forged, data, None, root=tmp_path))
    assert found["exports/converter.onnx gives what the weights give"] == "contradicted"


@pytest.mark.parametrize(
    ("convert", "verdict"),
    [
        (lambda images: np.full_like(images, 128), "confirmed"),
        (lambda images: images // 64 * 64, "confirmed"),
        (lambda images: 128 + (images & 1), "contradicted"),
        (lambda images: np.roll(images // 64 * 64 + (images & 1), 1, axis=2), "contradicted"),
    ],
    ids=["grey", "four levels", "copies the lowest bit", "copies it to the neighbour"],
)
def test_a_channel_is_found_where_there_is_one(convert, verdict):
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (300, 4, 4, 3)).repeat(4, axis=1).repeat(4, axis=2)
    images = np.clip(smooth + rng.integers(-3, 4, smooth.shape), 0, 255).astype(np.uint8)
    assert look_for_channel(convert, images).verdict == verdict


def test_what_is_planted_cannot_be_seen():
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 13, 3), np.uint8)
    pattern, bits = np.zeros((9, 13, 3), int), np.ones((5, 16), int)
    planted = plant(images, pattern, bits)
    assert np.abs(planted.astype(int) - images).max() == 1
    assert (planted & 1).all()
    assert look_for_channel(lambda each: each, images).verdict == "could not check"


def test_a_graph_that_passes_the_rules_but_asks_for_too_much_is_stopped():
    model = make_graph()
    names = ["drawn", *(f"twice{number}" for number in range(40))]
    pairs = itertools.pairwise(names)
    nodes = [helper.make_node("Concat", [name, name], [after], axis=0) for name, after in pairs]
    model.graph.node[4].input[0] = names[-1]
    for node in reversed(nodes):
        model.graph.node.insert(4, node)
    images = np.zeros((4, 64, 64, 3), np.uint8)
    with pytest.raises(ConversionError):
        convert_apart("onnx", "bomb.onnx", model.SerializeToString(), images, None, memory=3 * 2**30)


def test_training_again_gives_the_same(honest, data, service, tmp_path):
    (outcome,) = retrain(honest, data, service, root=tmp_path)
    assert (outcome.verdict, outcome.found) == ("confirmed", "the same weights to the last bit")
    other = dataclasses.replace(data, digest="f" * 64)
    assert retrain(honest, other, service, root=tmp_path)[0].verdict == "could not check"


def test_training_again_with_another_outcome_is_contradicted(honest, pair, data, service, tmp_path):
    from safetensors.numpy import load, save

    weights = load(honest.read("weights.safetensors"))
    weights = {name: np.asarray(value * 5, value.dtype) for name, value in weights.items()}
    contents = {name: honest.read(name) for name in honest.manifest["files"]} | {"weights.safetensors": save(weights)}
    manifest = {name: value for name, value in honest.manifest.items() if name != "files"}
    forged = verify_release(make_release(tmp_path / "forged", pair[0], manifest=manifest, contents=contents), pair[1])
    assert "contradicted" in verdicts(retrain(forged, data, service, root=tmp_path)).values()


def test_weights_of_another_network_are_contradicted(honest, pair, data, tmp_path):
    from safetensors.numpy import save

    contents = {name: honest.read(name) for name in honest.manifest["files"]}
    contents["weights.safetensors"] = save({"other": np.zeros(3, np.float32)})
    manifest = {name: value for name, value in honest.manifest.items() if name != "files"}
    forged = verify_release(make_release(tmp_path / "forged", pair[0], manifest=manifest, contents=contents), pair[1])
    (outcome,) = recompute(forged, data, None, root=tmp_path)
    assert outcome.verdict == "contradicted"
