"""The verbs `dapter audit` and `dapter attack`: attack converters and say the worst that was learned."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from dapter.errors import UsageError
from dapter.options import DataOptions, PresetName, ServiceOptions, check_counts

if TYPE_CHECKING:
    from dapter.subjects import Subject
    from dapter.types import Measurement


@dataclass(frozen=True)
class Audit:
    """Attack converters with everything there is, and report how much each attack learned beyond the answer."""

    subjects: Positional[tuple[str, ...]]
    """Run folders of `dapter train`, or names of defences without training: identity, constant."""
    originals: Path | None = None
    """Instead of these: a folder of originals, for --protected."""
    protected: Path | None = None
    """The folder of what somebody else's tool made of the originals; files belong together by their names."""
    labels: Path | None = None
    """A table of the originals: file, then a column a label; optional are identity and split."""
    name: str = "tool"
    """What the tool is called in the results."""
    service: OmitArgPrefixes[ServiceOptions] = field(default_factory=lambda: ServiceOptions(()))
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    secrets: tuple[str, ...] = ()
    """The labels that the attacker wants. The image itself is always one more secret."""
    attacks: tuple[str, ...] = ("all",)
    """Which attacks: all, or some of them by name."""
    seeds: int = 1
    """How often each attack is repeated, with another seed."""
    preset: PresetName = "cpu"
    """The scale of the attacks: tiny (a try), cpu (two cores), paper (a GPU)."""
    workers: int | None = None
    """Processes that attack, each on one thread. Default: one for each core, 1 when there is a GPU."""
    export_payloads: Path | None = None
    """Attack nothing: write what the run sends into this new folder, for others to attack; test secrets stay here."""
    import_guesses: tuple[Path, ...] = ()
    """Attack nothing: score these files, which others sent back for such a folder."""
    out: Path = Path("runs")
    """Where run folders are kept."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: nothing to attack, or options that do not belong together.
        """
        if self.import_guesses:
            self._score()
            return
        self._check()
        if self.export_payloads is not None:
            self._export(self.export_payloads)
            return
        from dapter.audit import run_audit
        from dapter.report import write_report
        from dapter.runs import RESULTS
        from dapter.tables import leak_table

        given = self._read_pairs()
        done = run_audit(
            self.subjects if given is None else [given],
            self.service.load() if given is None else given.service,
            self.data.load(self.secrets) if given is None else given.data,
            attacks=self.attacks,
            seeds=self.seeds,
            root=self.out,
            preset=self.preset,
            workers=self.workers,
            source=f"dapter {' '.join(sys.argv[1:])}",
        )
        found = done.read_results()
        print(leak_table(found))
        for line in [*_missing(given), *_not_run(found), *_minutes(found)]:
            print(line)
        print(f"Every figure is in {done.path / RESULTS}")
        print(f"The report is {write_report([done], done.path / 'report.html')}")

    def _export(self, folder: Path) -> None:
        """Write a benchmark for others."""
        from dapter.hidden import export_benchmark
        from dapter.subjects import load_subject

        if len(self.subjects) != 1:
            raise UsageError("--export-payloads writes what one run sends. Cure: name one run folder of `dapter train`")
        data = self.data.load(self.secrets)
        key = export_benchmark(load_subject(self.subjects[0], self.service.load(), data), folder, self.out)
        print(f"The benchmark is {folder}; its README.md says what is asked. Hand out that folder and nothing else.")
        print("Who has these images from elsewhere can find the payloads' originals. Use images that are not public.")
        print(f"The test secrets are kept in {key.path}. `dapter audit --import-guesses FILE` scores what comes back.")

    def _score(self) -> None:
        """Score what others sent back."""
        if self.subjects or self.originals or self.protected or self.export_payloads:
            raise UsageError("--import-guesses knows by the ids what was attacked. Cure: name the files, and --out")
        from dapter.guesses import score_guesses
        from dapter.tables import leak_table
        from dapter.wording import describe

        for file in self.import_guesses:
            found = score_guesses(file, self.out, f"dapter {' '.join(sys.argv[1:])}")
            print(f"{file}\n{leak_table(found)}")
            for line in found:
                print(f"{line.secret}: {describe(line)}")
            if all(line.leak is None for line in found):
                print(f"No audit of this defence is below {self.out}: without its floor and ceiling there is no leak")

    def _check(self) -> None:
        check_counts(seeds=self.seeds, workers=self.workers)
        folders = (self.originals, self.protected)
        if not self.subjects and folders == (None, None):
            raise UsageError(
                "nothing to attack is named. Cure: give a run folder of `dapter train`, or --originals and --protected"
            )
        if self.subjects and not self.service.service:
            raise UsageError("no service is named. Cure: --service, the one that the defences were trained against")
        if folders == (None, None) and self.labels is None:
            return
        if None in folders or self.subjects or replace(self.data, on_error=None) != DataOptions():
            raise UsageError(
                "--originals and --protected belong together, and beside them no run folders and no --data. "
                "Cure: --labels names the table of the originals"
            )

    def _read_pairs(self) -> "Subject | None":
        """What the two folders hold, if they are given."""
        if self.originals is None or self.protected is None:
            return None
        from dapter.pairs import read_pairs

        return read_pairs(
            self.originals,
            self.protected,
            self.labels,
            service=self.service.load() if self.service.service else None,
            secrets=self.secrets,
            on_error=self.data.on_error or "raise",
            name=self.name,
        )


def _missing(given: "Subject | None") -> Iterator[str]:
    """What an audit of two folders could not do, in plain words."""
    if given is None:
        return
    from dapter.plugins import find, names

    if given.data.skipped:
        yield f"{len(given.data.skipped)} files were passed over; the first: {given.data.skipped[0]}"
    white_box = [name for name in names("attacks") if "client" in find("attacks", name).sees]
    yield f"The client part was not given: attacks that know it were skipped ({', '.join(white_box)})."
    if given.service is None:
        yield (
            "No service was given, so nothing is known of the answers. The floor of a secret is how frequent its "
            "values are, that of the image the mean of all: a leak here counts what a user pays to have answered, too."
        )


def _not_run(found: Sequence["Measurement"]) -> list[str]:
    """Which attacks were not run on defences that send features, in plain words."""
    from dapter.audit_lines import variants
    from dapter.audit_words import not_run

    return [said for each in variants(found) for said in not_run(each)]


def _minutes(found: Sequence["Measurement"]) -> list[str]:
    """What the audit took of processors."""
    from dapter.wording import text

    spent = [line for line in found if line.measure == "audit_core_minutes"]
    if not spent:
        return ["What it took of processors is not known: a part was killed while at work, or is from an older version"]
    each = [f"{line.defence}: {text(line.measure, line.value)}" for line in spent]
    shared = ", each with the floors and ceilings that all share" if len(each) > 1 else ", floors and ceilings included"
    return [f"Processor time of the audit of {', '.join(each)}{shared}"]


@dataclass(frozen=True)
class Attack:
    """Run one attack on one defence, and say how well it did. `dapter audit` finds its work done."""

    subject: Annotated[Positional[str], arg(metavar="RUN")]
    """A run folder of `dapter train`, or the name of a defence without training: identity, constant."""
    name: Annotated[Positional[str], arg(metavar="NAME")]
    """The attack."""
    service: OmitArgPrefixes[ServiceOptions]
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    secrets: tuple[str, ...] = ()
    """The labels that the attacker wants."""
    settings: Annotated[tuple[str, ...], arg(name="set")] = ()
    """Settings, each as name=value: those of the preset's attacks that have them are run, or the usual with these."""
    seed: int = 0
    """Of the attack."""
    preset: PresetName = "cpu"
    """The scale of the attack: tiny (a try), cpu (two cores), paper (a GPU)."""
    out: Path = Path("runs")
    """Where run folders are kept."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: no such attack or setting, or no secret for one that wants secrets.
        """
        from dapter.cells import open_cell, run_cell
        from dapter.data import IDENTITY
        from dapter.subjects import load_subject
        from dapter.suites import describe, select_attacks, suited
        from dapter.workers import one_thread

        if strange := [each for each in self.settings if "=" not in each]:
            raise UsageError(f"--set {strange[0]} is no setting. Cure: name=value, as in --set share=0.1")
        chosen = select_attacks(self.name, self.preset, dict(each.split("=", 1) for each in self.settings))
        if chosen[0].goal == "secrets" and not self.secrets:
            raise UsageError(f"{self.name} wants secret labels. Cure: name them with --secrets")
        if chosen[0].goal == "people" and IDENTITY not in self.secrets:
            raise UsageError(f"{self.name} wants to know who is shown. Cure: --secrets {IDENTITY}")
        subject = load_subject(self.subject, self.service.load(), self.data.load(self.secrets))
        allowed = suited(chosen, subject)
        if not allowed:
            raise UsageError(f"{self.name} takes payloads for images, and {self.subject} sends features. Cure: another")
        for attack in allowed:
            with one_thread():
                cell = run_cell(attack, subject, self.seed, self.out)
            print(f"{describe(attack)}: {open_cell(attack, subject, self.seed, self.out).path}")
            for score in cell.test:
                print(f"  {score.secret}: {_words(score.measure, score.value, score.low, score.high, score.n)}")
        print("How much of that the answer alone tells, `dapter audit` says: it runs the floors and ceilings as well")


def _words(measure: str, value: float, low: float, high: float, n: int) -> str:
    from dapter.wording import number, text, wording

    return (
        f"{wording(measure).label} {text(measure, value)} "
        f"({number(measure, low)} to {number(measure, high)}, n = {n:,})"
    )
