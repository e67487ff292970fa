"""How many bits a payload made of stamps carries, counted exactly, and what that bounds whatever the attack.

A payload Z shows one of K stamps in each of C cells; X is the image, Y the service's answer to Z. The client part
and the service are deterministic, so Z is a function of X, and Y of Z. (Only flips, below, draw anything.)

*Budget.* Z takes at most K^C values, so I(X; Z) = H(Z) <= C log2 K for every distribution of images, every attack.
This is of pictures of one size: one that keeps the photo's height and width tells these as well. Stamps that look the
same are one stamp.

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

*Flips.* With probability f each cell of Z is replaced by a stamp drawn evenly from the alphabet, and W is sent (Warner,
1965; Kairouz, Oh & Viswanath, "Extremal mechanisms for local differential privacy", 2014). A stamp stays with
p = 1 - f + f/K, becomes each other one with q = f/K, independently in every cell of every payload.

- *Indistinguishable.* P(W | X) differs between any two images by at most the factor (p/q)^C: a payload is
  epsilon-locally differentially private, epsilon = C ln(p/q). Factors multiply: m payloads are m epsilon-private.
- *Together.* Let m payloads of one person be sent and S be anything about that person or the images. S, all Z, all W
  is a Markov chain, so I(S; W_1..W_m) <= I(Z_1..Z_m; W_1..W_m) = H(W_1..W_m) - m C h, where h is the entropy of the
  noise of a cell, -p log2 p - (K - 1) q log2 q, whatever the cell shows; and H(W_1..W_m) <= m C log2 K. So
  I(S; W_1..W_m) <= m C (log2 K - h): the capacity of the K-ary symmetric channel, and reached by cells drawn evenly
  and independently. It holds given the answers as well, I(S; W | Y) <= I(S; W) as Y is a function of W, and however
  the images depend on one another, equal ones included.
- *Beyond the answer.* I(X; W | Y) = H(W | Y) - H(W | X, Y), and H(W | X, Y) = H(W | X) - H(Y | X) = C h - H(Y | X), as
  W gives Y. With H(Y | X) <= log2(answers), I(X; W | Y) <= E[-log2 q(W | Y)] - C h + log2(answers) for every table q;
  here the prior as the flips change it. In total I(X; W) = H(W) - C h, H(W) by the code in two parts.
"""

import math

import numpy as np

from dapter.errors import DataError, UsageError, need

EXTRA = "coder"


def budget_bits(cells: int, alphabet: int) -> float:
    """The most bits that any payload can carry: cells x log2(alphabet)."""
    return cells * math.log2(alphabet)


def epsilon(cells: int, alphabet: int, flip: float) -> float:
    """Of the local differential privacy of a payload with flips, in nats; infinite without."""
    stays, becomes = _chances(alphabet, flip)
    return cells * math.log(stays / becomes) if becomes else math.inf


def noise_bits(cells: int, alphabet: int, flip: float) -> float:
    """The entropy of a payload given what it would be without flips."""
    stays, becomes = _chances(alphabet, flip)
    others = (alphabet - 1) * becomes * math.log2(becomes) if becomes else 0.0
    return -cells * (stays * math.log2(stays) + others)


def capacity_bits(cells: int, alphabet: int, flip: float) -> float:
    """The most that a payload tells on average, and m payloads of one person m times as much."""
    return budget_bits(cells, alphabet) - noise_bits(cells, alphabet, flip)


def flipped_prior(prior: np.ndarray, flip: float) -> np.ndarray:
    """What is expected of each cell once stamps are flipped; of probabilities (rows, C, K)."""
    found: np.ndarray = (1 - flip) * prior + flip / prior.shape[2]
    return found


def _chances(alphabet: int, flip: float) -> tuple[float, float]:
    """With which probability a stamp stays, and becomes each other one."""
    return 1 - flip + flip / alphabet, flip / alphabet


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
