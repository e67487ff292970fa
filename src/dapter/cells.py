"""The cells of an audit: one attack on one defence with one seed, each a run folder that is resumed and shared."""

import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dapter import defences
from dapter.attacks import Attack, Sealed, name_of
from dapter.checks import still_improving
from dapter.data import Data
from dapter.defences import Defence
from dapter.evaluate import PICTURES, SHOWN
from dapter.leaks import Cell
from dapter.loop import CHECKPOINT, CURVE
from dapter.processes import pick_device
from dapter.runs import Run, fingerprint, write_npz
from dapter.scoring import SAMPLE, Score, score_images, score_secrets
from dapter.service.classifier import Service
from dapter.types import Answer, Guess, Known, Observed, Payload, View

SCORES = "scores.jsonl"
"""In the folder of a cell: its scores on val and test."""

ABUSE = "abuse"
"""Instead of `secret` in the measures of a model that was trained on payloads and is tried on originals."""


class Subject:
    """A defence under audit, with what it gives away of each split, converted when first asked for.

    Attributes:
        defence: trained.
        seed: of its training run, if it has one.
    """

    def __init__(self, defence: Defence, service: Service, data: Data, seed: int | None = None) -> None:
        self.defence, self.service, self.data, self.seed = defence, service, data, seed
        self._seen: dict[str, Observed] = {}

    @cached_property
    def record(self) -> dict[str, Any]:
        """What its cells depend on, as JSON values."""
        state = self.defence.learner.nets.state_dict()
        digest = hashlib.sha256(b"".join(value.cpu().numpy().tobytes() for value in state.values())).hexdigest()
        return {
            "defence": defences.name_of(self.defence),
            "settings": self.defence.settings(),
            "weights": digest,
            "service": self.service.digest,
        }

    def observe(self, split: str) -> Observed:
        """The payloads of a split and the answers to them."""
        if split not in self._seen:
            device = pick_device()
            self.service.to(device)
            self.defence.learner.nets.to(device)
            payload = self.defence.protect(self.data.splits[split].images)
            self._seen[split] = Observed(payload.pixels, self.defence.tail(payload, self.service))
        return self._seen[split]

    def forget(self) -> None:
        """Let go of the payloads; they are converted again when asked for."""
        self._seen.clear()

    def view(self, val: int | None) -> View:
        """All that a threat model can grant; `val` images of the validation split, None: all."""
        client = self.defence.client().to(pick_device())
        return View(
            train=self._known("train", None),
            val=self._known("val", val),
            classes={secret: len(self.data.classes[secret]) for secret in self.data.secrets},
            mirror=self.data.mirror,
            client=client,
        )

    def _known(self, name: str, n: int | None) -> Known:
        split, seen = self.data.splits[name], _head(self.observe(name), n)
        secrets = {secret: split.labels[secret][:n] for secret in self.data.secrets}
        return Known(seen.payloads, seen.answers, split.images[:n], secrets)

    def ask(self, images: np.ndarray) -> Answer:
        """What the unchanged service answers to images, uint8 (N, H, W, 3)."""
        return self.service.answer(Payload(images))


def run_cell(attack: Attack, subject: Subject, seed: int, root: Path) -> Cell:
    """Run one attack on one defence, or read what it came to, under `root/attacks`."""
    name, of = name_of(attack), subject.record["defence"]
    manifest = {
        "kind": "attack",
        "name": name,
        "settings": attack.settings(),
        "subject": subject.record,
        "data": subject.data.record(),
        "seed": seed,
    }
    run = Run.open(root / "attacks", f"{name}-{of}-{subject.data.name}", manifest)
    with run.lock():
        if not run.done:
            run.write_lines(SCORES, _attack(attack, subject, seed, run))
            run.finish()
            (run.path / CHECKPOINT).unlink(missing_ok=True)
    scores: dict[str, list[Score]] = {"val": [], "test": []}
    for line in run.read_lines(SCORES):
        scores[line.pop("split")].append(Score.from_record(line))
    return Cell(
        attack=name,
        settings={**attack.settings(), "seed": seed},
        floor=is_floor(attack),
        val=tuple(scores["val"]),
        test=tuple(scores["test"]),
        improving=still_improving(run.read_lines(CURVE)),
        reference=attack_key(attack.on_originals()),
        flags=attack.flags,
    )


def _attack(attack: Attack, subject: Subject, seed: int, run: Run) -> list[dict[str, Any]]:
    """Attack, and score the guesses; pictures of restored images are kept in the run's folder."""
    n = attack.most() or (SAMPLE if attack.goal == "image" else None)
    outcome = attack.run(subject.view(n), Sealed(lambda: _head(subject.observe("test"), n)), seed, run)
    if outcome.test.images is not None:
        payloads = subject.observe("test").payloads
        assert payloads is not None
        originals = subject.data.splits["test"].images
        shown = {"original": originals, "payload": payloads, "restored": outcome.test.images}
        write_npz(run.path / PICTURES, **{name: images[:SHOWN] for name, images in shown.items()})
    found = []
    for split, guess in {"val": outcome.val, "test": outcome.test}.items():
        scores = _score(attack, guess, subject, split, n)
        if attack.trains_on_payloads:
            others = outcome.guess(Observed(subject.data.splits[split].images[:n]))
            scores += [
                replace(score, measure=score.measure.replace("secret", ABUSE))
                for score in _score(attack, others, subject, split, n)
            ]
        found += [{"split": split, **score.record()} for score in scores]
    return found


def _score(attack: Attack, guess: Guess, subject: Subject, split: str, n: int | None) -> list[Score]:
    data = subject.data
    truth = data.splits[split] if n is None else data.splits[split].head(n)
    if attack.goal == "image":
        assert guess.images is not None
        return score_images(guess.images, truth, subject.ask)
    classes = {secret: len(data.classes[secret]) for secret in data.secrets}
    return score_secrets(guess, truth.labels, data.splits["train"].labels, classes)


def is_floor(attack: Attack) -> bool:
    """Whether the attack sees the answer alone."""
    return "payloads" not in attack.sees


def attack_key(attack: Attack) -> str:
    """The fingerprint of an attack with its settings."""
    return fingerprint([name_of(attack), attack.settings()])


def _head(seen: Observed, n: int | None) -> Observed:
    """The first `n` of what was observed, None: all."""
    answers = None if seen.answers is None else Answer({name: each[:n] for name, each in seen.answers.logits.items()})
    return Observed(None if seen.payloads is None else seen.payloads[:n], answers)
