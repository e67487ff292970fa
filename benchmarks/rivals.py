"""The papers of the rivals, repeated: each table with the paper's figure beside ours.

    python benchmarks/rivals.py --root DATA --study disco_table1

trains the service as `benchmarks/converter.py` does (or finds it), then every row of the table as long as the service
was trained, and audits it. The file `results/rivals_<study>_<preset>.jsonl` gets its lines, one measurement a line:
`settings.row` is the row of the table, `reported` the paper's figure where it is known. Lines of the same row, seed and
image size are replaced; `--rows` measures some rows only. Interrupted work resumes; a row that fails is named at the
end, and stops no other. The studies:

    disco_table1            CIFAR-10 as the paper's text has it: animal or vehicle is the target, the class is secret
    disco_table1_classes    as its code has it: the ten classes are the target, the image is hidden
    disco_table2            likelihood maximisation against nothing, an adversary, and DISCO
    disco_figure4           one trained DISCO, another R in use
    deepobfuscator          CelebA, smiling or not, gender hidden; with and without its adversaries
    partition_mnist         the MLP against eight attackers; none, one and four defenders
    partition_cifar10       VGG19 against private pixelation of the images

Tables whose figures could not be had (all of DISCO's and of Privacy Partitioning's) have none beside ours.
The row `noise` puts noise on the image, so that the service may stay; DISCO's code puts it on the features. The cuts of
Privacy Partitioning are ours.
"""

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from audit import first_attacks
from converter import RESULTS, Bench, build_at_scale
from converter import Settings as BenchSettings
from lines import chosen, measure_each, refuse_others
from source import command

from dapter.attacks import Attack
from dapter.audit import audit
from dapter.data import Data, load_data
from dapter.defences import Defence, with_settings
from dapter.presets import find_preset
from dapter.tables import leak_table
from dapter.train import load_defence
from dapter.types import Measurement

Reported = Mapping[tuple[str, str | None], float]
"""The paper's figures, by measure and attack."""


@dataclass(frozen=True)
class Row:
    """One row of a table: a defence with its settings, those that are chosen in use, and what the paper reports.

    A setting that follows from the width is a function of it.
    """

    defence: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    use: Mapping[str, Any] = field(default_factory=dict)
    reported: Reported = field(default_factory=dict)

    def build(self, preset: str) -> Defence:
        """The defence, at the scale of a preset."""
        width = find_preset(preset).width
        settings = {name: value(width) if callable(value) else value for name, value in self.settings.items()}
        if any(map(callable, self.settings.values())):
            settings["width"] = width
        return build_at_scale(self.defence, settings, preset)


@dataclass(frozen=True)
class Study:
    """One table: its data, its rows by name, and the attacks beside a recogniser and a decoder."""

    data: str
    target: str
    secrets: tuple[str, ...]
    rows: Mapping[str, Row]
    more: tuple[str, ...] = ()


PRUNED = 0.6
"""The share of the channels, R, that rows about pruning leave out."""

DISCO = Row("disco", {"hides": "secrets", "pruning": PRUNED})
DISCO_IMAGE = replace(DISCO, settings={**DISCO.settings, "hides": "image"})
LEFT = (0.0, 0.2, 0.4, 0.6, 0.8)
"""R of Figure 4."""

STUDIES: Mapping[str, Study] = {
    "disco_table1": Study(
        "cifar10",
        "animal_vehicle",
        ("class",),
        {
            "none": Row("split_inference"),
            "noise": Row("gaussian_noise"),
            "random pruning": Row("random_pruning", {"ratio": PRUNED}),
            "adversary": Row("learning_not_to_learn", {"lam": 0.0}),
            "maximum entropy": Row("maximum_entropy", {"blocks": 6}),
            "DISCO": DISCO,
            "DISCO with decoupler": replace(DISCO, settings={**DISCO.settings, "decoupler": math.isqrt}),
        },
    ),
    "disco_table1_classes": Study(
        "cifar10",
        "class",
        (),
        {
            "none": Row("split_inference"),
            "noise": Row("gaussian_noise"),
            "random pruning": Row("random_pruning", {"ratio": PRUNED}),
            "NoPeek": Row("nopeek"),
            "DISCO": DISCO_IMAGE,
        },
    ),
    "disco_table2": Study(
        "cifar10",
        "animal_vehicle",
        ("class",),
        {
            "none": Row("split_inference"),
            "adversary": Row("pan"),
            "DISCO": replace(DISCO, settings={**DISCO.settings, "hides": "both"}),
        },
        ("inversion",),
    ),
    "disco_figure4": Study(
        "cifar10",
        "animal_vehicle",
        ("class",),
        {f"R {pruning}": replace(DISCO, use={"pruning": pruning}) for pruning in LEFT},
    ),
    "deepobfuscator": Study(
        "celeba",
        "Smiling",
        ("Male",),
        {
            "none": Row(
                "deepobfuscator",
                {"secret_weight": 0.0, "image_weight": 0.0},
                reported={("secret_accuracy", "recognition"): 0.9736, ("ms_ssim", "reconstruction"): 0.9458},
            ),
            "DeepObfuscator": Row(
                "deepobfuscator",
                reported={("secret_accuracy", "recognition"): 0.5885, ("ms_ssim", "reconstruction"): 0.3175},
            ),
        },
    ),
    "partition_mnist": Study(
        "mnist",
        "class",
        (),
        {
            f"{count} defenders": Row(
                "partition", {"net": "mlp", "width": 16, "cut": 1, "hides": "image", "defenders": count}
            )
            for count in (0, 1, 4)
        },
        ("partition",),
    ),
    "partition_cifar10": Study(
        "cifar10",
        "class",
        (),
        {
            "none": Row("partition", {"net": "vgg19", "cut": 8, "hides": "image", "defenders": 0}),
            "Privacy Partitioning": Row("partition", {"net": "vgg19", "cut": 8, "hides": "image"}),
            "private pixelation, epsilon 1": Row("dp_pixelation", {"epsilon": 1.0}),
            "private pixelation, epsilon 10": Row("dp_pixelation", {"epsilon": 10.0}),
            "epsilon 1, service retrained": Row("retrained", {"baseline_settings": {"epsilon": 1.0}}),
            "epsilon 10, service retrained": Row("retrained", {"baseline_settings": {"epsilon": 10.0}}),
        },
        ("partition",),
    ),
}
"""DeepObfuscator's figures are those of its abstract; it does not say which target they belong to."""


@dataclass(frozen=True)
class Settings:
    """What to repeat."""

    study: Literal[tuple(STUDIES)]  # type: ignore[valid-type]
    """The table."""
    root: Path | None = None
    """The folder that holds the data set; none for generated ones."""
    preset: Literal["tiny", "cpu", "paper"] = "cpu"
    rows: tuple[str, ...] = ()
    """Rows of the table; by default all."""
    seeds: tuple[int, ...] = (0,)
    """Of the defences; each is attacked with the attacker's seed 0."""
    data: str | None = None
    """Another data set than the paper's, for a trial; `target` and `secrets` name its labels, `results` a folder."""
    target: str = ""
    secrets: tuple[str, ...] = ()
    n: int | None = None
    """How many images, for generated sets."""
    size: int | None = None
    """Height and width of the images, for sets that are resized."""
    recogniser_epochs: int | None = None
    decoder_epochs: int | None = None
    """Of the attacks; by default the preset's."""
    attacks: tuple[str, ...] | None = None
    """Attacks beside the recogniser and the decoder, instead of the study's."""
    workers: int = 1
    """Processes that attack, each on one thread; results are the same for any number."""
    runs: Path = Path("runs")
    """Where run folders are kept."""
    results: Path = RESULTS
    """Where the file of results is."""

    @property
    def trial(self) -> bool:
        """Whether this is not what the paper measured."""
        return self.data is not None or self.n is not None

    def load(self, study: Study, secrets: bool) -> Data:
        """The data set, with the study's secrets or without."""
        asked = {"root": self.root, "n": self.n, "size": self.size}
        given = {name: value for name, value in asked.items() if value is not None}
        labels = (self.target, self.secrets) if self.data else (study.target, study.secrets)
        return load_data(self.data or study.data, target=labels[0], secrets=labels[1] if secrets else (), **given)


class Repetition:
    """One study: its service, and what is measured of each row."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.study = settings, STUDIES[settings.study]
        self.data, blind = (settings.load(self.study, secrets) for secrets in (True, False))
        refuse_others(self.path, self.source(), blind.image_size, ("rows", "seeds"))
        asked = BenchSettings(settings.root, blind.name, "+".join(blind.targets), settings.preset)
        self.bench = Bench(replace(asked, runs=settings.runs), blind)

    @property
    def path(self) -> Path:
        """The file of results."""
        return self.settings.results / f"rivals_{self.settings.study}_{self.settings.preset}.jsonl"

    def source(self, *rows: str) -> str:
        """The command that measures these rows."""
        return command("benchmarks/rivals.py", replace(self.settings, rows=rows), ("study", "rows"))

    def attacks(self, features: bool) -> list[str | Attack]:
        """What a row is attacked with."""
        settings = self.settings
        more = self.study.more if settings.attacks is None else settings.attacks
        return [*first_attacks(settings.preset, settings.recogniser_epochs, settings.decoder_epochs, features), *more]

    def lines(self, name: str) -> Iterator[Measurement]:
        """Everything that was measured of a row."""
        settings, row, source = self.settings, self.study.rows[name], self.source(name)
        defence = row.build(settings.preset)
        for seed in settings.seeds:
            run = self.bench.train(defence, self.bench.preset.service_plan, seed, data=self.data)
            found = audit(
                [with_settings(load_defence(run), **row.use) if row.use else run],
                self.bench.service,
                self.data,
                attacks=self.attacks(defence.sends == "features"),
                root=settings.runs,
                preset=settings.preset,
                workers=settings.workers,
            )
            print(leak_table(found), flush=True)
            added = {"study": settings.study, "row": name}
            for entry in found:
                paper = None if settings.data else row.reported.get((entry.measure, entry.attack))
                given = {"seed": seed, "source": source, "preset": settings.preset, "reported": paper}
                yield replace(entry, settings={**entry.settings, **added}, **given)


def main() -> int:
    """Measure, and write the results file after every row; the exit code."""
    settings = tyro.cli(Settings, description=__doc__)
    rows = chosen(settings.rows, STUDIES[settings.study].rows, "--rows")
    if settings.trial and settings.results == RESULTS:
        sys.exit("--data and --n: a trial would replace lines of the paper's data. Cure: --results, another folder")
    if (settings.data is None) != (not settings.target) or (settings.secrets and not settings.target):
        sys.exit("--data, --target and --secrets belong together: a study has its own. Cure: all of them, or none")
    repetition = Repetition(settings)
    return measure_each(
        rows,
        repetition.lines,
        repetition.path,
        lambda entry: (entry.settings["row"], entry.seed, *entry.settings["image_size"]),
        "--rows",
    )


if __name__ == "__main__":
    sys.exit(main())
