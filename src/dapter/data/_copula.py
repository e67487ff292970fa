"""Labels with chosen marginals and chosen co-occurrence, drawn through a Gaussian copula.

Every attribute has a hidden standard normal variable that is cut at the quantiles of its marginal. The
correlation of two hidden variables is solved for (the tetrachoric correlation), so that the two attributes get the
phi correlation asked for, while their marginals stay.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from dapter.errors import UsageError

STRONGEST = 0.999
"""The strongest correlation of two hidden variables; 1 would make one a copy of the other."""


@dataclass(frozen=True)
class Attribute:
    """One attribute of an image.

    Attributes:
        classes: the names of its values, in the order of the hidden variable.
        shares: how often each occurs.
        cut: the attribute counts as present, when its co-occurrence is set, from this class on.
        personal: whether it belongs to the person, not to the single image.
    """

    classes: tuple[str, ...]
    shares: tuple[float, ...]
    cut: int = 1
    personal: bool = False

    @property
    def present(self) -> float:
        """How often the attribute is present."""
        return sum(self.shares[self.cut :])


def binary(share: float, personal: bool = False) -> Attribute:
    """An attribute that is present in that share of the images."""
    return Attribute(("no", "yes"), (1 - share, share), personal=personal)


def draw_labels(
    attributes: Mapping[str, Attribute], hidden: np.ndarray, pairs: Sequence[tuple[str, str, float]]
) -> dict[str, np.ndarray]:
    """For each attribute its class in each image, int64 (n,).

    Args:
        attributes: those that belong to the person must come first.
        hidden: independent standard normal numbers, (n, attributes); a personal one repeats for its person.
        pairs: two attributes and their phi correlation; pairs that are not named are independent.
    """
    names = list(attributes)
    factor = hidden_factor(attributes, pairs)
    labels = {}
    for row, name in enumerate(names):
        values = sum(factor[row, column] * hidden[:, column] for column in range(row + 1))
        cuts = [NormalDist().inv_cdf(share) for share in np.cumsum(attributes[name].shares)[:-1]]
        labels[name] = np.searchsorted(cuts, values).astype(np.int64)
    return labels


def hidden_factor(attributes: Mapping[str, Attribute], pairs: Sequence[tuple[str, str, float]]) -> np.ndarray:
    """The lower Cholesky factor of the hidden variables' correlations: a person's rows use a person's columns only.

    Raises:
        UsageError: an unknown attribute, or correlations that cannot be had (together).
    """
    names = list(attributes)
    matrix = np.eye(len(names))
    for first, second, phi in pairs:
        row, column = _position(first, second, names, matrix)
        correlation = _tetrachoric(first, second, phi, attributes[first].present, attributes[second].present)
        matrix[row, column] = matrix[column, row] = correlation
    try:
        factor: np.ndarray = np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError as error:
        raise UsageError(
            f"cooccurrence {list(pairs)}: these correlations cannot hold together (pairs that are not named count as "
            "independent). Cure: ask for weaker ones, or also name the pairs among the attributes that go together"
        ) from error
    return factor


def _position(first: str, second: str, names: list[str], matrix: np.ndarray) -> tuple[int, int]:
    unknown = [name for name in (first, second) if name not in names]
    if unknown:
        raise UsageError(f"cooccurrence: no attribute {', '.join(unknown)}. There are: {', '.join(names)}")
    row, column = names.index(first), names.index(second)
    if row == column or matrix[row, column] != 0:
        raise UsageError(f"cooccurrence: {first} and {second}. Cure: name two different attributes, each pair once")
    return row, column


def _tetrachoric(first: str, second: str, phi: float, p: float, q: float) -> float:
    """The correlation of two normal variables whose upper `p` and `q` parts have the phi correlation asked for."""
    low, high = _phi(-STRONGEST, p, q), _phi(STRONGEST, p, q)
    if not low < phi < high:
        raise UsageError(
            f"cooccurrence: a phi correlation of {phi} between {first} (share {p:.2f}) and {second} (share {q:.2f}) "
            f"is impossible. Cure: choose one above {low:.3f} and below {high:.3f}"
        )
    below, above = -STRONGEST, STRONGEST
    for _ in range(40):
        middle = (below + above) / 2
        below, above = (middle, above) if _phi(middle, p, q) < phi else (below, middle)
    return (below + above) / 2


def _phi(correlation: float, p: float, q: float) -> float:
    """The phi correlation of two binary attributes whose hidden variables have that correlation.

    The joint probability is p q plus the integral of the bivariate normal density over the correlation (Plackett,
    1954); with the correlation written as a sine the integrand is smooth, and Gauss-Legendre is exact enough.
    """
    h, k = NormalDist().inv_cdf(1 - p), NormalDist().inv_cdf(1 - q)
    nodes, weights = _quadrature()
    angle = np.arcsin(correlation) * (nodes + 1) / 2
    density = np.exp(-(h * h + k * k - 2 * h * k * np.sin(angle)) / (2 * np.cos(angle) ** 2))
    excess = np.arcsin(correlation) / 2 * np.sum(weights * density) / (2 * np.pi)
    return float(excess / np.sqrt(p * (1 - p) * q * (1 - q)))


@functools.cache
def _quadrature() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(100)
