"""The pieces of an audit that workers do: every cell, and the training of every necessity check."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dapter.attacks import Attack, name_of
from dapter.cells import is_floor, open_cell, run_cell
from dapter.defences import Defence
from dapter.necessity import train_alone
from dapter.runs import Run
from dapter.subjects import Subject
from dapter.suites import describe, suited


@dataclass(frozen=True)
class Asked:
    """What an audit was asked for.

    Attributes:
        originals: the images as they are; attacks on them tell the ceilings.
        subjects: what is attacked.
        attacks: with their settings, floors first.
        seeds: of the attacks.
        root: where run folders are kept.
        preset: the scale.
    """

    originals: Subject
    subjects: tuple[Subject, ...]
    attacks: tuple[Attack, ...]
    seeds: tuple[int, ...]
    root: Path
    preset: str

    @property
    def references(self) -> list[Attack]:
        """What is run on originals: for ceilings, and since who cannot read or restore these is no test of payloads.

        Who needs the client part has nothing to do there.
        """
        return [attack.on_originals() for attack in self.attacks if "client" not in attack.sees]

    def attacks_on(self, subject: Subject) -> list[Attack]:
        """Those that what is known of the subject allows."""
        return suited(self.attacks, subject)

    def not_run(self, subject: Subject) -> list[str]:
        """Those that take payloads for images, in words, where the subject sends features; and what ran instead."""
        if not subject.sends_features:
            return []
        pairs = [(attack, attack.on_features()) for attack in self.attacks]
        return [
            describe(attack) if other is None else f"{describe(attack)}, but {describe(other)}"
            for attack, other in pairs
            if other != attack
        ]

    def check_alone(self, subject: Subject) -> Run | None:
        """The training of its necessity check, done by whoever comes first; None if it has nothing to check."""
        if not subject.trained or not subject.data.targets:
            return None
        assert isinstance(subject.defence, Defence)
        return train_alone(subject.defence, subject.data, self.root / "attacks", self.preset)


@dataclass(frozen=True)
class CellTask:
    """A cell of the audit.

    Attributes:
        place: of the subject among the subjects; None for the originals.
    """

    attack: Attack
    place: int | None
    seed: int
    of: str

    @property
    def title(self) -> str:
        """The attack and what it attacks."""
        return f"{describe(self.attack)} on {self.of}, seed {self.seed}"

    def run(self, asked: Asked) -> None:
        """Attack."""
        subject = asked.originals if self.place is None else asked.subjects[self.place]
        run_cell(self.attack, subject, self.seed, asked.root)


@dataclass(frozen=True)
class NecessityTask:
    """The training of a classifier as large as a subject's client part.

    Attributes:
        place: of the subject among the subjects.
    """

    place: int
    of: str

    @property
    def title(self) -> str:
        """Whose check it is."""
        return f"necessity check of {self.of}"

    def run(self, asked: Asked) -> None:
        """Train."""
        asked.check_alone(asked.subjects[self.place])


def list_tasks(asked: Asked) -> list[CellTask | NecessityTask]:
    """What is left to do, in the order in which it should begin: originals first, then subject after subject."""
    begun: set[Path] = set()
    tasks: list[CellTask | NecessityTask] = [*_cells(asked, asked.originals, None, asked.references, begun)]
    for place, subject in enumerate(asked.subjects):
        if subject.trained and subject.data.targets:
            tasks.append(NecessityTask(place, subject.record["defence"]))
        tasks += _cells(asked, subject, place, asked.attacks_on(subject), begun)
    return tasks


def _cells(
    asked: Asked, subject: Subject, place: int | None, attacks: Sequence[Attack], begun: set[Path]
) -> Iterator[CellTask]:
    """The cells that are neither done nor begun: floors first, then the longest, so that workers end together.

    A suite is written cheapest first, so the last attacks of each are taken for the longest.
    """
    kinds = Counter(map(name_of, attacks))
    before: Counter[str] = Counter()
    ranked = []
    for attack in attacks:
        before[name_of(attack)] += 1
        ranked.append((not is_floor(attack), -before[name_of(attack)] / kinds[name_of(attack)]))
    order = sorted(range(len(attacks)), key=ranked.__getitem__)
    of = "originals" if place is None else subject.record["defence"]
    for seed in asked.seeds:
        for each in order:
            run = open_cell(attacks[each], subject, seed, asked.root)
            if not run.done and run.path not in begun:
                begun.add(run.path)
                yield CellTask(attacks[each], place, seed, of)
