import numpy as np
import pytest

from dapter.errors import CheckFailed
from dapter.export._parity import PROBE_SIZES, compare_answers, compare_bytes, probes
from dapter.types import Answer


def pair(off, by, n=10_000):
    """Images of which that many values differ by so much."""
    expected = np.full((1, n // 3 + 1, 1, 3), 100, np.uint8)
    given = expected.copy()
    given.reshape(-1)[:off] += np.uint8(by)
    return expected, given


def test_a_few_values_may_be_off_by_one():
    assert compare_bytes([pair(0, 0), pair(10, 1)], strict=True)["off"] == pytest.approx(10 / 20_004)


@pytest.mark.parametrize(("off", "by"), [(30, 1), (1, 2)])
def test_more_may_not(off, by):
    with pytest.raises(CheckFailed, match=f"of 10002 values, by up to {by}"):
        compare_bytes([pair(off, by)], strict=True)
    assert compare_bytes([pair(off, by)], strict=False)["most_off"] == by


def test_a_difference_does_not_wrap_around():
    black, white = (np.full((1, 1, 1, 3), level, np.uint8) for level in (0, 255))
    assert compare_bytes([(black, white)], strict=False)["most_off"] == 255


def answer(labels):
    return Answer({"colour": np.eye(2, dtype=np.float32)[labels]})


def test_accuracies_are_compared_on_the_same_images():
    truth = np.arange(1000) % 2
    other = truth.copy()
    other[:2] = 1 - other[:2]
    (found,) = compare_answers(answer(truth), answer(other), {"colour": truth}, "int8")
    assert found == {"target": "colour", "accuracy": 0.998, "accuracy_before": 1.0, "changed": 0.002, "n": 1000}
    other[:3] = 1 - truth[:3]
    with pytest.raises(CheckFailed, match=r"99\.70% in int8, of 100\.00%"):
        compare_answers(answer(truth), answer(other), {"colour": truth}, "int8")


def test_without_labels_every_change_counts():
    before = np.zeros(100, int)
    after = before.copy()
    after[0] = 1
    with pytest.raises(CheckFailed, match="n = 100"):
        compare_answers(answer(before), answer(after), {}, "int8")


def test_probes_are_the_same_every_time_and_of_every_kind_of_size():
    first, again = probes(None, (16, 16)), probes(None, (16, 16))
    assert all(np.array_equal(*each) for each in zip(first, again, strict=True))
    assert [batch.shape[1:3] for batch in first] == [(16, 16), *PROBE_SIZES]
    assert [batch.shape for batch in probes((5, 6), (5, 6))] == [(4, 5, 6, 3)]
