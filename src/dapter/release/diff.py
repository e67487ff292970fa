"""What changed between two releases: in what the converter is, what it computes, and what is claimed of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from dapter.verify import Release
from dapter.verify.claims import LEAK
from dapter.verify.onnx_file import read_graph


def compare_releases(old: Release, new: Release) -> list[str]:
    """A line for each difference, in plain words; none: both behave alike and claim the same.

    Args:
        old, new: verified.
    """
    return [*_identity(old, new), *_behaviour(old, new), *_exports(old, new), *_claims(old, new)]


def _identity(old: Release, new: Release) -> Iterator[str]:
    for name in ("name", "version", "licence"):
        yield from _change(name, old.manifest[name], new.manifest[name])
    yield from _change("signed with", old.signer, new.signer)


def _behaviour(old: Release, new: Release) -> Iterator[str]:
    for name in ("targets", "defence", "image", "dial", "budget_bits"):
        yield from _change(name, old.manifest[name], new.manifest[name])
    for name in ("settings", "service", "training"):
        yield from _changes(name, old.manifest[name], new.manifest[name])
    weights = [release.manifest["files"]["weights.safetensors"]["sha256"] for release in (old, new)]
    if weights[0] != weights[1]:
        yield "weights: others"


def _exports(old: Release, new: Release) -> Iterator[str]:
    before, after = ({entry["path"]: entry for entry in release.manifest["exports"]} for release in (old, new))
    for path in sorted({*before, *after}):
        if path not in after:
            yield f"{path}: gone"
        elif path not in before:
            yield f"{path}: new ({after[path]['format']}, {after[path]['precision']})"
        else:
            for field in ("format", "precision", "opset", "sizes"):
                yield from _change(f"{path}: {field}", before[path][field], after[path][field])
            yield from _content(path, old, new)


def _content(path: str, old: Release, new: Release) -> Iterator[str]:
    files = [release.manifest["files"][path] for release in (old, new)]
    if files[0]["sha256"] == files[1]["sha256"]:
        return
    yield f"{path}: another file, {files[0]['bytes']:,} -> {files[1]['bytes']:,} bytes"
    if path.endswith(".onnx"):
        before, after = ({node.op for node in read_graph(release.read(path)).nodes} for release in (old, new))
        for sign, operators in (("new", after - before), ("gone", before - after)):
            if operators:
                yield f"{path}: {sign} operators {', '.join(sorted(operators))}"


def _claims(old: Release, new: Release) -> Iterator[str]:
    before, after = ({_key(claim): claim for claim in release.claims} for release in (old, new))
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        what = " ".join(filter(None, key))
        if now is None:
            yield f"no longer claimed: {what} ({_figure(was)})"
        elif was is None:
            yield f"newly claimed: {what} ({_figure(now)})"
        elif _figure(was) != _figure(now):
            yield f"{what}: {_figure(was)} -> {_figure(now)}{_sure(was, now)}"
    for release, word in ((old, "was"), (new, "is")):
        leaks = [claim for claim in release.claims if claim["measure"] == LEAK]
        if leaks:
            worst = max(leaks, key=lambda claim: float(claim["value"]))
            yield f"the worst leak {word} {_figure(worst)}: {worst['secret']}, by {worst['attack']}"


def _key(claim: Mapping[str, Any]) -> tuple[str, str, str]:
    """What two claims must share to be compared; the attack that was worst may differ."""
    return claim["measure"], claim["target"], claim["secret"] or ""


def _figure(claim: Mapping[str, Any] | None) -> str:
    if claim is None:
        return ""
    interval = "" if claim["low"] is None else f" ({claim['low']:.4g} to {claim['high']:.4g})"
    return f"{claim['value']:.4g}{interval}, {claim['grade']}"


def _sure(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if None in (was["low"], now["low"]):
        return ""
    apart = was["high"] < now["low"] or now["high"] < was["low"]
    return ": beyond both intervals" if apart else ": the intervals overlap"


def _changes(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for key in sorted({*old, *new}):
        yield from _change(f"{name}.{key}", old.get(key), new.get(key))


def _change(name: str, old: Any, new: Any) -> Iterator[str]:
    if old != new:
        yield f"{name}: {_short(old)} -> {_short(new)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
