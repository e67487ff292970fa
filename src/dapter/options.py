"""Groups of command-line options that several verbs share, and what they stand for."""

import json
from collections.abc import Collection, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from tyro.conf import arg

from dapter.errors import UsageError

if TYPE_CHECKING:  # the command line starts fast: what needs torch is imported when it is used
    from dapter.data import Data
    from dapter.defences import Defence
    from dapter.loop import Plan
    from dapter.presets import Preset
    from dapter.service.classifier import Service
    from dapter.service.remote import Remote
    from dapter.service.sources import Spec

PresetName = Literal["tiny", "cpu", "paper"]


def check_counts(**counts: int | None) -> None:
    """Refuse options that count something and are below 1, before any work; None is not given.

    Raises:
        UsageError: one is.
    """
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name.replace('_', '-')} {count} can do nothing. Cure: 1 or more")


def check_unused(options: Any, names: Collection[str], reader: str) -> None:
    """Refuse options that were given where nothing reads them.

    Args:
        options: a dataclass; its fields may be groups of options.
        names: of the fields that are not read.
        reader: the options that would read them.

    Raises:
        UsageError: one differs from its default.
    """
    for entry in (each for each in fields(options) if each.name in names):
        value = getattr(options, entry.name)
        default = entry.default if entry.default_factory is MISSING else entry.default_factory()
        if is_dataclass(default):
            check_unused(value, [each.name for each in fields(default)], reader)
        elif value != default:
            raise UsageError(
                f"--{entry.name.replace('_', '-')} is read by {reader} only. Cure: add it, or leave it out"
            )


@dataclass(frozen=True)
class DataOptions:
    """Which images, and which of their labels."""

    data: str = "faces"
    """The data set: faces (generated), cifar10, celeba, mnist, lfw, folder (your own), ..."""
    root: Path | None = None
    """The folder that holds it."""
    target: tuple[str, ...] = ()
    """The label, or labels, that the service answers. Default: the set's usual one."""
    size: int | None = None
    """Pixels on a side, for sets that can be resized."""
    n: int | None = None
    """How many images, for generated sets."""
    csv: Path | None = None
    """The table of labels, for --data folder."""
    groups: Path | None = None
    """A table that joins classes into groups, for --data imagenet."""
    on_error: Literal["raise", "skip"] | None = None
    """What to do about an image that cannot be read: stop, or skip it and report."""

    def load(self, secrets: Sequence[str] = ()) -> "Data":
        """The data set, with these labels that an attacker wants."""
        from dapter.data import load_data

        given = {name: value for name, value in asdict(self).items() if name not in ("data", "target")}
        settings = {name: value for name, value in given.items() if value is not None}
        return load_data(self.data, target=self.target, secrets=secrets, **settings)


@dataclass(frozen=True, kw_only=True)
class SpecOptions:
    """What a service does not say about itself."""

    service_target: str | None = None
    """The label that it answers."""
    service_classes: tuple[str, ...] | None = None
    """The names of its classes, in order."""
    service_mean: tuple[float, float, float] | None = None
    """The mean that it normalises images in [0, 1] with."""
    service_std: tuple[float, float, float] | None = None
    """The standard deviation that it normalises images in [0, 1] with."""
    service_size: tuple[int, int] | None = None
    """Height and width that it needs, if it cannot take every size."""

    def load_from(self, *sources: str) -> "Service":
        """The service of these sources.

        Raises:
            UsageError: a run folder among several sources.
        """
        from dapter.runs import MANIFEST
        from dapter.service.load import load_service
        from dapter.service.training import load_trained_service

        runs = [source for source in sources if (Path(source) / MANIFEST).exists()]
        if runs and len(sources) > 1:
            raise UsageError(f"{runs[0]} is a run folder among others. Cure: one run folder, or the files in them")
        if runs:
            return load_trained_service(runs[0])
        given = {
            "target": self.service_target,
            "classes": self.service_classes,
            "mean": self.service_mean,
            "std": self.service_std,
            "input_size": self.service_size,
        }
        spec = cast("Spec", {name: value for name, value in given.items() if value is not None})
        return load_service(*sources, **spec)


@dataclass(frozen=True)
class ServiceOptions(SpecOptions):
    """Which frozen service; what it does not say about itself must be given."""

    service: tuple[str, ...] = ()
    """A run folder of `dapter service train`; or files (.safetensors, .pt2, .onnx), the local folder of a Hugging Face
    image classifier, or package.module:name of a torch module, several for several classifiers."""

    def load(self) -> "Service":
        """The service.

        Raises:
            UsageError: none is named, or a run folder among several sources.
        """
        if not self.service:
            raise UsageError("no service is named. Cure: --service")
        return self.load_from(*self.service)


@dataclass(frozen=True)
class RemoteOptions:
    """A service behind a URL, of which only the answers are known. Its originals are sent: see --send-originals."""

    service_url: str | None = None
    """Its URL, instead of --service: https://HOST/v2/models/NAME for the Open Inference Protocol, any for an adapter.
    The environment variable DAPTER_SERVICE_TOKEN holds its token. --service-target and --service-classes say what it
    answers, where that is not what the data has."""
    service_adapter: str | None = None
    """How to ask a service that does not speak that protocol: package.module:function, which takes the URL and images,
    uint8 (N, height, width, 3), and gives scores (N, classes) or N labels."""
    query_limit: int = 0
    """The most images that may ever be sent to it."""
    query_price: float | None = None
    """What one image costs, to show what was spent."""
    send_originals: bool = False
    """The images of --data may be sent to the service as they are, to learn what it answers. They must be your own,
    public images, never your users'."""

    def connect(self, service: ServiceOptions, data: "Data", root: Path) -> "Remote | None":
        """The service, of which nothing has been asked yet; None without a URL.

        Raises:
            UsageError: a service as well as a URL, or it is not known what it answers.
        """
        from dapter.service.remote import Remote, find_adapter

        if self.service_url is None:
            return None
        if service.service:
            raise UsageError("--service and --service-url. Cure: one of them")
        target = service.service_target or next(iter(data.targets), None)
        if target is None or not (service.service_classes or target in data.classes):
            raise UsageError("it is not known what the service answers. Cure: --service-target and --service-classes")
        ask = None if self.service_adapter is None else find_adapter(self.service_adapter)
        classes = service.service_classes or data.classes[target]
        return Remote(self.service_url, target, classes, self.query_limit, self.query_price, ask, root)


@dataclass(frozen=True)
class TrainingOptions:
    """How much to train."""

    preset: PresetName = "cpu"
    """The scale: tiny (a minute), cpu (two cores, minutes to an hour), paper (a GPU)."""
    epochs: int | None = None
    """Passes over the training split, instead of the preset's."""
    batch_size: int | None = None
    """Images a step, instead of the preset's."""
    seed: int = 0
    """Of everything random."""
    out: Path = Path("runs")
    """Where run folders are kept."""

    def __post_init__(self) -> None:
        check_counts(epochs=self.epochs, batch_size=self.batch_size)

    def change(self, plan: "Plan") -> "Plan":
        """The plan with what was asked for instead."""
        return replace(plan, epochs=self.epochs or plan.epochs, batch_size=self.batch_size or plan.batch_size)


@dataclass(frozen=True)
class ConverterOptions:
    """Which converter, or another defence. What is left out has the defence's own default."""

    defence: str = "dapter"
    """dapter (the paper's converter), budget (a hard limit in bits), or another defence by name."""
    lam: float | None = None
    """λ of dapter: 0 keeps the answer only, 1 keeps grey only. Default: 0.9."""
    lam_range: tuple[float, float] | None = None
    """Train one converter for every λ in this range; --lam is what it is measured at."""
    budget_bits: float | None = None
    """Of budget: bits beyond the answer that a payload may carry on average. Default: 1."""
    budget_bits_range: tuple[float, float] | None = None
    """Train one converter for every budget in this range; --budget-bits is what it is measured at."""
    net: Literal["paper", "fast"] | None = None
    """Of dapter: the paper's network, or the fast one. Default: paper."""
    width: int | None = None
    """The network's channels. Default of dapter: the preset's."""
    labels: Literal["data", "service"] | None = None
    """Train on the data's labels, or on the service's own answers. Default: data."""
    others: Annotated[tuple[str, ...], arg(name="set")] = ()
    """Any other setting of the defence, each as name=value, as in --set grid=8 stamps=learned."""

    def build(self, preset: "Preset", warm: bool = False) -> "Defence":
        """The defence, not yet trained; `warm` if it will start from another's weights.

        Raises:
            UsageError: no such defence or setting, or a setting that cannot work.
        """
        from dapter.defences import build_defence

        named = {name: value for name, value in asdict(self).items() if name not in ("defence", "others")}
        settings = {name: value for name, value in named.items() if value is not None}
        for text in self.others:
            name, equals, value = text.partition("=")
            if not equals or name in named:
                raise UsageError(f"--set {text} is no further setting. Cure: name=value, of what has no option itself")
            settings[name] = _value(value)
        if self.defence == "dapter":
            width = preset.converter_width if settings.get("net", "paper") == "paper" else None
            settings = {"width": width, "warm_up": 0.0 if warm else preset.warm_up, **settings}
        return build_defence(self.defence, settings)


def _value(text: str) -> Any:
    """A setting as a JSON value, or else as a word."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
