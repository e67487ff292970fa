"""What is audited: a defence that we hold, or only what somebody else's tool made of known images."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dapter import defences
from dapter.data import IDENTITY, Data
from dapter.defences import Defence, Task, build_defence
from dapter.errors import UsageError
from dapter.features import delivered
from dapter.plugins import file_digest, find, names
from dapter.processes import pick_device
from dapter.runs import Run, derive_seed, fingerprint, write_npz
from dapter.service.classifier import Service
from dapter.sharing import keep_array, open_array
from dapter.train import load_defence
from dapter.types import Answer, Known, Observed, Payload, View

CALIBRATION = "constant"
"""The defence that sends nothing: an attack that reads something from it is marked wherever it is used."""

FEATURES = 3
"""Counted up when attackers come to see features otherwise, so that what was found before does not count."""

DRAWS = 4
"""How often attackers see each training image through a random defence, with other noise each time."""

NO_ANSWER = "no answer"
"""Where there is no service: the target of an answer that says nothing."""


@dataclass(frozen=True)
class Tool:
    """Somebody else's tool, known by what it made of the images of a data set.

    Attributes:
        name: what it is called in the results.
        payloads: for each split uint8 (N, H, W, 3), in the order of its images.
    """

    name: str
    payloads: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        if self.name in names("defences"):
            raise UsageError(f"{self.name} is a defence of dapter. Cure: call the tool by another name")


class Subject:
    """A defence or a tool under audit, with what it gives away of each split, converted when first asked for.

    Attributes:
        defence: trained; or a tool.
        service: None: there are no answers, so the floor of a secret is how frequent its values are.
        seed: of its training run, if it has one.
        folder: where payloads and answers are kept for all processes of an audit; None: in memory.
    """

    def __init__(
        self,
        defence: Defence | Tool,
        service: Service | None,
        data: Data,
        seed: int | None = None,
        folder: Path | None = None,
    ) -> None:
        self.defence, self.service, self.data, self.seed, self.folder = defence, service, data, seed, folder
        self._seen: dict[tuple[str, int], Observed] = {}

    def kept_in(self, folder: Path) -> "Subject":
        """The same, with its payloads in a folder."""
        return Subject(self.defence, self.service, self.data, self.seed, folder)

    @cached_property
    def record(self) -> dict[str, Any]:
        """What its cells depend on, as JSON values."""
        if isinstance(self.defence, Tool):
            payloads = [self.defence.payloads[split] for split in self.data.splits]
            return _record(self.defence.name, {}, payloads, self.service)
        return record_of(self.defence, self.service, self.seed)

    @property
    def key(self) -> str:
        """What tells it from others; `settings.subject` of the lines about it."""
        return key_of(self.record)

    @property
    def conditions(self) -> dict[str, Any]:
        """Its settings as results record them."""
        return {} if isinstance(self.defence, Tool) else self.defence.conditions()

    @property
    def seen_as(self) -> dict[str, int]:
        """How attackers see its payloads."""
        return {} if isinstance(self.defence, Tool) else seen_as(self.defence)

    @property
    def white_box(self) -> bool:
        """Whether the client part is there, for attackers who know it."""
        return not isinstance(self.defence, Tool)

    @property
    def sends_features(self) -> bool:
        """Whether its payloads are features, and no images."""
        return not isinstance(self.defence, Tool) and self.defence.sends == "features"

    @property
    def trained(self) -> bool:
        """Whether its client part has weights."""
        return not isinstance(self.defence, Tool) and any(True for _ in self.defence.client().parameters())

    @property
    def flags(self) -> tuple[str, ...]:
        """What every figure of it is marked with, among `checks.FLAGS`."""
        missing = {"client_not_given": not self.white_box, "no_service": self.service is None}
        return tuple(flag for flag, holds in missing.items() if holds)

    def observe(self, split: str, draw: int = 0) -> Observed:
        """The payloads of a split and the answers to them.

        Args:
            draw: of a random defence, which draw of its noise.
        """
        known = split, draw
        if known not in self._seen:
            self._seen[known] = self._send(*known) if self.folder is None else self._kept(self.folder, *known)
        return self._seen[known]

    def _send(self, split: str, draw: int) -> Observed:
        if self.service is not None:
            self.service.to(pick_device())
        if isinstance(self.defence, Tool):
            images = self.defence.payloads[split]
            return Observed(images, self.ask(images))
        self.defence.learner.nets.to(pick_device())
        noise = derive_seed(self.seed or 0, "noise", split, *([draw] if draw else []))
        payload = self.defence.protect(self.data.splits[split].images, noise)
        if self.service is None:
            return Observed(payload.values, _no_answer(len(payload.values)))
        return Observed(payload.values, self.defence.tail(delivered(payload), self.service))

    def _kept(self, folder: Path, split: str, draw: int) -> Observed:
        """From the folder; converted and put there by whoever comes first."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{split}-{draw}" if draw else split
        payloads, answers = folder / f"{name}.npy", folder / f"{name}.npz"
        with Run(folder).lock():
            if not answers.exists():
                seen = self._send(split, draw)
                assert seen.payloads is not None
                assert seen.answers is not None
                keep_array(seen.payloads, payloads)
                write_npz(answers, **seen.answers.logits)
        with np.load(answers) as logits:
            return Observed(open_array(payloads), Answer(dict(logits)))

    def view(self, val: int | None) -> View:
        """All that a threat model can grant; `val` images of the validation split, None: all."""
        client = None if isinstance(self.defence, Tool) else self.defence.client().to(pick_device())
        draws = self.seen_as.get("draws", 1)
        return View(
            train=self._known("train", None),
            val=self._known("val", val),
            classes={secret: len(self.data.classes[secret]) for secret in self.data.readable},
            redraws=tuple(self._known("train", None, draw) for draw in range(1, draws)),
            mirror=self.data.mirror,
            client=client,
        )

    def _known(self, name: str, n: int | None, draw: int = 0) -> Known:
        split, seen = self.data.splits[name], head(self.observe(name, draw), n)
        secrets = {secret: split.labels[secret][:n] for secret in self.data.readable}
        people = split.labels[IDENTITY][:n] if IDENTITY in self.data.secrets else None
        return Known(seen.payloads, seen.answers, split.images[:n], secrets, people)

    def ask(self, images: np.ndarray) -> Answer:
        """What the unchanged service answers to images, uint8 (N, H, W, 3)."""
        return _no_answer(len(images)) if self.service is None else self.service.answer(Payload(images))


def record_of(defence: Defence, service: Service | None, seed: int | None) -> dict[str, Any]:
    """What names a defence under audit: its file, settings, weights and service, and of noise without weights the seed.

    Args:
        seed: of its training run, if it has one.
    """
    state = [value.cpu().numpy() for value in defence.learner.nets.state_dict().values()]
    drawn = {"seed": seed} if seed and not state else {}
    code = {"source": file_digest(defence), **drawn, **seen_as(defence)}
    return {**_record(defences.name_of(defence), defence.settings(), state, service), **code}


def key_of(record: Mapping[str, Any]) -> str:
    """12 hex digits for what names a defence or a tool under audit."""
    return fingerprint(record)[:12]


def _record(
    name: str, settings: Mapping[str, Any], state: Sequence[np.ndarray], service: Service | None
) -> dict[str, Any]:
    return {
        "defence": name,
        "settings": settings,
        "weights": hashlib.sha256(b"".join(value.tobytes() for value in state)).hexdigest(),
        "service": None if service is None else service.digest,
    }


def seen_as(defence: Defence) -> dict[str, int]:
    """How attackers see the payloads of a defence: `features`, see FEATURES; where it is random `draws`, see DRAWS."""
    features = {"features": FEATURES} if defence.sends == "features" else {}
    return {**features, "draws": DRAWS} if defence.random else features


def load_subject(subject: Run | Path | str | Defence | Subject, service: Service | None, data: Data) -> Subject:
    """A subject from a run folder of `train`, a defence that is trained or needs no training, or the latter's name.

    Raises:
        UsageError: it is not trained, or belongs to another service or data set.
        RunError: no such run, or not finished.
    """
    if isinstance(subject, Subject):
        if subject.service is not service or subject.data is not data:
            raise UsageError("this subject has a service and data of its own. Cure: give the audit the same ones")
        return subject
    if isinstance(subject, str) and subject in names("defences"):
        if find("defences", subject).learns:
            raise UsageError(f"{subject} is not trained. Cure: `dapter train`, then audit its run")
        subject = build_defence(subject, {}).setup(0, service, Task.of(data))
    if isinstance(subject, Defence):
        if not hasattr(subject, "learner"):
            raise UsageError("this defence has no networks yet. Cure: train it, or audit the run folder of `train`")
        return Subject(subject, service, data)
    run = Run.load(subject.path if isinstance(subject, Run) else subject)
    defence, manifest = load_defence(run), run.manifest
    if service is None or manifest["service"] != service.digest or manifest["data"]["digest"] != data.digest:
        raise UsageError(f"{run.path} was trained with another service or data set. Cure: give the same ones")
    return Subject(defence, service, data, manifest["seed"])


def head(seen: Observed, n: int | None) -> Observed:
    """The first `n` of what was observed, None: all."""
    answers = None if seen.answers is None else Answer({name: each[:n] for name, each in seen.answers.logits.items()})
    return Observed(None if seen.payloads is None else seen.payloads[:n], answers)


def _no_answer(n: int) -> Answer:
    """The answer of no service: one class, which says nothing."""
    return Answer({NO_ANSWER: np.zeros((n, 1), np.float32)})
