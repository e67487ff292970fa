"""Nets from elsewhere: a module of the user's own code, torch.export, ONNX, Hugging Face."""

import copy
import hashlib
import importlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypedDict

import torch
from torch import nn

from dapter.errors import DapterError, ServiceError, need
from dapter.service.onnx_module import OnnxModule


class Spec(TypedDict, total=False):
    """What must be known of a classifier beside its net; the fields of `dapter.service.classifier.Classifier`."""

    target: str
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    input_size: tuple[int, int] | None


@dataclass(frozen=True)
class Source:
    """What a source gave.

    Attributes:
        net: takes normalised images (N, 3, H, W), gives logits (N, classes), or a mapping with them as "logits".
        digest: SHA-256 of the source's bytes; None if the net's own state stands for it.
        spec: what the source says about itself.
    """

    net: nn.Module
    digest: str | None = None
    spec: Spec = field(default_factory=Spec)


def read_module(path: str) -> Source:
    """A net from `package.module:name`, a module or something that makes one. Importing runs the user's code.

    Raises:
        ServiceError: no such thing, or not a module.
    """
    module, _, name = path.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        net = copy.deepcopy(found) if isinstance(found, nn.Module) else found()
    except Exception as error:  # the user's code may raise anything
        cure = "Cure: give package.module:name of a torch module or of a function that makes one, on PYTHONPATH"
        raise ServiceError(f"{path} cannot be imported ({type(error).__name__}: {error}). {cure}") from error
    if not isinstance(net, nn.Module):
        raise ServiceError(f"{path} gives a {type(net).__name__}. Cure: name a torch.nn.Module or what makes one")
    return Source(net)


class _Exported(nn.Module):
    """A torch.export program; it has no training mode."""

    def __init__(self, program: nn.Module) -> None:
        super().__init__()
        for module in program.modules():
            module.training = False
        self.program = program

    def forward(self, images: torch.Tensor) -> Any:
        return self.program(images)

    def train(self, mode: bool = True) -> Self:
        self.training = mode
        return self


def read_export(path: Path) -> Source:
    """A net from a `.pt2` file of torch.export, exported with a dynamic batch size.

    Trust: a `.pt2` is a program. Pickled objects in it are refused, but torch also evaluates expressions that the
    file holds, so load only files whose maker you would let run code here; `.onnx` and our own files are data.

    Raises:
        ServiceError: not such a file, or one with pickled objects.
    """
    try:
        _refuse_pickle(path)
        program = torch.export.load(path)
        net = _Exported(program.module())
    except ServiceError:
        raise
    except Exception as error:  # whatever torch meets in a foreign file
        raise ServiceError(f"{path} cannot be read by torch.export ({error}). Cure: export it again") from error
    inputs = [node.meta["val"] for node in program.graph.nodes if node.name in program.graph_signature.user_inputs]
    if len(inputs) != 1 or inputs[0].ndim != 4:
        raise ServiceError(f"{path} takes other inputs than images (N, 3, H, W). Cure: export a net that takes these")
    height, width = inputs[0].shape[2:]
    fixed = isinstance(height, int) and isinstance(width, int)
    return Source(net, _sha256(path), Spec(input_size=(height, width)) if fixed else Spec())


def _refuse_pickle(path: Path) -> None:
    """Let only plain tensors pass, as torch.export.save writes for an ordinary net."""
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(".pt"):
                torch.load(io.BytesIO(content), weights_only=True)
            elif name.endswith("_config.json") and b"use_pickle" in content:
                for entry in json.loads(content)["config"].values():
                    if entry["use_pickle"]:
                        raise ServiceError(f"{path} holds pickled objects. Cure: export a net of plain tensors")


def read_onnx(path: Path) -> Source:
    """A net from an `.onnx` file, exported with a dynamic batch size."""
    net, digest = OnnxModule.load(path)
    return Source(net, digest, Spec(input_size=net.input_size) if net.input_size else Spec())


def read_huggingface(folder: Path) -> Source:
    """An image classifier from a local folder of transformers: safetensors weights, none of the folder's code runs.

    The whole image is resized to the size that its processor ends with; nothing is cropped.

    Raises:
        ServiceError: not such a folder.
    """
    transformers = need("transformers", "huggingface")
    try:
        net = transformers.AutoModelForImageClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        names = [net.config.id2label[i] for i in range(net.config.num_labels)]
        spec = Spec(classes=names, **_processor(folder / "preprocessor_config.json"))
    except DapterError:
        raise
    except Exception as error:  # transformers raises many kinds
        cure = "Cure: a folder that save_pretrained wrote, with model.safetensors, model and processor in it"
        raise ServiceError(f"{folder} holds no image classifier ({type(error).__name__}: {error}). {cure}") from error
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors")):
        digest.update(f"{file.name} {_sha256(file)}\n".encode())
    return Source(net, digest.hexdigest(), spec)


def _processor(path: Path) -> Spec:
    """The normalisation and the size that a transformers image processor's settings give, where there are any."""
    if not path.is_file():
        return Spec()
    settings = json.loads(path.read_text())
    if settings.get("do_rescale", True) and abs(settings.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-6:
        raise ServiceError(f"{path}: images are not rescaled by 1/255. Cure: give mean and std, and delete the file")
    spec = Spec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if settings.get("do_normalize", True):
        spec = Spec(mean=settings["image_mean"], std=settings["image_std"])
    size = settings.get("crop_size") if settings.get("do_center_crop") else settings.get("size")
    if not settings.get("do_resize", True) or size is None:
        return spec
    if isinstance(size, int):
        size = {"shortest_edge": size}
    edge = size.get("shortest_edge")
    spec["input_size"] = (int(size.get("height", edge)), int(size.get("width", edge)))
    return spec


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


READERS: dict[str, Callable[[Path], Source]] = {".pt2": read_export, ".onnx": read_onnx}
"""The reader of each kind of file."""
