"""A part of `python tests/fuzz/gateway.py`, the same every time."""

from fuzz.gateway import fuzz


def test_broken_requests_neither_crash_the_gateway_nor_get_an_original_through():
    counts = fuzz(600, seed=1)
    assert counts["with images"] > 100
    assert sum(count for end, count in counts.items() if isinstance(end, int)) > 100
