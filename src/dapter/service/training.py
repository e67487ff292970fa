"""Train the classifiers of a service of our own, into a run folder."""

from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from dapter.batches import Batch, batches
from dapter.data import Data, Split
from dapter.errors import RunError, UsageError
from dapter.loop import CHECKPOINT, CURVE, Learner, Plan, fit
from dapter.nets.classifiers import Stem, build_classifier
from dapter.processes import from_first, is_first, pick_device
from dapter.runs import Run, derive_seed
from dapter.service.classifier import Classifier, Service
from dapter.service.load import load_service, save_classifier
from dapter.spent import noted

SAMPLE = 5000
"""Images that the normalisation is computed from."""


class _ClassifierLearner(Learner):
    """A classifier that is being trained, with SGD as its papers do."""

    def __init__(self, classifier: Classifier, learning_rate: float) -> None:
        sgd = torch.optim.SGD(classifier.parameters(), learning_rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
        super().__init__({"classifier": classifier}, {"classifier": sgd})
        self.target = classifier.target

    def loss(self, batch: Batch) -> Tensor:
        with self.autocast():
            return F.cross_entropy(self.net("classifier")(batch.images), batch.labels[self.target])

    def update(self, batch: Batch) -> dict[str, float]:
        loss = self.loss(batch)
        self.descend(loss, "classifier")
        return {"loss": float(loss.detach())}

    @torch.no_grad()
    def validate(self, split: Split, batch_size: int) -> dict[str, float]:
        parts = [float(self.loss(batch)) * len(batch.images) for batch in batches(split, batch_size, self.device)]
        return {"loss": sum(parts) / len(split)}


def train_service(
    data: Data,
    plan: Plan | None = None,
    *,
    arch: str = "resnet18",
    width: int | None = None,
    stem: Stem = "small",
    learning_rate: float = 0.05,
    seed: int = 0,
    root: Path = Path("runs"),
    preset: str | None = None,
) -> Run:
    """Train one classifier for each target of the data: the service, which is frozen afterwards.

    The run folder holds `<target>.safetensors` for each target; `load_trained_service` reads them. Resumes an
    interrupted run and returns a finished one at once.

    Args:
        data: `train` is trained on, `val` selects among epochs.
        plan: how long and how; by default `Plan()`.
        arch: the architecture; for it, `width` and `stem` see `dapter.nets.classifiers.build_classifier`.
        learning_rate: of SGD with momentum.
        seed: of everything random.
        root: where run folders are kept.
        preset: the preset that the settings come from, for the record.

    Raises:
        UsageError: the data has no target.
        RunError: training broke down, or the folder is damaged.
    """
    if not data.targets:
        raise UsageError("a service needs a target. Cure: name the label that it answers")
    plan = plan or Plan()
    manifest = {
        "kind": "service",
        "name": arch,
        "settings": {"arch": arch, "width": width, "stem": stem, "learning_rate": learning_rate},
        "data": data.record(),
        "plan": plan.record(),
        "seed": seed,
        "preset": preset,
    }
    run = from_first(lambda: Run.open(root, f"service-{arch}-{data.name}-{'+'.join(data.targets)}", manifest))
    with run.lock() if is_first() else nullcontext():
        for target in data.targets:
            if not from_first(_file(run, target).exists):
                classes = data.classes[target]
                torch.manual_seed(derive_seed(seed, "init", target))
                net = build_classifier(arch, len(classes), width, stem)
                classifier = Classifier(net, target, classes, *_normalisation(data.splits["train"]))
                learner = _ClassifierLearner(classifier, learning_rate)
                with noted(run) if is_first() else nullcontext():
                    _train(learner, data, plan, Run(run.path / target), seed)
                from_first(partial(save_classifier, _file(run, target), classifier.cpu()))
        from_first(run.finish)
        for target in data.targets:
            (run.path / target / CHECKPOINT).unlink(missing_ok=True)
    return run


def _file(run: Run, target: str) -> Path:
    return run.path / f"{target}.safetensors"


def _train(learner: _ClassifierLearner, data: Data, plan: Plan, part: Run, seed: int) -> None:
    learner.nets.to(pick_device())
    val = data.splits["val"]
    train = data.splits["train"]
    curve = fit(
        learner, learner.update, lambda: learner.validate(val, plan.batch_size), train, plan, part, seed, data.mirror
    )
    if is_first():
        part.write_lines(CURVE, curve)


def load_trained_service(run: Run | Path | str) -> Service:
    """The frozen service of a finished run of `train_service`.

    Raises:
        RunError: no such run, not finished, or not a service's.
    """
    run = Run.load(run.path if isinstance(run, Run) else run)
    manifest = run.manifest
    if manifest["kind"] != "service":
        raise RunError(f"{run.path} holds a {manifest['kind']}, not a service. Cure: `dapter list` shows the runs")
    return load_service(*(_file(run, target) for target in manifest["data"]["targets"]))


def _normalisation(split: Split) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, in [0, 1]."""
    sample = split.images[:SAMPLE].reshape(-1, 3) / 255
    return sample.mean(axis=0).tolist(), sample.std(axis=0).clip(min=0.01).tolist()
