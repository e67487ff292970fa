"""One self-contained HTML page from run folders, and the same figures as a text table. Needs no torch.

The page is a pure function of the folders: the same runs give the same bytes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dapter.audit_report import write_audit
from dapter.errors import RunError, UsageError
from dapter.figures import amplify, curve_figure, data_uri, dial_of, picture, tradeoff_figure
from dapter.pages import SMOOTH, guessed, list_settings, read_pictures, render
from dapter.runs import Run, write_atomic
from dapter.tables import compare, differences, evidence, lost, pick, table, targets
from dapter.types import Measurement
from dapter.wording import interval, number, text, wording

__all__ = ["amplify", "table", "tradeoff_figure", "write_report"]

TEMPLATE = "report.html.j2"
SHOWN = 8
"""Pictures shown of a run, at most."""

_CURVE, _PICTURES = "curve.jsonl", "pictures.npz"
_SVG = "image/svg+xml"
_CODECS = ("png", "webp_lossless", "webp_q75", "jpeg_q75")
_COST = ("client_bytes", "multiply_adds", "latency_ms")
_LOSSES = {
    "loss": "What training makes small: λ times eta plus (1 - λ) times the loss of accuracy, or the defence's own sum",
    "eta": "Mean distance of the payload from grey",
    "accuracy": "Loss of accuracy: cross-entropy of the service's answer, the smaller the better",
}


def write_report(runs: Sequence[Run], path: Path) -> Path:
    """Write one HTML page about trained converters, or one about an audit, whole or not at all.

    It asks nothing of the network.

    Args:
        runs: of `train`, measured by `evaluate`; several are compared first. Or one of `audit`.

    Returns:
        The page's path.

    Raises:
        UsageError: no runs.
        RunError: a folder is missing, unfinished, damaged, or holds neither a defence nor, alone, an audit.
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    if not runs:
        raise UsageError("a report needs runs. Cure: name at least one run folder; `dapter list` shows them")
    if len(runs) == 1 and Run.load(runs[0].path).manifest.get("kind") == "audit":
        return write_audit(runs[0], path)
    manifests = [_manifest(run) for run in runs]
    found = [run.read_results() for run in runs]
    differs = differences(found)
    sections = [
        _section(place, *parts) for place, parts in enumerate(zip(runs, manifests, found, differs, strict=True), 1)
    ]
    overview = _overview(found) if len(runs) > 1 else None
    write_atomic(Path(path), render(TEMPLATE, sections=sections, overview=overview))
    return Path(path)


def _manifest(run: Run) -> dict[str, Any]:
    manifest = Run.load(run.path).manifest
    if manifest.get("kind") != "defence":
        cure = "Cure: `dapter list` shows the runs; an audit is reported alone"
        raise RunError(f"{run.path} holds a {manifest.get('kind')}, not a defence. {cure}")
    return manifest


def _overview(found: Sequence[Sequence[Measurement]]) -> dict[str, Any]:
    """What the page shows of several runs before it shows each."""
    header, rows = compare(found)
    every = [entry for each in found for entry in each]
    dial, values = dial_of(every)
    beside = "image entropy and eta over λ" if dial == "lam" else "bits carried over the budget"
    return {
        "header": header,
        "rows": rows,
        "evidence": evidence(every) if rows else "",
        "figure": data_uri(tradeoff_figure(every), _SVG) if len(values) > 1 else None,
        "alt": f"Accuracy, {beside}, from {min(values):g} to {max(values):g}." if values else "",
        "guessed": guessed(target for each in found for target in targets(each)),
    }


def _section(
    place: int, run: Run, manifest: Mapping[str, Any], found: list[Measurement], differs: Mapping[str, str]
) -> dict[str, Any]:
    """What the page shows of one run."""
    named = manifest.get("data", {}).get("targets", [])
    asked = targets(found)
    return {
        "id": f"run-{place}",
        "folder": run.path.name,
        "defence": manifest.get("name", "unnamed"),
        "data": manifest.get("data", {}).get("name", "unnamed data"),
        "targets": ", ".join(asked or named),
        "differs": differs,
        "preset": manifest.get("preset"),
        "seed": manifest.get("seed"),
        "measured": bool(found),
        "attacked": sum(entry.attack is not None for entry in found),
        "answers": [_answer(found, target) for target in asked],
        "guessed": guessed(asked),
        "entropy": _pair(found, "entropy_bits"),
        "nats": _pair(found, "entropy_nats"),
        "eta": _pair(found, "eta"),
        "wire": [
            {
                **_pair(found, f"payload_bytes_{codec}"),
                "codec": wording(f"payload_bytes_{codec}").label.partition(", ")[2],
            }
            for codec in _CODECS
            if pick(found, f"payload_bytes_{codec}")
        ],
        "pictures": _pictures(run),
        "curves": _curves(run.read_lines(_CURVE)),
        "cost": [_figure(entry) for name in _COST if (entry := pick(found, name))],
        "processor": found[0].environment.get("processor") if found else None,
        "figures": [_figure(entry) for entry in found],
        "several_targets": len(asked) > 1,
        "settings": list_settings({**manifest, "measured by": found[0].source or None} if found else manifest),
    }


def _answer(found: Sequence[Measurement], target: str) -> dict[str, Any]:
    """How much accuracy is left on one target."""
    parts = {"before": "target_accuracy_original", "after": "target_accuracy", "agreement": "agreement"}
    picked = {name: pick(found, measure, target) for name, measure in parts.items()}
    shown = {name: None if entry is None else _figure(entry) for name, entry in picked.items()}
    return {"target": target, "lost": lost(found, target), **shown}


def _pair(found: Sequence[Measurement], measure: str) -> dict[str, Any]:
    """A measure of the payload beside the same of the original, and how many times smaller it became."""
    after, before = pick(found, measure), pick(found, f"{measure}_original")
    ratio = before.value / after.value if before and after and before.value and after.value else None
    return {
        "after": _figure(after) if after else None,
        "before": _figure(before) if before else None,
        "ratio": None if ratio is None else f"{ratio:,.1f}",
    }


def _figure(entry: Measurement) -> dict[str, Any]:
    """A measurement in words."""
    by = [f"of {entry.secret}" if entry.secret else "", f"by {entry.attack}" if entry.attack else ""]
    return {
        "label": " ".join([wording(entry.measure).label, *filter(None, by)]),
        "measure": entry.measure,
        "target": entry.target,
        "value": text(entry.measure, entry.value) or "none",
        "number": number(entry.measure, entry.value),
        "interval": interval(entry),
        "n": "" if entry.n is None else f"{entry.n:,}",
        "grade": entry.grade,
        "flags": ", ".join(entry.flags),
        "reported": text(entry.measure, entry.reported),
    }


def _pictures(run: Run) -> dict[str, Any] | None:
    """Originals, payloads and amplified payloads as data URIs; none if the run keeps no pictures."""
    path = run.path / _PICTURES
    if not path.is_file():
        return None
    found = read_pictures(path, SHOWN)
    original, payload = found["original"], found["payload"]
    stretched, factors = amplify(payload)
    rows = zip(original, payload, stretched, factors, strict=True)
    return {
        "size": f"{original.shape[2]} x {original.shape[1]}",
        "pixelated": original.shape[2] < SMOOTH,
        "triples": [
            {
                "original": picture(before),
                "payload": picture(after),
                "residue": picture(faint),
                "factor": f"{factor:.3g}",
            }
            for before, after, faint, factor in rows
        ],
    }


def _curves(curve: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """A figure for each loss of the training curve."""
    names = dict.fromkeys(["loss", *(name.removeprefix("val_") for point in curve for name in point)] if curve else [])
    return [
        {"name": name, "about": _LOSSES.get(name, ""), "alt": _trend(curve, name), "uri": data_uri(svg, _SVG)}
        for name in names
        if name not in ("step", "epoch")
        for svg in [curve_figure(curve, name)]
    ]


def _trend(curve: Sequence[Mapping[str, Any]], name: str) -> str:
    """What a training curve shows, for those who cannot see it."""
    parts = []
    for key, words in ((name, "in training"), (f"val_{name}", "on validation")):
        values = [point[key] for point in curve if key in point]
        if values:
            parts.append(f"{words} from {values[0]:.3g} to {values[-1]:.3g}")
    return f"{name} {' and '.join(parts)}, over {max(point['step'] for point in curve):,} steps"
