"""The command line as a user meets it: exit codes, messages, and the whole way once."""

import errno
import os
import re

import numpy as np
import pytest
from PIL import Image

from dapter.cli import main
from dapter.runs import Run

SMALL = ["--data", "faces", "--n", "240", "--size", "32", "--preset", "tiny", "--epochs", "1"]
AUDIT = ["--service", "SERVICE", *SMALL[:6], "--secrets", "Eyeglasses"]
BUILD = ["release", "build", "nowhere", "--out", "new", "--service", "no", "--key", "no.key"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run folder each of a service and a converter, made by the commands themselves."""
    out = tmp_path_factory.mktemp("runs")
    assert main(["service", "train", "--arch", "lenet", *SMALL, "--out", str(out)]) == 0
    service = next(out.glob("service-*"))
    assert main(["train", "--service", str(service), "--width", "4", *SMALL, "--out", str(out)]) == 0
    return service, next(out.glob("dapter-*"))


def test_training_measures_and_reports(trained):
    _, run = trained
    assert {path.name for path in run.iterdir()} >= {"done", "report.html", "results.jsonl", "weights.safetensors"}


def test_any_defence_is_trained_with_any_of_its_settings(trained, tmp_path):
    asked = ["--defence", "budget", "--budget-bits", "2", "--budget-bits-range", "1", "8", "--width", "4"]
    others = ["--set", "grid=2", "stamps=learned", "alphabet=8"]
    assert main(["train", "--service", str(trained[0]), *asked, *others, *SMALL, "--out", str(tmp_path)]) == 0
    settings = Run.load(next(tmp_path.glob("budget-*"))).manifest["settings"]
    assert settings["budget_bits_range"] == [1.0, 8.0]
    assert (settings["grid"], settings["stamps"], settings["alphabet"]) == (2, "learned", 8)


def test_what_a_defence_learns_to_hide_is_named(trained, tmp_path, capsys):
    command = [
        "train",
        "--service",
        str(trained[0]),
        "--defence",
        "pan",
        "--width",
        "4",
        *SMALL,
        "--out",
        str(tmp_path),
    ]
    assert main(command) == 2
    assert "Cure: name some with the data (--secrets)" in capsys.readouterr().err
    assert main([*command, "--secrets", "Eyeglasses"]) == 0
    assert "bytes of features" in capsys.readouterr().out
    assert Run.load(next(tmp_path.glob("pan-*"))).manifest["data"]["secrets"] == ["Eyeglasses"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--lam", "0.5"], "Its settings: budget_bits"),
        (["--set", "grid"], "Cure: name=value"),
        (["--set", "width=4"], "has no option itself"),
        (["--set", "grid=0"], "Cure"),
    ],
)
def test_settings_that_a_defence_does_not_have(trained, asked, message, capsys):
    assert main(["train", "--service", str(trained[0]), "--defence", "budget", *asked, *SMALL]) == 2
    assert message in capsys.readouterr().err


def test_converting_goes_past_a_bad_file_and_says_so(trained, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(photos / "good.jpg")
    (photos / "bad.jpg").write_bytes(b"no image")
    assert main(["convert", str(trained[1]), str(photos), str(tmp_path / "protected")]) == 1
    assert {path.name for path in (tmp_path / "protected").iterdir()} == {"good.jpg.png", "failures.jsonl"}
    said = capsys.readouterr()
    assert "bad.jpg" in said.out
    assert "1 images could not be converted" in said.err


def test_a_full_disk_is_said_and_every_failed_file_named(trained, tmp_path, capsys, monkeypatch):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)).save(photos / name)

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main(["convert", str(trained[1]), str(photos), str(tmp_path / "out"), "--workers", "1"]) == 1
    said = capsys.readouterr()
    assert said.out.count("not converted: ") == 2
    assert "0 written, 0 kept, 2 failed" in said.out
    assert re.search(r"No space left.*failures\.jsonl.*Cure", said.err)


@pytest.mark.parametrize(
    "args",
    [
        ["service", "train", *SMALL, "--out", "FILE"],
        ["train", "--service", "SERVICE", *SMALL, "--out", "FILE/runs"],
        ["audit", "RUN", *AUDIT, "--export-payloads", "FILE/payloads", "--out", "FOLDER"],
        ["report", "RUN", "--out", "."],
        ["report", "RUN", "--out", "FOLDER"],
        ["report", "RUN", "--out", "FILE/report.html"],
    ],
)
def test_what_cannot_be_written_is_said(trained, args, tmp_path, capsys):
    (tmp_path / "FILE").write_text("")
    names = {"SERVICE": trained[0], "RUN": trained[1], "FOLDER": tmp_path}
    given = [str(names.get(each, each)).replace("FILE", str(tmp_path / "FILE")) for each in args]
    assert main(given) == 1
    assert "Cure: check the path, its rights" in capsys.readouterr().err
    assert (tmp_path / "FILE").read_text() == ""


def test_showing_a_service_and_listing_runs(trained, capsys):
    service, run = trained
    assert main(["service", "show", "--service", str(service)]) == 0
    assert main(["list", str(run.parent)]) == 0
    said = capsys.readouterr().out
    assert "digest" in said
    assert f"done  {run}" in said


def test_a_run_folder_is_the_whole_service(trained, capsys):
    assert main(["service", "show", "--service", str(trained[0]), str(trained[0])]) == 2
    assert "one run folder" in capsys.readouterr().err


def test_a_report_of_several_runs(trained, tmp_path):
    assert main(["report", str(trained[1]), str(trained[1]), "--out", str(tmp_path / "page.html")]) == 0
    assert (tmp_path / "page.html").stat().st_size > 1000


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["train", "--service", "missing.safetensors", "--n", "60", "--size", "16"], 1, "missing.safetensors"),
        (["convert", "nowhere", "a.png", "b.png"], 1, "is no run folder"),
        (["service", "train", "--data", "nothing"], 2, "no data named 'nothing'"),
        (["service", "train", "--data", "cifar10"], 2, "Its settings: root"),
        (["audit", "--service", "x.safetensors"], 2, "nothing to attack"),
        (["convert", "nowhere", "a.png", "b.png", "--workers", "-3"], 2, "--workers -3 can do nothing. Cure"),
        (["convert", "nowhere", "a.png", "b.png", "--workers", "0"], 2, "--workers 0 can do nothing. Cure"),
        (["train", "--epochs", "0"], 2, "--epochs 0 can do nothing. Cure"),
        (["train", "--batch-size", "-1"], 2, "--batch-size -1 can do nothing. Cure"),
        (["service", "train", "--width", "0"], 2, "--width 0 can do nothing. Cure"),
        (["audit", "nowhere", "--service", "no", "--seeds", "-1"], 2, "--seeds -1 can do nothing. Cure"),
        (["audit", "nowhere", "--service", "no", "--workers", "0"], 2, "--workers 0 can do nothing. Cure"),
        (
            ["gateway", "--release", "a", "--key", "b", "--upstream", "https://c", "--workers", "0"],
            2,
            "--workers 0 can",
        ),
        (
            ["gateway", "--release", "a", "--key", "b", "--upstream", "https://c", "--max-body", "0"],
            2,
            "--max-body 0 can",
        ),
        (["verify", "a", "--key", "b", "--attacks", "all", "image"], 2, "--attacks is read by --recompute only. Cure"),
        (["verify", "a", "--key", "b", "--retrain", "--preset", "tiny"], 2, "--preset is read by --recompute only"),
        (["verify", "a", "--key", "b", "--n", "9"], 2, "--n is read by --recompute or --retrain only. Cure: add it"),
        (["verify", "a", "--key", "b", "--service", "c"], 2, "--service is read by --recompute or --retrain only"),
        (["export", "a", "onnx", "--root", "b"], 2, "--root is read by --service only. Cure"),
        ([*BUILD, "--version", "1"], 2, "'1' cannot be the version of a release. Cure: three numbers"),
        ([*BUILD, "--name", "a/b"], 2, "'a/b' cannot be the name of a release. Cure"),
        ([*BUILD, "--licence", ""], 2, "'' cannot be the licence of a release. Cure"),
    ],
)
def test_wrong_use_says_what_to_do(args, code, message, capsys):
    assert main(args) == code
    assert message in capsys.readouterr().err


def test_options_that_do_not_parse_exit_with_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["train", "--lam", "much"])
    assert stopped.value.code == 2
    assert "could not convert string to float: 'much'" in capsys.readouterr().err
