"""The verbs of `dapter study`: a page that asks people what they recognise, and the score of their answers."""

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes, Positional, arg, subcommand

from dapter.errors import UsageError
from dapter.options import DataOptions

if TYPE_CHECKING:
    import numpy as np

    from dapter.data import Data
    from dapter.runs import Run

WITHOUT_PEOPLE = ("faces", "cifar10", "cifar100", "mnist")
"""Data sets that show nobody: generated, drawn, or of things. Every other set is taken to show real people."""


@dataclass(frozen=True)
class Shown:
    """What a study can show.

    Attributes:
        originals, payloads: uint8 (N, H, W, 3), in the same order.
        labels: of the secret, int64 (N,).
        data: that the originals are of.
        about: fields of the Measurements that will come of it.
    """

    originals: "np.ndarray"
    payloads: "np.ndarray"
    labels: "np.ndarray"
    data: "Data"
    about: dict[str, Any]


@dataclass(frozen=True)
class StudyMake:
    """Write a web page that asks people what they recognise in payloads. It works offline, in any browser."""

    secret: str
    """The label that people are asked for."""
    out: Path
    """A new folder: study.html for the raters; key.csv and study.json are for you alone."""
    run_folder: Annotated[Path | None, arg(name="run")] = None
    """A run folder of `dapter train`. Or, instead, the next three."""
    originals: Path | None = None
    """A folder of originals, for somebody else's tool."""
    protected: Path | None = None
    """What the tool made of them: one image for each, of the same name but for the suffix, and of the same size."""
    labels: Path | None = None
    """A CSV whose column `file` names the originals, and with the secret as another column."""
    data: OmitArgPrefixes[DataOptions] = field(default_factory=DataOptions)
    question: str | None = None
    """What people are asked. Default: which of the label's classes the picture shows."""
    answers: tuple[str, ...] = ()
    """What the buttons say, in the order of the label's classes, if their names are no plain words."""
    images: int = 160
    """Payloads shown."""
    gold: int = 16
    """Originals of other images shown among them: who fails on these does not count."""
    threshold: float = 0.7
    """The share of originals that a rater must get right to count."""
    amplified: bool = False
    """Show the payloads with their contrast stretched: what a person with an image editor sees."""
    seed: int = 0
    """Of the choice of images and their order."""

    def run(self) -> None:
        """Do it.

        Raises:
            UsageError: another data set than the run's, or a secret that people cannot be asked for.
        """
        from dapter.figures import amplify
        from dapter.study import make_study

        shown = self._of_run(self.run_folder) if self.run_folder else self._of_folders()
        about = {**shown.about, "secret": self.secret, "data": shown.data.name, "data_digest": shown.data.digest}
        settings = {**shown.about["settings"], "image_size": list(shown.data.image_size)}
        page = make_study(
            shown.originals,
            amplify(shown.payloads)[0] if self.amplified else shown.payloads,
            shown.labels,
            self._classes(shown.data),
            self.question or "Which of these fits the picture?",
            self.out / "study.html",
            seed=self.seed,
            images=self.images,
            gold=self.gold,
            threshold=self.threshold,
            notice=_notice(shown.data),
            about={**about, "settings": {**settings, "amplified": True} if self.amplified else settings},
        )
        print(f"The page for the raters is {page}. Keep everything else in {self.out} to yourself: it is the key")
        if notice := _notice(shown.data):
            print(f"The page says: {notice}")

    def _of_run(self, folder: Path) -> "Shown":
        """What a trained converter makes of the test images that the study needs."""
        import numpy as np

        from dapter.defences import name_of
        from dapter.runs import Run
        from dapter.study import per_class
        from dapter.train import load_defence

        if self.originals or self.protected or self.labels:
            raise UsageError("a run and folders of images are both named. Cure: one of them")
        run = Run.load(folder)
        defence, data = load_defence(run), self._load(run)
        classes, test = self._classes(data), data.splits["test"]
        labels = test.labels[self.secret]
        each = per_class(len(classes), self.images, self.gold)
        rows = np.concatenate([np.flatnonzero(labels == label)[:each] for label in range(len(classes))])
        about = {
            "defence": name_of(defence),
            "settings": defence.settings(),
            "target": "+".join(data.targets),
            "seed": run.manifest["seed"],
            "preset": run.manifest["preset"],
        }
        originals = test.images[rows]
        return Shown(originals, defence.protect(originals).pixels, labels[rows], data, about)

    def _of_folders(self) -> "Shown":
        """Every image of somebody else's tool: nobody has learned from any of them."""
        import numpy as np

        from dapter.pairs import read_pairs
        from dapter.subjects import Tool

        if not (self.originals and self.protected and self.labels):
            raise UsageError("nothing to show is named. Cure: --run, or --originals, --protected and --labels")
        on_error = self.data.on_error or "raise"
        subject = read_pairs(self.originals, self.protected, self.labels, secrets=(self.secret,), on_error=on_error)
        assert isinstance(subject.defence, Tool)
        splits = subject.data.splits
        about: dict[str, Any] = {"defence": subject.defence.name, "settings": {}, "target": ""}
        return Shown(
            np.concatenate([split.images for split in splits.values()]),
            np.concatenate([subject.defence.payloads[name] for name in splits]),
            np.concatenate([split.labels[self.secret] for split in splits.values()]),
            subject.data,
            about,
        )

    def _load(self, run: "Run") -> "Data":
        """The run's data set, with the secret."""
        trained = run.manifest["data"]
        options = replace(self.data, target=self.data.target or tuple(trained["targets"]))
        data = options.load(() if self.secret in options.target else (self.secret,))
        if data.digest != trained["digest"]:
            raise UsageError(f"{run.path} was trained with another data set. Cure: give the same --data and settings")
        return data

    def _classes(self, data: "Data") -> tuple[str, ...]:
        classes = data.classes[self.secret]
        if self.answers and len(self.answers) != len(classes):
            raise UsageError(
                f"{self.secret} has {len(classes)} classes: {', '.join(classes)}. Cure: an answer for each"
            )
        return self.answers or classes


def _notice(data: "Data") -> str:
    """Who may see the pictures, where they may show real people."""
    if data.name in WITHOUT_PEOPLE:
        return ""
    return (
        "The pictures may show real people. This page is only for those whom the experimenter has asked to take part. "
        "Do not pass it on, and do not copy or photograph the pictures; delete it when you have finished. Terms of "
        f"the pictures: {data.licence}"
    )


@dataclass(frozen=True)
class StudyScore:
    """Score the files that raters saved: accuracy with its interval, agreement, who was left out."""

    answers: Positional[tuple[Path, ...]]
    """The CSV files, one a rater."""
    key: Path
    """key.csv, with study.json beside it."""
    out: Path | None = None
    """Where the figures go, a line of JSON each. Default: results.jsonl beside the key."""

    def run(self) -> None:
        """Do it."""
        from dapter.ratings import read_key, score_study
        from dapter.runs import write_atomic
        from dapter.wording import interval, text, wording

        found = score_study(self.answers, self.key, source=f"dapter {' '.join(sys.argv[1:])}")
        for entry in found:
            whose = f", {rater}" if (rater := entry.settings.get("rater")) else ""
            spread = f" ({interval(entry)})" if interval(entry) else ""
            left_out = ", left out" if entry.flags else ""
            value = text(entry.measure, entry.value) or "no value"
            print(f"{wording(entry.measure).label}{whose}: {value}{spread}{left_out}")
        print(f'"Cannot tell" counts as wrong. Who only guesses is right once in {len(read_key(self.key).classes)}')
        out = self.out or self.key.with_name("results.jsonl")
        write_atomic(out, "".join(f"{entry.to_json()}\n" for entry in found))
        print(f"The figures are in {out}")


@dataclass(frozen=True)
class Study:
    """An attack by people: what do they recognise in payloads?"""

    action: OmitSubcommandPrefixes[
        Annotated[StudyMake, subcommand("make")] | Annotated[StudyScore, subcommand("score")]
    ]

    def run(self) -> None:
        """Do it."""
        self.action.run()
