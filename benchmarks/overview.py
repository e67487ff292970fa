"""The table of what attackers learned from converters: all of them, or the few of the README."""

from collections.abc import Mapping, Sequence

from studies import flags, studies, trained

from dapter.audit_lines import IMAGE, Variant, spread, variants
from dapter.tables import markdown
from dapter.types import Measurement
from dapter.wording import number

STUDIES, LAMS = ("lambda", "budget", "suite"), (0.0, 0.9)
"""The README's converters: of which studies, and with which λ, the smallest and the paper's."""

SHOWN = {
    "suite": ", whole suite",
    "identity": ", who is shown",
    "tiles": ", 4 x 4 flat tiles",
    "dial": ", one for all budgets",
}
"""What is said of the converters of a study, if anything."""

Files = Mapping[str, Sequence[Measurement]]
"""The lines of results files, by their names."""


def headlines(audits: Files) -> str:
    """The converters of the README."""
    chosen = {
        name: [entry for entry in found if entry.settings["study"] in STUDIES and entry.settings.get("lam", 0) in LAMS]
        for name, found in audits.items()
    }
    return worst_leaks({name: found for name, found in chosen.items() if found})


def worst_leaks(audits: Files) -> str:
    """What attackers learned: a row a converter, by the study that has the most trainings of it."""
    best: dict[tuple[str, str], Variant] = {}
    for file, found in audits.items():
        for study, entries in studies(found).items():
            for each in variants(entries):
                key = file, f"{each.name}{trained(each)}{SHOWN.get(study, '')}"
                best[key] = max(each, best.get(key, each), key=lambda variant: len(variant.subjects))
    if not best:
        return ""
    rows = [_row(name, each) for (_, name), each in best.items()]
    return markdown(list(rows[0]), [list(row.values()) for row in rows])


def _row(name: str, each: Variant) -> dict[str, str]:
    first, secret = each.lines[0], each.leakiest()
    worst = each.worst(secret) if secret else []
    restored = [entry for entry in each.behind(IMAGE) if entry.measure == "ssim"]
    original, hard = each.figures("target_accuracy_original"), each.figures("budget_bits")
    return {
        "images": f"{first.data}, {first.settings['image_size'][0]} px",
        "question": first.target or "",
        "converter": name,
        "trainings": str(len(each.subjects)),
        "service alone, %": number("target_accuracy", original[0].value) if original else "",
        "with converter, %": spread(each.figures("target_accuracy")),
        "alone, %": spread(each.figures("necessity_accuracy")[:1]),
        "worst leak": f"{secret} {spread(worst)}" if secret else "",
        "flags": flags(each, worst),
        "restored SSIM": spread(restored),
        "SSIM from the answer": number("ssim", restored[0].floor) if restored else "",
        "hard budget, bits": number("budget_bits", hard[0].value) if hard else "",
        "beyond the answer, bits": spread(each.figures("bits_beyond_answer")),
    }
