import numpy as np
import pytest

from dapter.defences import build_defence
from dapter.errors import DataError
from dapter.stamps import Stamps, flip

FLAT = Stamps(np.arange(27 * 3, dtype=np.uint8).reshape(27, 1, 1, 3), 4)


def test_as_many_bytes_as_the_hard_budget():
    assert FLAT.packed_bytes == 10  # 16 cells x log2(27) = 76.1 bits
    assert Stamps(np.zeros((8, 1, 1, 3), np.uint8), 4).packed_bytes == 6


def test_packing_is_undone():
    rng = np.random.default_rng(0)
    for indices in (*rng.integers(0, 27, (20, 16)), np.zeros(16, int), np.full(16, 26)):
        assert np.array_equal(FLAT.unpack(FLAT.pack(indices)), indices)


@pytest.mark.parametrize("content", [b"", bytes(9), bytes(11), b"\xff" * 10])
def test_bytes_that_no_payload_gives_are_refused(content):
    with pytest.raises(DataError, match="10 bytes"):
        FLAT.unpack(content)


@pytest.mark.parametrize("settings", [{}, {"stamps": "learned", "alphabet": 16, "patch": 3}])
def test_the_door_paints_what_the_client_would_have_sent(settings, data, service):
    budget = build_defence("budget", settings).setup(0, service)
    payload = budget.protect(data.splits["test"].images[:8])
    stamps = budget.published()
    arrived = np.stack([stamps.unpack(stamps.pack(each)) for each in budget.indices(payload)])
    assert np.array_equal(stamps.paint(arrived, (16, 16)), payload.pixels)


def test_flips_have_their_probability():
    shown = flip(np.full((20_000, 4), 2), 5, 0.4, seed=0)
    shares = np.bincount(shown.ravel(), minlength=5) / shown.size
    assert shares == pytest.approx([0.08, 0.08, 0.68, 0.08, 0.08], abs=0.01)  # 0.4 / 5; and 0.6 that stay


def test_flips_are_drawn_anew_unless_a_measurement_is_repeated():
    stamps = np.zeros((50, 16), np.int64)
    assert not np.array_equal(flip(stamps, 27, 0.5), flip(stamps, 27, 0.5))
    assert np.array_equal(flip(stamps, 27, 0.5, seed=1), flip(stamps, 27, 0.5, seed=1))
    assert np.array_equal(flip(stamps + 3, 27, 0.0), stamps + 3)
    assert flip(stamps[:0], 27, 0.5).shape == (0, 16)
