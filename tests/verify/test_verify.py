import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dapter.cli import main
from dapter.errors import CheckFailed, UsageError
from dapter.verify import inspect_release, verify_release
from releases.make import keys, make_contents, make_manifest, make_release, make_results


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def release(pair, tmp_path):
    return make_release(tmp_path / "release", pair[0])


def test_it_needs_no_heavy_library_and_little_time(release, pair):
    code = (
        "import sys, dapter; dapter.verify_release(*sys.argv[1:]);"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'model_signing', 'jsonschema', 'matplotlib')"
        " if name in sys.modules])"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(release), str(pair[1])]
    start = time.monotonic()
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    assert said.stdout == "[]\n"
    assert time.monotonic() - start < 10


def test_every_fault_is_listed_at_once(release, pair):
    (release / "LICENSE").unlink()
    (release / "MODEL_CARD.md").write_text("nice")
    (release / ".secret").write_text("")
    with pytest.raises(CheckFailed) as caught:
        verify_release(release, pair[1])
    for name in ("LICENSE", "MODEL_CARD.md", ".secret", "Cure:"):
        assert name in str(caught.value)


def test_a_secret_whose_leak_has_no_scale_needs_no_worst_leak(pair, tmp_path):
    manifest = make_manifest(False)
    *own, told, _ = make_results(manifest)
    unscaled = dataclasses.replace(told, measure="secret_auc", ceiling=None, leak=None, flags=("no_room",))
    contents = make_contents(manifest, results=[*own, unscaled, told])
    release = make_release(tmp_path / "release", pair[0], manifest=manifest, contents=contents)
    assert not [claim for claim in verify_release(release, pair[1]).claims if claim["secret"]]


def test_what_changes_after_it_was_verified_is_not_read(release, pair):
    found = verify_release(release, pair[1])
    path = release / "exports/converter.onnx"
    data = path.read_bytes()
    assert found.export() == data
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckFailed, match="has changed"):
        found.export()
    path.unlink()
    with pytest.raises(CheckFailed, match="cannot be read"):
        found.export()
    with pytest.raises(CheckFailed, match="choose one of: onnx float32"):
        found.export("litert")
    with pytest.raises(CheckFailed, match="is missing"):
        found.read("../signing.key")


def test_a_huge_file_is_not_read(release, pair):
    with (release / "exports/converter.onnx").open("r+b") as file:
        file.truncate(2**40)  # a hole: a tebibyte that takes no space
    start = time.monotonic()
    (problem,) = [each for each in inspect_release(release, pair[1]).problems if each.rule == "files"]
    assert "more than the 134,217,728 that are allowed" in problem.message
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key(release, tmp_path, content):
    (tmp_path / "bad.pub").write_bytes(content)
    with pytest.raises(UsageError, match="is no public key"):
        verify_release(release, tmp_path / "bad.pub")


def test_a_key_of_another_kind(release, tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = ed25519.Ed25519PrivateKey.generate().public_key()
    (tmp_path / "other.pub").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(UsageError, match="no ECDSA key on P-256"):
        verify_release(release, tmp_path / "other.pub")


def test_what_is_no_folder(release, pair, tmp_path):
    for path in (tmp_path / "nothing", pair[1]):
        with pytest.raises(UsageError, match="a release is a folder"):
            verify_release(path, pair[1])


def report_of(folder):
    return json.loads((folder / "report.json").read_text()), (folder / "report.html").read_text()


def test_the_command_writes_a_report_of_an_honest_release(release, pair, tmp_path, capsys):
    assert main(["verify", str(release), "--key", str(pair[1]), "--out", str(tmp_path / "out")]) == 0
    assert "every rule holds" in capsys.readouterr().out
    report, page = report_of(tmp_path / "out")
    assert report["verdict"] == "verified"
    assert all(rule["holds"] for rule in report["rules"])
    assert "Verified" in page
    assert "What this does not prove" in page
    assert "<script" not in page


def test_the_command_writes_a_report_of_a_broken_release(release, pair, tmp_path, capsys):
    (release / "MODEL_CARD.md").write_text("<script>alert(1)</script>")
    (release / "a<b>.md").write_text("")
    assert main(["verify", str(release), "--key", str(pair[1]), "--out", str(tmp_path / "out")]) == 1
    assert "MODEL_CARD.md" in capsys.readouterr().err
    report, page = report_of(tmp_path / "out")
    assert report["verdict"] == "failed"
    assert {problem["rule"] for problem in report["problems"]} == {"files", "signature"}
    assert "a&lt;b&gt;.md" in page


def test_a_release_without_a_manifest_has_a_report_too(release, pair, tmp_path):
    (release / "release.json").write_text("{}")
    assert main(["verify", str(release), "--key", str(pair[1]), "--out", str(tmp_path / "out")]) == 1
    report, page = report_of(tmp_path / "out")
    assert report["release"] is None
    assert "not checked" in page


def test_a_verification_leaves_the_release_as_it_was(release, pair, tmp_path, capsys, monkeypatch):
    before = sorted(release.rglob("*"))
    (tmp_path / "link").symlink_to(release)
    verify = ["verify", str(release), "--key", str(pair[1])]
    for place in (release, release / "verify", tmp_path / "link" / "verify"):
        assert main([*verify, "--out", str(place)]) == 2
    monkeypatch.chdir(release)
    assert main(["verify", ".", "--key", str(pair[1])]) == 2
    assert "from inside the release, --out ../verify" in capsys.readouterr().err
    assert main(["verify", ".", "--key", str(pair[1]), "--out", "../verify", "--recompute"]) == 2
    assert "--runs runs is inside the release" in capsys.readouterr().err
    assert sorted(release.rglob("*")) == before
    assert main(["verify", ".", "--key", str(pair[1]), "--out", "../verify"]) == 0
    assert main(["verify", ".", "--key", str(pair[1]), "--out", "../verify"]) == 0


def test_one_way_to_trust(release, pair, tmp_path, capsys):
    assert main(["verify", str(release)]) == 2
    assert main(["verify", str(release), "--key", str(pair[1]), "--sigstore", "a@b.c", "https://d.e"]) == 2
    assert "in one way" in capsys.readouterr().err


def test_comparing_from_the_command_line(release, pair, tmp_path, capsys):
    other = make_release(Path(tmp_path / "other"), pair[0], dial=True)
    assert main(["release", "diff", str(release), str(other), "--key", str(pair[1])]) == 0
    assert "dial: None ->" in capsys.readouterr().out
