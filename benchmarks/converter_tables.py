"""DAPter's converters, one file of results each: accuracy, entropy, bytes. Nothing is measured here."""

from collections.abc import Sequence
from dataclasses import replace

from dapter.figures import tradeoff_figure
from dapter.tables import table
from dapter.types import Measurement

STUDIES = {
    "seeds": "λ = 0.9, three seeds, trained from scratch",
    "sweep": "Other λ, each fine-tuned from seed 0's converter of λ = 0.9",
    "fast": "The fast network at λ = 0.9",
    "conditioned": "One λ-conditioned converter for every λ",
    "tune": "The paper's strategy: every λ that it tried",
}


def converter_part(name: str, found: Sequence[Measurement]) -> list[str]:
    """The page's part about one file of converters: a figure, and a table a study."""
    settings = found[0].settings
    parts = [
        f"## {found[0].data}: {found[0].target}\n",
        f"Preset `{found[0].preset}`, {settings['image_size'][0]} px. `results/{name}.jsonl`.\n",
        f"![Accuracy, entropy and eta over λ](../images/tradeoff_{name}.svg)\n",
    ]
    for study, title in STUDIES.items():
        entries = [entry for entry in found if entry.settings["study"] == study]
        if entries:
            epochs = ", ".join(str(each) for each in sorted({entry.settings["epochs"] for entry in entries}))
            parts.append(f"### {title}\n\nEpochs: {epochs}.\n\n{table(entries)}")
    return parts


def converter_figures(name: str, found: Sequence[Measurement]) -> dict[str, bytes]:
    """The figure of that part, by its name."""
    drawn = [_by_study(entry) for entry in found if entry.settings["study"] in ("seeds", "sweep", "conditioned")]
    return {f"tradeoff_{name}": tradeoff_figure(drawn)}


def _by_study(entry: Measurement) -> Measurement:
    """The measurement with λ and its study alone, so that the legend is short."""
    return replace(entry, settings={name: entry.settings[name] for name in ("lam", "study")})
