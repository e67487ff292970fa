"""The leaderboard: every defence that is found, trained alike, under the same quick attacks.

    python benchmarks/leaderboard.py --root DATA --data cifar10 --target animal_vehicle --secrets class

trains the service as `benchmarks/converter.py` does (or finds it), then each defence: with its usual settings but for
those of SETTINGS, and as long as the service was trained. Each is audited with the attacks of `benchmarks/audit.py`.
The file `results/leaderboard_<data>_<target>_<preset>.jsonl` gets its lines; those of the same defence, seed and image
size are replaced, all others stay, so `--defences NAME` adds a new file to the board, on the pages of results too.
Interrupted work resumes; a defence that fails is named at the end, and stops no other.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tyro
from audit import first_attacks
from converter import RESULTS, Bench, build_at_scale, load
from converter import Settings as BenchSettings
from lines import chosen, measure_each, refuse_others
from source import command
from tables import write_pages

from dapter.audit import audit
from dapter.defences import Defence
from dapter.evaluate import evaluate
from dapter.plugins import names
from dapter.runs import Run
from dapter.tables import leak_table
from dapter.types import Measurement

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "budget": {"width": 32},
}
"""Where the usual settings are not those of the board; `dapter` has λ = 0.9 and the preset's width."""

STRENGTHS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "celeba": {"cloak": {"suppressed": 0.7}},
    "cifar10": {
        "deepobfuscator": {"secret_weight": 0.33, "image_weight": 0.33},
        "learning_not_to_learn": {"lam": 0.03, "mu": 0.3},
    },
}
"""By data set, how strong a rival is where its usual settings cost the answer far more than three points, or leave
room: chosen on validation images, so that it loses about one to three (decision 23)."""

BLIND = ("dapter", "budget")
"""Trained without the names of the secrets, of which they make no use, so that equal runs of others are found."""

COSTS = ("payload_bytes_png", "payload_bytes_features", "multiply_adds", "client_bytes")
"""Of the measures of `evaluate`, those on the board; all others are the audit's."""


@dataclass(frozen=True)
class Settings:
    """What to measure."""

    root: Path | None = None
    """The folder that holds the data set; none for generated ones."""
    data: str = "cifar10"
    target: str = "animal_vehicle"
    secrets: tuple[str, ...] = ("class",)
    n: int | None = None
    """How many images, for generated sets."""
    size: int | None = None
    """Height and width of the images, for sets that are resized."""
    preset: Literal["tiny", "cpu", "paper"] = "cpu"
    defences: tuple[str, ...] = ()
    """Names of defences; by default all."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the defences, of those that learn nothing the first; each is attacked with the attacker's seed 0."""
    recogniser_epochs: int | None = None
    decoder_epochs: int | None = None
    """Of the attacks; by default the preset's."""
    workers: int = 1
    """Processes that attack, each on one thread; results are the same for any number."""
    runs: Path = Path("runs")
    """Where run folders are kept."""
    results: Path = RESULTS
    """Where the file of results is."""


class Board:
    """One data set, one service, and what is measured of each defence."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.data, blind = load(settings, settings.secrets), load(settings)
        refuse_others(self.path, self.source(), blind.image_size, ("defences", "seeds"))
        asked = BenchSettings(settings.root, settings.data, settings.target, settings.preset)
        self.bench = Bench(replace(asked, runs=settings.runs), blind)

    @property
    def path(self) -> Path:
        """The file of results."""
        settings = self.settings
        return settings.results / f"leaderboard_{settings.data}_{settings.target}_{settings.preset}.jsonl"

    def source(self, *defences: str) -> str:
        """The command that measures these defences."""
        asked = replace(self.settings, defences=defences)
        return command("benchmarks/leaderboard.py", asked, ("data", "target", "defences"))

    def build(self, name: str) -> Defence:
        """A defence with its settings."""
        if name == "dapter":
            return self.bench.paper
        strength = STRENGTHS.get(self.settings.data, {}).get(name, {})
        return build_at_scale(name, {**SETTINGS.get(name, {}), **strength}, self.settings.preset)

    def train(self, name: str, seed: int) -> Run:
        """The run of a defence."""
        data = self.bench.data if name in BLIND else self.data
        return self.bench.train(self.build(name), self.bench.preset.service_plan, seed, data=data)

    def lines(self, name: str) -> Iterator[Measurement]:
        """Everything that was measured of a defence."""
        settings, source = self.settings, self.source(name)
        built = self.build(name)
        features = built.sends == "features"
        for seed in settings.seeds if built.learns else settings.seeds[:1]:
            run = self.train(name, seed)
            found = audit(
                [run],
                self.bench.service,
                self.data,
                attacks=first_attacks(settings.preset, settings.recogniser_epochs, settings.decoder_epochs, features),
                root=settings.runs,
                preset=settings.preset,
                workers=settings.workers,
            )
            print(leak_table(found), flush=True)
            subject = next(entry.settings["subject"] for entry in found if entry.attack)
            costs = [entry for entry in evaluate(run, self.bench.service, self.data) if entry.measure in COSTS]
            for entry in [*found, *costs]:
                own = {**entry.settings, "subject": subject, "study": "leaderboard"}
                yield replace(entry, settings=own, source=source, preset=settings.preset)


def main() -> int:
    """Measure, and write the file after every defence; the exit code."""
    settings = tyro.cli(Settings, description=__doc__)
    defences = chosen(settings.defences, names("defences"), "--defences")
    board = Board(settings)
    code = measure_each(
        defences,
        board.lines,
        board.path,
        lambda entry: (entry.defence, entry.seed, *entry.settings["image_size"]),
        "--defences",
    )
    if settings.results == RESULTS:
        write_pages()
    return code


if __name__ == "__main__":
    sys.exit(main())
