"""The lines of a results file by the study that they belong to, and what they rest on, in words."""

from collections.abc import Sequence
from dataclasses import fields

from dapter.attacks._inputs import Inputs
from dapter.attacks.recognition import ON_VECTORS
from dapter.audit_lines import Variant, variants
from dapter.defences import build_defence
from dapter.plugins import find, names
from dapter.presets import find_preset
from dapter.subjects import seen_as
from dapter.tables import DIALS, plain
from dapter.types import Measurement

AUDITS = {
    "lambda": "Every λ: one recogniser and one decoder",
    "budget": "Budget converters: the same two attacks",
    "budgets": "Budget converters of other budgets: the same two attacks",
    "dial": "One budget converter for several budgets: the same two attacks",
    "flips": "Budget converters whose stamps are replaced at random: the same two attacks",
    "tiles": "Budget converters of 4 x 4 flat tiles: the same two attacks",
    "size": "Budget converters of several sizes: the same two attacks",
    "identity": "Who is shown: re-identification",
    "suite": "The whole suite of attacks",
}
FRONTIER = ("lambda", "budget", "budgets")
"""Studies whose converters met the same attacks, so that they compare."""

ELSEWHERE = ("image_size", "row")
"""Settings of a line that stand in the caption, or in a column of their own."""

CHANNELS: Inputs = "channels"
"""The scale of features under which the youngest of the attackers read them."""


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


def sizes(found: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """The lines by the size of the images, in words: figures of two sizes do not compare."""
    made: dict[str, list[Measurement]] = {}
    for entry in found:
        size = " x ".join(plain(side) for side in dict.fromkeys(entry.settings["image_size"]))
        made.setdefault(f"{size} px", []).append(entry)
    return made


def scale(found: Sequence[Measurement]) -> str:
    """How long was trained, how long each attack learned, and n, in three sentences.

    For studies that train each defence as long as the preset's service.
    """
    name = found[0].preset or "cpu"
    preset = find_preset(name)
    most = "at most " if preset.service_plan.patience else ""
    return (
        f"Preset `{name}`: the service, {preset.arch} of width {preset.width}, and every defence that learns were "
        f"trained for {most}{preset.service_plan.epochs} epochs. Attacks: {_effort(found)}. n: {_numbers(found)}."
    )


def _effort(found: Sequence[Measurement]) -> str:
    """How long each attack learned or searched."""
    spent: dict[str, dict[str, None]] = {}
    for entry in found:
        own = entry.settings.get("attack", {})
        long = f"{own['steps']} steps" if "steps" in own else f"{own['plan']['epochs']} epochs" if "plan" in own else ""
        if entry.attack and long:
            more = f" ({ON_VECTORS} times as many on vectors)" if entry.attack == "recognition" else ""
            spent.setdefault(entry.attack, {})[long + more] = None
    return ", ".join(f"{name} {' or '.join(long)}" for name, long in spent.items())


def _numbers(found: Sequence[Measurement]) -> str:
    """How many test images are behind answers and attacks."""
    behind: dict[str, list[Measurement]] = {}
    for entry in found:
        about = (
            f"attacks on {entry.secret}" if entry.attack else "answers" if entry.measure == "target_accuracy" else ""
        )
        if about:
            behind.setdefault(about, []).append(entry)
    return ", ".join(f"{about} {count(entries)}" for about, entries in sorted(behind.items()))


def count(found: Sequence[Measurement]) -> str:
    """The n of these figures; if they have several, each."""
    return " or ".join(f"{n:,}" for n in sorted({entry.n for entry in found if entry.n}))


def flags(each: Variant, worst: Sequence[Measurement]) -> str:
    """What the worst attacks are flagged with, and whether attackers see such payloads otherwise by now."""
    said = [flag.replace("_", " ") for entry in worst for flag in entry.flags]
    now = _seen_as_now(each)
    said += ["older attackers" for entry in worst if any(entry.settings.get(way) != now[way] for way in now)]
    if not _read_both_ways(each, "features" in now):
        said.append("older attackers")
    return ", ".join(dict.fromkeys(said))


def _read_both_ways(each: Variant, features: bool) -> bool:
    """Whether the youngest attackers were there: of features one scaled by channel, and a recogniser in place."""
    attacks = [(line.attack, line.settings.get("attack", {})) for line in each.lines]
    readers = [own for name, own in attacks if name == "recognition" and own["family"] == "cnn"]
    in_place = not readers or any(not own["plan"]["augment"] for own in readers)
    return in_place and (not features or any(own.get("inputs") == CHANNELS for _, own in attacks))


def _seen_as_now(each: Variant) -> dict[str, int]:
    if each.defence not in names("defences"):
        return {}
    kind = find("defences", each.defence)
    own = {entry.name: each.settings[entry.name] for entry in fields(kind) if entry.name in each.settings}
    return seen_as(build_defence(each.defence, own))


def in_words(each: Variant) -> str:
    """The settings of a defence, in words."""
    own = {name: value for name, value in each.settings.items() if name not in ELSEWHERE and value is not None}
    return "; ".join(
        DIALS.get(name, f"{name.replace('_', ' ')} {{}}").format(plain(value)) for name, value in own.items()
    )
