"""The run folders below a folder, in words: a line each, but one for all the cells that audits have there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dapter.errors import RunError
from dapter.runs import Run, list_runs
from dapter.spent import read_spent
from dapter.tables import plain

CELLS = "attacks"
"""The folder beside audits that holds their cells, and what these share."""


def list_lines(root: Path) -> Iterator[str]:
    """A line a run: whether it is done, where it is, what it is; of cells how many, unless `root` is their folder."""
    cells: dict[Path, list[bool]] = {}
    for run in list_runs(root):
        folder = next((each for each in run.path.parents if each.name == CELLS), None)
        if folder is not None and folder.is_relative_to(root) and folder != root:
            cells.setdefault(folder, []).append(run.done)
        else:
            yield f"{'done' if run.done else 'open'}  {run.path}{_about(run)}"
    for folder, done in cells.items():
        left = f", {done.count(False)} open" if False in done else ""
        yield f"{done.count(True)} parts of audits done{left}: `dapter list {folder}` shows each"


def _about(run: Run) -> str:
    """What a run is, where its name does not say it."""
    try:
        manifest = run.manifest
        about = {"audit": _audit, "attack": _cell}.get(manifest["kind"])
        return "" if about is None else f"  {about(run, manifest)}"
    except (RunError, KeyError, TypeError):
        return "  (its manifest cannot be read)"


def _audit(run: Run, manifest: dict[str, Any]) -> str:
    subjects = ", ".join(subject["defence"] for subject in manifest["subjects"])
    names = dict.fromkeys(name for name, *_ in manifest["attacks"])
    return f"of {subjects} by {', '.join(names)}; preset {manifest['preset']}, seeds {plain(manifest['seeds'])}"


def _cell(run: Run, manifest: dict[str, Any]) -> str:
    settings = [f"{name} {plain(value)}" for name, value in manifest["settings"].items() if name != "plan"]
    spent = read_spent(run)
    took = f", {spent.core_seconds:,.0f} s of processors" if run.done and spent.known else ""
    return f"on {manifest['subject']['defence']}: {', '.join(settings)}; seed {manifest['seed']}{took}"
