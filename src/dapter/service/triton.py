"""A model repository that NVIDIA Triton, and KServe through it, take as it is: the service as ONNX, with its config.

The names are those of the reference service, but for what ONNX cannot do: Triton takes pixels (`image`), not files,
and gives the label's name by its own `classification` extension, from the label files that lie beside the config.
"""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dapter.errors import CheckFailed, ServiceError, UsageError, need
from dapter.export._quiet import quiet
from dapter.runs import derive_seed, write_atomic
from dapter.service.classifier import Service
from dapter.service.inference import IMAGE, LOGITS, PROBABILITIES, softmax
from dapter.types import Payload

OPSET = 18
MAX_BATCH = 32
PARITY = 1e-3
"""The most that a logit may be off, as a share of the largest; more is refused."""


class _Pool(nn.Module):
    """Adaptive average pooling as two products: with open sizes, torch's exporter writes another pooling than torch's.

    Args:
        sides: rows and columns of the result, as torch takes them.
    """

    def __init__(self, sides: Any) -> None:
        super().__init__()
        self.sides = sides if isinstance(sides, tuple) else (sides, sides)

    def forward(self, maps: Tensor) -> Tensor:
        rows, columns = (_shares(maps.shape[2 + axis], side) for axis, side in enumerate(self.sides))
        return rows @ maps @ columns.T


def _shares(size: int, side: int) -> Tensor:
    """How much of each place goes into each bin, float32 (side, size)."""
    bins, places = torch.arange(side)[:, None], torch.arange(size)[None]
    inside = ((places >= bins * size // side) & (places < ((bins + 1) * size + side - 1) // side)).float()
    return inside / inside.sum(dim=1, keepdim=True)


def _with_open_pools(module: nn.Module) -> nn.Module:
    """The module with every adaptive average pooling to more than one place written so, in place."""
    for name, part in module.named_children():
        if isinstance(part, nn.AdaptiveAvgPool2d) and part.output_size not in (1, (1, 1)):
            setattr(module, name, _Pool(part.output_size))
        else:
            _with_open_pools(part)
    return module


class _Graph(nn.Module):
    """From `image`, uint8 (N, H, W, 3), to logits and probabilities of each target, float32 (N, classes)."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(
            _with_open_pools(copy.deepcopy(each)).cpu() for each in service.classifiers.values()
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images = image.permute(0, 3, 1, 2).float() / 255
        logits = [classifier(images) for classifier in self.classifiers]
        return tuple(part for each in logits for part in (each, each.softmax(dim=1)))


def export_triton(service: Service, folder: Path, name: str, version: str = "1") -> Path:
    """Write one version of a model into a model repository, new or existing.

    Args:
        folder: the repository: `NAME/config.pbtxt`, `NAME/VERSION/model.onnx`, `NAME/TARGET.txt` with class names.
        version: a number, as Triton wants it.

    Returns:
        The folder of the version.

    Raises:
        UsageError: the version is there already, or another model has that name.
        ServiceError: the service's nets cannot be written as ONNX.
        CheckFailed: ONNX Runtime answers otherwise than the service; nothing was written.
    """
    place = Path(folder) / name / version
    if not version.isdecimal() or int(version) < 1:
        raise UsageError(f"version {version!r} is none that Triton knows. Cure: a number from 1")
    if place.exists():
        raise UsageError(f"{place} is there already. Cure: give the next version")
    files = {"config.pbtxt": _config(service, name)}
    files |= {f"{target}.txt": "".join(f"{each}\n" for each in names) for target, names in service.classes.items()}
    for file, content in files.items():
        path = Path(folder) / name / file
        if path.exists() and path.read_text() != content:
            raise UsageError(f"{path} is of a model with other classes. Cure: another name")
    model = _trace(service)
    _check_parity(service, model)
    for file, content in files.items():
        write_atomic(Path(folder) / name / file, content)
    write_atomic(place / "model.onnx", model)
    return place


def _config(service: Service, name: str) -> str:
    """The text of config.pbtxt. The first dimension, of the images, is Triton's own."""
    need("tritonclient.grpc", "serve")
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2 as pb

    outputs = [
        pb.ModelOutput(
            name=f"{target}.{kind}", data_type=pb.TYPE_FP32, dims=[len(names)], label_filename=f"{target}.txt"
        )
        for target, names in service.classes.items()
        for kind in (LOGITS, PROBABILITIES)
    ]
    config = pb.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=MAX_BATCH,
        input=[pb.ModelInput(name=IMAGE, data_type=pb.TYPE_UINT8, dims=[-1, -1, 3])],
        output=outputs,
        version_policy=pb.ModelVersionPolicy(all=pb.ModelVersionPolicy.All()),
        dynamic_batching=pb.ModelDynamicBatching(),
    )
    text: str = text_format.MessageToString(config)
    return text


def _trace(service: Service) -> bytes:
    """The service as an ONNX file; number, height and width of the images are open."""
    need("onnxscript", "export")
    opened = dict.fromkeys(range(3), torch.export.Dim.DYNAMIC)
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Graph(service).eval(),
                (torch.zeros(2, 33, 47, 3, dtype=torch.uint8),),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[IMAGE],
                output_names=[f"{target}.{kind}" for target in service.targets for kind in (LOGITS, PROBABILITIES)],
                dynamic_shapes=(opened,),
            )
    except Exception as error:  # torch's exporter raises what its parts raise
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ServiceError(f"the service cannot be written as ONNX ({reason}). Cure: `dapter serve`") from error
    model: Any = program.model_proto if program is not None else None
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _check_parity(service: Service, model: bytes) -> None:
    """Refuse a file that answers otherwise than the service, on noise of several sizes and numbers of images."""
    runtime = need("onnxruntime", "export")
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    random = np.random.default_rng(derive_seed(0, "triton parity"))
    for n, height, width in ((1, 64, 64), (3, 40, 72)):
        images = random.integers(0, 256, (n, height, width, 3), np.uint8)
        found = dict(
            zip((each.name for each in session.get_outputs()), session.run(None, {IMAGE: images}), strict=True)
        )
        for target, logits in service.answer(Payload(images)).logits.items():
            scale = max(1.0, float(np.abs(logits).max()))
            off = float(np.abs(found[f"{target}.{LOGITS}"] - logits).max()) / scale
            off = max(off, float(np.abs(found[f"{target}.{PROBABILITIES}"] - softmax(logits)).max()))
            if not off <= PARITY:
                cure = "Cure: report it, and use `dapter serve` until then"
                raise CheckFailed(f"ONNX Runtime's {target} is off by {off:.2g}, more than {PARITY}. {cure}")
