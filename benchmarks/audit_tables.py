"""The page and the figures of one file of audits. Nothing is measured here."""

import statistics
from collections.abc import Sequence

from studies import AUDITS, frontier, studies

from dapter.audit_figures import dial_figure, frontier_figure
from dapter.audit_lines import Variant, summary, variants
from dapter.tables import leak_table, markdown
from dapter.types import Measurement


def audit_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """Summaries and figures of one file of audits, then every attack, folded."""
    parts = [f"Preset `{found[0].preset}`. `results/{name}.jsonl`.\n"]
    for study, entries in studies(found).items():
        parts.append(f"## {AUDITS.get(study, study)}\n\n{markdown(*summary(variants(entries)))}{spent(entries)}")
        if dialled(entries):
            parts.append(f"![Accuracy, worst leak, restored SSIM and entropy](../images/{name}_{study}.svg)\n")
    if frontier(found):
        parts.append(f"![Accuracy of the answer over the worst leak](../images/frontier_{name}.svg)\n")
    parts.append(f"{necessity(found)}\n")
    for study, entries in studies(found).items():
        title = f"Every attack: {AUDITS.get(study, study)}"
        parts.append(f"<details><summary>{title}</summary>\n\n{leak_table(entries)}\n</details>\n")
    return parts


def audit_figures(name: str, found: Sequence[Measurement]) -> dict[str, bytes]:
    """The figures of that page, by their names."""
    figures = {
        f"{name}_{study}": dial_figure(made) for study, entries in studies(found).items() if (made := dialled(entries))
    }
    points = frontier(found)
    return {**figures, f"frontier_{name}": frontier_figure(points)} if points else figures


def dialled(found: Sequence[Measurement]) -> list[Variant]:
    """The converters of the first dial that has two values or more; none if there is no such dial."""
    made = variants(found)
    for dial in dict.fromkeys(each.dial[0] for each in made if each.dial):
        own = [each for each in made if each.dial and each.dial[0] == dial]
        if len({each.dial for each in own}) > 1:
            return own
    return []


def necessity(found: Sequence[Measurement]) -> str:
    """What a classifier on the device could have answered by itself, in a sentence a target and size."""
    said = (
        f"Necessity check: a classifier of the size of {entry.defence}{_width(entry)} answers {entry.target} by itself "
        f"in {100 * entry.value:.1f} % of the images ({100 * entry.low:.1f} to {100 * entry.high:.1f}, n = {entry.n:,}"
        f"), the service in {100 * entry.ceiling:.1f} %."
        for entry in found
        if entry.measure == "necessity_accuracy"
    )
    return " ".join(dict.fromkeys(said))


def _width(entry: Measurement) -> str:
    return f" of width {entry.settings['width']}" if "width" in entry.settings else ""


def spent(found: Sequence[Measurement]) -> str:
    """What an audit took of processors, where all of it is known."""
    minutes = [entry.value for entry in found if entry.measure == "audit_core_minutes" and entry.value is not None]
    return f"\nProcessor time of an audit: {statistics.mean(minutes):.0f} core-minutes.\n" if minutes else ""
