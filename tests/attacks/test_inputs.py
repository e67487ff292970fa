import numpy as np
import pytest
import torch

from dapter.attacks._inputs import INPUTS, Standardise, StandardiseAnswer, answer_values
from dapter.batches import to_float
from dapter.errors import UsageError
from dapter.types import Answer


@pytest.fixture
def faint():
    """Payloads that are grey but for one level."""
    return (128 + np.random.default_rng(0).integers(0, 2, (50, 8, 8, 3))).astype(np.uint8)


def prepare(inputs, payloads):
    net = Standardise(inputs, payloads)
    found = net(to_float(payloads, torch.device("cpu")))
    assert found.shape == (len(payloads), net.channels, *payloads.shape[1:3])
    return found


def test_faint_residue_is_amplified(faint):
    assert prepare("raw", faint).std() < 0.01
    assert prepare("residue", faint).std() == pytest.approx(1, abs=0.01)
    assert prepare("whitened", faint).std() == pytest.approx(1, abs=0.01)


def test_bits_are_exact(faint):
    planes = prepare("bits", faint).numpy().transpose(0, 2, 3, 1).reshape(50, 8, 8, 8, 3) > 0
    assert np.array_equal((planes * 2 ** np.arange(8)[:, None]).sum(axis=3), faint)


@pytest.mark.parametrize("inputs", INPUTS)
def test_a_constant_payload_stays_finite(inputs):
    assert prepare(inputs, np.full((4, 8, 8, 3), 128, np.uint8)).isfinite().all()


def test_an_unknown_standardisation_is_refused(faint):
    with pytest.raises(UsageError, match="raw, residue"):
        Standardise("loud", faint)


def test_answers_of_all_targets_are_joined_as_log_probabilities():
    logits = {"b": np.array([[0, 0]], np.float32), "a": np.array([[1e4, 0, 0]], np.float32)}
    values = answer_values(Answer(logits))
    assert values == pytest.approx(np.array([[0, -1e4, -1e4, np.log(0.5), np.log(0.5)]]))
    scale = StandardiseAnswer(Answer(logits))
    assert scale.values == 5
    assert scale(torch.from_numpy(values)).abs().max() == 0
