"""`dapter serve` and `dapter send` as their users meet them: processes, signals, exit codes."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

from dapter.cli import main
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Classifier
from dapter.service.load import save_classifier
from dapter.serving_cli import Named
from releases.make import keys, make_release
from upstream import Reply, Upstream, answer


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("net") / "smiling.safetensors"
    save_classifier(path, Classifier(build_classifier("lenet", 2, 3), "Smiling", ("no", "yes")))
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A release and its public key."""
    folder = tmp_path_factory.mktemp("release")
    private, public = keys(folder)
    return make_release(folder / "release", private), public


@pytest.fixture
def photos(tmp_path):
    random = np.random.default_rng(0)
    paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
    return paths


def test_what_overrules_one_model_is_not_given_for_several(net, capsys):
    assert main(["serve", f"a={net}", f"b={net}", "--service-target", "Male"]) == 2
    assert "Cure: a command for each model" in capsys.readouterr().err


def test_serve_answers_send_and_ends_in_order(net, release, photos, tmp_path, capsys):
    command = [sys.executable, "-m", "dapter", "serve", f"smiling:3={net}", "--port", "0", "--grpc-port", "None"]
    environment = {**os.environ, "PYTHONWARNINGS": "error", "OMP_NUM_THREADS": "1"}
    server = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said = server.stdout.readline()
        url = re.search(r"http://\S+", said)[0]
        where = ["--url", f"{url}/v2/models/smiling", "--release", str(release[0]), "--key", str(release[1])]
        assert main(["send", *map(str, photos), *where, "--save", str(tmp_path / "sent")]) == 0
        with urllib.request.urlopen(f"{url}/v2/models/smiling") as reply:
            assert b'"versions":["3"]' in reply.read()
    finally:
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=60)
    assert (server.returncode, rest) == (0, "")
    shown = capsys.readouterr().out
    assert re.search(r"a\.jpg: Smiling: (no|yes) \(\d+\.\d%\)", shown)
    assert re.search(r"sent: [\d,]+ bytes \(PNG, 32 x 32 pixels\)", shown)
    copies = [np.array(Image.open(tmp_path / "sent" / f"{photo.name}.png")) for photo in photos]
    assert all(copy.shape == (32, 32, 3) and np.ptp(copy) < 40 for copy in copies)


def test_send_takes_the_token_from_the_environment(release, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("DAPTER_SERVICE_TOKEN", "a-token-of-this-user")
    with Upstream(lambda received: answer(received, {"Smiling": ("no", "yes")})) as upstream:
        where = ["--url", upstream.url, "--release", str(release[0]), "--key", str(release[1])]
        assert main(["send", str(photos[0]), *where, "--save", str(tmp_path / "sent")]) == 0
        assert upstream.requests[0].headers["authorization"] == "Bearer a-token-of-this-user"


def test_send_that_fails_says_so_and_sends_nothing(release, photos, tmp_path, capsys):
    with Upstream() as upstream:
        where = ["--url", upstream.url, "--release", str(release[0])]
        other, _ = keys(tmp_path, "other")[::-1]
        assert main(["send", str(photos[0]), *where, "--key", str(other)]) == 1
        assert main(["send", str(tmp_path / "no.jpg"), *where, "--key", str(release[1])]) == 1
        assert main(["send", *where, "--key", str(release[1])]) == 2
        assert main(["send", str(photos[0]), str(photos[0]), *where, "--key", str(release[1])]) == 2
        assert not upstream.received
    said = capsys.readouterr().err
    assert "failed verification" in said
    assert "nothing was sent" in said


def test_where_no_copy_can_be_put_nothing_is_sent(release, photos, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    with Upstream() as upstream:
        where = ["--url", upstream.url, "--release", str(release[0]), "--key", str(release[1])]
        assert main(["send", str(photos[0]), *where, "--save", str(tmp_path / "file" / "sent")]) == 2
        assert not upstream.received
    assert "nothing was sent. Cure" in capsys.readouterr().err


def test_a_copy_that_cannot_be_saved_costs_no_answer(release, photos, tmp_path, capsys):
    (tmp_path / "sent" / f"{photos[0].name}.png").mkdir(parents=True)
    with Upstream(lambda received: answer(received, {"Smiling": ("no", "yes")})) as upstream:
        where = ["--url", upstream.url, "--release", str(release[0]), "--key", str(release[1])]
        assert main(["send", *map(str, photos), *where, "--save", str(tmp_path / "sent")]) == 1
    said = capsys.readouterr()
    assert all(f"{photo}: Smiling:" in said.out for photo in photos)
    assert (tmp_path / "sent" / f"{photos[1].name}.png").is_file()
    assert "a.jpg.png" in said.out
    assert "sent for a.jpg" in said.err


def test_answers_are_shown_though_a_later_request_fails(release, tmp_path, capsys):
    photos = [tmp_path / f"{number}.png" for number in range(17)]  # a request holds sixteen
    for photo in photos:
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(photo)
    replies = [answer] * 2  # one of them describes the model

    def tire(received):
        return replies.pop()(received, {"Smiling": ("no", "yes")}) if replies else Reply(status=500)

    with Upstream(tire) as upstream:
        where = ["--url", upstream.url, "--release", str(release[0]), "--key", str(release[1])]
        assert main(["send", *map(str, photos), *where, "--save", str(tmp_path / "sent")]) == 1
    said = capsys.readouterr()
    assert [f"{photo}: Smiling:" in said.out for photo in photos] == [True] * 16 + [False]
    assert "refuses (500" in said.err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a.onnx", Named("model", "1", ("a.onnx",))),
        ("x=a.onnx,b.onnx", Named("x", "1", ("a.onnx", "b.onnx"))),
        ("x:2=package.module:net", Named("x", "2", ("package.module:net",))),
        ("package.module:net", Named("model", "1", ("package.module:net",))),
    ],
)
def test_models_are_named(text, named):
    assert Named.parse(text) == named


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["serve", "=a.onnx"], "names no model"),
        (["serve", "a:=a.onnx"], "names no model"),
        (["serve", "missing.safetensors"], "no file"),
        (["serve", "NET", "--token-file", "missing"], "cannot be read"),
        (["serve", "NET", "--certificate", "a.pem"], "both a certificate"),
        (
            ["serve", "NET", "--port", "0", "--certificate", "no.pem", "--private-key", "no.pem"],
            "TLS cannot use no.pem",
        ),
        (["serve", "NET", "--port", "99999"], "99999 is no port"),
        (["serve", "NET", "--grpc-port", "-1"], "-1 is no port"),
        (["serve", "NET", "--max-bytes", "0"], "max_bytes is 0"),
        (["serve", "NET", "--timeout", "-1"], "timeout is -1 seconds"),
        (["serve", "NET", "--timeout", "inf"], "timeout is inf seconds"),
        (["service", "export-triton", "FOLDER", "x:one=NET"], "a number from 1"),
    ],
)
def test_wrong_use_says_what_to_do(args, reason, net, tmp_path, capsys):
    given = [each.replace("NET", str(net)).replace("FOLDER", str(tmp_path)) for each in args]
    assert main(given) == (1 if reason == "no file" else 2)
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "more", "reason"),
    [
        ("http://[::1", [], "is no URL"),
        ("http://127.0.0.1:abc", [], "is no URL"),
        ("http://..x", [], "is no URL"),
        ("http://127.0.0.1:9", ["--timeout", "nan"], "timeout is nan seconds"),
        ("http://127.0.0.1:9", ["--timeout", "1e300"], "timeout is 1e+300 seconds"),
    ],
)
def test_send_that_cannot_work_says_what_to_do(url, more, reason, release, photos, tmp_path, capsys):
    where = ["--url", url, "--release", str(release[0]), "--key", str(release[1]), "--save", str(tmp_path / "sent")]
    assert main(["send", str(photos[0]), *where, *more]) == 2
    assert re.search(rf"{re.escape(reason)}.*Cure: ", capsys.readouterr().err)


def test_an_empty_token_file_does_not_open_the_door(net, tmp_path, capsys):
    (tmp_path / "tokens").write_text("\n\n")
    assert main(["serve", str(net), "--token-file", str(tmp_path / "tokens")]) == 2
    assert "holds no token" in capsys.readouterr().err


def test_a_triton_repository(net, tmp_path, monkeypatch, capsys):
    asked = []

    def export(service, folder, name, version):
        asked.append((service.targets, folder, name, version))
        return folder / name / version

    monkeypatch.setattr("dapter.service.triton.export_triton", export)
    assert main(["service", "export-triton", str(tmp_path / "models"), f"smiling:2={net}"]) == 0
    assert asked == [(("Smiling",), tmp_path / "models", "smiling", "2")]
    assert "The model is in" in capsys.readouterr().out
