"""The leaderboard on the pages of results: a row a defence, the smallest worst leak first. Nothing is measured here."""

from collections.abc import Sequence

from studies import flags, in_words, scale, sizes

from dapter.audit_figures import frontier_figure
from dapter.audit_lines import IMAGE, Variant, mean, spread, variants
from dapter.plugins import find, names
from dapter.tables import how, markdown, pick, service_changed
from dapter.types import Measurement
from dapter.wording import number

WIRE = ("payload_bytes_features", "payload_bytes_png")
"""The measures of what goes over the wire; a defence has one of them."""

NOTE = (
    "Quick attacks: others may find more. `budget` was developed on such data. Of the rivals, where they are cut, the "
    "pace of adversaries and the weights of Shredder and PAN were chosen in a small trial on test images of CIFAR-10; "
    "the weights of NoPeek and Privacy Partitioning, on CIFAR-10 those of learning not to learn, and the share of "
    "faces that Cloak suppresses on validation images; learning not to learn's are ten times its authors' on faces; "
    "those of the hybrid framework and private pixelation are ours and not tuned, and so is Cloak's weight; all else "
    "is as published, or as [decided](../decisions/0023-rivals.md)."
)


def board_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one file of the leaderboard: a table and a figure for each size of images."""
    first = found[0]
    secrets = ", ".join(dict.fromkeys(secret for each in ranked(found) for secret in each.secrets))
    parts = [
        f"## {first.data}, {first.target}\n",
        f"Secrets: {secrets}. `results/{name}.jsonl`.\n",
    ]
    for size, lines in sizes(found).items():
        parts += [f"### {size}\n", f"{scale(lines)}\n", markdown(*standings(lines))]
        if drawn(lines):
            parts.append(f"![Accuracy of the answer over the worst leak](../images/{_figure(name, size)}.svg)\n")
    return parts


def board_figures(name: str, found: Sequence[Measurement]) -> dict[str, bytes]:
    """For each size of images that has points: accuracy over the worst leak, a point a defence."""
    return {
        _figure(name, size): frontier_figure(points) for size, lines in sizes(found).items() if (points := drawn(lines))
    }


def _figure(name: str, size: str) -> str:
    return f"{name}_{size.replace(' ', '')}"


def drawn(found: Sequence[Measurement]) -> list[Variant]:
    """The defences that have both an accuracy and a leak, by their names."""
    made = [each for each in ranked(found) if each.leakiest() and each.figures("target_accuracy")]
    return sorted(made, key=lambda each: each.name)


def ranked(found: Sequence[Measurement]) -> list[Variant]:
    """The defences, the smallest worst leak first; those without a leak last."""

    def leak(each: Variant) -> float:
        secret = each.leakiest()
        return mean(each.worst(secret)) if secret else float("inf")

    return sorted(variants(found), key=lambda each: (leak(each), each.name))


def standings(found: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table; columns without any entry are left out."""
    rows = [_row(each) for each in ranked(found)]
    header = [name for name in rows[0] if any(row[name] for row in rows)]
    return header, [[row[name] for name in header] for row in rows]


def _row(each: Variant) -> dict[str, str]:
    secret = each.leakiest()
    worst = each.worst(secret) if secret else []
    restored = [entry for entry in each.behind(IMAGE) if entry.measure == "ssim"]
    return {
        "defence": each.name.replace("_", " "),
        "worst leak": spread(worst),
        "of": secret or "",
        "by": "; ".join(dict.fromkeys(how(entry) for entry in worst)),
        "flags": flags(each, worst),
        "restored SSIM": spread(restored),
        "answer right, %": spread(each.figures("target_accuracy")),
        "of originals, %": spread(each.figures("target_accuracy_original")),
        "alone, %": spread(each.figures("necessity_accuracy")[:1]),
        "bits sent": _bits(each),
        "hard budget, bits": _first(each, "budget_bits"),
        "epsilon": _first(each, "epsilon"),
        "work, million": _first(each, "multiply_adds"),
        "service changed": service_changed(each.lines),
        "trainings": str(len(each.subjects)) if _learns(each) else "",
        "settings": in_words(each),
    }


def _learns(each: Variant) -> bool:
    return each.defence not in names("defences") or find("defences", each.defence).learns


def _bits(each: Variant) -> str:
    """The mean size of what is sent."""
    for measure in WIRE:
        found = each.figures(measure)
        if found:
            return f"{8 * mean(found):,.0f}"
    return ""


def _first(each: Variant, measure: str) -> str:
    """A figure that is the same for every training."""
    entry = pick(each.lines, measure)
    return number(measure, entry.value) if entry else ""
