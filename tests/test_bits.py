import math

import numpy as np
import pytest

from dapter import bits
from dapter.errors import DataError, UsageError


def some_prior(rows=2, cells=16, alphabet=27, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(alphabet, 0.2), (rows, cells)).clip(1e-5) / (1 + 27e-5)


def drawn(prior, answers, seed=0):
    rng = np.random.default_rng(seed)
    tables = prior / prior.sum(axis=2, keepdims=True)
    return np.array([[rng.choice(prior.shape[2], p=cell) for cell in tables[row]] for row in answers])


def test_the_budget_is_exact():
    assert bits.budget_bits(16, 2) == 16
    assert bits.budget_bits(16, 27) == pytest.approx(76.078, abs=1e-3)


def test_code_lengths_by_hand():
    prior = np.array([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]], [[0.125, 0.125, 0.75], [0.25, 0.5, 0.25]]])
    indices = np.array([[0, 1], [1, 1]])
    assert bits.code_lengths(indices, prior, np.array([0, 1])) == pytest.approx([3, 4])
    assert bits.code_lengths(indices, prior) == pytest.approx([1 + 3, 1 + 4])  # the shorter row, and which one


def test_no_code_is_shorter_than_the_entropy():
    """Gibbs: under any prior, with and without the answer, on the very distribution that occurs."""
    rng = np.random.default_rng(1)
    indices, answers = rng.integers(0, 3, (4000, 2)) ** 2 // 2, rng.integers(0, 2, 4000)
    indices[answers == 1] = 0
    for _ in range(5):
        prior = rng.dirichlet(np.ones(3), (2, 2))
        payloads = bits.groups(indices)
        assert bits.code_lengths(indices, prior, answers).mean() >= bits.entropy_left(payloads, answers)
        assert bits.code_lengths(indices, prior).mean() >= bits.entropy_left(payloads, payloads * 0)


def test_the_two_part_code_is_a_code():
    """Kraft: over every payload there is, the two-part lengths leave room for all of them."""
    prior = np.random.default_rng(2).dirichlet(np.ones(3), (4, 3))
    every = np.stack(np.meshgrid(*[range(3)] * 3), axis=-1).reshape(-1, 3)
    assert np.exp2(-bits.code_lengths(every, prior)).sum() <= 1 + 1e-12


def test_stamps_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match="Cure"):
        bits.code_lengths(np.zeros((5, 9), int), some_prior())


@pytest.mark.parametrize("rows", [1, 2])
def test_the_range_coder_reaches_the_ideal_length(rows):
    pytest.importorskip("constriction")
    prior = some_prior(rows)
    indices = drawn(prior, np.arange(500) % rows)
    data = bits.encode(indices, prior)
    assert np.array_equal(bits.decode(data, len(indices), prior), indices)
    ideal = bits.code_lengths(indices, prior).sum()
    assert ideal - 1 <= len(data) * 8 <= ideal * 1.002 + 40


def test_given_the_answer_the_code_is_that_of_its_row():
    pytest.importorskip("constriction")
    prior = some_prior()
    answers = np.ones(400, int)
    indices = drawn(prior, answers)
    data = bits.encode(indices, prior[[1]])
    assert np.array_equal(bits.decode(data, 400, prior[[1]]), indices)
    assert len(data) * 8 == pytest.approx(bits.code_lengths(indices, prior, answers).sum(), rel=0.002, abs=40)


def test_one_payload_is_a_few_bytes():
    pytest.importorskip("constriction")
    prior = np.full((2, 16, 27), 0.01 / 26)
    prior[0, :, 3] = prior[1, :, 5] = 0.99
    indices = np.full((1, 16), 5)
    data = bits.encode(indices, prior)
    assert len(data) == 4
    assert np.array_equal(bits.decode(data, 1, prior), indices)
    assert bits.decode(bits.encode(indices[:0], prior), 0, prior).shape == (0, 16)


def test_damaged_codes_name_the_cure():
    pytest.importorskip("constriction")
    prior = some_prior()
    data = bits.encode(drawn(prior, np.zeros(50, int)), prior)
    with pytest.raises(DataError, match="Cure"):
        bits.decode(data[:-1], 50, prior)


def test_best_accuracy_and_entropy_by_hand():
    labels, known = np.array([0, 0, 1, 1, 1, 0]), np.array([0, 0, 0, 1, 1, 2])
    assert bits.best_accuracy(labels, known) == pytest.approx(5 / 6)
    assert bits.best_accuracy(labels, known * 0) == 0.5
    assert bits.entropy_left(labels, known) == pytest.approx(0.5 * 0.9183, abs=1e-4)
    assert bits.entropy_left(labels, labels) == 0


def test_no_table_from_payloads_beats_best_accuracy_nor_any_image_best_mse():
    rng = np.random.default_rng(3)
    known, labels = rng.integers(0, 5, 60), rng.integers(0, 3, 60)
    images = rng.integers(0, 256, (60, 4, 4, 3)).astype(np.uint8)
    accuracy, mse = bits.best_accuracy(labels, known), bits.best_mse(images, known)
    for _ in range(50):
        table, pictures = rng.integers(0, 3, 5), rng.random((5, 4, 4, 3))
        assert np.mean(table[known] == labels) <= accuracy
        assert np.mean((pictures[known] - images / 255) ** 2) >= mse
    assert bits.best_mse(images, np.arange(60)) == 0
    assert bits.best_mse(images, known * 0) == pytest.approx(((images / 255 - (images / 255).mean(axis=0)) ** 2).mean())


def test_fano_by_hand():
    assert bits.fano_accuracy(math.log2(10), 10) == pytest.approx(0.1, abs=1e-6)  # nothing is known
    assert bits.fano_accuracy(0, 10) == bits.fano_accuracy(-3, 2) == 1  # everything may be
    assert bits.fano_accuracy(0.5, 2) == pytest.approx(0.89, abs=1e-3)  # h(0.11) = 0.5


@pytest.mark.parametrize("seed", range(5))
def test_fano_and_the_gain_hold_for_the_best_guess(seed):
    """On random joint distributions of secret, answer and payload, whose best guess is known."""
    rng = np.random.default_rng(seed)
    joint = rng.dirichlet(np.full(24, 0.3)).reshape(3, 8)  # secret, payload; the answer is payload // 4
    answers = np.stack([joint[:, :4].sum(axis=1), joint[:, 4:].sum(axis=1)], axis=1)

    def entropy(table):
        return -(table[table > 0] * np.log2(table[table > 0])).sum()

    left = entropy(joint) - entropy(joint.sum(axis=0))
    told = entropy(answers) - entropy(answers.sum(axis=0)) - left
    best, without = joint.max(axis=0).sum(), answers.max(axis=0).sum()
    assert best <= bits.fano_accuracy(left, 3) + 1e-9
    assert best <= without + bits.most_gain(told) + 1e-9
    assert bits.most_gain(0) == 0
    assert bits.most_gain(50) == 1


def exact_information(inputs, channel):
    """I(Z; W) in bits for a distribution of inputs and P(w | z)."""
    both = inputs[:, None] * channel
    given = np.log2(np.divide(channel, both.sum(axis=0), out=np.ones_like(both), where=both > 0))
    return float((both * given).sum())


def test_what_flips_let_through_is_a_capacity():
    """No distribution of what is painted tells more than the capacity; the even one tells just that."""
    alphabet, share = 4, 0.3
    channel = np.full((alphabet, alphabet), share / alphabet) + np.eye(alphabet) * (1 - share)
    most = bits.capacity_bits(1, alphabet, share)
    assert exact_information(np.full(alphabet, 1 / alphabet), channel) == pytest.approx(most)
    rng = np.random.default_rng(0)
    assert max(exact_information(rng.dirichlet(np.ones(alphabet)), channel) for _ in range(50)) < most
    assert np.log(channel.max() / channel.min()) == pytest.approx(bits.epsilon(1, alphabet, share))


def test_many_payloads_of_one_person_tell_at_most_as_many_capacities():
    """A bit about a person, shown by every payload: exactly, for one to six of them with flips."""
    share = 0.5
    stays = 1 - share / 2
    for m in range(1, 7):
        ones = np.array([bin(shown).count("1") for shown in range(2**m)])
        channel = np.stack([stays**same * (1 - stays) ** (m - same) for same in (m - ones, ones)])
        told = exact_information(np.array([0.5, 0.5]), channel)
        assert told <= m * bits.capacity_bits(1, 2, share) + 1e-12
        assert np.log(channel / channel[::-1]).max() <= m * bits.epsilon(1, 2, share) + 1e-9


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6])
@pytest.mark.parametrize("seed", range(5))
def test_bits_beyond_the_answer_to_what_was_flipped_hold(seed, share):
    """All payloads of two cells and three stamps, any images, any answers, any prior; also given a finer answer."""
    rng, alphabet = np.random.default_rng(seed), 3
    cell = np.full((alphabet, alphabet), share / alphabet) + np.eye(alphabet) * (1 - share)
    stamps = np.stack([np.repeat(np.arange(alphabet), alphabet), np.tile(np.arange(alphabet), alphabet)], axis=1)
    images, channel = rng.dirichlet(np.full(5, 0.5)), np.kron(cell, cell)[rng.integers(0, 9, 5)]
    coarse, fine = rng.integers(0, 2, 9), rng.integers(0, 2, 9)
    shown, prior = images @ channel, rng.dirichlet(np.ones(alphabet), (2, 2))
    lengths = bits.code_lengths(stamps, bits.flipped_prior(prior, share), coarse)
    bound = shown @ lengths - bits.noise_bits(2, alphabet, share) + (1 if share else 0)

    def beyond(answers):
        told = np.stack([channel[:, answers == answer].sum(axis=1) for answer in range(4)], axis=1)
        return exact_information(images, channel) - exact_information(images, told)  # the payload gives the answer

    assert beyond(2 * coarse + fine) <= beyond(coarse) + 1e-9
    assert beyond(coarse) <= bound + 1e-9


def test_without_flips_nothing_is_lost_and_with_all_nothing_is_told():
    assert bits.capacity_bits(16, 27, 0.0) == bits.budget_bits(16, 27)
    assert bits.epsilon(16, 27, 0.0) == math.inf
    assert bits.capacity_bits(16, 27, 1 - 1e-9) < 1e-6
    assert bits.capacity_bits(16, 27, 0.5) == pytest.approx(23.883, abs=0.001)
    prior = some_prior()
    assert bits.flipped_prior(prior, 0.0) == pytest.approx(prior)
