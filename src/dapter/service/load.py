"""Loading and saving services: our own files now; other kinds by `load_classifier`."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from dapter.errors import ServiceError, UsageError
from dapter.nets.classifiers import ClassifierNet, build_classifier
from dapter.runs import write_atomic
from dapter.service.classifier import Classifier, Service

HEADER = "dapter.classifier"
"""The key of our settings, one JSON object, in a safetensors header."""


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


def load_own(path: Path) -> Classifier:
    """Read what `save_classifier` wrote.

    Raises:
        ServiceError: not such a file, or a damaged one.
    """
    cure = "Cure: give a file that dapter wrote, or the folder of a Hugging Face model"
    try:
        with safe_open(path, framework="pt") as file:
            settings = json.loads((file.metadata() or {})[HEADER])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        size = settings["input_size"]
        classifier = Classifier(
            build_classifier(**settings["recipe"]),
            settings["target"],
            settings["classes"],
            settings["mean"],
            settings["std"],
            None if size is None else (int(size[0]), int(size[1])),
        )
        classifier.net.load_state_dict(state)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError, UsageError) as error:
        raise ServiceError(f"{path} is no classifier of ours ({type(error).__name__}: {error}). {cure}") from error
    return classifier


def load_service(*sources: str | Path) -> Service:
    """Load one or more classifiers as one frozen service."""
    return Service(*(load_own(Path(source)) for source in sources))
