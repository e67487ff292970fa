"""What the page of an audit says of one defence: plain sentences and rows, from the lines. Pure functions."""

from collections.abc import Sequence

from dapter.audit_lines import IMAGE, LEAK, Variant, attack_key, attacks_on, mean, spread
from dapter.checks import FLAGS
from dapter.tables import how
from dapter.types import Measurement
from dapter.wording import interval, number, text, wording

Rows = list[list[str]]

_BITS = (
    "budget_bits",
    "capacity_bits",
    "epsilon",
    "bits_beyond_answer",
    "bits_total",
    "secret_gain_bound",
    "secret_accuracy_bound",
    "secret_accuracy_fano",
    "restored_mse_bound",
)


def headline(each: Variant) -> dict[str, str] | None:
    """The worst leak of all secrets: its value, what it means, and by which attack."""
    secret = each.leakiest()
    if secret is None:
        return None
    worst, scores = each.worst(secret), each.behind(secret)
    return {
        "secret": "the image" if secret == IMAGE else secret,
        "leak": number(LEAK, mean(worst)),
        "by": " or ".join(dict.fromkeys(how(entry) for entry in worst)),
        "means": _means(secret, scores),
        "spread": _certainty(worst),
    }


def _means(secret: str, scores: Sequence[Measurement]) -> str:
    """Where the worst attack lies between the answer alone and the original, in a sentence."""
    first = scores[0]
    value, floor, ceiling = (text(first.measure, end) for end in (mean(scores), first.floor, first.ceiling))
    label = wording(first.measure).label
    if secret == IMAGE:
        return f"Restored images reach {label} {value}. The answer alone gives {floor}, the original {ceiling}."
    return f"It tells {secret} with {label} {value}. The answer alone gives {floor}, the original {ceiling}."


def _certainty(worst: Sequence[Measurement]) -> str:
    if len(worst) > 1:
        ends = [number(LEAK, end) for end in (min(_values(worst)), max(_values(worst)))]
        return f"{ends[0]} to {ends[1]} over {len(worst)} trainings"
    return f"95 % interval {interval(worst[0])}" if interval(worst[0]) else "no interval"


def leak_rows(each: Variant) -> Rows:
    """A row a secret: worst leak, how sure, the score behind it between its ends, the attack."""
    rows = []
    for secret in each.secrets:
        worst, scores = each.worst(secret), each.behind(secret)
        measure = scores[0].measure
        ends = [number(measure, end) for end in (scores[0].floor, mean(scores), scores[0].ceiling)]
        by = " or ".join(dict.fromkeys(how(entry) for entry in worst))
        rows.append([secret, number(LEAK, mean(worst)), _certainty(worst), _column(measure), *ends, by])
    return rows


def how_restored(score: Measurement | None) -> str:
    """By which attack an image was restored and how near it came, in a sentence."""
    if score is None:
        return ""
    ends = [number(score.measure, end) for end in (score.value, score.floor)]
    spoken = f"{wording(score.measure).label} {ends[0]}{f' ({interval(score)})' if interval(score) else ''}"
    n = f", n = {score.n:,}" if score.n else ""
    return f"Restored by {how(score)}: {spoken}{n}. The best image that the answer alone gives has {ends[1]}."


def how_sure(each: Variant, preset: str | None) -> list[str]:
    """What stands behind the headline, a sentence each."""
    secret, silent = each.leakiest(), each.without_headline
    if secret is None:
        return ["No attack gave a leak: the originals told no more than the answer."]
    worst = each.worst(secret)
    attacks, n = len({how(line) for line in each.lines if line.attack}), worst[0].n
    unit = "people" if each.behind(secret)[0].measure == "reid_auc" else "test images"
    again = len({line.settings.get("attack", {}).get("seed") for line in each.lines if line.attack})
    said = [
        f"Grade {worst[0].grade}: these {attacks} attacks found no more. A stronger attack may find more.",
        f"The worst leak: {_certainty(worst)}{f', n = {n:,} {unit}' if n else ''}.",
    ]
    if len(each.subjects) == 1 and worst[0].seed is not None:
        said.append("One training of the converter: how much another would leak is not known. Cure: audit more seeds.")
    if silent:
        said.append(f"No worst leak of {', '.join(silent)}: attackers of originals found no more than the answer says.")
    said += not_run(each)
    if again > 1:
        said.append(f"Each attack was repeated with {again} seeds; the largest leak counts.")
    if preset == "tiny":
        said.append("The preset tiny only shows that it works: its attackers are weak. Cure: --preset cpu.")
    return said


def not_run(each: Variant) -> list[str]:
    """Which attacks were not run because the payloads are features, in a sentence; none for images."""
    found = next((line for line in each.lines if line.measure == "attacks_not_run"), None)
    if found is None:
        return []
    names = "; ".join(found.settings["attack"]["names"])
    return [f"{each.defence} sends features, no images. Attacks that take payloads for images were not run: {names}."]


def flags(each: Variant) -> list[dict[str, str]]:
    """Every flag that was raised: what it means, its cure, and on which attacks."""
    attacked = [line for line in each.lines if line.attack]
    every, found = {how(line) for line in attacked}, []
    worst = {(line.secret, how(line)) for secret in each.secrets for line in each.worst(secret)}
    for flag, words in FLAGS.items():
        on = [line for line in attacked if flag in line.flags]
        if on:
            means, _, cure = words.partition(" Cure: ")
            hit = sorted({line.secret or "" for line in on if (line.secret, how(line)) in worst})
            who = f"{len({how(line) for line in on})} of {len(every)} attacks"
            who += f", among them the worst on {', '.join(hit)}" if hit else ""
            found.append({"flag": flag, "means": means, "cure": cure, "who": who})
    return found


def attack_table(each: Variant, secret: str) -> tuple[list[str], Rows]:
    """Header and rows: all attacks on a secret, the strongest first, every measure a column."""
    own = [
        line for line in each.lines if line.secret == secret and line.attack and not line.measure.startswith("abuse")
    ]
    main = each.behind(secret)[0].measure
    measures = [main, *dict.fromkeys(line.measure for line in own if line.measure not in (main, LEAK))]
    header, rows = ["attack", "leak", *(_column(measure) for measure in measures), "n", "flags"], []
    for lines in attacks_on(each, secret, main):
        same = [line for line in own if attack_key(line) == attack_key(lines[0])]
        leaks = [line.leak for line in lines if line.leak is not None]
        marks = dict.fromkeys(flag for line in lines for flag in line.flags)
        rows.append([
            how(lines[0]),
            number(LEAK, sum(leaks) / len(leaks)) if leaks else "",
            *(spread([line for line in same if line.measure == measure]) for measure in measures),
            f"{lines[0].n:,}" if lines[0].n else "",
            ", ".join(mark.replace("_", " ") for mark in marks),
        ])  # fmt: skip
    return header, rows


def necessity(each: Variant) -> list[str]:
    """What a classifier on the device could have answered by itself, a sentence a target."""
    said = []
    for target in dict.fromkeys(line.target for line in each.lines if line.measure == "necessity_accuracy"):
        found = each.figures("necessity_accuracy", target)
        needed = "the cloud is not needed for it" if found[0].flags else "the cloud answers better"
        said.append(
            f"A classifier of the client part's size, trained on {target}, is right by itself in "
            f"{text(found[0].measure, mean(found))} of the images{_of(found)}, the service in "
            f"{text(found[0].measure, found[0].ceiling)}: {needed}."
        )
    return said


def correlated(each: Variant) -> Rows:
    """A row a secret label: accuracy of the worst attack, and what the true target alone would give (Eq. 5 and 6)."""
    rows = []
    for secret in each.secrets:
        ideal, product = (_named(each, f"secret_accuracy_ideal{end}", secret) for end in ("", "_vanilla"))
        worst = [
            line
            for subject in each.subjects
            if (top := subject.worst(secret))
            for line in subject.lines
            if (line.measure, line.secret, line.attack) == ("secret_accuracy", secret, top.attack)
            and line.settings.get("attack") == top.settings.get("attack")
        ]
        if ideal and worst:
            ends = [number("secret_accuracy", end) for end in (worst[0].floor, worst[0].ceiling)]
            rows.append([secret, spread(worst), ends[0], spread(ideal), spread(product), ends[1]])
    return rows


def stolen(each: Variant) -> Rows:
    """What models that were trained on stolen payloads do on originals: secret, measure, value, floor, ceiling."""
    return [
        [line.secret or "", wording(line.measure).label, spread([line]), number(line.measure, line.floor),
         number(line.measure, line.ceiling)]
        for line in each.lines
        if line.measure.startswith("abuse")
    ]  # fmt: skip


def bits(each: Variant) -> Rows:
    """What holds whatever the attack, as far as the defence has bounds: figure, value, the answer alone, n, grade."""
    first = each.subjects[0].lines
    return [
        [f"{wording(line.measure).label}{f', {line.secret}' if line.secret else ''}",
         f"{text(line.measure, line.value)}{f' ({interval(line)})' if interval(line) else ''}",
         text(line.measure, line.floor), f"{line.n:,}" if line.n else "", line.grade]
        for line in first
        if line.measure in _BITS
    ]  # fmt: skip


def matrix(made: Sequence[Variant]) -> tuple[list[str], Rows] | None:
    """Converter x service (DAPter, Table 4): accuracy on payloads of each classifier, and of recognisers of originals.

    The classifiers are the service's; the recognisers were trained on originals for each secret, and never saw a
    payload: other services that the payload might be sent to.
    """
    rows = []
    for each in made:
        row = {"defence": each.name}
        for target in each.targets:
            row[f"{target}, the service"] = spread(each.figures("target_accuracy", target))
        for secret in each.secrets:
            found = [line for line in each.lines
                     if (line.attack, line.measure, line.secret) == ("unaware", "secret_accuracy", secret)]  # fmt: skip
            row[f"{secret}, a recogniser of originals"] = spread(found)
        rows.append(row)
    header = [
        name for name in dict.fromkeys(name for row in rows for name in row) if any(row.get(name) for row in rows)
    ]
    return (header, [[row.get(name, "") for name in header] for row in rows]) if len(header) > 2 else None


def _named(each: Variant, measure: str, secret: str) -> list[Measurement]:
    return [line for line in each.lines if (line.measure, line.secret, line.attack) == (measure, secret, None)]


def _of(found: Sequence[Measurement]) -> str:
    """Interval and n of a figure, or for several seeds their range."""
    first, values = found[0], _values(found)
    ends = [number(first.measure, end) for end in (min(values), max(values))]
    between = interval(first) if len(found) == 1 else " to ".join(ends)
    return f" ({between}{f', n = {first.n:,}' if first.n else ''})"


def _column(measure: str) -> str:
    words = wording(measure)
    return f"{words.label}, {words.unit}" if words.unit else words.label


def _values(found: Sequence[Measurement]) -> list[float]:
    return [float(line.value or 0) for line in found]
