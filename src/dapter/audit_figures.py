"""Figures of audits: attacks between floor and ceiling, what a dial trades, the frontier of several defences."""

import itertools
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from dapter.audit_lines import IMAGE, LEAK, Variant, attacks_on, mean
from dapter.errors import UsageError
from dapter.figures import MARKS, SERIES, bounds, colour, drawing, legend, over
from dapter.tables import DIALS, how
from dapter.types import Measurement
from dapter.wording import wording

SHOWN = 10
"""Attacks that a figure of leaks shows, at most: the strongest."""

FEW = 4
"""Defences that a frontier tells by colours and words; of more it numbers the points."""

COLUMNS = 2
"""Of the legend of numbers."""

LETTER = 5.0
"""About how wide a letter beside a point is, in points."""

FAR = range(0, 60, 6)
"""How far from a point its word may stand, in points, beyond what is closest."""

_MEASURES = ("target_accuracy", LEAK, "ssim", "entropy_bits")
"""The panels over a dial, as far as they were measured."""


def leak_figure(variant: Variant, secret: str) -> bytes:
    """Every attack on a secret between the answer alone and the original, as SVG: the measure of the headline.

    Each seed is a point with its 95 % interval; of more than SHOWN attacks the strongest are shown.

    Raises:
        UsageError: the secret has no headline.
    """
    scores = variant.behind(secret)
    if not scores:
        raise UsageError(f"{secret} has no leak to draw. Cure: name a secret that was attacked")
    words, worst = wording(scores[0].measure), {how(score) for score in scores}
    rows = attacks_on(variant, secret, scores[0].measure)[:SHOWN]
    with drawing(0.95 + 0.36 * len(rows)) as (figure, save):
        axes = figure.subplots()
        for place, lines in enumerate(rows):
            ink = colour("second" if how(lines[0]) in worst else "first")
            for number, line in enumerate(lines):
                value, low, high = (words.scale * each for each in bounds(line))
                y = -place - 0.14 * (number - (len(lines) - 1) / 2) / max(1, len(lines) - 1)
                axes.errorbar(
                    [value], [y], xerr=[[max(0, value - low)], [max(0, high - value)]],
                    fmt="o", color=ink, markersize=4.5, elinewidth=1, capsize=2,
                )  # fmt: skip
            axes.text(
                0.0, -place + 0.22, how(lines[0]), transform=axes.get_yaxis_transform(), fontsize=8,
                bbox={"facecolor": colour("paper"), "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        _ends(axes, scores, words.scale)
        axes.set_ylim(-len(rows) + 0.6, 0.75)
        axes.set_yticks([])
        axes.set_xlabel(f"{words.label}{', ' if words.unit else ''}{words.unit}")
        figure.legend(loc="outside upper left", frameon=False, fontsize=8, ncols=3)
        return save()


def _ends(axes: Any, scores: Iterable[Measurement], scale: float) -> None:
    """The floor and the ceiling of each seed, and names for the legend."""
    for score in scores:
        for end, style in ((score.floor, "--"), (score.ceiling, "-")):
            if end is not None:
                axes.axvline(scale * end, color=colour("muted"), linestyle=style, linewidth=1)
    axes.plot([], [], color=colour("muted"), linestyle="--", linewidth=1, label="the answer alone")
    axes.plot([], [], color=colour("muted"), linestyle="-", linewidth=1, label="the original")
    axes.plot([], [], color=colour("second"), marker="o", linestyle="", markersize=4.5, label="worst attack")


def dial_figure(made: Sequence[Variant]) -> bytes:
    """Accuracy, worst leak of each secret, restored SSIM and entropy over the dial, as SVG (DAPter, Figures 8 and 9).

    Each seed is a point with its 95 % interval, a line joins the means; dashed are the accuracy on originals and the
    SSIM of the best image that the answer alone gives.

    Raises:
        UsageError: fewer than two values of a dial.
    """
    dialled = [each for each in made if each.dial]
    names = {each.dial[0] for each in dialled if each.dial}
    if len(names) != 1 or len({each.dial for each in dialled}) < 2:
        raise UsageError("no dial with two values or more, so there is no curve. Cure: audit converters of several λ")
    panels = {measure: found for measure in _MEASURES if (found := _panel(dialled, measure))}
    with drawing(0.6 + 1.55 * len(panels)) as (figure, save):
        ratios = [1.6 if measure == LEAK else 1 for measure in panels]
        rows = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        for axes, (measure, series) in zip(rows, panels.items(), strict=True):
            words = wording(measure)
            for place, (name, points) in enumerate(series.items()):
                ends = [[words.scale * end for end in bounds(line)] for _, line in points]
                over(axes, place, name, [at for at, _ in points], ends)
            _reference(axes, measure, dialled)
            if measure == LEAK:
                axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
            axes.set_title(f"{_TITLES.get(measure, words.label)}{', ' if words.unit else ''}{words.unit}", loc="left")
            if len(series) > 1 or measure in ("target_accuracy", "ssim"):
                legend(axes)
        rows[-1].set_xlabel(DIALS[names.pop()].format("").strip())
        seeds = max(len(each.subjects) for each in dialled)
        figure.supxlabel(f"a point a training, {seeds} at most; bars: 95 % interval", fontsize=8, color=colour("muted"))
        return save()


_TITLES = {LEAK: "worst leak", "ssim": "SSIM of restored images", "entropy_bits": "image entropy (no privacy)"}

Points = list[tuple[float, Measurement]]


def _panel(made: Sequence[Variant], measure: str) -> dict[str, Points]:
    """The points of each series of a panel: where they lie on the dial."""
    series: dict[str, Points] = {}
    for each in made:
        at = each.dial[1] if each.dial else 0.0
        if measure == LEAK:
            found = {secret: each.worst(secret) for secret in each.secrets}
        elif measure == "ssim":
            found = {"worst attack": [line for line in each.behind(IMAGE) if line.measure == "ssim"]}
        elif measure == "target_accuracy":
            found = {f"payloads, {target}": each.figures(measure, target) for target in each.targets}
        else:
            found = {"payloads": each.figures(measure)}
        for name, lines in found.items():
            series.setdefault(name, []).extend((at, line) for line in lines)
    return {name: points for name, points in series.items() if points}


def _reference(axes: Any, measure: str, made: Sequence[Variant]) -> None:
    """What the panel is to be compared with, dashed."""
    if measure == "target_accuracy":
        lines = [line for each in made for line in each.figures("target_accuracy_original")]
        values, name = [100 * (line.value or 0) for line in lines], "originals"
    elif measure == "ssim":
        values = [line.floor for each in made for line in each.behind(IMAGE) if line.floor is not None]
        name = "the answer alone"
    else:
        return
    for value in sorted({round(value, 3) for value in values}):
        axes.axhline(value, color=colour("muted"), linestyle="--", linewidth=1)
    axes.plot([], [], color=colour("muted"), linestyle="--", linewidth=1, label=name)


def frontier_figure(made: Sequence[Variant]) -> bytes:
    """Target accuracy over the worst leak of any secret, as SVG: a mark a defence, a point each value of its dial.

    A point is the mean over the seeds, its bars reach from the smallest to the largest; beside it stands the dial,
    and the bits that the payload carries beyond the answer where they were counted; of more than FEW defences their
    number. Up and to the left is better.

    Raises:
        UsageError: nothing has both an accuracy and a leak.
    """
    shown = [each for each in made if each.leakiest() and each.figures("target_accuracy")]
    if not shown:
        raise UsageError("no defence has both an accuracy and a leak. Cure: give the lines of an audit")
    defences = list(dict.fromkeys(each.defence for each in shown))
    many = len(defences) > FEW
    with drawing(3.6 + many * 0.2 * (len(defences) / COLUMNS + 1)) as (figure, save):
        axes, words = figure.subplots(), []
        for place, defence in enumerate(defences):
            ink, mark = colour(SERIES[place % len(SERIES)]), MARKS[place % len(MARKS)]
            own = sorted((each for each in shown if each.defence == defence), key=lambda each: each.dial or ("", 0.0))
            points = [_point(each) for each in own]
            axes.plot([x for x, _ in points], [y for _, y in points], color=ink, linewidth=1, alpha=0.5)
            for each, (x, y) in zip(own, points, strict=True):
                bars = [_range(_leaks(each), 1), _range(each.figures("target_accuracy"), 100)]
                axes.errorbar([x], [y], bars[1], bars[0], fmt=mark, color=ink, markersize=5, elinewidth=1, capsize=2)
                word = str(place + 1) if many else _beside(each)
                words.append((word, (x, y), ink))
            label = f"{place + 1} {defence.replace('_', ' ')}" if many else defence
            axes.plot([], [], marker=mark, linestyle="", color=ink, label=label)
        for original in {round(100 * mean(each.figures("target_accuracy_original")), 1) for each in shown
                         if each.figures("target_accuracy_original")}:  # fmt: skip
            axes.axhline(original, color=colour("muted"), linestyle="--", linewidth=1)
        axes.plot([], [], color=colour("muted"), linestyle="--", linewidth=1, label="originals")
        axes.margins(x=0.12, y=0.12)
        axes.set_xlim(left=min(0, axes.get_xlim()[0]))
        axes.set_xlabel("worst leak of any secret")
        axes.set_title("accuracy of the answer, %", loc="left")
        if many:
            figure.legend(loc="outside lower left", frameon=False, fontsize=8, ncols=COLUMNS, labelcolor=colour("ink"))
        else:
            legend(axes)
        figure.draw_without_rendering()  # only then it is known where a point lies on the page
        _write_beside(axes, words)
        return save()


def _write_beside(axes: Any, words: Sequence[tuple[str, tuple[float, float], str]]) -> None:
    """A word beside each point (word, point, colour), at the nearest place where it hides no point and no other word.

    One that is not close to its point is joined to it by a line.
    """
    spots = [axes.transData.transform(point) * 72 / axes.figure.dpi for _, point, _ in words]
    taken = [(x - 3, y - 3, x + 3, y + 3) for x, y in spots]
    for (word, point, ink), (x, y) in zip(words, spots, strict=True):
        boxes = {}
        for far, right, up in itertools.product(FAR, (True, False), (True, False)):
            left = x + 5 + far if right else x - 5 - far - LETTER * len(word)
            low = y + 4 + far if up else y - 10 - far
            boxes[far, right, up] = (left, low, left + LETTER * len(word), low + 7)
        free = [place for place, box in boxes.items() if not any(_meet(box, other) for other in taken)]
        far, right, up = (free or list(boxes))[0]
        taken.append(boxes[far, right, up])
        axes.annotate(
            word,
            point,
            xytext=(5 + far if right else -5 - far, 4 + far if up else -10 - far),
            textcoords="offset points",
            fontsize=7.5,
            color=ink,
            ha="left" if right else "right",
            arrowprops={"arrowstyle": "-", "color": ink, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 2} if far else None,
        )


def _meet(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _leaks(each: Variant) -> list[Measurement]:
    secret = each.leakiest()
    return each.worst(secret) if secret else []


def _point(each: Variant) -> tuple[float, float]:
    return mean(_leaks(each)), 100 * mean(each.figures("target_accuracy"))


def _range(lines: Sequence[Measurement], scale: float) -> list[list[float]]:
    """How far the smallest and the largest lie from the mean."""
    values = [scale * (line.value or 0.0) for line in lines]
    middle = statistics.mean(values)
    return [[middle - min(values)], [max(values) - middle]]


def _beside(each: Variant) -> str:
    bits = each.figures("bits_beyond_answer")
    dial = DIALS[each.dial[0]].format(f"{each.dial[1]:g}") if each.dial and each.dial[0] == "lam" else ""
    return f"{mean(bits):.1f} bits" if bits else dial
