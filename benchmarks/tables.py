"""Every table and figure of the README and the docs, from the committed files under `results/`.

    python benchmarks/tables.py            # rewrite them
    python benchmarks/tables.py --check    # exit code 1 if they are not what the results say

Nothing here measures; the other files of `benchmarks/` do.
"""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from cost_tables import cost_parts
from standings import board_figures, board_part

from dapter.audit_figures import dial_figure, frontier_figure
from dapter.audit_lines import IMAGE, Variant, spread, summary, variants
from dapter.figures import tradeoff_figure
from dapter.runs import write_atomic
from dapter.tables import leak_table, markdown, number, pick, table
from dapter.types import Measurement

ROOT = Path(__file__).parents[1]
RESULTS, FIRST = "results", "frontier"
"""The parts of the README that are made here, between comments of these names."""

AUDITS = {
    "": "A first audit of one converter: one recogniser, one decoder",
    "lambda": "Every λ: one recogniser and one decoder",
    "budget": "Budget converters: the same two attacks",
    "suite": "The whole suite of attacks",
}
FRONTIER = ("lambda", "budget")
"""Studies whose converters met the same attacks, so that they compare."""

SCALE = (
    "Leak 0: nothing beyond the answer; 1: as much as from the original. In brackets: 95 % intervals; in parentheses: "
    "mean and range over trainings; grade: measured."
)
STUDIES = {
    "seeds": "λ = 0.9, three seeds, trained from scratch",
    "sweep": "Other λ, each fine-tuned from seed 0's converter of λ = 0.9",
    "fast": "The fast network at λ = 0.9",
    "conditioned": "One λ-conditioned converter for every λ",
    "tune": "The paper's strategy: every λ that it tried",
}


def read(path: Path) -> list[Measurement]:
    """The measurements of one results file."""
    return [Measurement.from_json(line) for line in path.read_text().splitlines()]


def runs(found: Iterable[Measurement]) -> list[list[Measurement]]:
    """The measurements of each converter."""

    def key(entry: Measurement) -> tuple[float, int]:
        return entry.settings["lam"], entry.seed or 0

    return [list(group) for _, group in groupby(sorted(found, key=key), key=key)]


def by_study(entry: Measurement) -> Measurement:
    """The measurement with λ and its study alone, so that a figure's legend is short."""
    return replace(entry, settings={name: entry.settings[name] for name in ("lam", "study")})


def mean_and_range(groups: Sequence[Sequence[Measurement]], measure: str) -> str:
    """Mean over the seeds, with the smallest and the largest."""
    values = [entry.value for group in groups if (entry := pick(group, measure)) and entry.value is not None]
    shown = [number(measure, value) for value in (statistics.mean(values), min(values), max(values))]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"


def converters(files: dict[str, list[Measurement]]) -> str:
    """The README's table: a row a data set and target, at λ = 0.9."""
    head = (
        "| images | question | service alone, % | with the converter, % | entropy, bits | JPEG bytes, before → after |"
    )
    lines = [head, "|---|---|---|---|---|---|"]
    for found in files.values():
        groups = runs(entry for entry in found if entry.settings["study"] == "seeds")
        if not groups:
            continue
        first = groups[0]
        before = pick(first, "target_accuracy_original")
        sizes = [pick(first, f"payload_bytes_jpeg_q75{suffix}") for suffix in ("_original", "")]
        lines.append(
            f"| {first[0].data} | {first[0].target} | {number('target_accuracy', before.value if before else None)} "
            f"| {mean_and_range(groups, 'target_accuracy')} | {mean_and_range(groups, 'entropy_bits')} "
            f"| {' → '.join(number('payload_bytes_jpeg_q75', size.value) for size in sizes if size)} |"
        )
    n = sorted({entry.n for found in files.values() for entry in found if entry.measure == "target_accuracy"})
    counts = " or ".join(f"{each:,}" for each in n if each)
    note = f"Mean of three seeds (smallest to largest), each on {counts} test images; grade: measured."
    return "\n".join([*lines, "", note]) + "\n"


def studies(found: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The lines of an audit's file by the study that they belong to, in the order of AUDITS."""
    named = dict.fromkeys([*AUDITS, *(str(entry.settings.get("study", "")) for entry in found)])
    each = {name: [entry for entry in found if str(entry.settings.get("study", "")) == name] for name in named}
    return {name: lines for name, lines in each.items() if lines}


def frontier(found: Sequence[Measurement]) -> list[Variant]:
    """The converters that met the same attacks, if they are of two defences or more and were measured."""
    made = variants([entry for entry in found if entry.settings.get("study") in FRONTIER])
    shown = [each for each in made if each.secrets and each.figures("target_accuracy")]
    return shown if len({each.defence for each in shown}) > 1 else []


def dialled(found: Sequence[Measurement]) -> list[Variant]:
    """The converters of the first dial that has two values or more; none if there is no such dial."""
    made = variants(found)
    for dial in dict.fromkeys(each.dial[0] for each in made if each.dial):
        own = [each for each in made if each.dial and each.dial[0] == dial]
        if len({each.dial for each in own}) > 1:
            return own
    return []


def worst_leaks(audits: dict[str, list[Measurement]]) -> str:
    """The README's table of what attackers learned: a row a converter, by the last of its studies."""
    if not audits:
        return ""
    head = (
        "| images | question | converter | trainings | answer right, % | worst leaks | restored SSIM | answer alone |"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|"]
    for found in audits.values():
        last = {
            f"{each.name}{trained(each)}{', whole suite' if study == 'suite' else ''}": each
            for study, entries in studies(found).items()
            for each in variants(entries)
        }
        for name, each in last.items():
            leaks = [f"{secret} {spread(each.worst(secret))}" for secret in each.secrets]
            restored = [entry for entry in each.behind(IMAGE) if entry.measure == "ssim"]
            floor = number("ssim", restored[0].floor) if restored else ""
            lines.append(
                f"| {found[0].data} | {found[0].target} | {name} | {len(each.subjects)} "
                f"| {spread(each.figures('target_accuracy'))} | {'; '.join(leaks)} | {spread(restored)} | {floor} |"
            )
    note = (
        "Leak 0: nothing beyond the answer; 1: as much as from the original. In brackets: 95 % intervals; in "
        "parentheses: mean and range over trainings; grade: measured. One recogniser and one decoder attack each; "
        "beside them stands what the whole suite found, where it was run. What each attack reached is on the "
        "[results](docs/results.md) page; attackers trained longer may find more."
    )
    return "\n".join([*lines, "", note, "", *(necessity(found) for found in audits.values())]) + "\n"


def trained(each: Variant) -> str:
    """How long a converter was trained, and its width, where that is not as the preset says."""
    epochs = each.settings.get("epochs")
    return "" if epochs is None else f", {epochs} epochs, width {each.settings['width']}"


def necessity(found: Sequence[Measurement]) -> str:
    """What a classifier on the device could have answered by itself, in a sentence a target and size."""
    said = (
        f"Necessity check: a classifier of the converter's own size answers {entry.target} ({entry.data}) by itself in "
        f"{100 * entry.value:.1f} % of the images ({100 * entry.low:.1f} to {100 * entry.high:.1f}, n = {entry.n:,}), "
        f"the service in {100 * entry.ceiling:.1f} %."
        for entry in found
        if entry.measure == "necessity_accuracy"
    )
    return " ".join(dict.fromkeys(said))


def spent(found: Sequence[Measurement]) -> str:
    """What an audit took of processors, where all of it is known."""
    minutes = [entry.value for entry in found if entry.measure == "audit_core_minutes" and entry.value is not None]
    return f"\nProcessor time of an audit: {statistics.mean(minutes):.0f} core-minutes.\n" if minutes else ""


def audit_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one file of audits: summaries and figures, then every attack, folded."""
    parts = [f"## Audit of {found[0].data}: {found[0].target}\n"]
    parts.append(f"Preset `{found[0].preset}`. `results/{name}.jsonl`. {SCALE}\n")
    for study, entries in studies(found).items():
        parts.append(f"### {AUDITS.get(study, study)}\n\n{markdown(*summary(variants(entries)))}{spent(entries)}")
        if dialled(entries):
            parts.append(f"![Accuracy, worst leak, restored SSIM and entropy](images/{name}_{study}.svg)\n")
    if frontier(found):
        parts.append(f"![Accuracy of the answer over the worst leak](images/frontier_{name}.svg)\n")
    parts.append(f"{necessity(found)}\n")
    for study, entries in studies(found).items():
        title = f"Every attack: {AUDITS.get(study, study)}"
        parts.append(f"<details><summary>{title}</summary>\n\n{leak_table(entries)}\n</details>\n")
    return parts


def page(
    files: dict[str, list[Measurement]],
    audits: dict[str, list[Measurement]],
    boards: dict[str, list[Measurement]],
) -> str:
    """The page of all results."""
    parts = [
        "# Results\n",
        "Made by `python benchmarks/tables.py` from the files under `results/`; do not edit. Every line of those files "
        "says its settings, seed, number of images, code version and the command that measured it.\n",
        "How safe a payload is, only an audit tells; the other figures say what the answer lost, what the payload "
        "looks like and what it costs.\n",
    ]
    for name, found in boards.items():
        parts += board_part(name, found)
    for name, found in audits.items():
        parts += audit_part(name, found)
    for name, found in files.items():
        settings = found[0].settings
        parts.append(f"## {found[0].data}: {found[0].target}\n")
        parts.append(f"Preset `{found[0].preset}`, {settings['image_size'][0]} px. `results/{name}.jsonl`.\n")
        parts.append(f"![Accuracy, entropy and eta over λ](images/tradeoff_{name}.svg)\n")
        for study, title in STUDIES.items():
            entries = [entry for entry in found if entry.settings["study"] == study]
            if entries:
                epochs = ", ".join(str(each) for each in sorted({entry.settings["epochs"] for entry in entries}))
                parts.append(f"### {title}\n\nEpochs: {epochs}.\n\n{table(entries)}")
    parts += cost_parts(ROOT / "results")
    return "\n".join(parts)


def first_figure(audits: dict[str, list[Measurement]]) -> str:
    """The README's first figure: the frontier of the audit with the most trainings that has one."""
    made = {name: points for name, found in audits.items() if (points := frontier(found))}
    if not made:
        return ""
    name = max(made, key=lambda each: len(made[each][0].subjects))
    found, points = audits[name], made[name]
    defences = " and ".join(dict.fromkeys(each.defence for each in points))
    n = next(entry.n for entry in points[0].figures("target_accuracy"))
    trainings = ", ".join(dict.fromkeys(f"{len(each.subjects)} ({each.defence}{trained(each)})" for each in points))
    return (
        f"![Accuracy of the answer over the worst leak: {defences}](docs/images/frontier_{name}.svg)\n\n"
        f"{found[0].data}, {found[0].target}: how often the service is right, over the worst leak that one "
        f"recogniser and one decoder found. Up and to the left is better. A point is the mean over trainings, bars "
        f"their range; trainings: {trainings}; n = {n:,}; grade: measured.\n"
    )


def between(text: str, name: str, content: str) -> str:
    """The text with other content between its comments of that name."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->\n"
    before, rest = text.split(begin)
    return before + begin + content + end + rest.split(end)[1]


def outputs() -> dict[Path, bytes]:
    """Every generated file with its content."""
    files, audits, boards = (
        {path.stem: read(path) for path in sorted((ROOT / "results").glob(f"{kind}_*.jsonl"))}
        for kind in ("dapter", "audit", "leaderboard")
    )
    readme = between((ROOT / "README.md").read_text(), RESULTS, converters(files) + "\n" + worst_leaks(audits))
    found = {
        ROOT / "README.md": between(readme, FIRST, first_figure(audits)),
        ROOT / "docs" / "results.md": page(files, audits, boards),
    }
    figures = {
        ROOT / "docs" / "images" / f"tradeoff_{name}.svg": tradeoff_figure(
            [by_study(entry) for entry in entries if entry.settings["study"] in ("seeds", "sweep", "conditioned")]
        )
        for name, entries in files.items()
    }
    figures |= {ROOT / "docs" / "images" / f"{name}.svg": drawn for name, drawn in board_figures(boards).items()}
    return {**{path: content.encode() for path, content in found.items()}, **figures, **audit_figures(audits)}


def audit_figures(audits: dict[str, list[Measurement]]) -> dict[Path, bytes]:
    """The figures of the audits."""
    figures = {}
    for name, found in audits.items():
        for study, entries in studies(found).items():
            if made := dialled(entries):
                figures[ROOT / "docs" / "images" / f"{name}_{study}.svg"] = dial_figure(made)
        if made := frontier(found):
            figures[ROOT / "docs" / "images" / f"frontier_{name}.svg"] = frontier_figure(made)
    return figures


def main() -> int:
    """Write or check; the exit code."""
    stale = [path for path, content in outputs().items() if not path.exists() or path.read_bytes() != content]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the results say. Cure: python benchmarks/tables.py")
        return 1 if stale else 0
    for path in stale:
        write_atomic(path, outputs()[path])
        print(f"{path.relative_to(ROOT)} rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
