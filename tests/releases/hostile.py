"""Releases that somebody has tampered with, each made by one function: (name, what verification must say, the damage).

`@tampered` damages the folder after it was signed: an attacker without the key. `@dishonest` changes what goes in, and
signs it properly: a provider who cheats. Both get a fresh honest release to start from.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import struct

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from dapter.release.folder import sign_with_key, to_json
from releases.make import keys, make_contents, make_graph, make_manifest, make_release, make_results

TAMPERED, DISHONEST = [], []
EXPORT = "exports/converter.onnx"


def tampered(message):
    return lambda function: TAMPERED.append((function.__name__, message, function)) or function


def dishonest(message):
    return lambda function: DISHONEST.append((function.__name__, message, function)) or function


def edit(path, change):
    """Change a JSON file in place, written as releases write it."""
    value = json.loads(path.read_text())
    path.write_bytes(to_json(change(value) or value))


# An attacker without the key


@tampered("is in the folder, but not in release.json: an added file")
def an_added_file(release, key):
    (release / "runner/more.py").write_text("print('more')\n")


@tampered("a file that has no place in the format")
def an_added_pickle_that_the_manifest_names(release, key):
    (release / "weights.pkl").write_bytes(b"\x80\x04.")
    restamp(release, "weights.pkl")


@tampered("is in release.json, but not in the folder")
def a_missing_file(release, key):
    (release / "MODEL_CARD.md").unlink()


@tampered("is truncated")
def a_truncated_file(release, key):
    path = release / EXPORT
    path.write_bytes(path.read_bytes()[:-10])


@tampered("is too long")
def a_file_with_an_end_of_its_own(release, key):
    with (release / "weights.safetensors").open("ab") as file:
        file.write(b"more")


@tampered("is not the file of release.json: its SHA-256 differs")
def a_swapped_export(release, key):
    twin = make_graph()
    twin.graph.initializer[-1].CopyFrom(numpy_helper.from_array(np.float32(0.9), twin.graph.initializer[-1].name))
    (release / EXPORT).write_bytes(twin.SerializeToString(deterministic=True))


@tampered("a symbolic link")
def a_link_out_of_the_folder(release, key):
    path = release / "MODEL_CARD.md"
    path.rename(release.parent / "elsewhere.md")
    path.symlink_to(release.parent / "elsewhere.md")


@tampered("a symbolic link")
def a_linked_folder(release, key):
    shutil.move(release / "runner", release.parent / "runner")
    (release / "runner").symlink_to(release.parent / "runner")


@tampered("a hard link")
def a_second_name_for_a_file(release, key):
    os.link(release / EXPORT, release.parent / "other.onnx")


@tampered("neither a plain file nor a folder")
def a_pipe(release, key):
    (release / "MODEL_CARD.md").unlink()
    os.mkfifo(release / "MODEL_CARD.md")


@tampered("a hidden file")
def a_hidden_file(release, key):
    (release / ".hidden").write_text("here\n")


@tampered("letters other than")
def a_name_that_looks_like_another(release, key):
    (release / "clаims.json").write_text("[]\n")  # noqa: RUF001 # the a is Cyrillic


@tampered("differs from .* in upper and lower case only")
def a_name_in_other_case(release, key):
    (release / "Claims.json").write_text("[]\n")


@tampered("reserved on Windows")
def a_name_of_a_device(release, key):
    (release / "runner/nul.py").write_text("\n")


@tampered("lies more than 3 folders deep")
def a_deep_folder(release, key):
    (release / "a/b/c").mkdir(parents=True)
    (release / "a/b/c/d").write_text("\n")


@tampered("more than 256 files")
def a_thousand_files(release, key):
    for number in range(300):
        (release / f"runner/{number}.py").write_text("\n")


@tampered("more than the 1,048,576 that are allowed")
def a_huge_manifest(release, key):
    with (release / "release.json").open("ab") as file:
        file.truncate(2**30)  # a hole: no space is used


@tampered("leads out of the release")
def a_path_that_escapes(release, key):
    edit(release / "release.json", lambda value: value["files"].update({"../key": {"sha256": "0" * 64, "bytes": 1}}))


@tampered("claims.json: is not the file that was signed")
def an_edited_claim(release, key):
    edit(release / "claims.json", lambda value: value[0].update(value=0.99))


@tampered("claim . .* says value 0.01, line . says 0.75")
def a_claim_edited_with_its_checksum(release, key):
    def change(value):
        next(claim for claim in value if claim["measure"] == "leak")["value"] = 0.01

    edit(release / "claims.json", change)
    restamp(release, "claims.json")


@tampered("is a true signature, but of another version of this release")
def an_old_signature_on_a_new_release(release, key):
    manifest = {**make_manifest(), "version": "2.0.0"}
    old = (release / "model.sig").read_bytes()
    shutil.rmtree(release)
    make_release(release, key, manifest=manifest)
    (release / "model.sig").write_bytes(old)


@tampered("was made with another key")
def a_signature_of_somebody_else(release, key):
    (release / "model.sig").unlink()
    sign_with_key(release, keys(release.parent, "stranger")[0])


@tampered("is not valid: the key did not sign this")
def a_signature_of_somebody_else_under_our_name(release, key):
    hint = json.loads((release / "model.sig").read_text())["verificationMaterial"]
    a_signature_of_somebody_else(release, key)
    bundle = json.loads((release / "model.sig").read_text())
    (release / "model.sig").write_text(json.dumps({**bundle, "verificationMaterial": hint}))


@tampered("is missing or unreadable")
def no_signature(release, key):
    (release / "model.sig").unlink()


@tampered("is not of the form of an OpenSSF model signature")
def two_signatures_in_one(release, key):
    def change(value):
        value["dsseEnvelope"]["signatures"] *= 2

    edit(release / "model.sig", change)


@tampered("is not covered by the signature")
def a_signature_that_leaves_a_file_out(release, key):
    content = (release / "LICENSE").read_bytes()
    (release / "LICENSE").unlink()
    (release / "model.sig").unlink()
    sign_with_key(release, key)
    (release / "LICENSE").write_bytes(content)


@tampered("nested deeper")
def a_manifest_as_deep_as_a_well(release, key):
    (release / "release.json").write_bytes(b"[" * 100_000 + b"]" * 100_000)


@tampered("twice in one object")
def a_manifest_with_two_meanings(release, key):
    text = (release / "release.json").read_text()
    (release / "release.json").write_text(text.replace('"name":', '"name": "other",\n  "name":', 1))


@tampered("is not UTF-8")
def a_manifest_in_another_encoding(release, key):
    (release / "release.json").write_bytes((release / "release.json").read_text().encode("utf-16"))


@tampered("is not JSON")
def a_manifest_that_is_an_archive(release, key):
    (release / "release.json").write_bytes(b"PK\x05\x06" + b"\0" * 18)


def restamp(release, name):
    """Bring release.json's checksum of a file up to date."""
    data = (release / name).read_bytes()
    stamp = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    edit(release / "release.json", lambda value: value["files"].update({name: stamp}))


# A provider who cheats: everything is signed with the true key


@dishonest("is of format 'dapter-release/2'")
def a_format_of_the_future(manifest, contents):
    manifest["format"] = "dapter-release/2"


@dishonest("telemetry is unknown")
def a_field_that_nobody_knows(manifest, contents):
    manifest["telemetry"] = True


@dishonest("service is missing")
def a_manifest_without_a_service(manifest, contents):
    del manifest["service"]


@dishonest("letters that cannot be seen")
def a_class_with_letters_that_turn_the_line(manifest, contents):
    manifest["targets"]["Smiling"][0] = "on\u202e"


@dishonest("dial.default 2.0 is outside")
def a_dial_beyond_its_range(manifest, contents):
    manifest["dial"] = {"name": "lam", "low": 0.0, "high": 0.98, "default": 2.0}


@dishonest("exports does not describe it")
def an_export_that_nobody_describes(manifest, contents):
    contents["exports/second.onnx"] = contents[EXPORT]


@dishonest("no place in the format")
def a_compiled_runner(manifest, contents):
    contents["runner/convert.pyc"] = b"\0" * 16


@dishonest("whose files end in .onnx")
def an_archive_called_a_graph(manifest, contents):
    manifest["exports"].append({**manifest["exports"][0], "path": "exports/converter.pte"})
    contents["exports/converter.pte"] = b"PK\x03\x04"


@dishonest("does not begin as a file of its format")
def an_archive_called_a_phone_export(manifest, contents):
    entry = {**manifest["exports"][0], "path": "exports/converter.pte", "format": "executorch", "opset": None}
    manifest["exports"].append(entry)
    contents["exports/converter.pte"] = b"PK\x03\x04" + b"\0" * 64


@dishonest("has notes of its own")
def weights_with_notes(manifest, contents):
    tensor = {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}
    header = json.dumps({"__metadata__": {"for": "someone"}, "a": tensor})
    contents["weights.safetensors"] = struct.pack("<Q", len(header)) + header.encode() + b"\0"


@dishonest("a gap or an overlap")
def weights_with_a_hiding_place(manifest, contents):
    header = json.dumps({"a": {"dtype": "U8", "shape": [1], "data_offsets": [9, 10]}})
    contents["weights.safetensors"] = struct.pack("<Q", len(header)) + header.encode() + b"\0" * 10


@dishonest("has a header of")
def weights_with_an_endless_header(manifest, contents):
    contents["weights.safetensors"] = struct.pack("<Q", 2**62) + b"{}"


@dishonest("has a header of")
def weights_that_are_a_pickle(manifest, contents):
    contents["weights.safetensors"] = b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00."


# Graphs


def graph(change):
    """The damage that changes the exported graph."""

    def damage(manifest, contents):
        model = make_graph(bool(manifest["dial"]))
        model = change(model) or model
        contents[EXPORT] = model if isinstance(model, bytes) else model.SerializeToString(deterministic=True)

    damage.__name__ = change.__name__
    return damage


def prepend(model, *nodes):
    """Put nodes before the others; the first reads `image`, the last gives what the others read instead of it."""
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == "image":
                node.input[place] = nodes[-1].output[0]
    model.graph.node.extend(nodes)
    model.graph.node.extend([model.graph.node.pop(0) for _ in range(len(model.graph.node) - len(nodes))])


@dishonest("a subgraph .control flow.")
@graph
def a_graph_with_control_flow(model):
    branch = helper.make_graph([], "branch", [], [])
    prepend(model, helper.make_node("If", ["image"], ["chosen"], then_branch=branch, else_branch=branch))


@dishonest("operator RandomNormalLike, which is not allowed .a random source")
@graph
def a_graph_with_a_random_source(model):
    prepend(model, helper.make_node("RandomNormalLike", ["image"], ["noise"]))


@dishonest("operator LSTM, which is not allowed .a state")
@graph
def a_graph_with_a_state(model):
    prepend(model, helper.make_node("LSTM", ["image"], ["kept"]))


@dishonest("operator StringNormalizer, which is not allowed")
@graph
def a_graph_with_an_operator_on_texts(model):
    prepend(model, helper.make_node("StringNormalizer", ["image"], ["text"]))


@dishonest("the custom operator com.example.Send")
@graph
def a_graph_with_a_custom_operator(model):
    prepend(model, helper.make_node("Send", ["image"], ["sent"], domain="com.example"))


@dishonest("imports operators of 'com.example'")
@graph
def a_graph_that_imports_foreign_operators(model):
    model.opset_import.append(helper.make_opsetid("com.example", 1))


@dishonest("functions of its own")
@graph
def a_graph_with_functions(model):
    model.functions.append(helper.make_function("", "f", ["a"], ["b"], [], []))


@dishonest("external data")
@graph
def a_graph_with_weights_elsewhere(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="../../etc/passwd")


@dishonest("declare 1,099,511,627,776 elements")
@graph
def a_graph_bomb_of_weights(model):
    model.graph.initializer[0].dims.extend([2**20, 2**20])


@dishonest("Expand asks for .* a bomb")
@graph
def a_graph_bomb_of_shapes(model):
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20]), "size"))
    prepend(model, helper.make_node("Expand", ["image", "size"], ["large"]))


@dishonest("more than 4,096")
@graph
def a_graph_bomb_of_operations(model):
    names = ["image", *(f"step{number}" for number in range(5000))]
    prepend(model, *(helper.make_node("Identity", [a], [b]) for a, b in itertools.pairwise(names)))


@dishonest("more parts than any converter needs")
@graph
def a_graph_bomb_of_empty_messages(model):
    empty = b"\x0a\x00" * 4_100_000  # GraphProto.node without content: two bytes here, hundreds in memory
    body = model.graph.SerializeToString() + empty
    size, length = b"", len(body)
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    model.ClearField("graph")
    return model.SerializeToString() + b"\x3a" + size + bytes([length]) + body


@dishonest("weights that nothing uses")
@graph
def a_graph_with_a_hidden_cargo(model):
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(1000, np.uint8), "cargo"))


@dishonest("whose result nothing uses")
@graph
def a_graph_with_an_idle_branch(model):
    model.graph.node.append(helper.make_node("Neg", ["residue"], ["idle"]))


@dishonest("before it is made")
@graph
def a_graph_with_a_cycle(model):
    model.graph.node[1].input[0] = "drawn"


@dishonest("makes 'levels' twice")
@graph
def a_graph_that_makes_a_value_twice(model):
    model.graph.node.append(helper.make_node("Identity", ["image"], ["levels"]))


@dishonest("allowed: payload alone")
@graph
def a_graph_with_a_second_output(model):
    model.graph.output.append(helper.make_tensor_value_info("levels", TensorProto.FLOAT, None))


@dishonest("takes 'device', 'image'; allowed: image")
@graph
def a_graph_that_asks_for_more(model):
    model.graph.input.append(helper.make_tensor_value_info("device", TensorProto.FLOAT, []))


@dishonest("whoever runs it could replace")
@graph
def a_graph_whose_weights_are_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("grey", TensorProto.FLOAT, []))


@dishonest("is not uint8 .N, H, W, 3.")
@graph
def a_graph_of_floats(model):
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


@dishonest("another size")
@graph
def a_graph_that_enlarges(model):
    for value, side in ((model.graph.input[0], 32), (model.graph.output[0], 64)):
        value.type.tensor_type.shape.dim[1].Clear()
        value.type.tensor_type.shape.dim[1].dim_value = side


@dishonest("is of opset 18, the manifest says 17")
def a_graph_of_another_opset(manifest, contents):
    manifest["exports"][0]["opset"] = 17


@dishonest("takes 'image'; allowed: image, lam")
def a_dial_that_the_graph_lacks(manifest, contents):
    manifest["dial"] = {"name": "lam", "low": 0.0, "high": 0.98, "default": 0.9}


@dishonest("metadata")
@graph
def a_graph_with_metadata(model):
    model.metadata_props.add(key="to", value="someone")


@dishonest("a part for training")
@graph
def a_graph_that_trains(model):
    model.training_info.add()


@dishonest("has ModelProto.ir_version twice")
@graph
def two_graphs_in_one_file(model):
    return model.SerializeToString(deterministic=True) * 2


@dishonest("has field 64 of ModelProto, which no converter needs")
def a_graph_that_is_a_pickle(manifest, contents):
    contents[EXPORT] = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94."


# Claims


def claims(change):
    """The damage that changes the lines of results, and the claims with them where `change` gives claims."""

    def damage(manifest, contents):
        results = change(make_results(manifest))
        fresh = make_contents(manifest, results=results)
        contents["results.jsonl"], contents["claims.json"] = fresh["results.jsonl"], fresh["claims.json"]

    damage.__name__ = change.__name__
    return damage


def replace(results, place, **changes):
    return [dataclasses.replace(line, **changes) if number == place else line for number, line in enumerate(results)]


@dishonest("the worst leak of 'Eyeglasses' is kept back: 0.75")
def a_worst_leak_kept_back(manifest, contents):
    kept = [claim for claim in json.loads(contents["claims.json"]) if claim["measure"] != "leak"]
    contents["claims.json"] = to_json(kept)


@dishonest("the worst leak of 'Eyeglasses' is kept back: 0.95")
def a_smaller_leak_said_to_be_the_worst(manifest, contents):
    results = make_results(manifest)
    worse = [dataclasses.replace(line, leak=0.95, seed=3) for line in results[3:]]
    worse[1] = dataclasses.replace(worse[1], value=0.95, high=0.99)
    results = [*results, *worse]
    true = make_contents(manifest, results=results)
    kept = [claim for claim in json.loads(true["claims.json"]) if claim["measure"] != "leak"]
    small = [{**claim, "line": 4} for claim in json.loads(contents["claims.json"]) if claim["measure"] == "leak"]
    contents["results.jsonl"], contents["claims.json"] = true["results.jsonl"], to_json(kept + small)


@dishonest("the line of their worst leak is missing")
@claims
def results_without_the_worst_leak(results):
    return results[:4]


@dishonest("the line of their worst leak is missing")
@claims
def a_worst_leak_hidden_behind_a_measure_without_one(results):
    return [*results[:4], dataclasses.replace(results[3], measure="secret_auc", leak=None)]


@dishonest("is that of no attack in the file")
@claims
def a_leak_of_no_attack(results):
    return replace(results, 4, value=0.1, low=0.0, leak=0.1)


@dishonest("graded guaranteed, which no attack or sample can show")
@claims
def a_guarantee_that_is_none(results):
    return replace(results, 0, grade="guaranteed")


@dishonest("that 100 images do not give")
@claims
def an_interval_too_narrow(results):
    return replace(results, 0, low=0.899, high=0.901)


@dishonest("outside its interval")
@claims
def a_value_outside_its_interval(results):
    return replace(results, 3, value=0.95)


@dishonest("is of the seed 4")
@claims
def figures_of_another_seed(results):
    return replace(results, 0, seed=4)


@dishonest("with other settings .'lam'")
@claims
def figures_of_another_converter(results):
    return replace(results, 0, settings={**results[0].settings, "lam": 0.98})


@dishonest("several converters with these settings, the subjects '0123456789ab', 'ba9876543210'")
@claims
def figures_of_another_training(results):
    of = ("0123456789ab", "0123456789ab", "ba9876543210")
    named = [
        dataclasses.replace(line, settings={**line.settings, "subject": each})
        for line, each in zip(results[:3], of, strict=True)
    ]
    return [*named, *results[3:]]


@dishonest("on other data")
@claims
def figures_of_other_data(results):
    return replace(results, 0, data_digest="f" * 64)


@dishonest("target_accuracy was measured .* but is not claimed")
def an_accuracy_kept_back(manifest, contents):
    kept = [claim for claim in json.loads(contents["claims.json"]) if claim["measure"] != "target_accuracy"]
    contents["claims.json"] = to_json(kept)


@dishonest("names line 99 of results.jsonl, which has 5")
def a_claim_of_no_line(manifest, contents):
    made = json.loads(contents["claims.json"])
    contents["claims.json"] = to_json([{**made[0], "line": 99}, *made[1:]])


@dishonest("holds NaN, which is no number")
def a_claim_that_is_no_number(manifest, contents):
    contents["claims.json"] = contents["claims.json"].replace(b'"value": 0.9\n', b'"value": NaN\n')


@dishonest("is not JSON")
def a_claim_of_a_million_digits(manifest, contents):
    contents["claims.json"] = contents["claims.json"].replace(b'"value": 0.9\n', b'"value": 1' + b"0" * 500_000 + b"\n")


@dishonest("line 0 has n")
def a_line_of_the_wrong_type(manifest, contents):
    contents["results.jsonl"] = contents["results.jsonl"].replace(b'"n": 100', b'"n": "many"', 1)


@dishonest("does not end with a line's end")
def truncated_results(manifest, contents):
    contents["results.jsonl"] = contents["results.jsonl"][:-1]


@dishonest("says 8.0, release.json says None")
@claims
def a_budget_that_the_manifest_does_not_know(results):
    budget = dataclasses.replace(results[0], measure="budget_bits", value=8.0, low=None, high=None, grade="guaranteed")
    return [*results, budget]
