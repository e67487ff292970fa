"""One self-contained HTML page about an audit: what is left of the answer, and what attackers learned. No torch.

The page is a pure function of the audit's run folder.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dapter.audit_figures import dial_figure, frontier_figure, leak_figure
from dapter.audit_lines import IMAGE, Variant, mean, spread, summary, variants
from dapter.audit_words import (
    attack_table,
    bits,
    correlated,
    flags,
    headline,
    how_restored,
    how_sure,
    leak_rows,
    matrix,
    necessity,
    stolen,
)
from dapter.errors import UsageError
from dapter.figures import amplify, data_uri, picture
from dapter.pages import SMOOTH, guessed, list_settings, read_pictures, render
from dapter.runs import Run, write_atomic
from dapter.wording import number, wording

TEMPLATE = "audit.html.j2"
SHOWN = 3
"""Pictures shown of a converter, at most."""

_SVG = "image/svg+xml"


def pictures_name(subject: str) -> str:
    """The file in an audit's folder with the pictures of a subject, by `settings.subject` of its lines."""
    return f"pictures-{subject}.npz"


def write_audit(run: Run, path: Path) -> Path:
    """Write the page of a finished audit, whole or not at all. It asks nothing of the network.

    Returns:
        The page's path.

    Raises:
        RunError: the folder is missing, unfinished or damaged.
        UsageError: nothing was attacked in it.
        MissingExtra: jinja2 or matplotlib is not installed.
    """
    manifest, lines = Run.load(run.path).manifest, run.read_results()
    made = variants(lines)
    if not made:
        raise UsageError(f"{run.path}: nothing was attacked, so there is nothing to show. Cure: audit again")
    secrets = dict.fromkeys(secret for each in made for secret in each.secrets)
    page = render(
        TEMPLATE,
        sections=[_section(place, each, run, manifest.get("preset")) for place, each in enumerate(made, 1)],
        overview=_overview(made) if len(made) > 1 else None,
        data=lines[0].data,
        target=lines[0].target,
        secrets=list(secrets),
        guessed=guessed([*lines[0].target.split("+"), *secrets]),
        preset=manifest.get("preset"),
        matrix=matrix(made),
        settings=list_settings(_flat({**manifest, "measured by": lines[0].source or None})),
        folder=run.path.name,
    )
    write_atomic(Path(path), page)
    return Path(path)


def _overview(made: Sequence[Variant]) -> dict[str, Any]:
    """What the page shows of several defences before it shows each."""
    header, rows = summary(made)
    figures = []
    for draw, alt in (
        (dial_figure, "Accuracy of the answer, worst leak, restored SSIM and image entropy over the dial."),
        (frontier_figure, "Accuracy of the answer over the worst leak, a point a defence."),
    ):
        try:
            figures.append({"uri": data_uri(draw(made), _SVG), "alt": f"{alt} The figures are in the table before."})
        except UsageError:  # fewer than two values of a dial, or no accuracy: there is nothing to draw
            continue
    return {"header": header, "rows": rows, "figures": figures}


def _section(place: int, each: Variant, run: Run, preset: str | None) -> dict[str, Any]:
    """What the page shows of one defence."""
    return {
        "id": f"defence-{place}",
        "name": each.name,
        "seeds": len(each.subjects),
        "answers": [_answer(each, target) for target in each.targets],
        "headline": headline(each),
        "leaks": leak_rows(each),
        "sure": how_sure(each, preset),
        "flags": flags(each),
        "pictures": _pictures(each, run),
        "secrets": [_secret(each, secret) for secret in each.secrets],
        "necessity": necessity(each),
        "correlated": correlated(each),
        "stolen": stolen(each),
        "bits": bits(each),
        "attention": spread(each.figures("attention_consistency")),
    }


def _answer(each: Variant, target: str) -> dict[str, Any]:
    """How much accuracy is left on one target."""
    after, before = (each.figures(name, target) for name in ("target_accuracy", "target_accuracy_original"))
    same = each.figures("agreement", target)
    points = 100 * (mean(before) - mean(after)) if before and after else None
    return {
        "target": target,
        "before": number("target_accuracy", mean(before)) if before else "",
        "after": number("target_accuracy", mean(after)) if after else "",
        "lost": None if points is None else round(points, 1) + 0.0,
        "rows": [
            (name, spread(found))
            for name, found in (("right, originals", before), ("right, payloads", after), ("same for both", same))
            if found
        ],
        "same": spread(same),
        "n": f"{same[0].n:,}" if same and same[0].n else "",
    }


def _secret(each: Variant, secret: str) -> dict[str, Any]:
    """The figure and the table of all attacks on one secret."""
    scores = each.behind(secret)
    measure = scores[0].measure
    ends = [number(measure, value) for value in (scores[0].floor, mean(scores), scores[0].ceiling)]
    alt = f"{wording(measure).label} of {secret}: {ends[0]} from the answer alone, {ends[1]} by the worst attack"
    header, rows = attack_table(each, secret)
    return {
        "name": secret,
        "figure": data_uri(leak_figure(each, secret), _SVG),
        "alt": f"{alt}, {ends[2]} from the original. The figures of all attacks are in the table after.",
        "header": header,
        "rows": rows,
    }


def _pictures(each: Variant, run: Run) -> dict[str, Any] | None:
    """Pictures of the first converter that has any, as data URIs, and the scores of its restored images."""
    for subject in each.subjects:
        path = run.path / pictures_name(str(subject.lines[0].settings.get("subject")))
        if not path.is_file():
            continue
        found = read_pictures(path, SHOWN)
        stretched, factors = amplify(found["payload"])
        shown = {"original": found["original"], "payload": found["payload"], "amplified": stretched}
        shown |= {name: found[name] for name in ("restored", "attention_before", "attention_after") if name in found}
        worst = subject.worst(IMAGE)
        score = subject.behind(worst) if worst else None
        height, width = found["original"].shape[1:3]
        return {
            "size": f"{width} x {height}",
            "pixelated": width < SMOOTH,
            "columns": {name: [picture(image) for image in images] for name, images in shown.items()},
            "factors": [f"{factor:.3g}" for factor in factors],
            "by": how_restored(score),
        }
    return None


def _flat(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with a group of its own for each subject and each attack."""
    found = {name: value for name, value in manifest.items() if name not in ("subjects", "attacks")}
    for place, subject in enumerate(manifest.get("subjects", []), 1):
        own = {name: value for name, value in subject.items() if name != "settings"}
        found[f"subject {place}: {subject.get('defence')}"] = {**subject.get("settings", {}), **own}
    for place, (name, settings, *_) in enumerate(manifest.get("attacks", []), 1):
        found[f"attack {place}: {name}"] = settings
    return found
