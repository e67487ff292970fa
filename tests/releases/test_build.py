"""A release from a real run: built, verified, compared; its own runner, and the library of its signature."""

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dapter.errors import CheckFailed, RunError, UsageError
from dapter.evaluate import evaluate
from dapter.exporting import export
from dapter.release.build import Terms, build_release, collect_results
from dapter.release.card import make_card
from dapter.release.diff import compare_releases
from dapter.release.folder import sign_with_key
from dapter.runner import Converter
from dapter.runs import Run
from dapter.subjects import key_of, record_of
from dapter.train import load_defence
from dapter.types import Measurement
from dapter.verify import inspect_release, verify_release
from dapter.verify.claims import LEAK, claims_of
from dapter.verify.signature import Identity
from releases.make import keys, make_manifest, make_release, make_results

LICENCE = Path(__file__).parents[2] / "LICENSE"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def run(trained, service, data):
    """A run that is measured and exported."""
    evaluate(trained, service, data, source="tests")
    if not (trained.path / "exports").exists():
        export(trained, "onnx", service, data)
    return trained


@pytest.fixture(scope="module")
def audit(run, service, tmp_path_factory):
    """Lines as an audit leaves them, one about another training of the same settings."""
    own = Measurement.from_record(run.read_lines("results.jsonl")[0])
    subject = key_of(record_of(load_defence(run), service, run.manifest["seed"]))
    own = dataclasses.replace(own, settings={**own.settings, "subject": subject})
    attacked = {"secret": "shape", "attack": "recognition", "floor": 0.5, "ceiling": 1.0, "leak": 0.4, "n": 48}
    first = dataclasses.replace(own, measure="secret_balanced_accuracy", value=0.7, low=0.6, high=0.8, **attacked)
    head = dataclasses.replace(first, measure=LEAK, value=0.4, low=0.2, high=0.6)
    other = dataclasses.replace(head, value=0.9, low=0.8, leak=0.9, settings={**own.settings, "subject": "another"})
    path = tmp_path_factory.mktemp("audit") / "results.jsonl"
    path.write_text("".join(f"{line.to_json()}\n" for line in (first, head, other)))
    return path


def measured_by(command, lines, path):
    """The same lines, as that command would have written them."""
    records = [{**json.loads(line), "source": command} for line in lines.read_text().splitlines()]
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return path


def build(run, service, pair, folder, **more):
    return build_release(
        run,
        folder,
        service=service,
        sign=lambda draft: sign_with_key(draft, pair[0]),
        check=lambda draft: inspect_release(draft, pair[1]),
        terms=Terms(licence_file=LICENCE),
        **more,
    )


@pytest.fixture(scope="module")
def release(run, service, pair, audit, tmp_path_factory):
    return build(run, service, pair, tmp_path_factory.mktemp("releases") / "first", audits=[audit])


def test_it_verifies_and_converts_as_the_run_does(release, pair, run, data):
    images = data.splits["test"].images
    converted = Converter.open(verify_release(release, pair[1])).convert(images)
    expected = load_defence(run).protect(images).pixels
    assert np.abs(converted.astype(int) - expected).max() <= 1


def test_built_twice_it_is_the_same_but_for_the_signature(release, run, service, pair, audit, tmp_path):
    again = build(run, service, pair, tmp_path / "again", audits=[audit])
    names = {path.relative_to(release) for path in release.rglob("*") if path.is_file()}
    assert names == {path.relative_to(again) for path in again.rglob("*") if path.is_file()}
    different = {str(name) for name in names if (release / name).read_bytes() != (again / name).read_bytes()}
    assert different == {"model.sig"}


def test_only_figures_of_this_converter_are_taken_and_the_worst_leak_is_claimed(release, pair):
    found = verify_release(release, pair[1])
    (leak,) = [claim for claim in found.claims if claim["measure"] == LEAK]
    assert leak["value"] == 0.4
    assert "another" not in {line.settings.get("subject") for line in found.results}
    card = (release / "MODEL_CARD.md").read_text()
    assert card.index("leak 0.40") < card.index("accuracy of the answer") < card.index("What was not checked")


@pytest.mark.parametrize(
    ("command", "released"),
    [
        ("dapter audit /home/ada/runs/x --csv /home/ada/clinic.csv", "dapter audit"),
        ("dapter /home/ada", "dapter"),
        ("benchmarks/audit.py --root /home/ada", "audit.py"),
        ("python /home/ada/audit.py --root /home/ada", "audit.py"),
        ("", ""),
    ],
)
def test_of_a_command_only_program_and_verb_are_kept(run, service, audit, command, released, tmp_path):
    found = collect_results(run, service, [measured_by(command, audit, tmp_path / "results.jsonl")])
    assert {line.source for line in found if line.attack} == {released}


def test_no_path_of_a_command_line_gets_into_a_release(run, service, pair, audit, tmp_path):
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.path, copy.path)
    lines = [copy.path / "results.jsonl", tmp_path / "audit.jsonl"]
    measured_by("dapter train --out /home/ada/runs --csv /home/ada/clinic.csv", lines[0], lines[0])
    measured_by("dapter audit /home/ada/runs/x --root /home/ada/faces", audit, lines[1])
    built = build(copy, service, pair, tmp_path / "release", audits=[lines[1]])
    files = [path for path in built.rglob("*") if path.is_file()]
    assert not [path for path in files if b"/ada" in path.read_bytes() or str(tmp_path).encode() in path.read_bytes()]
    assert {line.source for line in verify_release(built, pair[1]).results} == {"dapter train", "dapter audit"}


def test_without_an_audit_the_card_says_so(run, service, pair, tmp_path):
    card = (build(run, service, pair, tmp_path / "bare") / "MODEL_CARD.md").read_text()
    assert "No attack was tried" in card


def test_a_secret_whose_leak_has_no_scale_is_said_to_be_unknown():
    manifest = make_manifest()
    *_, told, worst = results = make_results(manifest)
    results += [dataclasses.replace(told, secret="hat", ceiling=None, leak=None, flags=("no_room",))]
    card = make_card(manifest, claims_of(results), results)
    assert card.index("The secret Eyeglasses: leak 0.75") < card.index("The secret hat: not known")
    unknown = make_card(manifest, [], [line for line in results if line is not worst])
    assert "No attack was tried" not in unknown


def test_the_library_of_the_format_agrees(release, pair, tmp_path):
    from model_signing import verifying

    config = verifying.Config().use_elliptic_key_verifier(public_key=pair[1])
    config.verify(release, release / "model.sig")
    (release / "LICENSE").write_text("other terms")
    with pytest.raises(ValueError, match="LICENSE"):
        config.verify(release, release / "model.sig")
    (release / "LICENSE").write_bytes(LICENCE.read_bytes())


def test_its_own_runner_converts_files(release, tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    command = [sys.executable, str(release / "runner/convert.py"), str(tmp_path / "photo.png"), "--out", str(tmp_path)]
    environment = {"PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(command, check=True, env=environment, timeout=60)
    converted = np.asarray(Image.open(tmp_path / "photo.png.png"))
    expected = Converter((release / "exports/converter.onnx").read_bytes()).convert(photo[None])[0]
    assert np.array_equal(converted, expected)


def test_what_cannot_be_released(run, service, pair, audit, tmp_path):
    with pytest.raises(UsageError, match="is not overwritten"):
        build(run, service, pair, tmp_path)
    bare = Run(tmp_path / "bare")
    bare.path.mkdir()
    for name in ("manifest.json", "results.jsonl", "done"):
        (bare.path / name).write_bytes((run.path / name).read_bytes())
    with pytest.raises(RunError, match="no float32 ONNX export"):
        build(bare, service, pair, tmp_path / "out")
    manifest = (bare.path / "manifest.json").read_text()
    (bare.path / "manifest.json").write_text(json.dumps({**json.loads(manifest), "name": "pan"}))
    with pytest.raises(UsageError, match="a service that stays as it is"):
        build(bare, service, pair, tmp_path / "out")
    (bare.path / "manifest.json").write_text(manifest)
    (bare.path / "results.jsonl").unlink()
    (bare.path / "exports").symlink_to(run.path / "exports")
    with pytest.raises(RunError, match="was not measured"):
        build(bare, service, pair, tmp_path / "out")
    lines = [line for line in audit.read_text().splitlines() if '"another"' in line]
    (tmp_path / "others.jsonl").write_text("\n".join(lines))
    with pytest.raises(UsageError, match="says nothing of the converter"):
        build(run, service, pair, tmp_path / "out", audits=[tmp_path / "others.jsonl"])
    with pytest.raises(UsageError, match="cannot sign"):
        build(run, service, (pair[1], pair[1]), tmp_path / "out")
    with pytest.raises(CheckFailed, match="another key"):
        build(run, service, (pair[0], keys(tmp_path, "other")[1]), tmp_path / "out")
    with pytest.raises(UsageError, match="text of the licence MIT"):
        Terms(licence="MIT").text()
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".release-*"))


def test_differences_are_said(pair, tmp_path):
    old = make_release(tmp_path / "old", pair[0])
    manifest = make_manifest(dial=True)
    manifest |= {"version": "1.1.0", "settings": {**manifest["settings"], "lam": 0.8}}
    new = verify_release(make_release(tmp_path / "new", pair[0], manifest=manifest), pair[1])
    said = "\n".join(compare_releases(verify_release(old, pair[1]), new))
    for part in ("version: 1.0.0 -> 1.1.0", "settings.lam: 0.9 -> 0.8", "dial: None -> ", "another file", "worst leak"):
        assert part in said
    same = make_release(tmp_path / "same", pair[0])
    left = compare_releases(verify_release(old, pair[1]), verify_release(same, pair[1]))
    assert all("the worst leak" in line for line in left)


def test_a_keyless_signature_is_left_to_its_library(pair, tmp_path, monkeypatch):
    from model_signing import verifying

    release = make_release(tmp_path / "release", pair[0])
    asked = []

    def verify(self, folder, signature):
        asked.append((folder, signature))
        if len(asked) > 1:
            raise ValueError("no such identity in the log")

    monkeypatch.setattr(verifying.Config, "use_sigstore_verifier", lambda self, **given: self)
    monkeypatch.setattr(verifying.Config, "verify", verify)
    someone = Identity("someone@example.org", "https://accounts.example.org")
    assert verify_release(release, someone).signer == "someone@example.org"
    with pytest.raises(CheckFailed, match="no such identity in the log"):
        verify_release(release, someone)
