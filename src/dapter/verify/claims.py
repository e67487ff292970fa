"""claims.json against results.jsonl: every claim is a line, and the worst is among them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

from dapter.errors import DataError
from dapter.types import FIGURES, TOLD, Measurement
from dapter.verify import strict_json
from dapter.verify.limits import CLAIMS, RESULTS
from dapter.verify.problems import Broken, Problem
from dapter.verify.schema import faults, load

LEAK = "leak"
GUARANTEED = ("budget_bits", "secret_accuracy_bound", "restored_mse_bound")
"""The measures that can hold for every attack; all others are found or estimated."""

RATES = ("agreement", "target_accuracy", "target_accuracy_original", "secret_accuracy", "necessity_accuracy")
"""Shares of right answers; their interval is Wilson's, which anybody can compute."""

EXPECTED = (
    *("target_accuracy", "target_accuracy_original", "agreement"),
    *("budget_bits", "bits_beyond_answer", "necessity_accuracy"),
)
"""Measures of the defence that are claimed wherever they were measured."""

COPIED = (
    *("measure", "target", "secret", "attack", "value", "low", "high", "n"),
    *("floor", "ceiling", "grade", "flags", "data", "data_digest"),
)
"""The fields of a claim that are those of its line."""

TEXTS = ("defence", "data", "target", "measure", "grade", "source", "code", "data_digest")
MAX_LINES = 20_000
_Z = NormalDist().inv_cdf(0.975)


def read_claims(data: bytes) -> tuple[list[dict[str, Any]], list[Problem]]:
    """The claims of claims.json; none where they cannot be used."""
    try:
        value = strict_json.loads(data)
    except Broken as fault:
        return [], [Problem("claims", CLAIMS, str(fault))]
    wrong = faults(value, load("claims-1"))
    return ([], [Problem("claims", CLAIMS, each) for each in wrong]) if wrong else (value, [])


def read_results(data: bytes) -> tuple[list[Measurement], list[Problem]]:
    """The lines of results.jsonl, all or none."""
    lines = data.split(b"\n")
    found = []
    if lines.pop() or len(lines) > MAX_LINES:
        return [], [Problem("claims", RESULTS, f"does not end with a line's end, or has more than {MAX_LINES:,} lines")]
    for number, line in enumerate(lines):
        try:
            record = strict_json.loads(line)
            found.append(Measurement.from_record(_typed(record)))
        except (Broken, DataError) as fault:
            return [], [Problem("claims", RESULTS, f"line {number} {str(fault).removesuffix('. Cure: measure again')}")]
    return found, []


def claims_of(results: Sequence[Measurement]) -> list[dict[str, Any]]:
    """The claims that a release makes of its results: what it must say, and nothing that is no line."""
    wanted = sorted({*_worst(results).values(), *_places(results, EXPECTED)})
    return [_claim(results[place], place) for place in wanted]


def check_claims(
    claims: Sequence[Mapping[str, Any]], results: Sequence[Measurement], manifest: Mapping[str, Any]
) -> list[Problem]:
    """Where claims differ from their lines, leave out the worst, or cannot be true; where lines cannot be true."""
    found = [Problem("claims", CLAIMS, each) for each in _claim_faults(claims, results)]
    found += [Problem("claims", RESULTS, each) for each in _line_faults(results, manifest)]
    return found


def _claim_faults(claims: Sequence[Mapping[str, Any]], results: Sequence[Measurement]) -> Iterator[str]:
    claimed = set()
    for number, claim in enumerate(claims):
        place, here = claim["line"], f"claim {number} ({claim['measure']})"
        if place >= len(results):
            yield f"{here} names line {place} of results.jsonl, which has {len(results)}"
            continue
        if place in claimed:
            yield f"{here} is made twice"
        claimed.add(place)
        true = _claim(results[place], place)
        for name in COPIED:
            if claim[name] != true[name]:
                yield f"{here} says {name} {_show(claim[name])}, line {place} says {_show(true[name])}"
    for secret, place in _worst(results).items():
        if place not in claimed:
            line = results[place]
            yield (
                f"the worst leak of {_show(secret)} is kept back: {line.value} by {_show(line.attack)} "
                f"(line {place} of results.jsonl)"
            )
    for place in _places(results, EXPECTED):
        if place not in claimed:
            yield f"{results[place].measure} was measured (line {place} of results.jsonl), but is not claimed"


def _line_faults(results: Sequence[Measurement], manifest: Mapping[str, Any]) -> Iterator[str]:
    subjects = sorted({_show(line.settings["subject"]) for line in results if "subject" in line.settings})
    if len(subjects) > 1:
        yield f"its lines are of several converters with these settings, the subjects {', '.join(subjects)}"
    for place, line in enumerate(results):
        for fault in (*_impossible(line), *_foreign(line, manifest)):
            yield f"line {place} ({line.measure}): {fault}"
    for secret in dict.fromkeys(line.secret for line in results if line.attack and line.leak is not None):
        heads = [line for line in results if (line.secret, line.measure) == (secret, LEAK)]
        others = _leaks(results, secret)
        if others and not heads:
            yield f"attacks on {_show(secret)} are listed, but the line of their worst leak is missing"
        for line in heads:
            if line.value != line.leak or line.leak not in others:
                yield f"the worst leak of {_show(secret)}, {line.value}, is that of no attack in the file"


def _leaks(results: Sequence[Measurement], secret: str | None) -> set[float | None]:
    """What the attacks on a secret found, by the measure that leaks are told by; none where they say it has no room."""
    found: dict[str, set[float | None]] = {}
    for line in results:
        if line.secret == secret and line.attack and line.measure in TOLD:
            unscaled = line.leak is None and "no_room" in line.flags
            found.setdefault(line.measure, set()).update([] if unscaled else [line.leak])
    return next((found[measure] for measure in TOLD if measure in found), set())


def _impossible(line: Measurement) -> Iterator[str]:
    """What no measurement can give."""
    value, low, high = line.value, line.low, line.high
    if (low is None) != (high is None):
        yield "half an interval"
    elif value is not None and low is not None and high is not None and not low <= value <= high:
        yield f"the value {value} is outside its interval {low} to {high}"
    if line.grade == "guaranteed" and line.measure not in GUARANTEED:
        yield "graded guaranteed, which no attack or sample can show"
    if line.measure in RATES and value is not None and line.n is not None and low is not None and high is not None:
        if not 0 <= value <= 1:
            yield f"a share of {value}"
        elif line.seed is not None and _narrow(value, low, high, line.n):
            yield f"an interval {low} to {high} that {line.n} images do not give"


def _narrow(value: float, low: float, high: float, n: int) -> bool:
    """Whether an interval is narrower than Wilson's."""
    half = _Z / (1 + _Z**2 / n) * math.sqrt(value * (1 - value) / n + _Z**2 / (4 * n**2))
    return high - low < 0.99 * (min(1.0, 2 * half) if 0 < value < 1 else half)


def _foreign(line: Measurement, manifest: Mapping[str, Any]) -> Iterator[str]:
    """What was measured of another converter, or on other data."""
    if line.defence != manifest["defence"]:
        yield f"is of the defence {_show(line.defence)}, the release holds {manifest['defence']}"
    differ = [name for name, value in manifest["settings"].items() if line.settings.get(name) != value]
    if differ:
        yield f"is of a converter with other settings ({', '.join(map(ascii, differ))})"
    if line.seed is not None and line.seed != manifest["training"]["seed"]:
        yield f"is of the seed {line.seed}, the release was trained with {manifest['training']['seed']}"
    if line.data_digest != manifest["training"]["data"]["digest"]:
        yield "was measured on other data than the release was trained on"
    budget = manifest["budget_bits"]
    if line.measure == "budget_bits" and (budget is None or line.value != budget):
        yield f"says {line.value}, release.json says {budget}"


def _claim(line: Measurement, place: int) -> dict[str, Any]:
    copied = {name: getattr(line, name) for name in COPIED}
    return {**copied, "flags": list(line.flags), "split": "test", "line": place}


def _worst(results: Sequence[Measurement]) -> dict[str | None, int]:
    """For each secret the line of the largest leak."""
    found: dict[str | None, int] = {}
    for place, line in enumerate(results):
        if line.measure == LEAK and line.value is not None:
            best = found.get(line.secret)
            if best is None or line.value > (results[best].value or 0.0):
                found[line.secret] = place
    return found


def _places(results: Sequence[Measurement], measures: Sequence[str]) -> list[int]:
    return [place for place, line in enumerate(results) if line.measure in measures and line.value is not None]


def _typed(record: Any) -> Any:
    """The record, if each of its fields is of its type.

    Raises:
        Broken: one is not.
    """
    if not isinstance(record, dict):
        return record
    for name, value in record.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        wrong = (
            (name in FIGURES and not (number or value is None))
            or (name in TEXTS and not isinstance(value, str))
            or (name in ("secret", "attack", "preset") and not isinstance(value, str | None))
            or (name in ("n", "seed") and not (value is None or type(value) is int))
            or (name in ("settings", "environment") and not isinstance(value, dict))
            or (name == "flags" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)))
        )
        if wrong or (name == "n" and value is not None and value < 1):
            raise Broken(f"has {name} {_show(value)}")
    return record


def _show(value: Any) -> str:
    return ascii(value)[:80]
