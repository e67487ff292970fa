"""The report of a verification, as JSON and as one HTML page: what holds, what does not, what was not proven."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dapter.pages import render
from dapter.runs import write_atomic
from dapter.types import Measurement
from dapter.verify import Findings
from dapter.verify.claims import LEAK
from dapter.wording import interval, text, wording

FORMAT = "dapter-verify/1"

RULES = {
    "signature": "The provider's key signed these files, all of them and no others",
    "files": "Plain files of allowed names and sizes; nothing missing, added or changed",
    "manifest": "release.json fits its schema and does not contradict itself",
    "weights": "The weights are numbers only, without gaps or notes",
    "stamps": "Published stamps, if there are any, are whole",
    "graph": "Every ONNX graph takes and gives 8-bit images, by allowed operations alone",
    "claims": "Every claim is a line of the results, and the worst leak is among them",
}
"""What is checked without running anything, by the rule of a problem."""

NOT_PROVEN = (
    "That the provider is honest. The key says who signed, not whether to trust them",
    "That the figures are true, unless they were measured again: a consistent file can be a lie",
    "That nobody can learn more. Figures graded measured are the most that was found, not the most there is",
    "That the converter hides no message. A trained one can; --recompute looks for simple ones only",
    "That .pte and .tflite files do what the ONNX graph does, unless they were run and compared",
    "That running it is cheap: a graph of allowed operations can still ask for much time and memory",
    "That an app uses this converter, or that the service does with payloads what it says",
)

_NAMED = ("name", "version", "defence")

Verdict = Literal["confirmed", "contradicted", "could not check"]


@dataclass(frozen=True)
class Outcome:
    """One thing that was run or measured again.

    Attributes:
        what: what was claimed or compared.
        claimed, found: the two figures or facts, in words; empty where there is none.
        reason: why it is so, or could not be checked.
    """

    what: str
    verdict: Verdict
    claimed: str = ""
    found: str = ""
    reason: str = ""


def make_report(found: Findings, outcomes: Sequence[Outcome] = ()) -> dict[str, Any]:
    """The report as JSON values.

    Args:
        found: of `inspect_release`.
        outcomes: of measuring again; none if that was not asked for.
    """
    release = found.release
    broken = {problem.rule for problem in found.problems}
    failed = bool(found.problems) or any(outcome.verdict == "contradicted" for outcome in outcomes)
    return {
        "format": FORMAT,
        "verdict": "failed" if failed else "verified",
        "signer": found.signer,
        "release": None if release is None else {name: release.manifest[name] for name in _NAMED},
        "files": {} if release is None else dict(release.manifest["files"]),
        "rules": [
            {"rule": rule, "means": means, "holds": rule not in broken if release or rule in broken else None}
            for rule, means in RULES.items()
        ],
        "problems": [problem.record() for problem in found.problems],
        "claims": [] if release is None else [dict(claim) for claim in release.claims],
        "measured_again": [asdict(outcome) for outcome in outcomes],
        "not_proven": list(NOT_PROVEN),
    }


def write_verification(report: Mapping[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html` into a folder; gives their paths."""
    data, page = folder / "report.json", folder / "report.html"
    write_atomic(data, json.dumps(report, indent=2, sort_keys=True) + "\n")
    write_atomic(page, render("verify.html.j2", report=report, claims=_shown(report["claims"])))
    return data, page


def _shown(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Claims in words, the worst leak first."""
    leaks = sorted((claim for claim in claims if claim["measure"] == LEAK), key=lambda claim: -claim["value"])
    return [_words(claim) for claim in (*leaks, *(claim for claim in claims if claim["measure"] != LEAK))]


def _words(claim: Mapping[str, Any]) -> dict[str, str]:
    fields = ("measure", "target", "secret", "attack", "value", "low", "high", "n", "grade", "data")
    entry = Measurement(defence="", **{name: claim[name] for name in fields})
    return {
        "about": claim["secret"] or claim["target"],
        "label": wording(claim["measure"]).label,
        "value": text(claim["measure"], claim["value"]),
        "interval": interval(entry),
        "n": "" if claim["n"] is None else f"{claim['n']:,}",
        "attack": claim["attack"] or "",
        "grade": claim["grade"],
    }
