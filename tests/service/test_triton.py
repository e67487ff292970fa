"""A model repository as Triton wants it: its config by the published messages, its ONNX by ONNX Runtime."""

import numpy as np
import onnxruntime
import pytest
import torch
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from dapter.errors import CheckFailed, ServiceError, UsageError
from dapter.nets.classifiers import build_classifier
from dapter.service import triton
from dapter.service.classifier import Classifier, Service
from dapter.service.triton import export_triton
from dapter.types import Payload

CLASSES = {"colour": ("red", "blue"), "shape": ("square", "cross", "none")}


def make_service(input_size=None, **classes):
    torch.manual_seed(0)
    found = classes or CLASSES
    nets = [build_classifier("lenet", len(names), 3) for names in found.values()]
    return Service(
        *(Classifier(net, *entry, input_size=input_size) for net, entry in zip(nets, found.items(), strict=True))
    )


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton") / "models"
    export_triton(make_service(), folder, "shapes", "1")
    export_triton(make_service((24, 40)), folder, "shapes", "2")
    return folder


def test_the_folder_is_what_triton_reads(repository):
    assert sorted(path.relative_to(repository).as_posix() for path in repository.rglob("*") if path.is_file()) == [
        "shapes/1/model.onnx",
        "shapes/2/model.onnx",
        "shapes/colour.txt",
        "shapes/config.pbtxt",
        "shapes/shape.txt",
    ]
    assert (repository / "shapes/colour.txt").read_text() == "red\nblue\n"


def test_the_config_is_the_published_message_and_fits_the_graph(repository):
    config = text_format.Parse((repository / "shapes/config.pbtxt").read_text(), pb.ModelConfig())
    assert (config.name, config.backend) == ("shapes", "onnxruntime")
    assert config.max_batch_size > 1
    assert config.HasField("dynamic_batching")
    session = onnxruntime.InferenceSession(repository / "shapes/1/model.onnx")
    (own,), (wanted,) = session.get_inputs(), config.input
    assert (wanted.name, wanted.data_type, list(wanted.dims)) == ("image", pb.TYPE_UINT8, [-1, -1, 3])
    assert (own.name, own.type, len(own.shape), own.shape[3]) == ("image", "tensor(uint8)", 4, 3)
    assert all(isinstance(side, str) for side in own.shape[:3])
    assert [each.name for each in config.output] == [each.name for each in session.get_outputs()]
    for each, there in zip(config.output, session.get_outputs(), strict=True):
        assert (each.data_type, there.type) == (pb.TYPE_FP32, "tensor(float)")
        assert list(each.dims) == [len(CLASSES[each.name.split(".")[0]])] == there.shape[1:]
        assert (repository / "shapes" / each.label_filename).is_file()


@pytest.mark.parametrize(("version", "input_size"), [("1", None), ("2", (24, 40))])
@pytest.mark.parametrize("shape", [(1, 32, 32), (5, 24, 40), (2, 65, 31)])
def test_onnx_runtime_answers_what_the_service_answers(repository, version, input_size, shape):
    session = onnxruntime.InferenceSession(repository / f"shapes/{version}/model.onnx")
    images = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    found = dict(zip((each.name for each in session.get_outputs()), session.run(None, {"image": images}), strict=True))
    for target, logits in make_service(input_size).answer(Payload(images)).logits.items():
        np.testing.assert_allclose(found[f"{target}.logits"], logits, atol=2e-3)
        np.testing.assert_allclose(found[f"{target}.probabilities"].sum(axis=1), 1, atol=1e-5)


def test_what_cannot_be_exported_leaves_nothing(repository, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="next version"):
        export_triton(make_service(), repository, "shapes", "1")
    with pytest.raises(UsageError, match="other classes"):
        export_triton(make_service(colour=("red", "green")), repository, "shapes", "3")
    with pytest.raises(UsageError, match="a number from 1"):
        export_triton(make_service(), tmp_path, "shapes", "first")
    model = (repository / "shapes/1/model.onnx").read_bytes()
    monkeypatch.setattr(triton, "_trace", lambda service: model)
    torch.manual_seed(1)
    other = Service(
        *(Classifier(build_classifier("lenet", len(names), 3), target, names) for target, names in CLASSES.items())
    )
    with pytest.raises(CheckFailed, match="is off by"):
        export_triton(other, tmp_path, "shapes")
    monkeypatch.undo()

    def fail(*_, **__):
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ServiceError, match=r"written as ONNX \(no such operator\)"):
        export_triton(make_service(), tmp_path, "shapes")
    assert list(tmp_path.iterdir()) == []
