"""Every table and figure of the README and the docs, from the committed files under `results/`.

    python benchmarks/tables.py            # rewrite them
    python benchmarks/tables.py --check    # exit code 1 if they are not what the results say

Nothing here measures; `benchmarks/converter.py` and `benchmarks/speed.py` do.
"""

import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from dapter.figures import tradeoff_figure
from dapter.runs import write_atomic
from dapter.tables import leak_table, number, pick, table, text
from dapter.types import Measurement

ROOT = Path(__file__).parents[1]
BEGIN, END = "<!-- results:begin -->\n", "<!-- results:end -->\n"
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


def summary(files: dict[str, list[Measurement]]) -> str:
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


def worst_leaks(audits: dict[str, list[Measurement]]) -> str:
    """The README's table of what attackers learned: a row a converter and secret."""
    if not audits:
        return ""
    head = "| images | question | secret | worst leak | by | measured as | attacker | answer alone | original |"
    lines = [head, "|---|---|---|---|---|---|---|---|---|"]
    for found in audits.values():
        for entry in (entry for entry in found if entry.measure == "leak"):
            shown = told(entry, found)
            lines.append(
                f"| {entry.data} | {entry.target} | {entry.secret} "
                f"| {entry.value:.2f} ({entry.low:.2f} to {entry.high:.2f}) | {entry.attack} "
                f"| {shown.measure.removeprefix('secret_').replace('_', ' ')} | {shown.value:.3f} "
                f"| {shown.floor:.3f} | {shown.ceiling:.3f} |"
            )
    note = (
        "At λ = 0.9, one seed, a first pair of attacks (`benchmarks/audit.py`): the whole suite, trained longer, may "
        "find more. Leak 0: nothing beyond the answer; 1: as much as from the original. In brackets: 95 % intervals; "
        "grade: measured."
    )
    return "\n".join([*lines, "", note, "", *(necessity(found) for found in audits.values())]) + "\n"


def necessity(found: Sequence[Measurement]) -> str:
    """What a classifier on the device could have answered by itself, in a sentence a target."""
    return " ".join(
        f"Necessity check: a classifier of the converter's own size answers {entry.target} ({entry.data}) by itself in "
        f"{100 * entry.value:.1f} % of the images ({100 * entry.low:.1f} to {100 * entry.high:.1f}, n = {entry.n:,}), "
        f"the service in {100 * entry.ceiling:.1f} %."
        for entry in found
        if entry.measure == "necessity_accuracy"
    )


def told(leak: Measurement, found: Sequence[Measurement]) -> Measurement:
    """The figure behind a headline: the same attack's score that gives this leak."""
    same = (entry for entry in found if entry.secret == leak.secret and entry.settings == leak.settings)
    return next(entry for entry in same if entry.measure != "leak" and entry.leak == leak.value)


def page(
    files: dict[str, list[Measurement]], audits: dict[str, list[Measurement]], speed: Sequence[Measurement]
) -> str:
    """The page of all results."""
    parts = [
        "# Results\n",
        "Made by `python benchmarks/tables.py` from the files under `results/`; do not edit. Every line of those files "
        "says its settings, seed, number of images, code version and the command that measured it.\n",
        "How safe a payload is, only an audit tells; the other figures say what the answer lost, what the payload "
        "looks like and what it costs.\n",
    ]
    for name, found in audits.items():
        parts.append(f"## Audit of {found[0].data}: {found[0].target}\n")
        parts.append(f"λ = 0.9, preset `{found[0].preset}`. `results/{name}.jsonl`.\n\n{leak_table(found)}")
        parts.append(f"{necessity(found)}\n")
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
    if speed:
        parts.append(
            f"## Speed\n\n`results/speed.jsonl`, on {speed[0].environment['processor']}. The limit of "
            "a latency is its multiply-adds over the best rate of a matrix product; Winograd's convolution multiplies "
            "less and can go below it.\n"
        )
        parts.append(speed_table(speed))
    return "\n".join(parts)


def speed_table(found: Sequence[Measurement]) -> str:
    """One row a figure."""
    lines = ["| measure | settings | value | smallest to largest | turns |", "|---|---|---|---|---|"]
    for entry in found:
        settings = ", ".join(f"{name} {value}" for name, value in entry.settings.items())
        spread = (
            "" if entry.low is None else f"{number(entry.measure, entry.low)} to {number(entry.measure, entry.high)}"
        )
        label = entry.measure.replace("_", " ")
        lines.append(f"| {label} | {settings} | {text(entry.measure, entry.value)} | {spread} | {entry.n or ''} |")
    return "\n".join(lines) + "\n"


def outputs() -> dict[Path, bytes]:
    """Every generated file with its content."""
    files = {path.stem: read(path) for path in sorted((ROOT / "results").glob("dapter_*.jsonl"))}
    audits = {path.stem: read(path) for path in sorted((ROOT / "results").glob("audit_*.jsonl"))}
    speed = ROOT / "results" / "speed.jsonl"
    readme = (ROOT / "README.md").read_text()
    before, rest = readme.split(BEGIN)
    found = {
        ROOT / "README.md": before + BEGIN + summary(files) + "\n" + worst_leaks(audits) + END + rest.split(END)[1],
        ROOT / "docs" / "results.md": page(files, audits, read(speed) if speed.exists() else []),
    }
    figures = {
        ROOT / "docs" / "images" / f"tradeoff_{name}.svg": tradeoff_figure(
            [by_study(entry) for entry in entries if entry.settings["study"] in ("seeds", "sweep", "conditioned")]
        )
        for name, entries in files.items()
    }
    return {**{path: content.encode() for path, content in found.items()}, **figures}


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
