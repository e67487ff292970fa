"""From scores to leaks: the floor, the ceiling, where each attack lies between them, and which one is the worst.

Pure functions. The floor is what the answer to the payload says, but no more than what the answer to the original
says: a secret that a defence writes into the answer is a leak. Floor, ceiling and worst attack are chosen by their
scores on `val`, by the end of the interval that an attack is sure to reach; every figure is of `test`. An attack that
is too costly for all images is compared with the others on the images that both attacked.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dapter.checks import READ, relative
from dapter.metrics import mean_interval
from dapter.scoring import IMAGE, SMALLER_IS_BETTER, Score, headline

LEAK = "leak"
"""The measure of the headline: the leak of the worst attack."""

UNBOUNDED = ("psnr",)
"""Measures whose value for a perfect attack is infinite: they have no ceiling, so no leak."""


@dataclass(frozen=True)
class Cell:
    """One attack on one defence with one seed.

    Attributes:
        attack: the plug-in's name.
        settings: of the attack.
        floor: whether it sees the answer alone.
        val, test: its scores on either split.
        improving: whether it was still learning when it was stopped.
        reference: the fingerprint of the attack whose score on originals tells its ceiling.
        flags: of the attack itself.
        code, environment: what it was computed with, when it was.
        likeness: for each image of val that it restored, in order, the measure by which leaks of images are told.
    """

    attack: str
    settings: Mapping[str, Any]
    floor: bool
    val: tuple[Score, ...]
    test: tuple[Score, ...]
    improving: bool
    reference: str
    flags: tuple[str, ...] = ()
    code: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    likeness: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Finding:
    """A score on its scale.

    Attributes:
        score: of `cell` on test.
        floor, ceiling: None where there is none.
        leak: (score - floor) / (ceiling - floor), never clipped.
        flags: of `checks.FLAGS`.
    """

    cell: Cell
    score: Score
    floor: float | None
    ceiling: float | None
    leak: float | None
    flags: tuple[str, ...]


def find_leaks(
    cells: Sequence[Cell], originals: Mapping[str, Cell], perfect: Iterable[Score], constant: bool = False
) -> list[Finding]:
    """Every score of the cells on its scale, and for each secret the headline.

    Args:
        cells: all attacks on one defence with one seed, floors among them.
        originals: for each `reference` the cell of that attack on originals, floors among them.
        perfect: the scores of the originals themselves as restored images.
        constant: whether the defence sends nothing of the image.
    """
    exact = {(score.secret, score.measure): score for score in perfect if score.measure not in UNBOUNDED}
    found = []
    for secret, measure in dict.fromkeys((score.secret, score.measure) for cell in cells for score in cell.test):
        scale = _scale(cells, originals.values(), exact, secret, measure)
        for cell in cells:
            score = _of(cell.test, secret, measure)
            if score is not None:
                flags = _flags(cell, score, cells, scale, originals.get(cell.reference), constant)
                floor = None if scale.floor is None else scale.floor.value
                found.append(Finding(cell, score, floor, scale.top, scale.leak(score.value), flags))
    return found + _headlines(found)


@dataclass(frozen=True)
class _Scale:
    """Where the scores of one secret and measure lie.

    Attributes:
        floor: of the answer alone.
        ceiling: of the best attack on originals, or of the originals themselves where both tell it and they are better;
            None for the image, whose `top` is exact, or if there is none.
        top: the ceiling's value; where originals seem to say no more than the answer, see `_read_top`.
        hidden: whether the answer to the payload says more than that to the original.
    """

    floor: Score | None
    ceiling: Score | None
    top: float | None
    hidden: bool

    def leak(self, value: float) -> float | None:
        return None if self.floor is None or self.top is None else relative(value, self.floor.value, self.top)


def _scale(
    cells: Collection[Cell],
    originals: Collection[Cell],
    exact: Mapping[tuple[str, str], Score],
    secret: str,
    measure: str,
) -> _Scale:
    floors = [_best((cell for cell in group if cell.floor), secret, measure) for group in (cells, originals)]
    ours, usual = floors
    ceiling = None if secret == IMAGE else _best((cell for cell in originals if not cell.floor), secret, measure)
    perfect = exact.get((secret, measure))
    if ceiling is not None and perfect is not None:
        ceiling = max(ceiling, perfect, key=lambda score: score.value)  # of people: what they are is told in both ways
    best = ceiling or perfect
    top = None if best is None else best.value
    floor = usual if ours is not None and usual is not None and ours.beats(usual.value) else ours
    if floor is not None and ceiling is not None and not _has_room(floor, ceiling):
        top = _read_top(floor, ceiling, _best((cell for cell in cells if not cell.floor), secret, measure))
    hidden = ours is not None and usual is not None and ours.surely_beats(usual)
    return _Scale(floor, ceiling, top, hidden)


def _has_room(floor: Score, ceiling: Score) -> bool:
    """Whether originals surely say more than the answer."""
    return ceiling.low > floor.value


def _read_top(floor: Score, ceiling: Score, read: Score | None) -> float | None:
    """The ceiling where attackers of originals found no more than the answer says.

    What was surely read from payloads, for their originals say that too; else the little that was found, if any.
    """
    if read is not None and read.surely_beats(floor) and read.beats(ceiling.value):
        return read.value
    return ceiling.value if ceiling.beats(floor.value) else None


def _headlines(found: Sequence[Finding]) -> list[Finding]:
    """For each secret the leak of the worst attack, chosen on `val`, with its interval."""
    headlines = []
    for secret in dict.fromkeys(finding.score.secret for finding in found):
        measure = headline([finding.score for finding in found], secret)
        rivals = [
            finding
            for finding in found
            if (finding.score.secret, finding.score.measure) == (secret, measure) and not finding.cell.floor
        ]
        chosen = _worst(rivals)
        if chosen is None or chosen.leak is None or chosen.floor is None or chosen.ceiling is None:
            continue
        ends = [relative(end, chosen.floor, chosen.ceiling) for end in (chosen.score.low, chosen.score.high)]
        low, high = sorted(end for end in ends if end is not None)
        headlines.append(replace(chosen, score=Score(secret, LEAK, chosen.leak, low, high, chosen.score.n)))
    return headlines


def _worst(rivals: Sequence[Finding]) -> Finding | None:
    """The attack that is best on `val`, among findings of one secret and measure.

    First the best of those that attacked the most images; then that of those that attacked fewer, if it is surely
    better on the images that both attacked, and so on. To compare the means of unequal samples would be to compare the
    images; the ends of their intervals, to punish whoever attacked few.
    """
    scores = {id(each): _of(each.cell.val, each.score.secret, each.score.measure) for each in rivals}
    worst: Finding | None = None
    for n in sorted({score.n for score in scores.values() if score is not None}, reverse=True):
        group = [each for each in rivals if (score := scores[id(each)]) is not None and score.n == n]
        best = _best((each.cell for each in group), group[0].score.secret, group[0].score.measure)
        challenger = next(each for each in group if each.score is best)
        if worst is None or _surely_better(challenger, worst):
            worst = challenger
    return worst


def _surely_better(challenger: Finding, champion: Finding) -> bool:
    """Whether one that attacked fewer images of `val` is better on those, by more than chance.

    Without a figure for each image, as of labels: by the end of the interval that is surely reached.
    """
    few, many = challenger.cell.likeness, champion.cell.likeness
    secret, measure = challenger.score.secret, challenger.score.measure
    if secret != IMAGE or few is None or many is None or not 1 < len(few) <= len(many):
        mine, theirs = (_of(each.cell.val, secret, measure) for each in (challenger, champion))
        assert mine is not None
        assert theirs is not None
        return replace(mine, value=mine.least).beats(theirs.least)
    gains = few - many[: len(few)]
    return mean_interval(-gains if measure in SMALLER_IS_BETTER else gains).low > 0


def _best(cells: Iterable[Cell], secret: str, measure: str) -> Score | None:
    """The test score of the cell that is best on `val`, by the end of its interval that it is sure to reach."""
    best: tuple[float, Score] | None = None
    for cell in cells:
        val, test = _of(cell.val, secret, measure), _of(cell.test, secret, measure)
        if val is not None and test is not None and (best is None or replace(val, value=val.least).beats(best[0])):
            best = val.least, test
    return None if best is None else best[1]


def _of(scores: Iterable[Score], secret: str, measure: str) -> Score | None:
    return next((score for score in scores if (score.secret, score.measure) == (secret, measure)), None)


def _flags(
    cell: Cell, score: Score, cells: Sequence[Cell], scale: _Scale, own: Cell | None, constant: bool
) -> tuple[str, ...]:
    """Which of `checks.FLAGS` hold; `own` is the cell of the same attack on originals."""
    floor, ceiling = scale.floor, scale.ceiling
    flags = [*cell.flags, *(["still_improving"] if cell.improving else [])]
    if floor is not None and not cell.floor:
        if floor.beats(score.most):
            flags.append("loses_to_mean_image" if score.secret == IMAGE else "below_floor")
        if constant and score.surely_beats(floor):
            flags.append("constant_not_at_floor")
    if any(rival.surely_beats(score) for rival in _weaker(cell, score, cells)):
        flags.append("weaker_did_better")
    if floor is not None and ceiling is not None and not _has_room(floor, ceiling):
        flags.append("no_room")
    elif floor is not None and scale.top is not None and not cell.floor:
        reached = None if own is None else _of(own.test, score.secret, score.measure)
        share = None if reached is None else relative(reached.value, floor.value, scale.top)
        if share is not None and share < READ:
            flags.append("originals_unbroken")
    return (*flags, *(["answer_says_more"] if scale.hidden else []))


def _weaker(cell: Cell, score: Score, cells: Sequence[Cell]) -> list[Score]:
    """Scores of the same attack with a smaller share of labels."""
    settings = dict(cell.settings)
    share = settings.pop("share", None)
    found = []
    for other in cells:
        theirs = dict(other.settings)
        less = theirs.pop("share", None)
        if (
            share is not None
            and less is not None
            and less < share
            and (other.attack, theirs) == (cell.attack, settings)
        ):
            found.append(_of(other.test, score.secret, score.measure))
    return [entry for entry in found if entry is not None]
