"""The rivals' tables on the page of results, the paper's figure beside ours. Nothing is measured here."""

from collections.abc import Sequence

from dapter.audit_lines import IMAGE, Variant, spread, variants
from dapter.tables import how, leak_table, markdown, number
from dapter.types import Measurement

TITLES = {
    "disco_table1": "DISCO, Table 1: the question is animal or vehicle, the class is secret (as in the paper's text)",
    "disco_table1_classes": "DISCO, Table 1: the question is the class, the image is secret (as in its code)",
    "disco_table2": "DISCO, Table 2: likelihood maximisation",
    "disco_figure4": "DISCO, Figure 4: one training, another R in use",
    "deepobfuscator": "DeepObfuscator: smiling or not, gender is secret",
    "partition_mnist": "Privacy Partitioning, Tables I and II: MNIST, eight attackers",
    "partition_cifar10": "Privacy Partitioning beside private pixelation",
}

NOTE = (
    "Of each secret the strongest attack, chosen by its leak on validation images. In brackets: 95 % intervals; in "
    "parentheses: mean and range over trainings; grade: measured. The papers trained far longer and on other "
    "machines; where a paper's figure is known it is named, and is the paper's own attack's."
)

SHOWN = {"secret_accuracy": "accuracy, %", "secret_auc": "AUC", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "mse": "MSE"}
"""The measures of attacks that the papers report, and how the columns are called."""


def reproduction_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one table of a paper."""
    first, study = found[0], str(found[0].settings["study"])
    return [
        f"## {TITLES.get(study, study)}\n",
        f"{first.data}, {first.target}; preset `{first.preset}`; `results/{name}.jsonl`. {NOTE}\n",
        markdown(*reproduced(found)),
        f"<details><summary>Every attack</summary>\n\n{leak_table(found)}\n</details>\n",
    ]


def reproduced(found: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a row a row of the paper's table."""
    rows = [_row(each) for each in variants(found)]
    header = list(dict.fromkeys(name for row in rows for name in row))
    shown = [name for name in header if any(row.get(name) for row in rows)]
    return shown, [[row.get(name, "") for name in shown] for row in rows]


def _row(each: Variant) -> dict[str, str]:
    row = {
        "row": str(each.settings["row"]),
        "defence": each.defence.replace("_", " "),
        "trainings": str(len(each.subjects)),
        "answer right, %": spread(each.figures("target_accuracy")),
    }
    for secret in each.secrets:
        of = secret if secret == IMAGE else f"{secret}:"
        worst = each.worst(secret)
        row[f"{of} worst leak"] = spread(worst)
        row[f"{of} by"] = "; ".join(dict.fromkeys(how(entry) for entry in worst))
        strongest = {(entry.seed, how(entry)) for entry in worst}
        for measure, title in SHOWN.items():
            scores = [
                entry
                for entry in each.lines
                if (entry.secret, entry.measure) == (secret, measure) and (entry.seed, how(entry)) in strongest
            ]
            row[f"{of} {title}"] = spread(scores)
            row[f"{of} {title} in the paper"] = _reported(each, measure)
    return row


def _reported(each: Variant, measure: str) -> str:
    """The paper's figure, which belongs to a kind of attack."""
    said = [line.reported for line in each.lines if line.measure == measure and line.reported is not None]
    return number(measure, said[0]) if said else ""
