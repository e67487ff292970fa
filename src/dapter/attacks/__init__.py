"""The contract of an attack: what it sees, what it learns from that, what it then says of images it never saw.

One attack family a file. An attack is a frozen dataclass whose fields are its settings; it implements `suite` and one
hook, `_learn`, and the base class owns the public call: it gives the hook no more than the attack `sees`, keeps the
images under attack sealed until learning has ended, seeds it and checks what it says. Settings are fixed here by the
project, never by who defends (Croce & Hein, "AutoAttack", ICML 2020).
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args

import numpy as np
import torch

from dapter.errors import CheckFailed, UsageError
from dapter.loop import Plan
from dapter.runs import Run, derive_seed
from dapter.types import SEES, Guess, Known, Observed, Outcome, View, check_images

T = TypeVar("T")

Goal = Literal["secrets", "image", "people"]
GOALS: tuple[Goal, ...] = get_args(Goal)


class Sealed:
    """What the attacker sees of the images under attack; closed until the base class has seen it learn."""

    def __init__(self, observe: Callable[[], Observed]) -> None:
        self._observe = observe
        self._open = False

    def open(self) -> None:
        """Break the seal. Only the contract does it, once learning has ended."""
        self._open = True

    def __call__(self) -> Observed:
        """The images under attack.

        Raises:
            CheckFailed: the attack is still learning.
        """
        if not self._open:
            raise CheckFailed("the images under attack were touched before scoring. Cure: learn from the view alone")
        return self._observe()


@dataclass(frozen=True)
class Attack(abc.ABC):
    """Base of all attacks."""

    sees: ClassVar[frozenset[str]]
    """What the threat model grants, among `types.SEES`. One that does not see payloads is a floor."""

    goal: ClassVar[Goal]
    """What it is after: the secret labels, the original image, or the person who is shown."""

    flags: ClassVar[tuple[str, ...]] = ()
    """What every figure of it is marked with, among `checks.FLAGS`."""

    trains_on_payloads: ClassVar[bool] = False
    """Whether it makes a model of ordinary images out of payloads: that is tried on the originals of a split too."""

    @classmethod
    @abc.abstractmethod
    def suite(cls, preset: str) -> tuple[Self, ...]:
        """The settings that an audit runs at that scale (one of `types.PRESETS`), cheapest first."""

    @abc.abstractmethod
    def _learn(self, view: View, seed: int, run: Run) -> Callable[[Observed], Guess]:
        """Learn from the view; gives a function from what is observed of some images to a guess at each.

        Args:
            view: what the attack sees; all else in it is None.
            seed: of everything random; torch is seeded with it already.
            run: a folder to keep work in, so that an interrupted attack resumes; a training curve written there
                as `loop.CURVE` is what `checks.still_improving` reads.
        """

    def on_features(self) -> Self | None:
        """The attack on payloads that are features: itself, but for settings that only suit images.

        None: it takes payloads for images, so features are nothing to it. What it gives has the same `on_originals`.
        """
        return self

    def on_originals(self) -> Self:
        """The attack whose score on originals tells the ceiling: itself, but for settings that only suit payloads."""
        return self

    def most(self) -> int | None:
        """The most images of a split that it attacks, where each is costly; None: all."""
        return None

    def settings(self) -> dict[str, Any]:
        """The fields, as JSON values."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return {name: value.record() if isinstance(value, Plan) else value for name, value in values.items()}

    def run(self, view: View, test: Sealed, seed: int, run: Run) -> Outcome:
        """Learn, then guess at the images to choose by and at those under attack.

        Args:
            view: all that could be granted; the attack gets what it sees.
            test: the images under attack.

        Raises:
            CheckFailed: the attack touched the images under attack too early, or its guesses are malformed.
            UsageError: it used what it does not see, or it takes payloads for images where they are features.
        """
        if not self.sees <= set(SEES):
            raise UsageError(f"an attack cannot see {sorted(self.sees - set(SEES))}. Cure: name some of {SEES}")
        view = view.restrict(self.sees)
        if view.val.is_features and self.on_features() != self:
            raise UsageError(f"{name_of(self)} takes payloads for images, but these are features. Cure: `on_features`")
        seed = derive_seed(seed, "attack")
        torch.manual_seed(seed)
        learned = self._learn(view, seed, run)

        def guess(observed: Observed) -> Guess:
            return self._checked(learned, _restricted(observed, self.sees), view)

        test.open()
        return Outcome(val=self._checked(learned, view.val.observed(), view), test=guess(test()), guess=guess)

    def _checked(self, guess: Callable[[Observed], Guess], observed: Observed, view: View) -> Guess:
        """The guess, if it has a finite score for every secret, or an image, for each image observed."""
        found = guess(observed)
        n = _count(observed)
        if self.goal == "image":
            if found.images is None or len(check_images(found.images)) != n:
                raise CheckFailed(f"{name_of(self)} must give {n} images. Cure: one for each that it observed")
            return found
        if self.goal == "people":
            return self._described(found, n)
        for secret, classes in view.classes.items():
            scores = found.scores.get(secret)
            if scores is None or scores.shape != (n, classes) or not np.isfinite(scores).all():
                cure = f"Cure: finite scores ({n}, {classes})"
                raise CheckFailed(f"{name_of(self)} gives no sound scores of {secret}. {cure}")
        return found

    def _described(self, found: Guess, n: int) -> Guess:
        """The guess, if it describes as many people; what it says of photos is checked when it is asked."""
        people, describe = found.people, found.describe
        wrong = CheckFailed(f"{name_of(self)} must describe {n} people. Cure: (N, values) of length 1, photos alike")
        if people is None or describe is None or people.ndim != 2 or not _sound(people, (n, people.shape[1])):
            raise wrong

        def checked(known: Known) -> np.ndarray:
            photos = describe(known.restrict(self.sees))
            if not _sound(photos, (_count(known), people.shape[1])):
                raise wrong
            return photos

        return replace(found, describe=checked)


def granted(value: T | None) -> T:
    """A part of the view that the attack's `sees` names.

    Raises:
        UsageError: it is not granted.
    """
    if value is None:
        raise UsageError("an attack used what it does not see. Cure: name it in `sees`, or do without")
    return value


def name_of(attack: Attack) -> str:
    """The plug-in's name of an attack."""
    return type(attack).__module__.rsplit(".", 1)[-1]


def _sound(people: np.ndarray, shape: tuple[int, int]) -> bool:
    return people.shape == shape and bool(np.allclose(np.linalg.norm(people, axis=1), 1, atol=1e-3))


def _restricted(observed: Observed, sees: frozenset[str]) -> Observed:
    return Observed(observed.payloads if "payloads" in sees else None, observed.answers if "answers" in sees else None)


def _count(observed: Observed) -> int:
    if observed.payloads is not None:
        return len(observed.payloads)
    return len(next(iter(granted(observed.answers).logits.values())))
