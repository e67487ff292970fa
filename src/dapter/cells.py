"""The cells of an audit: one attack on one defence with one seed, each a run folder that is resumed and shared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dapter.attacks import Attack, Sealed, name_of
from dapter.checks import still_improving
from dapter.evaluate import PICTURES, SHOWN
from dapter.features import shown
from dapter.judge import find_judge
from dapter.leaks import Cell
from dapter.loop import CHECKPOINT, CURVE
from dapter.plugins import file_digest
from dapter.runs import Run, fingerprint, write_npz
from dapter.scoring import GALLERY, SAMPLE, Score, likeness, score_images, score_people, score_secrets
from dapter.spent import noted
from dapter.subjects import Subject, head
from dapter.types import Guess, Known, Observed, Payload

SCORES = "scores.jsonl"
"""In the folder of a cell: its scores on val and test."""

LIKENESS = "likeness.npz"
"""In the folder of a cell that attacks images: how like each restored image of val is."""

ABUSE = "abuse"
"""Instead of `secret` in the measures of a model that was trained on payloads and is tried on originals."""


def open_cell(attack: Attack, subject: Subject, seed: int, root: Path) -> Run:
    """The run folder of a cell, under `root/attacks`."""
    name, of = name_of(attack), subject.record["defence"]
    manifest = {
        "kind": "attack",
        "name": name,
        "settings": attack.settings(),
        "source": file_digest(attack),
        "subject": subject.record,
        "data": subject.data.record(),
        "seed": seed,
    }
    return Run.open(root / "attacks", f"{name}-{of}-{subject.data.name}", manifest)


def run_cell(attack: Attack, subject: Subject, seed: int, root: Path) -> Cell:
    """Run one attack on one defence, or read what it came to."""
    run = open_cell(attack, subject, seed, root)
    with run.lock():
        if not run.done:
            with noted(run):
                run.write_lines(SCORES, _attack(attack, subject, seed, run))
            run.finish()
            (run.path / CHECKPOINT).unlink(missing_ok=True)
    scores: dict[str, list[Score]] = {"val": [], "test": []}
    for line in run.read_lines(SCORES):
        scores[line.pop("split")].append(Score.from_record(line))
    manifest = run.manifest
    return Cell(
        attack=name_of(attack),
        settings={**attack.settings(), "seed": seed},
        floor=is_floor(attack),
        val=tuple(scores["val"]),
        test=tuple(scores["test"]),
        improving=still_improving(run.read_lines(CURVE)),
        reference=attack_key(attack.on_originals()),
        flags=attack.flags,
        code=manifest["code"],
        environment=manifest["environment"],
        likeness=_likeness(run),
    )


def _attack(attack: Attack, subject: Subject, seed: int, run: Run) -> list[dict[str, Any]]:
    """Attack, and score the guesses; pictures of restored images are kept in the run's folder."""
    n = attack.most() or (None if attack.goal == "secrets" else SAMPLE)
    outcome = attack.run(subject.view(n), Sealed(lambda: head(subject.observe("test"), n)), seed, run)
    if outcome.test.images is not None:
        seen = subject.observe("test").payloads
        assert seen is not None
        payloads = shown(Payload(seen[:SHOWN]), subject.data.image_size)
        originals, restored = (images[:SHOWN] for images in (subject.data.splits["test"].images, outcome.test.images))
        write_npz(run.path / PICTURES, original=originals, payload=payloads, restored=restored)
    if outcome.val.images is not None:
        write_npz(run.path / LIKENESS, val=likeness(outcome.val.images, subject.data.splits["val"]))
    found = []
    for split, guess in {"val": outcome.val, "test": outcome.test}.items():
        scores = _score(attack, guess, subject, split, n, run)
        if attack.trains_on_payloads:
            others = outcome.guess(Observed(subject.data.splits[split].images[:n]))
            scores += [
                replace(score, measure=score.measure.replace("secret", ABUSE))
                for score in _score(attack, others, subject, split, n, run)
            ]
        found += [{"split": split, **score.record()} for score in scores]
    return found


def _likeness(run: Run) -> np.ndarray | None:
    if not (run.path / LIKENESS).exists():
        return None
    with np.load(run.path / LIKENESS) as kept:
        found: np.ndarray = kept["val"]
    return found


def _score(attack: Attack, guess: Guess, subject: Subject, split: str, n: int | None, run: Run) -> list[Score]:
    data = subject.data
    if attack.goal == "image":
        assert guess.images is not None
        return score_images(guess.images, data.splits[split], subject.ask, find_judge(data, run.path.parent))
    if attack.goal == "people":
        assert guess.people is not None
        assert guess.describe is not None
        gallery, seen = data.splits[split].head(GALLERY), head(subject.observe(split), GALLERY)
        photos = guess.describe(Known(seen.payloads, seen.answers, gallery.images))
        return score_people(guess.people, photos, gallery)
    truth = data.splits[split] if n is None else data.splits[split].head(n)
    classes = {secret: len(data.classes[secret]) for secret in data.readable}
    return score_secrets(guess, truth.labels, data.splits["train"].labels, classes)


def is_floor(attack: Attack) -> bool:
    """Whether the attack sees the answer alone."""
    return "payloads" not in attack.sees


def attack_key(attack: Attack) -> str:
    """The fingerprint of an attack with its settings."""
    return fingerprint([name_of(attack), attack.settings()])
