"""The judge of restored images: networks of originals, trained once for a data set and shared by all its audits.

It says how far an image looks from another, which secrets can still be read in it, and who it shows. Never the service,
which a defence was trained against and whose features tell the target only: the judge learns all labels, with settings
and a seed that are the same in every audit, so that its figures compare. See docs/decisions/0015.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from dapter.attacks._people import held_out, numbered
from dapter.attacks._training import SecretsLoss, train_net
from dapter.batches import Batch, batches
from dapter.data import IDENTITY, Data, Split
from dapter.loop import CHECKPOINT, Plan
from dapter.nets.judges import Embedder, Reader
from dapter.processes import pick_device
from dapter.runs import Run, derive_seed, write_atomic
from dapter.types import Guess

WIDTH = 16
"""Channels of the first layer."""

PLAN = Plan(epochs=8)
LEARNING_RATE = 2e-3
WEIGHTS = "weights.safetensors"
ASK_BATCH = 512


@dataclass(frozen=True)
class Judge:
    """Trained networks of originals.

    Attributes:
        classes: the secrets that it reads, for each the number of its values.
        train: their labels in training, for each int64 (N,).
        nets: a `reader` and, where people are known, an `embedder`.
    """

    classes: Mapping[str, int]
    train: Mapping[str, np.ndarray]
    nets: nn.ModuleDict

    def read(self, images: np.ndarray) -> Guess:
        """The secrets that are read in images, uint8 (N, H, W, 3)."""
        reader = self.nets["reader"]

        def side_by_side(batch: Batch) -> Tensor:
            logits = reader(batch.images)
            return torch.cat([logits[name] for name in self.classes], dim=1)

        if not self.classes:
            return Guess()
        parts = np.split(_ask(side_by_side, images), np.cumsum(list(self.classes.values()))[:-1], axis=1)
        return Guess(dict(zip(self.classes, parts, strict=True)))

    def distance(self, images: np.ndarray, others: np.ndarray) -> np.ndarray:
        """Perceptual distance of each pair of images, uint8 (N, H, W, 3): float64 (N,), 0 for equal ones."""
        reader = self.nets["reader"]
        assert isinstance(reader, Reader)
        both = np.concatenate([images, others], axis=2)

        def compare(batch: Batch) -> Tensor:
            return reader.distance(*batch.images.chunk(2, dim=3))

        return _ask(compare, both).astype(np.float64)

    def embed(self, images: np.ndarray) -> np.ndarray | None:
        """Who images, uint8 (N, H, W, 3), show: float32 (N, values) of length 1; None where people are not known."""
        if "embedder" not in self.nets:
            return None
        embedder = self.nets["embedder"]
        assert isinstance(embedder, Embedder)
        return _ask(lambda batch: embedder.embed(batch.images), images)


def find_judge(data: Data, root: Path) -> Judge | None:
    """The judge of a data set, trained now or before, in a run folder under `root`; None for images without labels."""
    train = data.splits["train"]
    labels = {name: len(data.classes[name]) for name in (*data.targets, *data.readable)}
    if not labels:
        return None
    seed = derive_seed(0, "judge")
    torch.manual_seed(seed)
    nets = nn.ModuleDict({"reader": Reader(labels, WIDTH, data.image_size)})
    people, numbers = numbered(train.labels.get(IDENTITY, np.empty(0, np.int64)))
    if people > 1:
        nets["embedder"] = Embedder(people, WIDTH, data.image_size)
    manifest = {"kind": "judge", "data": data.record(), "plan": PLAN.record(), "width": WIDTH}
    run = Run.open(root, f"judge-{data.name}", manifest)
    with run.lock():
        if not run.done:
            _train_reader(nets["reader"], labels, data, run, seed)
            if "embedder" in nets:
                _train_embedder(nets["embedder"], Split(train.images, {IDENTITY: numbers}), data.mirror, run, seed)
            state = {name: value.cpu().contiguous() for name, value in nets.state_dict().items()}
            write_atomic(run.path / WEIGHTS, save(state))
            run.finish()
            for checkpoint in run.path.rglob(CHECKPOINT):
                checkpoint.unlink()
    nets.load_state_dict(load((run.path / WEIGHTS).read_bytes()))
    secrets = {name: count for name, count in labels.items() if name in data.readable}
    nets.to(pick_device(), memory_format=torch.contiguous_format)  # type: ignore[call-overload] # also if just trained
    return Judge(secrets, {name: train.labels[name] for name in secrets}, nets.eval())


def _train_reader(reader: nn.Module, classes: Mapping[str, int], data: Data, run: Run, seed: int) -> None:
    train, val = data.splits["train"], data.splits["val"]
    measure = SecretsLoss(train.labels, classes)

    def loss(batch: Batch) -> Tensor:
        return measure(reader(batch.images), batch.labels)

    part = Run(run.path / "reader")
    train_net(reader, loss, [train], val, PLAN, part, seed, learning_rate=LEARNING_RATE, mirror=data.mirror)


def _train_embedder(embedder: nn.Module, known: Split, mirror: bool, run: Run, seed: int) -> None:
    train, val = (
        Split(known.images[rows], {IDENTITY: known.labels[IDENTITY][rows]})
        for rows in held_out(known.labels[IDENTITY], seed)
    )

    def loss(batch: Batch) -> Tensor:
        return F.cross_entropy(embedder(batch.images).float(), batch.labels[IDENTITY])

    part = Run(run.path / "embedder")
    train_net(embedder, loss, [train], val, PLAN, part, seed, learning_rate=LEARNING_RATE, mirror=mirror)


@torch.no_grad()
def _ask(forward: Callable[[Batch], Tensor], images: np.ndarray) -> np.ndarray:
    """What `forward` gives for all images, in batches, in float32."""
    found = [forward(batch).float().cpu() for batch in batches(Split(images, {}), ASK_BATCH, pick_device())]
    joined: np.ndarray = torch.cat(found).numpy()
    return joined
