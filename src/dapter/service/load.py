"""Loading services of every kind, and saving our own classifiers."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Unpack

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dapter.errors import ServiceError, UsageError
from dapter.nets.classifiers import ClassifierNet, build_classifier
from dapter.runs import write_atomic
from dapter.service.classifier import Classifier, Service
from dapter.service.sources import READERS, Source, Spec, read_huggingface, read_module

HEADER = "dapter.classifier"
"""The key of our settings, one JSON object, in a safetensors header."""

PROBE_SIZE = (64, 64)
"""The size of the images that a net for any size is tried on."""


def save_classifier(path: str | Path, classifier: Classifier) -> None:
    """Write a classifier whose net came from `build_classifier` to a `.safetensors` file, whole or not at all.

    Raises:
        UsageError: a net from elsewhere.
    """
    if not isinstance(classifier.net, ClassifierNet):
        found = type(classifier.net).__name__
        raise UsageError(f"cannot save a {found}. Cure: build the net with build_classifier, or export it to .onnx")
    settings = {
        "recipe": asdict(classifier.net.recipe),
        "target": classifier.target,
        "classes": classifier.classes,
        "mean": classifier.mean.flatten().tolist(),
        "std": classifier.std.flatten().tolist(),
        "input_size": classifier.input_size,
    }
    state = {name: value.contiguous() for name, value in classifier.net.state_dict().items()}
    write_atomic(Path(path), save(state, {HEADER: json.dumps(settings, sort_keys=True)}))


def load_service(*sources: str | Path, **spec: Unpack[Spec]) -> Service:
    """Load one or more classifiers as one frozen service.

    Args:
        sources: see `load_classifier`.
        spec: what a single source does not say about itself. Of several, load each that needs it with
            `load_classifier`, and join them: `Service(load_classifier(...), load_classifier(...))`.

    Raises:
        UsageError, ServiceError, MissingExtra: as `load_classifier`.
    """
    if len(sources) > 1 and spec:
        cure = "Cure: Service(load_classifier(a, ...), load_classifier(b, ...))"
        raise UsageError(f"{', '.join(spec)} given for {len(sources)} sources at once. {cure}")
    return Service(*(load_classifier(source, **spec) for source in sources))


def load_classifier(source: str | Path, **spec: Unpack[Spec]) -> Classifier:
    """Load a classifier, frozen, and try it on two images.

    Args:
        source: a `.safetensors` file that `save_classifier` wrote; a `.pt2` file of torch.export (it can run code:
            see `dapter.service.sources.read_export`); an `.onnx` file; the local folder of a Hugging Face image
            classifier; `package.module:name` of a torch module or of what makes one.
        spec: `target`, `classes`, `mean`, `std`, `input_size` (height, width), where the source does not say them,
            or to overrule it. Classes are numbered if they have no names.

    Raises:
        UsageError: target, mean or std are known neither from the source nor from `spec`.
        ServiceError: the source cannot be read, or what it holds does not work as a classifier.
        MissingExtra: the kind needs a part that is not installed.
    """
    found = _read(source)
    known = found.spec.copy()
    known.update(spec)
    missing = [name for name in ("target", "mean", "std") if name not in known]
    if missing:
        cure = "Cure: give them; mean 0, 0, 0 and std 1, 1, 1 if the net normalises images in [0, 1] by itself"
        raise UsageError(f"{source} does not say its {', '.join(missing)}. {cure}")
    classifier = Classifier(
        found.net,
        known["target"],
        known.get("classes", ()),
        known["mean"],
        known["std"],
        known.get("input_size"),
        found.digest,
    ).freeze()
    classes = _probe(classifier, str(source))
    classifier.classes = classifier.classes or tuple(str(n) for n in range(classes))
    if len(classifier.classes) != classes:
        names = f"{len(classifier.classes)} are named ({', '.join(classifier.classes)[:80]})"
        raise ServiceError(f"{source} answers with {classes} classes, {names}. Cure: name each class, in order")
    return classifier


def _read(source: str | Path) -> Source:
    path = Path(source)
    if path.is_dir():
        return read_huggingface(path)
    reader = {".safetensors": _read_own, **READERS}.get(path.suffix)
    if reader is not None:
        if not path.is_file():
            raise ServiceError(f"there is no file {path}. Cure: check the path")
        return reader(path)
    if ":" in str(source) and not path.exists():
        return read_module(str(source))
    kinds = "a .safetensors, .pt2 or .onnx file, a folder, or package.module:name"
    raise ServiceError(f"{source} is no classifier that can be loaded. Cure: give {kinds}")


def _read_own(path: Path) -> Source:
    """What `save_classifier` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {})[HEADER])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        net = build_classifier(**settings.pop("recipe"))
        net.load_state_dict(state)
        if settings["input_size"] is not None:
            settings["input_size"] = tuple(int(n) for n in settings["input_size"])
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RuntimeError, UsageError) as error:
        cure = "Cure: give a file that dapter wrote, or the folder of a Hugging Face model"
        raise ServiceError(f"{path} is no classifier of ours ({type(error).__name__}: {error}). {cure}") from error
    return Source(net, spec=settings)


@torch.no_grad()
def _probe(classifier: Classifier, source: str) -> int:
    """Try a classifier on two noise images; the number of its classes.

    Raises:
        ServiceError: it fails, gives anything but finite logits (2, classes), or changes by being asked.
    """
    images = torch.rand(2, 3, *(classifier.input_size or PROBE_SIZE), generator=torch.Generator().manual_seed(0))
    before = classifier.state_digest()
    try:
        logits = classifier(images)
    except ServiceError:
        raise
    except Exception as error:  # a foreign net may raise anything
        shape = "x".join(str(n) for n in images.shape)
        cure = "Cure: give the input_size that it needs, and export it with a dynamic batch size"
        raise ServiceError(f"{source} fails on images {shape} ({type(error).__name__}: {error}). {cure}") from error
    if logits.ndim != 2 or len(logits) != 2 or logits.shape[1] < 2:
        raise ServiceError(f"{source} answers {tuple(logits.shape)} to 2 images. Cure: a net with logits (N, classes)")
    if not logits.isfinite().all():
        raise ServiceError(f"{source} answers with numbers that are not finite. Cure: check its weights, mean and std")
    if logits.min() >= 0 and (logits.sum(dim=1) - 1).abs().max() < 1e-4:
        raise ServiceError(f"{source} answers probabilities. Cure: leave out its last softmax: logits are needed")
    if classifier.state_digest() != before:
        raise ServiceError(f"{source} changes when it is asked. Cure: export it after net.eval()")
    return int(logits.shape[1])
