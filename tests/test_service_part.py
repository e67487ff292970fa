"""The service parts of rivals behind a URL: features go over the wire as bytes, and are answered as beside them."""

import re
from dataclasses import replace

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from dapter.cli import main
from dapter.defences import build_defence
from dapter.errors import RunError, UsageError
from dapter.features import pack
from dapter.options import SpecOptions
from dapter.runs import MANIFEST
from dapter.service.inference import softmax
from dapter.service.remote import Remote
from dapter.service.server import Server, Settings
from dapter.service_part import ServicePart, is_defence
from dapter.serving_cli import Named, _model
from dapter.train import load_defence, train
from helpers import PLAN, make_data

SMALL = {"disco": {"width": 4}, "hybrid": {"width": 4}, "retrained": {"baseline": "blur", "width": 4}}


@pytest.fixture(scope="module")
def shapes():
    return make_data(secrets=("shape",))


@pytest.fixture(scope="module", params=SMALL)
def run(request, service, shapes, tmp_path_factory):
    """Of a defence that changes the service."""
    root = tmp_path_factory.mktemp(request.param)
    return train(
        build_defence(request.param, SMALL[request.param]), service, shapes, replace(PLAN, epochs=1), root=root
    )


def served(run):
    model = _model(Named.parse(f"colours={run.path}"), SpecOptions())
    return Server([model], Settings(port=0, grpc_port=0))


def test_payloads_are_answered_over_http_and_grpc_as_in_training(run, shapes, tmp_path):
    defence = load_defence(run)
    payload = defence.protect(shapes.splits["test"].images[:5], seed=0)
    logits = defence.tail(payload, None).logits["colour"]
    with served(run) as server:
        url = f"{server.url}/v2/models/colours"
        remote = Remote(url, "colour", shapes.classes["colour"], limit=5, root=tmp_path)
        np.testing.assert_allclose(remote.answer(payload.values), softmax(logits), atol=1e-5)
        if defence.sends == "features":
            files = np.array([pack(each) for each in payload.values], object)
            asked = triton_grpc.InferInput("features", [5], "BYTES")
            asked.set_data_from_numpy(files)
            with triton_grpc.InferenceServerClient(server.grpc_address) as client:
                found = client.infer("colours", [asked])
            np.testing.assert_allclose(found.as_numpy("colour.logits"), logits, atol=1e-5)
            assert [each.decode() for each in found.as_numpy("colour.label")] == [
                shapes.classes["colour"][place] for place in logits.argmax(axis=1)
            ]


@pytest.mark.parametrize("run", ["disco"], indirect=True)
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("features", b"no features", "payload 0 of 1: these bytes are no packed features"),
        ("features", pack(np.full((2, 2, 16), np.nan, np.float16)), "finite float16"),
        ("features", pack(np.zeros((2, 2, 5), np.float16)), "cannot take"),
        ("encoded", b"", "Cure: features"),
    ],
)
def test_what_no_client_part_sends_is_refused(run, name, content, reason):
    with served(run) as server, triton_grpc.InferenceServerClient(server.grpc_address) as client:
        asked = triton_grpc.InferInput(name, [1], "BYTES")
        asked.set_data_from_numpy(np.array([content], object))
        with pytest.raises(InferenceServerException, match=re.escape(reason)):
            client.infer("colours", [asked])


def test_a_defence_without_a_service_part_is_refused(service, shapes, tmp_path, capsys):
    run = train(build_defence("blur", {}), service, shapes, PLAN, root=tmp_path)
    assert is_defence(str(run.path))
    with pytest.raises(UsageError, match="Cure: serve the service"):
        ServicePart.load(run.path)
    assert main(["serve", str(run.path)]) == 2
    assert "has no service part" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["disco"], indirect=True)
def test_features_are_no_files_and_no_release(run, tmp_path, capsys):
    assert main(["convert", str(run.path), str(tmp_path), str(tmp_path / "out")]) == 2
    assert "sends features of a network, which no image file holds" in capsys.readouterr().err


@pytest.mark.parametrize("run", ["retrained"], indirect=True)
def test_a_service_part_of_ones_own_is_refused_with_what_it_lacks(run, monkeypatch):
    monkeypatch.setattr("dapter.service_part.Divided", type("Divided", (), {}))
    with pytest.raises(UsageError, match=r"cannot be run apart.*Divided"):
        ServicePart.load(run.path)


@pytest.mark.parametrize("run", ["hybrid"], indirect=True)
def test_a_run_from_before_classes_were_named_is_refused(run, tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    for file in run.path.iterdir():
        content = file.read_bytes()
        (folder / file.name).write_bytes(
            content.replace(b'"classes"', b'"labels"') if file.name == MANIFEST else content
        )
    with pytest.raises(RunError, match="Cure: delete the folder and train again"):
        ServicePart.load(folder)
