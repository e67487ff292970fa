"""Every kind of source: the same answers as the net it came from, and errors that say the cure."""

import json
import sys
import warnings
import zipfile

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dapter.errors import ServiceError, UsageError
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Classifier, Service
from dapter.service.load import load_classifier, load_service, save_classifier

UNIT = {"target": "animal", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


class Logits(nn.Module):
    """A Hugging Face model that gives a plain tensor."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, pixel_values):
        return self.model(pixel_values).logits


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    settings = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        image_size=32,
        patch_size=8,
        id2label={0: "cat", 1: "dog", 2: "owl"},
        label2id={"cat": 0, "dog": 1, "owl": 2},
    )
    return ViTForImageClassification(settings)


def hf_resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    return ResNetForImageClassification(
        ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3)
    )


NETS = {
    "lenet": lambda: build_classifier("lenet", 3),
    "vgg11-large": lambda: build_classifier("vgg11", 3, 2, "large"),
    "resnet18": lambda: build_classifier("resnet18", 3, 4),
    "vit": lambda: Logits(vit()),
    "hf-resnet": lambda: Logits(hf_resnet()),
}


def seeded(make):
    torch.manual_seed(0)
    return make().eval()


def quiet(export, *arguments, **settings):
    """Run an exporter without its own warnings about torch's insides."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*", category=FutureWarning)
        return export(*arguments, dynamic_shapes=({0: torch.export.Dim("n")},), **settings)


def export_onnx(net, path):
    quiet(torch.onnx.export, net, (IMAGES,), path, dynamo=True, verbose=False)
    return path


def export_pt2(net, path):
    torch.export.save(quiet(torch.export.export, net, (IMAGES,)), path)
    return path


def image_gradient(net):
    images = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net(images).square().sum(), images)
    return gradient


def same(classifier, net):
    """Equal answers and equal, nonzero gradients with respect to the images."""
    gradient = image_gradient(net)
    assert gradient.abs().max() > 0
    assert torch.allclose(classifier(IMAGES), net(IMAGES), atol=1e-5)
    assert torch.allclose(image_gradient(classifier), gradient, atol=1e-4 * float(gradient.abs().max()))
    assert not any(p.requires_grad for p in classifier.parameters())


@pytest.mark.parametrize("name", NETS)
def test_onnx_agrees_with_torch_and_onnxruntime(name, tmp_path):
    net = seeded(NETS[name])
    path = export_onnx(net, tmp_path / "net.onnx")
    classifier = load_classifier(path, **UNIT)
    same(classifier, net)
    session = onnxruntime.InferenceSession(path)
    (expected,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    assert np.allclose(classifier(IMAGES), expected, atol=1e-5)
    assert classifier.input_size == (32, 32)
    assert classifier.classes == ("0", "1", "2")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(classifier(IMAGES), net(IMAGES).float(), atol=0.1)
    assert load_service(path, **UNIT).digest == Service(classifier).digest


def test_export_files_agree_with_torch(tmp_path):
    net = seeded(NETS["resnet18"])
    path = export_pt2(net, tmp_path / "net.pt2")
    classifier = load_classifier(path, **UNIT)
    same(classifier, net)
    assert classifier.input_size == (32, 32)
    classifier.train()
    same(classifier, net)
    service = Service(classifier)
    assert service.frozen
    assert service.digest == load_service(path, **UNIT).digest
    with pytest.raises(ServiceError, match="input_size"):
        load_service(path, **UNIT, input_size=(16, 16))


def test_an_export_with_pickled_objects_is_refused(tmp_path):
    good = export_pt2(seeded(NETS["lenet"]), tmp_path / "good.pt2")
    bad = tmp_path / "bad.pt2"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"use_pickle": false', b'"use_pickle": true'))
    with pytest.raises(ServiceError, match="pickled objects"):
        load_service(bad, **UNIT)


def test_a_net_that_changes_when_asked_is_refused(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(ServiceError, match=r"net\.eval"):
        load_service(export_pt2(net.train(), tmp_path / "net.pt2"), **UNIT)


def test_our_own_files_round_trip(tmp_path):
    names = ("cat", "dog", "owl")
    torch.manual_seed(0)
    net = build_classifier("resnet18", 3, 4)
    one = Classifier(net, "animal", names, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), (32, 32))
    save_classifier(tmp_path / "one.safetensors", one)
    save_classifier(tmp_path / "two.safetensors", Classifier(build_classifier("lenet", 2), "night", ("no", "yes")))
    service = load_service(tmp_path / "one.safetensors", tmp_path / "two.safetensors")
    assert service.classes == {"animal": names, "night": ("no", "yes")}
    assert service.classifiers["animal"].digest() == one.digest()
    same(service.classifiers["animal"], one.eval())
    changed = (tmp_path / "one.safetensors").read_bytes()
    (tmp_path / "one.safetensors").write_bytes(changed[:-1] + bytes([changed[-1] ^ 1]))
    assert load_classifier(tmp_path / "one.safetensors").digest() != one.digest()
    with pytest.raises(UsageError, match="build_classifier"):
        save_classifier(tmp_path / "no.safetensors", Classifier(nn.Flatten(), "animal", names))


def test_modules_are_imported_and_copied(tmp_path, monkeypatch):
    (tmp_path / "their_nets.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3))\n"
        "net = make()\n"
        "number = 3\n"
        "class Bag:\n"
        "    one = nn.Flatten()\n"
        "    tuples = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4), nn.Softmax(1))\n"
        "    text = str\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    instance = load_classifier("their_nets:net", **UNIT)
    theirs = sys.modules["their_nets"].net
    same(instance, theirs)
    assert theirs[2].weight.requires_grad
    assert load_classifier("their_nets:make", **UNIT).digest() == instance.digest()
    for name, message in {
        "their_nets:number": "cannot be imported",
        "their_nets:missing": "cannot be imported",
        "no_such_module:net": "PYTHONPATH",
        "their_nets:Bag.text": "gives a str",
        "their_nets:Bag.tuples": "softmax",
    }.items():
        with pytest.raises(ServiceError, match=message):
            load_service(name, **UNIT)


@pytest.fixture
def folder(tmp_path):
    seeded(vit).save_pretrained(tmp_path / "vit")
    settings = {"image_mean": [0.4] * 3, "image_std": [0.2] * 3, "size": {"height": 32, "width": 32}}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    return tmp_path / "vit"


def test_a_hugging_face_folder_knows_itself(folder):
    classifier = load_classifier(folder, target="animal")
    assert classifier.classes == ("cat", "dog", "owl")
    assert classifier.input_size == (32, 32)
    net = seeded(vit)
    same(classifier, lambda images: net((images - 0.4) / 0.2).logits)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "layer_norm_eps": 1e-3}))
    assert load_classifier(folder, target="animal").digest() != classifier.digest()


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"do_normalize": False, "size": 32}, (32, 32)),
        ({"do_normalize": False, "size": {"shortest_edge": 36}, "do_center_crop": True, "crop_size": 32}, (32, 32)),
    ],
)
def test_processor_settings(folder, settings, size):
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    classifier = load_classifier(folder, target="animal")
    assert classifier.input_size == size
    assert classifier.std.flatten().tolist() == [1, 1, 1]


def test_what_a_folder_does_not_say_must_be_given(folder):
    (folder / "preprocessor_config.json").write_text(json.dumps({"rescale_factor": 1 / 127.5}))
    with pytest.raises(ServiceError, match="rescaled"):
        load_service(folder, target="animal")
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False, "do_resize": False}))
    with pytest.raises(ServiceError, match="input_size"):
        load_service(folder, target="animal")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match="target, mean, std"):
        load_service(folder)
    assert load_service(folder, **UNIT, input_size=(32, 32)).targets == ("animal",)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ServiceError, match="save_pretrained"):
        load_service(folder, **UNIT)


class Odd(nn.Module):
    """Answers whatever it is told to."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        return self.answer(images)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda images: images, r"logits \(N, classes\)"),
        (lambda images: images[:1, :, 0, 0], r"logits \(N, classes\)"),
        (lambda images: images[:, :1, 0, 0], r"logits \(N, classes\)"),
        (lambda images: images[:, :, 0, 0] / 0, "not finite"),
        (lambda images: images[:, :, 0, 0].softmax(1), "softmax"),
        (lambda images: images[:, :2, 0, 0], "2 classes, 3 are named"),
        (lambda images: {"features": images}, "KeyError"),
    ],
)
def test_answers_that_are_no_logits_are_refused(answer, message, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "odd", Odd(answer), raising=False)
    monkeypatch.setitem(sys.modules, "odd_nets", sys.modules[__name__])
    with pytest.raises(ServiceError, match=message):
        load_service("odd_nets:odd", classes=("a", "b", "c"), **UNIT)


def test_sources_that_are_none_are_refused(tmp_path):
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    (tmp_path / "net.pt2").write_bytes(b"nonsense")
    (tmp_path / "empty").mkdir()
    for source, message in {
        tmp_path / "missing.onnx": "no file",
        tmp_path / "other.safetensors": "dapter wrote",
        tmp_path / "net.pt2": "export it again",
        tmp_path / "empty": "save_pretrained",
        tmp_path / "net.h5": "Cure: give a .safetensors",
    }.items():
        with pytest.raises(ServiceError, match=message):
            load_service(source, **UNIT)
    with pytest.raises(UsageError, match="Service"):
        load_service("a.onnx", "b.onnx", **UNIT)
