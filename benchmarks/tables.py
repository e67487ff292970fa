"""Every table and figure of the README and the docs, from the committed files under `results/`.

    python benchmarks/tables.py            # rewrite them
    python benchmarks/tables.py --check    # exit code 1 if they are not what the results say

Nothing here measures; the other files of `benchmarks/` do.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from budget_tables import budget_part
from cost_tables import cost_parts
from legend import LEGEND
from lines import read
from overview import Files, worst_leaks
from readme import readme
from reproductions import reproduction_part
from standings import board_figures, board_part
from studies import AUDITS, frontier, studies

from dapter.audit_figures import dial_figure, frontier_figure
from dapter.audit_lines import Variant, summary, variants
from dapter.figures import tradeoff_figure
from dapter.runs import write_atomic
from dapter.tables import leak_table, markdown, table
from dapter.types import Measurement

ROOT = Path(__file__).parents[1]

SUITES = (
    "Under one recogniser and one decoder, or the whole suite, or one decoder and re-identification (who is shown), "
    "where these were run."
)
STUDIES = {
    "seeds": "λ = 0.9, three seeds, trained from scratch",
    "sweep": "Other λ, each fine-tuned from seed 0's converter of λ = 0.9",
    "fast": "The fast network at λ = 0.9",
    "conditioned": "One λ-conditioned converter for every λ",
    "tune": "The paper's strategy: every λ that it tried",
}


def by_study(entry: Measurement) -> Measurement:
    """The measurement with λ and its study alone, so that a figure's legend is short."""
    return replace(entry, settings={name: entry.settings[name] for name in ("lam", "study")})


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


def audit_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one file of audits: summaries and figures, then every attack, folded."""
    parts = [f"## Audit of {found[0].data}: {found[0].target}\n"]
    parts.append(f"Preset `{found[0].preset}`. `results/{name}.jsonl`.\n")
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


def page(files: Files, audits: Files, boards: Files, budgets: Files, papers: Files) -> str:
    """The page of all results."""
    parts = [
        "# Results\n",
        "Made by `python benchmarks/tables.py` from the files under `results/`; do not edit. Every line of those files "
        "says its settings, seed, number of images, code version and what measured it.\n",
        "How safe a payload is, only an audit tells; the other figures say what the answer lost, what the payload "
        "looks like and what it costs.\n",
        LEGEND,
        f"## Converters: how much leaks\n\n{SUITES}\n\n{worst_leaks(audits)}",
    ]
    for name, found in boards.items():
        parts += board_part(name, found)
    for name, found in audits.items():
        parts += audit_part(name, found)
    for name, found in budgets.items():
        parts += budget_part(name, found)
    for name, found in papers.items():
        parts += reproduction_part(name, found)
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


def outputs() -> dict[Path, bytes]:
    """Every generated file with its content."""
    files, audits, boards, budgets, papers = (
        {path.stem: read(path) for path in sorted((ROOT / "results").glob(f"{kind}_*.jsonl"))}
        for kind in ("dapter", "audit", "leaderboard", "budget", "rivals")
    )
    found = {
        ROOT / "README.md": readme((ROOT / "README.md").read_text(), files, audits),
        ROOT / "docs" / "results.md": page(files, audits, boards, budgets, papers),
    }
    figures = {
        ROOT / "docs" / "images" / f"tradeoff_{name}.svg": tradeoff_figure(
            [by_study(entry) for entry in entries if entry.settings["study"] in ("seeds", "sweep", "conditioned")]
        )
        for name, entries in files.items()
    }
    figures |= {ROOT / "docs" / "images" / f"{name}.svg": drawn for name, drawn in board_figures(boards).items()}
    return {**{path: content.encode() for path, content in found.items()}, **figures, **audit_figures(audits)}


def audit_figures(audits: Files) -> dict[Path, bytes]:
    """The figures of the audits."""
    figures = {}
    for name, found in audits.items():
        for study, entries in studies(found).items():
            if made := dialled(entries):
                figures[ROOT / "docs" / "images" / f"{name}_{study}.svg"] = dial_figure(made)
        if made := frontier(found):
            figures[ROOT / "docs" / "images" / f"frontier_{name}.svg"] = frontier_figure(made)
    return figures


def stale_pages() -> dict[Path, bytes]:
    """Every generated file that is not what the results say, with what it should hold."""
    return {path: content for path, content in outputs().items() if not path.exists() or path.read_bytes() != content}


def write_pages() -> None:
    """Write them."""
    for path, content in stale_pages().items():
        write_atomic(path, content)
        print(f"{path.relative_to(ROOT)} rewritten")


def main() -> int:
    """Write or check; the exit code."""
    if "--check" not in sys.argv[1:]:
        write_pages()
        return 0
    stale = stale_pages()
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not what the results say. Cure: python benchmarks/tables.py")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
