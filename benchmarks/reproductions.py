"""The rivals' tables on the pages of results, the paper's figure beside ours. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from studies import count, flags, in_words, scale, sizes

from dapter.audit_lines import IMAGE, Variant, attack_key, spread, variants
from dapter.defences.deepobfuscator import SMALLEST
from dapter.tables import how, leak_table, markdown, service_changed
from dapter.types import Measurement
from dapter.wording import number, wording


@dataclass(frozen=True)
class Table:
    """One table of a paper.

    Attributes:
        title: what it is.
        attack: whose scores it tabulates, if not those of the worst attack.
        measures: which of its scores, each with the name of their table if it has one.
        note: what is to be known of them.
    """

    title: str
    attack: str = ""
    measures: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


EIGHT = "The paper's attackers. Its list of layers could not be had: these eight are ours, of its three kinds."

TABLES = {
    "disco_table1": Table(
        "DISCO, Table 1: the question is animal or vehicle, the class is secret (as in the paper's text)"
    ),
    "disco_table1_classes": Table("DISCO, Table 1: the question is the class, the image is secret (as in its code)"),
    "disco_table2": Table(
        "DISCO, Table 2: likelihood maximisation",
        "inversion",
        dict.fromkeys(("ssim", "psnr", "l1", "mse"), ""),
        "The paper's attack, every variant; none was chosen.",
    ),
    "disco_figure4": Table("DISCO, Figure 4: one training, another R in use"),
    "deepobfuscator": Table("DeepObfuscator: smiling or not, gender is secret"),
    "partition_mnist": Table(
        "Privacy Partitioning, Tables I and II: MNIST, eight attackers",
        "partition",
        {"ssim": "Table I, images that each attacker restored", "mse": "Table II, the same"},
        EIGHT,
    ),
    "partition_cifar10": Table(
        "Privacy Partitioning beside private pixelation",
        "partition",
        dict.fromkeys(("ssim", "mse"), ""),
        EIGHT,
    ),
}

NOTE = (
    "Of each secret the strongest attack. The papers trained far longer and on other machines; where a paper's figure "
    "is known it is named, and is the paper's own attack's."
)

SHOWN = {"secret_accuracy": "accuracy, %", "secret_auc": "AUC", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "mse": "MSE"}
"""The measures of attacks that the papers report, and how the columns are called."""


def reproduction_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one table of a paper: a section for each size of images."""
    first, study = found[0], str(found[0].settings["study"])
    table = TABLES.get(study, Table(study))
    parts = [f"## {table.title}\n", f"{first.data}, {first.target}. `results/{name}.jsonl`.\n"]
    for size, lines in sizes(found).items():
        made = variants(lines)
        every = "\n".join(f"{each.settings['row']}:\n\n{leak_table(each.lines)}" for each in made)
        parts += [
            f"### {size}\n",
            " ".join([scale(lines), *_remarks(lines)]) + "\n",
            markdown(*reproduced(made)),
            *tabulated(table, made),
            f"<details><summary>Every attack</summary>\n\n{every}\n</details>\n",
        ]
    return parts


def reproduced(made: Sequence[Variant]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a row of the paper's table."""
    rows = [_row(each) for each in made]
    header = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in header if any(row.get(name) for row in rows)]
    return shown, [[row.get(name, "") for name in shown] for row in rows]


def tabulated(table: Table, made: Sequence[Variant]) -> list[str]:
    """The scores of the attack that the paper tabulates, a table a measure; nothing where that is the worst one."""
    header, parts = ["attacker", "n", *(str(each.settings["row"]) for each in made)], []
    for measure, title in table.measures.items():
        if rows := _attackers(table.attack, measure, made):
            words = wording(measure)
            name = f"{title or 'Images that each attacker restored'}: {words.label}"
            parts.append(f"{name}{', ' if words.unit else ''}{words.unit}\n\n{markdown(header, rows)}")
    return [f"{table.note}\n", *parts] if parts else []


def _attackers(attack: str, measure: str, made: Sequence[Variant]) -> list[list[str]]:
    """A row an attacker: its name, n, and its score on each defence."""
    found: dict[str, list[list[Measurement]]] = {}
    for place, each in enumerate(made):
        for line in each.lines:
            if (line.attack, line.measure, line.secret) == (attack, measure, IMAGE):
                found.setdefault(attack_key(line), [[] for _ in made])[place].append(line)
    rows = []
    for scores in found.values():
        lines = [line for own in scores for line in own]
        rows.append([how(lines[0]), count(lines), *map(spread, scores)])
    return rows


def _row(each: Variant) -> dict[str, str]:
    answers, epsilon = each.figures("target_accuracy"), each.figures("epsilon")
    row = {
        "row": str(each.settings["row"]),
        "defence": each.defence.replace("_", " "),
        "service changed": service_changed(each.lines),
        "trainings": str(len(each.subjects)),
        "answer right, %": spread(answers),
        "epsilon": number("epsilon", epsilon[0].value) if epsilon else "",
    }
    for secret in each.secrets:
        of, worst = secret if secret == IMAGE else f"{secret}:", each.worst(secret)
        row[f"{of} worst leak"] = spread(worst)
        row[f"{of} by"] = "; ".join(dict.fromkeys(how(entry) for entry in worst))
        row[f"{of} flags"] = flags(each, worst)
        row[f"{of} n"] = count(worst)
        for measure, title in SHOWN.items():
            row[f"{of} {title}"] = spread(each.scores(secret, measure))
            row[f"{of} {title} in the paper"] = _reported(each, secret, measure)
    return {**row, "settings": in_words(each)}


def _reported(each: Variant, secret: str, measure: str) -> str:
    """The paper's figure, which belongs to a kind of attack."""
    said = [line.reported for line in each.lines if (line.secret, line.measure) == (secret, measure)]
    return next((number(measure, figure) for figure in said if figure is not None), "")


def _remarks(found: Sequence[Measurement]) -> list[str]:
    """What is to be known of MS-SSIM, where it stands beside a paper's."""
    if not any(entry.measure == "ms_ssim" and entry.reported is not None for entry in found):
        return []
    side = min(found[0].settings["image_size"])
    scales = sum(side >= smallest for smallest in SMALLEST)
    return [
        f"MS-SSIM has {scales} of its {len(SMALLEST)} scales at {side} px: it compares only with figures of images "
        "of this size, and the paper's may be of another."
    ]
