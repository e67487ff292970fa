"""stamps.json: what payloads are made of, against the format and against release.json."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dapter.errors import DataError
from dapter.stamps import Stamps, read_stamps
from dapter.verify import strict_json
from dapter.verify.problems import Broken


def stamps_faults(data: bytes, manifest: Mapping[str, Any]) -> list[str]:
    """What is wrong with published stamps."""
    try:
        strict_json.loads(data)
        stamps, size = read_stamps(data)
    except (Broken, DataError) as fault:
        return [str(fault)]
    return list(_contradictions(stamps, size, manifest))


def _contradictions(stamps: Stamps, size: tuple[int, int], manifest: Mapping[str, Any]) -> Iterator[str]:
    most, budget = stamps.grid**2 * math.log2(len(stamps.alphabet)), manifest["budget_bits"]
    if budget is None or not math.isclose(most, budget, rel_tol=1e-9):
        yield f"payloads of these stamps carry up to {most:.2f} bits, release.json says {budget}"
    if list(size) != manifest["image"]["trained"]:
        yield f"pictures of {list(size)}, release.json says {manifest['image']['trained']}"
