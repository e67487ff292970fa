"""What the converter costs, on the pages of results: exports, the client, the browser, the gateway, training."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from lines import read

from dapter.tables import markdown
from dapter.types import Measurement
from dapter.wording import interval, text

EXPORT = {
    "size, KB": ("export_bytes", 1e-3, ",.0f"),
    "latency, ms": ("latency_ms", 1, ".1f"),
    "peak memory, MB": ("peak_memory_bytes", 1e-6, ",.0f"),
    "answer right, %": ("target_accuracy", 100, ".2f"),
    "values unlike the converter's, %": ("values_off", 100, ".4f"),
}
"""The columns of the table of exports: measure, scale, format."""

USE = {
    "client": "A photo through the client, one thread, median and quartiles over photos. The service answers at once, "
    "so that `send` is what the protocol and the sockets cost.",
    "web": "A photo in the browser: WebAssembly in headless Chromium, one thread, median and quartiles.",
    "load": "The gateway before a service, pressed by wrk on one machine of two cores, which the service, the gateway "
    "and wrk share: median, smallest and largest over rounds of 30 seconds.",
    "speed": "Training, attacking and converting. The limit of a latency is its multiply-adds over the best rate of a "
    "matrix product; Winograd's convolution multiplies less and can go below it.",
}
"""What is said of each results file."""

TITLES = {"client": "Client", "web": "Browser", "load": "Gateway under load", "speed": "Speed"}


def cost_parts(folder: Path) -> list[str]:
    """The sections, from the files of `folder`; nothing about a file that is not there."""
    parts = []
    if found := read(folder / "export.jsonl"):
        parts.append(
            "## Exports\n\n`results/export.jsonl`. Latency and peak memory at 224 px on one core; accuracy on the "
            "validation images; no more than 0.1 % of a float32 export's values may be unlike the converter's, and "
            f"then by one level.\n\n{_exports(found)}"
        )
    for name, said in USE.items():
        if found := read(folder / f"{name}.jsonl"):
            parts.append(f"## {TITLES[name]}\n\n`results/{name}.jsonl`, on {_machine(found)}. {said}\n\n{_rows(found)}")
    return parts


def _machine(found: Sequence[Measurement]) -> str:
    return str(found[0].environment["processor"])


def _exports(found: Iterable[Measurement]) -> str:
    """A row for each converter, format and precision."""

    def key(entry: Measurement) -> tuple[str, str, str]:
        return entry.data, entry.settings["format"], entry.settings["precision"]

    rows = []
    for names, group in groupby(sorted(found, key=key), key=key):
        entries = {entry.measure: entry for entry in group}
        rows.append([*names, *(_cell(entries.get(measure), scale, form) for measure, scale, form in EXPORT.values())])
    return markdown(["data", "format", "precision", *EXPORT], rows)


def _cell(entry: Measurement | None, scale: float, form: str) -> str:
    if entry is not None and "refused" in entry.flags:
        return "not kept: refused"
    return "" if entry is None or entry.value is None else format(entry.value * scale, form)


def _rows(found: Sequence[Measurement]) -> str:
    """One row a figure."""
    shared = {
        name: value for name, value in found[0].settings.items() if all(e.settings.get(name) == value for e in found)
    }
    rows = []
    for entry in found:
        own = ", ".join(f"{name} {value}" for name, value in entry.settings.items() if name not in shared)
        label = entry.measure.replace("_", " ")
        count = f"{entry.n:,}" if entry.n else ""
        rows.append([f"{label} ({own})" if own else label, text(entry.measure, entry.value), interval(entry), count])
    said = ", ".join(f"{name} {value}" for name, value in shared.items() if value is not None)
    table = markdown(["measure", "value", "range", "n"], rows)
    return f"Settings: {said}.\n\n{table}" if said else table
