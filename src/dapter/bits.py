"""How many bits a payload made of stamps carries, counted exactly, and what that bounds whatever the attack.

A payload Z shows one of K stamps in each of C cells; X is the image, Y the service's answer to Z. The client part
and the service are deterministic, so Z is a function of X, and Y of Z.

*Budget.* Z takes at most K^C values, so I(X; Z) = H(Z) <= C log2 K for every distribution of images, every attack.

*Beyond the answer.* I(X; Z | Y) = H(Z | Y), and H(Z | Y) <= E[-log2 q(Z | Y)] for every table q of distributions
(Gibbs' inequality); here q is the published prior. As logits tell at least as much as Y, the bound also holds given
the logits. The inequality is a theorem, its right side an expectation over images: the mean over test images is an
*estimate* of it, so it is reported with its interval and graded `estimated`, not `guaranteed`.

*In total.* Without the answer at hand a payload is sent in two parts: a row of the prior (log2 rows bits), then the
stamps under it, with the row that makes this shortest. It is a prefix code, so its mean length is at least H(Z).

*One set of images.* Whatever an attack computes, it gives equal payloads equal results. On given images its
accuracy is then at most that of the best table from payloads to labels made with all labels known, and its squared
error at least that of the mean image of each payload. These hold exactly on those images (`guaranteed`), are
trivial where every payload is unique, and in expectation are never stricter than the best attack on new images.
"""

import math

import numpy as np

from dapter.errors import DataError, UsageError, need

EXTRA = "coder"


def budget_bits(cells: int, alphabet: int) -> float:
    """The most bits that any payload can carry: cells x log2(alphabet)."""
    return cells * math.log2(alphabet)


def code_lengths(indices: np.ndarray, prior: np.ndarray, answers: np.ndarray | None = None) -> np.ndarray:
    """Ideal code length of each payload in bits, float64 (N,).

    Args:
        indices: stamps, int (N, C).
        prior: probabilities, float (rows, C, K), a row an answer.
        answers: int (N,), given to whoever decodes; None: in two parts, as `encode` does it.
    """
    each = _lengths(indices, prior)
    if answers is None:
        shortest: np.ndarray = each.min(axis=1) + math.log2(len(prior))
        return shortest
    chosen: np.ndarray = each[np.arange(len(indices)), answers]
    return chosen


def _lengths(indices: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Code length under each row of the prior, float64 (N, rows)."""
    if indices.ndim != 2 or prior.ndim != 3 or indices.shape[1] != prior.shape[1]:
        raise UsageError(f"stamps {indices.shape} do not fit a prior of {prior.shape}. Cure: (N, C) and (rows, C, K)")
    cells = np.arange(indices.shape[1])
    lengths: np.ndarray = -np.log2(prior[:, cells, indices].astype(np.float64)).sum(axis=2).T
    return lengths


def encode(indices: np.ndarray, prior: np.ndarray) -> bytes:
    """Payloads as bytes, by a range coder (Martin 1979; `constriction`, Bamler 2022), one stream for all of them.

    Each is a row of the prior and the stamps under it; a prior of one row costs nothing for the row, so that
    `prior[[answer]]` codes given the answer. A few bits longer than the sum of `code_lengths`, rounded up to 4 bytes.

    Args:
        indices: int (N, C).
        prior: float (rows, C, K).

    Raises:
        MissingExtra: constriction is not installed.
    """
    stream = need("constriction", EXTRA).stream
    family = stream.model.Categorical(perfect=False)
    coder = stream.queue.RangeEncoder()
    for stamps, row in zip(indices, _lengths(indices, prior).argmin(axis=1), strict=True):
        if len(prior) > 1:
            coder.encode(int(row), stream.model.Uniform(len(prior)))
        coder.encode(stamps.astype(np.int32), family, np.ascontiguousarray(prior[row], np.float32))
    found: bytes = coder.get_compressed().astype("<u4").tobytes()
    return found


def decode(data: bytes, n: int, prior: np.ndarray) -> np.ndarray:
    """The n payloads' stamps that `encode` wrote with the same prior, int64 (n, C).

    Raises:
        DataError: the bytes end too early or are damaged where that can be seen.
        MissingExtra: constriction is not installed.
    """
    stream = need("constriction", EXTRA).stream
    family = stream.model.Categorical(perfect=False)
    if len(data) % 4:
        raise DataError(f"{len(data)} bytes are no coded stamps. Cure: send all that encode gave, a multiple of 4")
    coder = stream.queue.RangeDecoder(np.frombuffer(data, "<u4").astype(np.uint32))
    found = np.zeros((n, prior.shape[1]), np.int64)
    try:
        for stamps in found:
            row = coder.decode(stream.model.Uniform(len(prior))) if len(prior) > 1 else 0
            stamps[:] = coder.decode(family, np.ascontiguousarray(prior[row], np.float32))
    except (AssertionError, ValueError) as error:
        raise DataError(f"coded stamps are damaged ({error}). Cure: send them again, with the same prior") from error
    return found


def groups(indices: np.ndarray) -> np.ndarray:
    """A number for each payload, equal for equal payloads, from 0: int64 (N,)."""
    return np.unique(indices, axis=0, return_inverse=True)[1].reshape(-1)


def entropy_left(labels: np.ndarray, known: np.ndarray) -> float:
    """H(label | known) of the given pairs in bits. Both int (N,), from 0."""
    counts = _table(known, labels)
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.ones_like(counts), where=counts > 0)
    return float(-(counts * np.log2(shares)).sum() / len(labels))


def best_accuracy(labels: np.ndarray, known: np.ndarray) -> float:
    """The highest accuracy on these images of anything that knows only `known`. Both int (N,), from 0."""
    return float(_table(known, labels).max(axis=1).sum() / len(labels))


def best_mse(images: np.ndarray, known: np.ndarray) -> float:
    """The least mean squared error on these images, on the scale [0, 1], of anything that knows only `known`.

    The best restoration of a group is its mean image; what is left is the spread within the groups.

    Args:
        images: uint8 (N, H, W, 3).
        known: a group for each image, int (N,), from 0.
    """
    left = 0.0
    for group in np.unique(known):
        left += float(images[known == group].astype(np.float64).var(axis=0).sum()) * int(np.sum(known == group))
    return left / images.size / 255**2


def fano_accuracy(left: float, classes: int) -> float:
    """The highest accuracy of any guess of a secret of which that many bits stay unknown (Fano 1961).

    H(S | Z) <= h(e) + e log2(classes - 1) for the error e of every guess from Z; the right side rises in e up to
    (classes - 1) / classes. With I(S; Z | Y) <= R of `code_lengths`, H(S | Z) >= H(S | Y) - R, by Z giving Y.

    Args:
        left: a lower bound of H(S | Z) in bits; at or below 0 it bounds nothing.
        classes: values of the secret, 2 or more.
    """
    low, high = 0.0, 1 - 1 / classes
    for _ in range(60):
        error = (low + high) / 2
        spread = -error * math.log2(error) - (1 - error) * math.log2(1 - error)
        low, high = (error, high) if spread + error * math.log2(classes - 1) < left else (low, error)
    return 1 - low


def most_gain(bits: float) -> float:
    """The most that a payload of that many bits beyond the answer adds to the accuracy of any guess: in [0, 1].

    With the answer alone a guess is right as often as if Z were drawn from P(Z | Y) independently of the secret. The
    total variation between that and the truth is at most sqrt(I ln 2 / 2) (Pinsker; Jensen over Y), I in bits.
    """
    return min(1.0, math.sqrt(bits * math.log(2) / 2))


def _table(known: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How often each label occurs with each known value: float64 (values, labels)."""
    counts = np.zeros((int(known.max()) + 1, int(labels.max()) + 1))
    np.add.at(counts, (known, labels), 1)
    return counts
