"""Every table and figure of the README and the docs, from the committed files under `results/`.

    python benchmarks/tables.py            # rewrite them
    python benchmarks/tables.py --check    # exit code 1 if they are not what the results say

Nothing here measures; the other files of `benchmarks/` do.
"""

import sys
from pathlib import Path

from audit_tables import audit_figures
from converter_tables import converter_figures
from lines import read
from readme import readme
from result_pages import pages
from standings import board_figures

from dapter.runs import write_atomic

ROOT = Path(__file__).parents[1]
RESULTS, README, PAGES, IMAGES = ROOT / "results", ROOT / "README.md", ROOT / "docs/results", ROOT / "docs/images"

KINDS = ("dapter", "audit", "leaderboard", "budget", "rivals")
"""The first words of the names of results files."""

FIGURES = {"audit": audit_figures, "dapter": converter_figures, "leaderboard": board_figures}
"""What draws the figures of one results file, by the first word of its name."""


def outputs() -> dict[Path, bytes]:
    """Every generated file with its content."""
    kinds = {kind: {path.stem: read(path) for path in sorted(RESULTS.glob(f"{kind}_*.jsonl"))} for kind in KINDS}
    texts = {README: readme(README.read_text(), kinds["dapter"], kinds["audit"])}
    texts |= {PAGES / name: text for name, text in pages(kinds, RESULTS).items()}
    figures = {
        IMAGES / f"{figure}.svg": content
        for kind, draw in FIGURES.items()
        for name, found in kinds[kind].items()
        for figure, content in draw(name, found).items()
    }
    return {**{path: text.encode() for path, text in texts.items()}, **figures}


def stale_pages() -> dict[Path, bytes]:
    """Every generated file that is not what the results say, with what it should hold."""
    return {path: content for path, content in outputs().items() if not path.exists() or path.read_bytes() != content}


def write_pages() -> None:
    """Write them."""
    for path, content in stale_pages().items():
        path.parent.mkdir(exist_ok=True)
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
