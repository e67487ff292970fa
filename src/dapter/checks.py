"""Was this attack credible? Pure functions; what they find is written beside the figure, never hidden.

After AutoAttack's checks.py and flags_doc.md (Croce & Hein, ICML 2020).
"""

from collections.abc import Mapping, Sequence
from typing import Any

FLAGS: Mapping[str, str] = {
    "still_improving": "The attacker was still learning when it was stopped. Cure: more epochs",
    "below_floor": "It does worse than the answer alone. Cure: a better network or more epochs",
    "loses_to_mean_image": "Its images are no better than those the answer alone gives. Cure: more epochs",
    "weaker_did_better": "The same attack with fewer labels did better. Cure: more epochs, or a smaller rate",
    "originals_unbroken": "It reads little even from originals: no evidence of protection. Cure: a better one",
    "constant_not_at_floor": "It read something from a constant image: the attack or its test leaks. Cure: find it",
    "unaware": "It never saw a payload while it learned: that it fails is no protection. Cure: read the other attacks",
    "answer_says_more": "The answer to the payload says more of it than that to the original: it is hidden there",
    "no_room": "Attackers of originals found no more than the answer says: the leak has no scale. Cure: another secret",
    "client_not_given": "Only images were given, not the client part: no attack that knows it was tried. Cure: give it",
    "no_service": "No service was given: the floor is how frequent values are, so leaks hold what an answer says",
    "over_budget": "Payloads carry more beyond the answer than was asked for. Cure: more epochs, or a smaller budget",
    "service_not_needed": "A network of the converter's size answers as well by itself: the cloud is not needed",
}
"""Each flag, what it means and what to do."""

LAST_GAIN = 0.05
"""Share of all that validation gained which, gained in the last epoch, means that training stopped too early."""

READ = 0.5
"""Share of the way from floor to ceiling that a credible attack gets when it is given the originals."""


def still_improving(curve: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last epoch of a training curve brought more than LAST_GAIN of all that was gained.

    Args:
        curve: of `loop.fit`; validations carry `val_loss`.
    """
    losses = [point["val_loss"] for point in curve if "val_loss" in point]
    if len(losses) < 2:
        return bool(losses)
    gained = losses[0] - min(losses)
    last = min(losses[:-1]) - losses[-1]
    return bool(last > LAST_GAIN * gained and last > 0.01 * abs(losses[0]))


def relative(value: float, floor: float, ceiling: float) -> float | None:
    """The leak: (value - floor) / (ceiling - floor), as it is, never clipped; None where the scale has no length."""
    return None if ceiling == floor else (value - floor) / (ceiling - floor)
