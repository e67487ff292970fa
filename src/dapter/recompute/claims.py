"""Measure the claims again, on images of the verifier's own."""

from collections.abc import Iterator, Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import Any

from dapter.audit import audit
from dapter.data import Data
from dapter.defences import Defence
from dapter.errors import CheckFailed, UsageError
from dapter.evaluate import measure
from dapter.service.classifier import Service
from dapter.train import check_classes
from dapter.types import Measurement
from dapter.verify import Release
from dapter.verify.claims import LEAK
from dapter.verify_report import Outcome
from dapter.wording import interval, text, wording

STRICT = 1.53
"""Intervals are widened from 95 % to 99.7 %: of some dozen claims that are true, none should look false by chance."""

WIDE = 0.15
"""A share or a leak known no better than this either way confirms nothing."""

ROUNDING = 0.002
"""What other processors may change in a share on the same images."""

SOURCE = "dapter verify --recompute"


def check_again(
    release: Release,
    defence: Defence,
    data: Data,
    service: Service | None,
    attacks: Sequence[str],
    preset: str,
    root: Path,
) -> Iterator[Outcome]:
    """A verdict for each claim, and what was found beyond them.

    Args:
        defence: with the weights of the release.
    """
    reason = _unfit(release, data, service)
    if reason or service is None:
        yield from (Outcome(_name(claim), "could not check", _figure(claim), reason=reason) for claim in release.claims)
        return
    try:
        found = measure(defence, service, data, source=SOURCE)
    except CheckFailed as error:  # a payload breaks what the defence guarantees
        yield Outcome("every payload keeps the defence's own guarantee", "contradicted", reason=str(error))
        return
    found += audit([defence], service, data, attacks=attacks, root=root, preset=preset, source=SOURCE)
    for claim in release.claims:
        yield _verdict(claim, found, same=claim["data_digest"] == data.digest)
    claimed = {claim["secret"] for claim in release.claims}
    for line in found:
        if line.measure == LEAK and line.secret not in claimed:
            yield Outcome(f"leak of {line.secret}", "could not check", "", _line(line), "nothing is claimed about it")


def _unfit(release: Release, data: Data, service: Service | None) -> str:
    """Why no claim can be measured; empty if some can."""
    if service is None:
        return "no service was given"
    if service.digest != release.manifest["service"]["digest"]:
        return "the service that was given is not the one of the release"
    if set(data.targets) != set(service.targets):
        return f"the data has the targets {', '.join(data.targets)}, the service answers {', '.join(service.targets)}"
    try:
        check_classes(service, data)
    except UsageError as error:
        return str(error)
    return ""


def _verdict(claim: Mapping[str, Any], found: Sequence[Measurement], same: bool) -> Outcome:
    """Compare a claim with what was measured.

    Args:
        same: whether it was measured on the same images.
    """
    keys = ("measure", "target", "secret")
    mine = [line for line in found if all(getattr(line, key) == claim[key] for key in keys) and line.value is not None]
    what, said = _name(claim), _figure(claim)
    if not mine:
        return Outcome(what, "could not check", said, reason="not measured: no such label, or no such attack")
    line = max(mine, key=lambda each: each.value or 0.0)
    shown = _line(line)
    assert line.value is not None
    difference = line.value - claim["value"]
    if claim["low"] is None or line.low is None or line.high is None:
        exact = abs(difference) <= 1e-6 * max(1.0, abs(claim["value"]))
        return Outcome(what, "confirmed" if exact else "contradicted", said, shown)
    above = STRICT * hypot(line.value - line.low, claim["high"] - claim["value"]) + same * ROUNDING
    below = STRICT * hypot(line.high - line.value, claim["value"] - claim["low"]) + same * ROUNDING
    if difference > above:
        return Outcome(what, "contradicted", said, shown, "more than claimed")
    if claim["measure"] == LEAK:
        weak = "; ".join(line.flags)
        return Outcome(what, "confirmed", said, shown, f"no more was found{f' (flags: {weak})' if weak else ''}")
    if difference < -below:
        return Outcome(what, "contradicted", said, shown, "less than claimed")
    if line.high - line.low > 2 * WIDE and wording(claim["measure"]).unit == "%":
        return Outcome(what, "could not check", said, shown, "too few images to tell")
    return Outcome(what, "confirmed", said, shown)


def _name(claim: Mapping[str, Any]) -> str:
    about = f"{claim['secret']}, " if claim["secret"] else ""
    return f"{about}{wording(claim['measure']).label} ({claim['target']})"


def _figure(claim: Mapping[str, Any]) -> str:
    fields = ("measure", "target", "value", "low", "high", "n", "data")
    return _line(Measurement(defence="", **{name: claim[name] for name in fields}))


def _line(line: Measurement) -> str:
    ends = interval(line)
    return f"{text(line.measure, line.value)}{f' ({ends})' if ends else ''}"
