"""MODEL_CARD.md: what a release is and is not, for people; the worst leak first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dapter.checks import FLAGS
from dapter.types import TOLD, Measurement
from dapter.verify.claims import LEAK
from dapter.wording import number, text, wording

IMAGE = "image"

NOT_CHECKED = (
    "attacks that nobody has thought of: what is graded `measured` is the most that was found, not the most there is",
    "the app: whether it runs this converter, and sends nothing else",
    "your users: the figures hold for images like those that were measured",
    "exports that are not named here, and other versions",
)


def make_card(manifest: Mapping[str, Any], claims: Sequence[Mapping[str, Any]], results: Sequence[Measurement]) -> str:
    """The text.

    Args:
        manifest: release.json, but for `files`.
        claims: of claims.json.
        results: the lines that they were taken from.
    """
    parts = (_head(manifest), _leaks(claims, results), _kept(claims), _gaps(manifest, results), _use(manifest))
    return "".join(f"{line}\n" for part in parts for line in part)


def _head(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield f"# {manifest['name']} {manifest['version']}"
    yield ""
    yield (
        "A converter that runs on the user's device. It turns a photo into a payload, an image of the same size that "
        "leaves the device instead, and from which a frozen cloud service still answers:"
    )
    yield ""
    for target, classes in manifest["targets"].items():
        shown = ", ".join(classes[:12]) + (f", ... ({len(classes)} in all)" if len(classes) > 12 else "")
        yield f"- {target}: {shown}"
    yield ""


def _leaks(claims: Sequence[Mapping[str, Any]], results: Sequence[Measurement]) -> Iterator[str]:
    """The worst first; last, what was attacked in vain on originals too."""
    yield "## What an attacker can still learn"
    yield ""
    leaks = sorted((claim for claim in claims if claim["measure"] == LEAK), key=lambda claim: -claim["value"])
    told = {claim["secret"] for claim in leaks}
    untold = sorted({line.secret for line in results if line.secret and line.attack and line.measure in TOLD} - told)
    if not leaks and not untold:
        yield "**No attack was tried. What a payload gives away is not known: take it that it gives away all.**"
    for place, claim in enumerate(leaks):
        what = _named(claim["secret"])
        mark = "**" if place == 0 else ""
        yield (
            f"- {mark}{what}: leak {number(LEAK, claim['value'])}"
            f"{_interval(claim)}{mark}, by the attack `{claim['attack']}`, {_n(claim)}. "
            "0 is nothing beyond the answer, 1 as much as from the original."
        )
        for flag in claim["flags"]:
            yield f"  Take care: {FLAGS.get(flag, flag).split('. Cure')[0]}."
    for secret in untold:
        yield (
            f"- {_named(secret)}: not known. Attackers of originals found no more than the answer says, so that those "
            "of payloads show nothing: take it that a payload gives it away."
        )
    bound = next((claim for claim in claims if claim["measure"] == "budget_bits"), None)
    if bound:
        yield f"- Whatever the attack, a payload carries at most {text('budget_bits', bound['value'])} (guaranteed)."
    yield ""


def _named(secret: str) -> str:
    return "The image itself" if secret == IMAGE else f"The secret {secret}"


def _kept(claims: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "## What the service can still answer"
    yield ""
    for claim in claims:
        if claim["attack"] is None and claim["measure"] != "budget_bits":
            label = wording(claim["measure"]).label
            figure = f"{text(claim['measure'], claim['value'])}{_interval(claim)}"
            yield f"- {claim['target']}: {label} {figure}, {_n(claim)}"
            if claim["measure"] == "necessity_accuracy":
                yield "  (a network of the converter's size, on the device alone: what the cloud is needed for)"
    yield ""


def _gaps(manifest: Mapping[str, Any], results: Sequence[Measurement]) -> Iterator[str]:
    yield "## What was not checked"
    yield ""
    attacked = sorted({line.secret for line in results if line.attack and line.secret and line.secret != IMAGE})
    secrets = ", ".join(attacked) or "none"
    yield f"- secrets that were attacked: {secrets}; no other label was"
    seeds = {line.settings.get("attack", {}).get("seed") for line in results if line.attack}
    yield f"- attacks were repeated with {len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
    size = " x ".join(map(str, manifest["image"]["trained"]))
    yield f"- images of other sizes than {size} pixels: all figures are at that size"
    for entry in NOT_CHECKED:
        yield f"- {entry}"
    yield ""


def _use(manifest: Mapping[str, Any]) -> Iterator[str]:
    training = manifest["training"]
    yield "## How it was made, how to use it"
    yield ""
    yield f"- defence `{manifest['defence']}`, settings in `release.json`"
    yield f"- trained on {training['data']['name']} with dapter {training['code']}, seed {training['seed']}"
    yield f"- service: the classifiers of digest `{manifest['service']['digest']}`"
    dial = manifest["dial"]
    if dial:
        yield f"- dial `{dial['name']}`: {dial['low']} to {dial['high']}, {dial['default']} unless chosen otherwise"
    for export in manifest["exports"]:
        yield f"- `{export['path']}`: {export['format']}, {export['precision']}"
    yield "- `runner/convert.py` converts files; `dapter verify` checks this folder and measures it again"
    yield f"- licence: {manifest['licence']}"


def _interval(claim: Mapping[str, Any]) -> str:
    if claim["low"] is None:
        return ""
    low, high = (number(claim["measure"], claim[end]) for end in ("low", "high"))
    return f" ({low} to {high})"


def _n(claim: Mapping[str, Any]) -> str:
    images = "" if claim["n"] is None else f"{claim['n']:,} test images, "
    return f"{images}{claim['grade']}"
