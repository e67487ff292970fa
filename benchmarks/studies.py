"""The lines of a results file by the study that they belong to."""

from collections.abc import Sequence

from dapter.audit_lines import Variant, variants
from dapter.types import Measurement

AUDITS = {
    "lambda": "Every λ: one recogniser and one decoder",
    "budget": "Budget converters: the same two attacks",
    "tiles": "Budget converters of 4 x 4 flat tiles: the same two attacks",
    "size": "Budget converters of several sizes: the same two attacks",
    "identity": "Who is shown: re-identification",
    "suite": "The whole suite of attacks",
}
FRONTIER = ("lambda", "budget")
"""Studies whose converters met the same attacks, so that they compare."""


def studies(found: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The lines of an audit's file by the study that they belong to, in the order of AUDITS."""
    named = dict.fromkeys([*AUDITS, *(str(entry.settings.get("study", "")) for entry in found)])
    each = {name: [entry for entry in found if str(entry.settings.get("study", "")) == name] for name in named}
    return {name: lines for name, lines in each.items() if lines}


def frontier(found: Sequence[Measurement]) -> list[Variant]:
    """The converters that met the same attacks, if they are of two defences or more and were measured.

    In the order of FRONTIER, so that a defence has the same colour in every figure.
    """
    made = variants([entry for study in FRONTIER for entry in found if entry.settings.get("study") == study])
    shown = [each for each in made if each.secrets and each.figures("target_accuracy")]
    return shown if len({each.defence for each in shown}) > 1 else []


def trained(each: Variant) -> str:
    """How long a converter was trained and how wide it is, where a study says so and the name does not."""
    epochs = each.settings.get("epochs")
    said = [] if epochs is None else [f"width {each.settings['width']}", f"{epochs} epochs"]
    return "".join(f", {words}" for words in said if words not in each.name)
