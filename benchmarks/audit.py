"""The audit on real images: what attackers learn from the payloads of a converter, over its dial and seeds.

    python benchmarks/audit.py --root DATA --data cifar10 --target animal_vehicle --secrets class

trains the service and the converters as `benchmarks/converter.py` does (or finds them): for each seed λ = 0.9 from
scratch, the other λ fine-tuned from it; with `--budgets 1 2 --study budget` budget converters of that many bits beyond
the answer instead. Each is attacked, and `results/audit_<data>_<target>_<preset>.jsonl` gets its lines, one measurement
a line; `settings.study` names the attacks that were asked for, and lines of the same study and defence are replaced.
`--study suite --attacks all` is the whole suite of the preset; the default is one strong attack of each kind.
Interrupted work resumes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from converter import RESULTS, Bench, load
from converter import Settings as BenchSettings
from lines import replace_lines
from painters import Painters, paint
from source import command

from dapter.attacks import Attack
from dapter.attacks.people import PLANS, People
from dapter.attacks.recognition import Recognition
from dapter.attacks.reconstruction import Reconstruction
from dapter.audit import audit
from dapter.defences import Defence
from dapter.presets import find_preset
from dapter.runs import Run
from dapter.tables import leak_table
from dapter.types import Measurement

PAPER = {
    ("dapter", 0.9, "ssim", "reconstruction"): 0.2,
    ("dapter", 0.9, "target_accuracy_lost", None): 0.03,
}
"""The upper ends that the paper reports (DAPter, WWW 2021), by defence, λ, measure and attack."""


@dataclass(frozen=True)
class Settings(Painters):
    """What to audit."""

    root: Path | None = None
    """The folder that holds the data set; none for generated ones."""
    data: str = "cifar10"
    target: str = "animal_vehicle"
    secrets: tuple[str, ...] = ("class",)
    n: int | None = None
    """How many images, for generated sets."""
    size: int | None = None
    """Height and width of the images, for sets that are resized."""
    cooccurrence: tuple[tuple[str, str, float], ...] | None = None
    """Pairs of labels that go together, each with their correlation, for generated sets."""
    preset: Literal["tiny", "cpu", "paper"] = "cpu"
    lams: tuple[float, ...] = (0.9, 0.0, 0.5, 0.98)
    budgets: tuple[float, ...] = ()
    """Of the budget converter, in bits beyond the answer; if there are any, it is audited instead of DAPter's."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the converters; each is attacked with the attacker's seed 0."""
    attacks: tuple[str, ...] = ()
    """Names of attacks, or all; by default a recogniser, a decoder, and one after `identity` where it is a secret."""
    recogniser_epochs: int | None = None
    decoder_epochs: int | None = None
    """Of the default attacks; by default the preset's (EPOCHS)."""
    study: str = "lambda"
    """The name under which the lines are kept."""
    workers: int = 1
    """Processes that attack, each on one thread; results are the same for any number."""
    runs: Path = Path("runs")
    """Where run folders are kept."""
    results: Path = RESULTS
    """Where the file of results is."""


EPOCHS = {"tiny": (4, 2), "cpu": (4, 2), "paper": (60, 60)}
"""Of recognisers and of decoders, for each preset: where defences are trained for longer, attackers are."""


def first_attacks(
    preset: str, recogniser_epochs: int | None = None, decoder_epochs: int | None = None, features: bool = False
) -> list[Attack]:
    """Two recognisers and a decoder on the amplified residue, and re-identification where `identity` is secret.

    One recogniser learns from payloads that are shifted and mirrored, the other in place. None is narrower than the
    preset's services.

    Args:
        recogniser_epochs, decoder_epochs: None: the preset's.
        features: whether features are sent: there the second is scaled by channel, and so is a second decoder.
    """
    epochs = EPOCHS[preset]
    width = max(16, find_preset(preset).width)
    recognition, reconstruction = Recognition(family="cnn", width=width), Reconstruction(width=width)
    reader = replace(recognition, plan=replace(recognition.plan, epochs=recogniser_epochs or epochs[0]))
    decoder = replace(reconstruction, plan=replace(reconstruction.plan, epochs=decoder_epochs or epochs[1]))
    people = People(width=width, plan=PLANS[preset])
    if not features:
        return [reader, reader.in_place(), decoder, people]
    return [
        reader,
        replace(reader.in_place(), inputs="channels"),
        decoder,
        replace(decoder, inputs="channels"),
        people,
    ]


def converters(bench: Bench, settings: Settings) -> Iterator[tuple[Run | Defence, int]]:
    """The budget converters, or a run for each seed and λ; each with its seed."""
    if settings.budgets:
        yield from paint(bench, settings)
        return
    for seed in settings.seeds:
        start = bench.train(bench.paper, bench.preset.plan, seed)
        for lam in settings.lams:
            if lam == bench.paper.lam:
                yield start, seed
            else:
                tuned = replace(bench.paper, lam=lam, warm_up=0.0)
                yield bench.train(tuned, bench.preset.fine_tune_plan, seed, start), seed


def main() -> None:
    """Audit, and write the results file after every converter."""
    settings = tyro.cli(Settings, description=__doc__)
    asked = BenchSettings(settings.root, settings.data, settings.target, settings.preset, (), settings.runs)
    bench, data = Bench(asked, load(settings)), load(settings, settings.secrets)
    path = settings.results / f"audit_{settings.data}_{settings.target}_{settings.preset}.jsonl"
    source = command("benchmarks/audit.py", settings, ("data", "target", "study"))
    found: list[Measurement] = []
    for converter, seed in converters(bench, settings):
        lines = audit(
            [converter],
            bench.service,
            data,
            attacks=settings.attacks
            or first_attacks(settings.preset, settings.recogniser_epochs, settings.decoder_epochs),
            root=settings.runs,
            preset=settings.preset,
            workers=settings.workers,
        )
        print(leak_table(lines), flush=True)
        for entry in lines:
            named = {**entry.settings, "study": settings.study}
            if settings.epochs is not None:
                named["epochs"] = settings.epochs
            paper = PAPER.get((entry.defence, entry.settings.get("lam"), entry.measure, entry.attack))
            given = {"seed": seed, "preset": settings.preset, "source": source, "reported": paper}
            found.append(replace(entry, settings=named, **given))
        replace_lines(path, found, lambda entry: (entry.settings.get("study"), entry.defence))
    print(path)


if __name__ == "__main__":
    main()
