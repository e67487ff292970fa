"""The verbs of the audit as a user meets them; those of two folders are in test_pairs.py."""

import pyarrow.parquet as pq
import pytest
import torch

from dapter.cli import main
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Classifier
from dapter.service.load import save_classifier


@pytest.fixture(scope="module")
def common(tmp_path_factory):
    """Options of a small data set, a service that knows nothing, and where runs go."""
    folder = tmp_path_factory.mktemp("audits")
    torch.manual_seed(0)
    file = folder / "smiling.safetensors"
    save_classifier(file, Classifier(build_classifier("lenet", 2, 3), "Smiling", ("0", "1")))
    data = ["--data", "faces", "--n", "160", "--size", "16", "--target", "Smiling"]
    return folder, [*data, "--service", str(file), "--out", str(folder / "runs"), "--preset", "tiny"]


def test_one_attack_says_how_it_did_and_an_audit_finds_it_done(common, capsys):
    folder, options = common
    assert main(["attack", "constant", "as_is", *options]) == 0
    said = capsys.readouterr().out
    cells = sorted((folder / "runs/attacks").glob("as_is-constant-*"))
    assert len(cells) == 2
    assert all(str(cell) in said for cell in cells)
    assert "as_is (stretch yes): " in said
    assert "  image: SSIM 0." in said
    written = [(cell / "scores.jsonl").stat().st_mtime_ns for cell in cells]
    assert main(["audit", "constant", *options, "--attacks", "as_is", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert [(cell / "scores.jsonl").stat().st_mtime_ns for cell in cells] == written
    assert "Processor time of the audit of constant" in said
    assert (
        "1 of 8 begins: answer_image" in said
    )  # three floors and two attacks on originals, three floors on the subject


def test_settings_choose_the_attack(common, capsys):
    _, options = common
    command = ["attack", "identity", "recognition", *options, "--secrets", "Eyeglasses", "--seed", "3"]
    assert main([*command, "--set", "family=mlp"]) == 0
    said = capsys.readouterr().out
    assert said.count("recognition (") == 1
    assert "  Eyeglasses: AUC 0." in said


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["identity", "recognition"], "recognition wants secret labels. Cure: name them with --secrets"),
        (["identity", "magic"], "no attack named 'magic'"),
        (["identity", "as_is", "--set", "stretch"], "--set stretch is no setting. Cure: name=value"),
        (["dapter", "as_is"], "is not trained"),
    ],
)
def test_attacks_that_cannot_be_are_refused(args, message, common, capsys):
    assert main(["attack", *args, *common[1]]) == 2
    assert message in capsys.readouterr().err


def test_an_audit_of_a_defence_needs_a_service(capsys):
    assert main(["audit", "identity"]) == 2
    assert "no service is named. Cure: --service" in capsys.readouterr().err


def test_payloads_go_out_and_guesses_come_back(common, capsys, tmp_path):
    _, options = common
    runs = ["--out", str(tmp_path / "runs")]
    export = ["audit", "constant", *options, *runs, "--secrets", "Eyeglasses", "--export-payloads"]
    assert main([*export, str(tmp_path / "out")]) == 0
    assert "Hand out that folder and nothing else" in capsys.readouterr().out
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "`Eyeglasses:0`, `Eyeglasses:1`" in readme
    ids = pq.read_table(tmp_path / "out" / "test-00000.parquet")["id"].to_pylist()
    guesses = tmp_path / "guesses.csv"
    guesses.write_text("id,Eyeglasses:0,Eyeglasses:1\n" + "".join(f"{each},0.5,0\n" for each in ids))
    assert main(["audit", "--import-guesses", str(guesses), *runs]) == 0
    said = capsys.readouterr().out
    assert f"n = {len(ids)}" in said
    assert "without its floor and ceiling there is no leak" in said
    guesses.write_text(guesses.read_text() + f"{ids[0]},1,0\n")
    assert main(["audit", "--import-guesses", str(guesses), *runs]) == 1
    assert "twice or more" in capsys.readouterr().err
    assert main([*export, str(tmp_path / "out")]) == 2
    assert main(["audit", "constant", "--import-guesses", str(guesses)]) == 2
    assert main(["audit", *options, "--export-payloads", str(tmp_path / "new")]) == 2
