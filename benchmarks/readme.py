"""The README's first figure and its tables of results. Nothing is measured here."""

import statistics
from collections.abc import Iterable, Sequence
from itertools import groupby

from legend import ALONE, BRACKETS, GUARANTEED, LEAK, RISING
from overview import Files, headlines
from studies import frontier

from dapter.audit_lines import Variant
from dapter.presets import find_preset
from dapter.tables import markdown, pick
from dapter.types import Measurement
from dapter.wording import number

RESULTS, FIRST = "results", "frontier"
"""The parts that are made here, between comments of these names."""

NOTE = (
    f"Leak {LEAK}; the worst of all secrets, the image among them, under one recogniser and one decoder, or the whole "
    f"suite; other attackers may find more. ≥: {RISING}. `older attackers`: before [recognisers learned in "
    f"place](docs/decisions/0029-recognisers-in-place.md). In brackets: {BRACKETS}. Grade: measured, but for "
    f"{GUARANTEED}, which is guaranteed, and the bits beyond the answer, which are estimated; the bits in the name of "
    f"a converter are what its training was to keep to on average. Alone: {ALONE}. None of these "
    "converters changes the service.\n"
)
MORE = "All converters, secrets and attacks are on the [results](docs/results/README.md) pages.\n"


def readme(text: str, files: Files, audits: Files) -> str:
    """The README with its parts made anew."""
    text = between(text, RESULTS, f"{converters(files)}\n{headlines(audits)}\n{NOTE}\n{MORE}")
    return between(text, FIRST, first_figure(audits))


def between(text: str, name: str, content: str) -> str:
    """The text with other content between its comments of that name."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    before, rest = text.split(begin)
    return before + begin + content + end + rest.split(end)[1]


def converters(files: Files) -> str:
    """What DAPter's converter costs: a row a data set and target, at λ = 0.9."""
    rows = []
    for found in files.values():
        groups = _runs(entry for entry in found if entry.settings["study"] == "seeds")
        if not groups:
            continue
        first = groups[0]
        before = pick(first, "target_accuracy_original")
        sizes = [pick(first, f"payload_bytes_jpeg_q75{suffix}") for suffix in ("_original", "")]
        rows.append(
            [
                first[0].data,
                first[0].target,
                number("target_accuracy", before.value if before else None),
                _mean_and_range(groups, "target_accuracy"),
                _mean_and_range(groups, "entropy_bits"),
                " → ".join(number("payload_bytes_jpeg_q75", size.value) for size in sizes if size),
            ]
        )
    head = ["images", "question", "service alone, %", "with DAPter, λ 0.9, %", "entropy, bits", "JPEG bytes"]
    n = sorted({entry.n for found in files.values() for entry in found if entry.measure == "target_accuracy"})
    counts = " or ".join(f"{each:,}" for each in n if each)
    note = (
        f"Mean of three seeds (smallest to largest), each on {counts} test images, entropy and bytes on 2,000; bytes "
        "as JPEG of quality 75, before → after, of the first seed; grade: measured."
    )
    return f"{markdown(head, rows)}\n{note}\n"


def _runs(found: Iterable[Measurement]) -> list[list[Measurement]]:
    """The measurements of each converter."""

    def key(entry: Measurement) -> tuple[float, int]:
        return entry.settings["lam"], entry.seed or 0

    return [list(group) for _, group in groupby(sorted(found, key=key), key=key)]


def _mean_and_range(groups: Sequence[Sequence[Measurement]], measure: str) -> str:
    """Mean over the seeds, with the smallest and the largest."""
    values = [entry.value for group in groups if (entry := pick(group, measure)) and entry.value is not None]
    shown = [number(measure, value) for value in (statistics.mean(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def first_figure(audits: Files) -> str:
    """The frontier of the audit with the most trainings that has one."""
    made = {name: points for name, found in audits.items() if (points := frontier(found))}
    if not made:
        return ""
    name = max(made, key=lambda each: len(made[each][0].subjects))
    found, points = audits[name], made[name]
    defences = " and ".join(dict.fromkeys(each.defence for each in points))
    n = next(entry.n for entry in points[0].figures("target_accuracy"))
    usual = find_preset(found[0].preset or "cpu").plan.epochs
    trainings = ", ".join(
        dict.fromkeys(
            f"{len(each.subjects)} ({each.defence}, width {each.settings.get('width')}, "
            f"{each.settings.get('epochs', usual)} epochs)"
            for each in points
        )
    )
    return (
        f"![Accuracy of the answer over the worst leak: {defences}](docs/images/frontier_{name}.svg)\n\n"
        f"{found[0].data}, {found[0].target}: how often the service is right, over the worst leak that one "
        f"recogniser and one decoder found. Up and to the left is better. A point is the mean over trainings, bars "
        f"their range; trainings: {trainings}; n = {n:,}, for restored images 2,000; grade: measured."
        f"{certain(points)}\n"
    )


def certain(points: Sequence[Variant]) -> str:
    """What no attack can exceed on the test images: of all trainings and secrets the largest gain over the answer."""
    found = [line for each in points for line in each.lines if line.measure == "secret_accuracy_bound"]
    if not found:
        return ""
    most = max(found, key=_gain)
    names = len({line.secret for line in found})
    bound, floor = (number("target_accuracy", value) for value in (most.value, most.floor))
    return (
        f" Guaranteed for these images: whatever is done with payloads of {most.defence}, none of {names} secrets is "
        f"named rightly more than {number('target_accuracy', _gain(most))} points more often than from the answer's "
        f"label alone ({most.secret}: {bound} instead of {floor} %)."
    )


def _gain(bound: Measurement) -> float:
    return (bound.value or 0.0) - (bound.floor or 0.0)
