"""What the base class of all attacks refuses."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from dapter.attacks import Attack, Sealed, granted
from dapter.errors import CheckFailed, UsageError
from dapter.runs import Run
from dapter.types import Guess, Known, Observed, View

IMAGES = np.zeros((4, 8, 8, 3), np.uint8)
KNOWN = Known(IMAGES, None, IMAGES, {"hat": np.zeros(4, np.int64)})
VIEW = View(KNOWN, KNOWN, {"hat": 2})


@dataclass(frozen=True)
class Told(Attack):
    """Says what it was told to, after what it was told to do."""

    guess: Guess
    deed: object = field(default=lambda view: None)

    sees: ClassVar = frozenset({"payloads"})
    goal: ClassVar = "secrets"

    @classmethod
    def suite(cls, preset):
        return ()

    def _learn(self, view, seed, run):
        self.deed(view)
        return lambda observed: self.guess


class Restorer(Told):
    goal: ClassVar = "image"


class Finder(Told):
    goal: ClassVar = "people"


GOOD = Guess({"hat": np.zeros((4, 2))}, IMAGES)


def run(attack, tmp_path, sealed=None):
    return attack.run(VIEW, sealed or Sealed(lambda: Observed(IMAGES)), 0, Run(tmp_path))


def test_an_attack_that_looks_at_the_test_images_while_it_learns_fails(tmp_path):
    sealed = Sealed(lambda: Observed(IMAGES))
    with pytest.raises(CheckFailed, match="before scoring"):
        run(Told(GOOD, lambda view: sealed()), tmp_path, sealed)
    assert run(Told(GOOD), tmp_path, sealed).test is GOOD


def test_what_is_not_granted_cannot_be_used(tmp_path):
    run(Told(GOOD, lambda view: granted(view.train.payloads)), tmp_path)
    for deed in (lambda view: granted(view.train.originals), lambda view: granted(view.val.secrets)):
        with pytest.raises(UsageError, match="`sees`"):
            run(Told(GOOD, deed), tmp_path)


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"hat": np.zeros((3, 2))},
        {"hat": np.zeros((4, 3))},
        {"hat": np.full((4, 2), np.nan)},
    ],
)
def test_scores_that_are_not_sound_are_refused(scores, tmp_path):
    with pytest.raises(CheckFailed, match="no sound scores of hat"):
        run(Told(Guess(scores)), tmp_path)


@pytest.mark.parametrize("images", [None, IMAGES[:3]])
def test_another_number_of_images_is_refused(images, tmp_path):
    with pytest.raises(CheckFailed, match="must give 4 images"):
        run(Restorer(Guess(images=images)), tmp_path)
    run(Restorer(GOOD), tmp_path)


ONES = np.ones((4, 1))


@pytest.mark.parametrize(
    ("people", "photos"),
    [(None, ONES), (ONES[:3], ONES), (2 * ONES, ONES), (ONES[:, 0], ONES), (ONES, None), (ONES, np.eye(4))],
)
def test_people_that_are_not_described_are_refused(people, photos, tmp_path):
    def describe(found):
        return None if found is None else lambda known: found

    def ask(people, photos):
        run(Finder(Guess(people=people, describe=describe(photos))), tmp_path).test.describe(VIEW.val)

    ask(ONES, ONES)
    with pytest.raises(CheckFailed, match="must describe 4 people"):
        ask(people, photos)


def test_an_attack_that_asks_for_the_unknown_is_refused(tmp_path):
    class Greedy(Told):
        sees: ClassVar = frozenset({"test labels"})

    with pytest.raises(UsageError, match="cannot see"):
        run(Greedy(GOOD), tmp_path)
