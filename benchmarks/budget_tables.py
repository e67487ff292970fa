"""Budget converters on the pages of results: what each costs and carries. Nothing is measured here."""

from collections.abc import Sequence

from dapter.audit_lines import spread
from dapter.tables import differences, markdown, pick, plain
from dapter.types import Measurement
from dapter.wording import number

COLUMNS = {
    "answer right, %": "target_accuracy",
    "same answer, %": "agreement",
    "after JPEG 75, %": "agreement_jpeg_q75",
    "after WebP 75, %": "agreement_webp_q75",
    "AUC": "target_auc",
    "calibration error, %": "calibration_error",
    "hard budget, bits": "budget_bits",
    "beyond the answer, bits": "bits_beyond_answer",
    "in total, bits": "bits_total",
    "on average at most, bits": "capacity_bits",
    "epsilon": "epsilon",
    "different payloads": "distinct_payloads",
    "PNG bytes": "payload_bytes_png",
    "work, million": "multiply_adds",
}
"""The columns, and the measures in them; those without any figure are left out."""

ALWAYS = ("grid", "alphabet", "width", "epochs")
"""The settings that have a column even where they are all the same."""

BOUNDS = (
    "How often anybody can be right about a secret. *From the answer*: by the best rule from the answer alone. *By any "
    "attack on these*: guaranteed for these test images, as equal payloads look equal to every attack. *On others by "
    "Fano*: at most, on images like these (estimated); 100 proves nothing, since so many bits could hold a secret of "
    "two values. That they do not is what the audit measures."
)


def budget_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one file of budget converters."""
    parts = [f"## Budget converters of {found[0].data}: {found[0].target}\n", f"`results/{name}.jsonl`.\n"]
    for study in dict.fromkeys(str(entry.settings["study"]) for entry in found):
        own = [entry for entry in found if entry.settings["study"] == study]
        parts.append(f"### {study}\n\n{markdown(*rows(own))}")
        if held := bounds(own):
            parts.append(f"{BOUNDS}\n\n{markdown(*held)}")
    return parts


def rows(found: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a converter and budget."""
    keys = list(dict.fromkeys(_key(entry) for entry in found))
    groups = [[entry for entry in found if _key(entry) == key] for key in keys]
    made = [
        {**{name: plain(group[0].settings.get(name)) for name in ALWAYS}, **differs, **_figures(group)}
        for group, differs in zip(groups, differences(groups), strict=True)
    ]
    named = dict.fromkeys(name for row in made for name in row)
    header = [name for name in named if any(row.get(name) for row in made)]
    return header, [[row.get(name, "") for name in header] for row in made]


def bounds(found: Sequence[Measurement]) -> tuple[list[str], list[list[str]]] | None:
    """Header and rows: how often any attack can be right about a secret; a row a converter and secret."""
    groups = [[entry for entry in found if _key(entry) == key] for key in dict.fromkeys(map(_key, found))]
    made = []
    for group, differs in zip(groups, differences(groups), strict=True):
        for entry in group:
            if entry.measure == "secret_accuracy_bound":
                fano = pick([each for each in group if each.secret == entry.secret], "secret_accuracy_fano")
                made.append(
                    {
                        **differs,
                        "secret": str(entry.secret),
                        "n": f"{entry.n:,}",
                        "from the answer, %": number("target_accuracy", entry.floor),
                        "by any attack on these, %": number("target_accuracy", entry.value),
                        "on others by Fano, %": "" if fano is None else number("target_accuracy", fano.value),
                    }
                )
    return (list(made[0]), [list(row.values()) for row in made]) if made else None


def _key(entry: Measurement) -> str:
    return f"{sorted(entry.settings.items(), key=str)} {entry.seed}"


def _figures(group: Sequence[Measurement]) -> dict[str, str]:
    entries = {name: pick(group, measure) for name, measure in COLUMNS.items()}
    return {
        name: "" if entry is None else spread([entry]) if entry.low is not None else number(entry.measure, entry.value)
        for name, entry in entries.items()
    }
