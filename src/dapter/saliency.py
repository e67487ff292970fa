"""Where a service looks: Grad-CAM before and after conversion, and which services a converter's payloads still serve.

Selvaraju et al., "Grad-CAM", ICCV 2017; DAPter, Figure 10 and Table 4. Pure functions; rates and means
come with their intervals.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dapter import metrics
from dapter.batches import to_float
from dapter.data import Split
from dapter.errors import UsageError, need
from dapter.metrics import Estimate
from dapter.nets.classifiers import ClassifierNet
from dapter.service.classifier import Classifier, Service
from dapter.types import Answer, Payload, check_images

BATCH = 64


def attention(
    classifier: Classifier, images: np.ndarray, classes: np.ndarray, layer: nn.Module | None = None
) -> np.ndarray:
    """Grad-CAM: how much each place of an image speaks for a class, float32 (N, H, W), at least 0; enlarged bilinearly.

    Args:
        images: uint8 (N, H, W, 3).
        classes: whose attention, for each image, int64 (N,).
        layer: of the classifier, giving (N, channels, h, w). Default: all features of our own nets, else the last
            convolution.

    Raises:
        MissingExtra: captum is not installed.
        UsageError: another number of classes than images, or no convolution.
    """
    captum = need("captum.attr", "saliency")
    check_images(images)
    if classes.shape != (len(images),):
        raise UsageError(f"{classes.shape} classes for {len(images)} images. Cure: one for each")
    grad_cam = captum.LayerGradCam(classifier, layer or _last_convolution(classifier.net))
    found = []
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        inputs = to_float(images[rows], classifier.mean.device).requires_grad_()  # the service's own weights are frozen
        wanted = torch.from_numpy(classes[rows]).to(inputs.device)
        maps: Tensor = grad_cam.attribute(inputs, wanted, relu_attributions=True).detach()
        large = nn.functional.interpolate(maps, inputs.shape[-2:], mode="bilinear", align_corners=False)
        found.append(large[:, 0].float().cpu().numpy())
    return np.concatenate(found)


def correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each pair of maps, float (N, H, W): float64 (N,) in [-1, 1].

    1 for the same attention at any strength, about 0 for unrelated places. Where one of the maps is flat, it is 1 if
    the other is the same, else 0.
    """
    if maps.shape != others.shape or maps.ndim != 3:
        raise UsageError(f"maps {maps.shape} and {others.shape} cannot be compared. Cure: same count and size")
    first, second = (each.reshape(len(each), -1).astype(np.float64) for each in (maps, others))
    first, second = first - first.mean(axis=1, keepdims=True), second - second.mean(axis=1, keepdims=True)
    scale = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: np.ndarray = np.sum(first * second, axis=1) / np.where(scale > 0, scale, 1)
    found[(maps == others).all(axis=(1, 2))] = 1
    return found.clip(-1, 1)


def attention_consistency(
    classifier: Classifier, originals: np.ndarray, payloads: np.ndarray, layer: nn.Module | None = None
) -> Estimate:
    """How far a service looks at the same places before and after conversion (DAPter, Figure 10): mean `correlation`.

    Both maps are those of the class that it answers to the original: the question is whether what spoke for that answer
    still does.

    Args:
        originals, payloads: uint8 (N, H, W, 3), in the same order, at least two.
        layer: as for `attention`.
    """
    answered = Service(classifier).answer(Payload(originals)).labels()[classifier.target]
    before, after = (attention(classifier, images, answered, layer) for images in (originals, payloads))
    return metrics.mean_interval(correlation(before, after))


@dataclass(frozen=True)
class Importance:
    """One cell of the matrix of converters and services.

    Attributes:
        target: of the classifier that answered.
        measure: `target_accuracy`, where the label is known, or `agreement` with its answers to the originals.
        value, low, high: the rate and its 95 % interval, of `n` images.
    """

    target: str
    measure: str
    value: float
    low: float
    high: float
    n: int


def importance(answer: Answer, usual: Answer, originals: Split) -> list[Importance]:
    """One converter's row of converter x service: what each classifier still answers to it (DAPter, Table 4).

    A converter keeps what matters to the service it was trained for; what another service can use beside that matters
    to both, or was not taken away.

    Args:
        answer: of every classifier to the payloads.
        usual: of the same to the originals.
        originals: with the labels that are known.

    Raises:
        UsageError: another number of answers than originals.
    """
    found = []
    usually = usual.labels()
    for target, labels in answer.labels().items():
        if len(labels) != len(originals):
            raise UsageError(f"{len(labels)} answers on {target}, {len(originals)} originals. Cure: one for each")
        rates = {"agreement": metrics.agreement(labels, usually[target])}
        if target in originals.labels:
            rates["target_accuracy"] = metrics.accuracy(labels, originals.labels[target])
        found += [Importance(target, name, *rate, len(labels)) for name, rate in rates.items()]
    return found


def _last_convolution(net: nn.Module) -> nn.Module:
    if isinstance(net, ClassifierNet):
        return net.features
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    if not convolutions:
        raise UsageError("this net has no convolution as a layer. Cure: name the layer that gives (N, channels, h, w)")
    return convolutions[-1]
