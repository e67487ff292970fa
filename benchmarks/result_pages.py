"""The pages of `docs/results/`: what is on which. Nothing is measured here."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from audit_tables import audit_part
from budget_tables import budget_part
from converter_tables import converter_part
from cost_tables import cost_parts
from legend import LEGEND
from overview import Files, worst_leaks
from reproductions import NOTE as PAPERS
from reproductions import reproduction_part
from standings import NOTE as TUNED
from standings import board_part

from dapter.types import Measurement

Part = Callable[[str, Sequence[Measurement]], list[str]]
"""Makes what a page says about one file of results, from its name and its lines."""

SUITES = (
    "Under one recogniser and one decoder, or the whole suite, or one decoder and re-identification (who is shown), "
    "where these were run."
)

READ = "[How to read the tables](README.md#how-to-read-the-tables).\n"


def pages(kinds: Mapping[str, Files], results: Path) -> dict[str, str]:
    """Every page by its file name.

    Args:
        kinds: the lines of the results files, by the first word of their names and then by their names.
        results: the folder with the files of what it costs.
    """
    made = {
        "leaderboard.md": ("Leaderboard", [*_parts(board_part, kinds["leaderboard"]), f"{TUNED}\n"]),
        **{f"{name}.md": (_audit(found), audit_part(name, found)) for name, found in kinds["audit"].items()},
        "budgets.md": ("Budget converters: accuracy, bits, bounds", _parts(budget_part, kinds["budget"])),
        "rivals.md": ("The tables of the rivals' papers", [f"{PAPERS}\n", *_parts(reproduction_part, kinds["rivals"])]),
        "converters.md": ("Converters: accuracy, entropy, bytes", _parts(converter_part, kinds["dapter"])),
        "cost.md": ("Time, memory, size", cost_parts(results)),
    }
    return {
        "README.md": _overview({page: title for page, (title, _) in made.items()}, kinds["audit"]),
        **{page: "\n".join([f"# {title}\n", READ, *parts]) for page, (title, parts) in made.items()},
    }


def _parts(part: Part, files: Files) -> list[str]:
    return [said for name, found in files.items() for said in part(name, found)]


def _audit(found: Sequence[Measurement]) -> str:
    return f"Audit of {found[0].data}: {found[0].target}"


def _overview(titles: Mapping[str, str], audits: Files) -> str:
    """The folder's first page: the other pages, the words, and how much leaks from each converter."""
    listed = "\n".join(f"- [{title}]({page})" for page, title in titles.items())
    return "\n".join(
        [
            "# Results\n",
            "Made by `python benchmarks/tables.py` from the files under `results/`; do not edit. Every line of those "
            "files says its settings, seed, number of images, code version and what measured it.\n",
            "How safe a payload is, only an audit tells; the other figures say what the answer lost, what the payload "
            "looks like and what it costs.\n",
            f"{listed}\n",
            LEGEND,
            f"## How much leaks from converters\n\n{SUITES}\n\n{worst_leaks(audits)}",
        ]
    )
