"""Figures and pictures of a report: SVG that follows the reader's light or dark mode, and amplified payloads."""

import base64
import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dapter.errors import UsageError, need
from dapter.imagefile import encode
from dapter.tables import plain
from dapter.types import GREY, Measurement, check_images
from dapter.wording import wording

THEME = {
    "paper": ("#ffffff", "#1b2027"),
    "ink": ("#1c2430", "#e6e9ed"),
    "muted": ("#566171", "#a3adba"),
    "line": ("#dfe3e8", "#3a424d"),
    "first": ("#0a5bab", "#78b6ff"),
    "second": ("#ad4700", "#ffab6b"),
    "third": ("#19734a", "#6bd0a2"),
    "fourth": ("#7c3aa8", "#d3a4f5"),
}
"""The colours of page and figures, each for light and for dark mode."""

SERIES = ("first", "second", "third", "fourth")
MARKS = "osD^v"
_WIDTH = 4.6
"""Inches, narrow enough that the text stays readable on a phone."""

_ORANGE, _HEAT = (255, 112, 0), 0.75
"""The colour of attention, and how far its maximum covers the picture."""

DIALS = {
    "lam": ("λ", ("entropy_bits", "eta")),
    "budget_bits": ("budget, bits beyond the answer", ("bits_beyond_answer", "bits_total")),
}
"""The settings that a trade-off is drawn over: what the axis is called, and what is drawn beside the accuracy."""

CLIPPED = 0.1
"""Share of a picture's deviations from grey, the strongest, that amplifying clips: bright spots hide nothing."""


def amplify(payload: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """Stretch what deviates from grey over the full range, so that the eye sees what a decoder can use.

    Args:
        payload: uint8 (N, H, W, 3).

    Returns:
        The stretched pictures, and for each the factor; 0 for a picture that is nothing but grey.
    """
    residue = check_images(payload).astype(np.float64) - GREY
    factors = []
    for each in residue:
        size = np.abs(each[each != 0])
        factors.append(127 / float(np.quantile(size, 1 - CLIPPED, method="higher")) if len(size) else 0.0)
    stretched = residue * np.reshape(factors, (-1, 1, 1, 1)) + GREY
    return stretched.round().clip(0, 255).astype(np.uint8), factors


def overlay(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Where a map is high, over the images in grey: orange where a map reaches its own maximum, uint8 (N, H, W, 3).

    Args:
        images: uint8 (N, H, W, 3).
        maps: float (N, H, W), at least 0.
    """
    top = maps.max(axis=(1, 2), keepdims=True)
    heat = (maps / np.where(top > 0, top, 1))[..., None] * _HEAT
    grey = check_images(images).mean(axis=3, keepdims=True)
    blended: np.ndarray = (1 - heat) * grey + heat * np.array(_ORANGE)
    return blended.round().astype(np.uint8)


def picture(image: np.ndarray) -> str:
    """An image, uint8 (H, W, 3), as a PNG data URI."""
    return data_uri(encode(image), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a URI that holds them."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def curve_figure(curve: Sequence[Mapping[str, Any]], loss: str) -> bytes:
    """One loss over the steps of training, with its values on the validation split, as SVG.

    Args:
        curve: the points of a run's curve.
        loss: its name, without `val_`.
    """
    with drawing(2.3) as (figure, save):
        axes = figure.subplots()
        for key, name, style in (
            (loss, "training", {"color": colour("first"), "linewidth": 1.2}),
            (f"val_{loss}", "validation", {"color": colour("second"), "marker": "o", "markersize": 4, "linewidth": 1}),
        ):
            points = [(point["step"], point[key]) for point in curve if key in point]
            if points:
                axes.plot(*zip(*points, strict=True), label=name, **style)
        axes.set_xlabel("step")
        axes.set_title(loss, loc="left")
        legend(axes)
        return save()


def tradeoff_figure(measurements: Sequence[Measurement]) -> bytes:
    """The curve over λ as SVG: accuracy (agreement where there are no labels), entropy and eta; or that over budgets.

    Each seed is a point with its 95 % interval, the line joins the means of the seeds, and the dashed line is the
    accuracy on the originals. Figures of attacks and of defences without a dial are left out; of several dials the one
    with the most values is drawn.

    Raises:
        UsageError: no figure has a dial.
    """
    dial, _ = dial_of(measurements)
    label, beside = DIALS[dial]
    found = [entry for entry in measurements if entry.attack is None and _at(entry, dial) is not None]
    shown = {entry.measure for entry in found if entry.value is not None}
    rate = "target_accuracy" if "target_accuracy" in shown else "agreement"
    panels = [measure for measure in (rate, *beside) if measure in shown]
    if not panels:
        raise UsageError("no figure has a λ or a budget, so there is no curve. Cure: give the results of a sweep")
    series = _series([entry for entry in found if entry.measure in panels], dial)
    with drawing(0.6 + 1.5 * len(panels)) as (figure, save):
        ratios = [2 if measure == rate else 1 for measure in panels]
        rows = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        for axes, measure in zip(rows, panels, strict=True):
            originals = [entry for entry in found if entry.measure == f"{measure}_original"]
            _panel(axes, measure, series, originals, dial)
        rows[-1].set_xlabel(label)
        figure.supxlabel(_evidence(found, panels), fontsize=8, color=colour("muted"))
        return save()


def _panel(
    axes: Any, measure: str, series: Mapping[str, list[Measurement]], originals: list[Measurement], dial: str
) -> None:
    """One measure over a dial, a colour a series."""
    words = wording(measure)
    for place, (name, entries) in enumerate(series.items()):
        points = [entry for entry in entries if entry.measure == measure and entry.value is not None]
        if not points:
            continue
        at = [_at(entry, dial) or 0.0 for entry in points]
        over(axes, place, name, at, [[words.scale * each for each in bounds(entry)] for entry in points])
    if measure == "target_accuracy" and originals:
        for value in sorted({round(words.scale * bounds(entry)[0], 1) for entry in originals}):
            axes.axhline(value, color=colour("muted"), linestyle="--", linewidth=1)
        axes.plot([], [], color=colour("muted"), linestyle="--", linewidth=1, label="originals")
    axes.set_title(f"{words.label}{', ' if words.unit else ''}{words.unit}", loc="left")
    if measure in ("target_accuracy", "agreement"):
        legend(axes)


def over(axes: Any, place: int, name: str, dial: Sequence[float], ends: Sequence[Sequence[float]]) -> None:
    """Points over a dial, each with its interval, and the line that joins their means at each value of the dial.

    Args:
        place: of the series, for its colour and mark.
        ends: of each point its value and the ends of its interval.
    """
    ink, mark = colour(SERIES[place % len(SERIES)]), MARKS[place % len(MARKS)]
    at, (values, low, high) = np.array(dial), np.array(ends).T
    bars = np.maximum([values - low, high - values], 0)
    axes.errorbar(at, values, bars, fmt=mark, color=ink, markersize=4.5, elinewidth=1, capsize=2)
    each = np.unique(at)
    axes.plot(each, [values[at == one].mean() for one in each], color=ink, linewidth=1.2)
    axes.plot([], [], color=ink, linewidth=1.2, marker=mark, markersize=4.5, label=name)


def _series(entries: Sequence[Measurement], dial: str) -> dict[str, list[Measurement]]:
    """Figures that differ in a dial and the seed only, by what tells them from the others."""
    keys = [
        {"defence": entry.defence, "data": entry.data, "target": entry.target}
        | {name: value for name, value in entry.settings.items() if name != dial}
        for entry in entries
    ]
    names = dict.fromkeys(name for key in keys for name in key)
    differ = [name for name in names if len({json.dumps(key.get(name), sort_keys=True) for key in keys}) > 1]
    found: dict[str, list[Measurement]] = {}
    for key, entry in zip(keys, entries, strict=True):
        words = ", ".join(
            plain(key.get(name)) if name in ("defence", "data", "target") else f"{name} {plain(key.get(name))}"
            for name in differ
        )
        found.setdefault(words or "payloads", []).append(entry)
    return found


def dial_of(measurements: Sequence[Measurement]) -> tuple[str, set[float]]:
    """The dial with the most values, λ if there are none, and its values."""
    values = {dial: {at for entry in measurements if (at := _at(entry, dial)) is not None} for dial in DIALS}
    dial = max(values, key=lambda name: len(values[name]))
    return dial, values[dial]


def _at(entry: Measurement, dial: str) -> float | None:
    """Where a dial stands."""
    value = entry.settings.get(dial)
    return float(value) if isinstance(value, int | float) else None


def bounds(entry: Measurement) -> tuple[float, float, float]:
    """Value and interval; the value itself where there is no interval."""
    value = float(entry.value or 0)
    return value, value if entry.low is None else entry.low, value if entry.high is None else entry.high


def _evidence(found: Sequence[Measurement], panels: Sequence[str]) -> str:
    shown = [entry for entry in found if entry.measure in panels]
    n = sorted({entry.n for entry in shown if entry.n is not None})
    grades = ", ".join(sorted({entry.grade for entry in shown}))
    return f"{grades}; a point a seed, bars: 95 % interval; n = {' and '.join(f'{each:,}' for each in n) or 'unknown'}"


def legend(axes: Any) -> None:
    """Say which series is which, where there are names; many beside the axes."""
    if count := len(axes.get_legend_handles_labels()[0]):
        beside = {} if count <= len(SERIES) else {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
        axes.legend(frameon=False, fontsize=8, labelcolor=colour("ink"), **beside)


def colour(name: str) -> str:
    """A colour of THEME as `drawing` draws with it."""
    return THEME[name][0]


@contextmanager
def drawing(height: float) -> Iterator[tuple[Any, Callable[[], bytes]]]:
    """A figure in the report's style, and the function that gives its SVG."""
    matplotlib = need("matplotlib", "report")
    ink, muted, line, paper = (colour(name) for name in ("ink", "muted", "line", "paper"))
    style = {
        "svg.fonttype": "none",
        "svg.hashsalt": "dapter",
        "text.parse_math": False,
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": line,
        "grid.linewidth": 0.7,
        "text.color": ink,
        "xtick.labelcolor": muted,
        "ytick.labelcolor": muted,
        **{f"axes.{part}color": ink for part in ("label", "title")},
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), line),
        **dict.fromkeys(("axes.facecolor", "figure.facecolor", "savefig.facecolor"), paper),
    }
    with matplotlib.rc_context(style):
        figure = need("matplotlib.figure", "report").Figure(figsize=(_WIDTH, height), layout="constrained")

        def save() -> bytes:
            buffer = io.BytesIO()
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Glyph")  # the reader's own fonts have it
                figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
            return _follow_theme(buffer.getvalue().decode())

        yield figure, save


def _follow_theme(svg: str) -> bytes:
    """Replace the light colours by variables that follow the reader's light or dark mode."""
    for name in THEME:
        svg = svg.replace(colour(name), f"var(--{name})")
    light, dark = variables(0), variables(1)
    style = f"<style>:root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    return svg.replace("<defs>", f"{style}<defs>", 1).replace("'DejaVu Sans'", "system-ui, 'DejaVu Sans'").encode()


def variables(mode: int) -> str:
    """THEME as CSS variables: 0 for light, 1 for dark."""
    return "".join(f"--{name}:{colours[mode]};" for name, colours in THEME.items())
