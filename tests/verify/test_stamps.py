"""stamps.json: what is read of it, and what verification finds wrong with it."""

import json
import re

import numpy as np
import pytest

from dapter.errors import DataError
from dapter.stamps import Stamps, read_stamps
from dapter.verify import inspect_release, verify_release
from dapter.verify.limits import STAMPS
from releases.make import keys, make_contents, make_manifest, make_release

ALPHABET = np.arange(4 * 12, dtype=np.uint8).reshape(4, 2, 2, 3)
MANIFEST = {**make_manifest(), "budget_bits": 18.0}
HONEST = Stamps(ALPHABET, 3).to_json((32, 32))
RECORD = json.loads(HONEST)


def changed(**fields):
    return json.dumps({**RECORD, **fields}).encode()


def with_value(value):
    alphabet = ALPHABET.tolist()
    alphabet[0][0][0][1] = value
    return changed(alphabet=alphabet)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return keys(tmp_path_factory.mktemp("keys"))


def found(data, folder, pair, manifest=MANIFEST):
    contents = {**make_contents(manifest), STAMPS: data}
    return inspect_release(make_release(folder, pair[0], manifest=manifest, contents=contents), pair[1]).problems


def test_honest_stamps_pass(pair, tmp_path):
    contents = {**make_contents(MANIFEST), STAMPS: HONEST.encode()}
    made = verify_release(make_release(tmp_path / "made", pair[0], manifest=MANIFEST, contents=contents), pair[1])
    stamps, size = read_stamps(made.read(STAMPS))
    assert np.array_equal(stamps.alphabet, ALPHABET)
    assert (stamps.grid, size) == (3, (32, 32))


@pytest.mark.parametrize(
    "data",
    [
        changed(more=1),
        changed(format="dapter-stamps/2"),
        changed(grid=True),
        changed(grid=3.0),
        changed(grid=0),
        changed(grid=17),
        changed(grid=257, size=[4096, 4096]),
        changed(grid="x" * 400_000, alphabet=[[0] * 100_000] * 2),
        changed(size=[32]),
        changed(size=[32, 2**40]),
        changed(size={"32": 1, "33": 2}),
        with_value(True),
        with_value(1.0),
        with_value("1"),
        with_value(256),
        with_value(-1),
        with_value(10**400),
        with_value(None),
        changed(alphabet=ALPHABET[:1].tolist()),
        changed(alphabet=ALPHABET[:, :1].tolist()),
        changed(alphabet={}),
        b"[]",
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_what_no_converter_publishes_is_refused(data):
    with pytest.raises(DataError, match="Cure"):
        read_stamps(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{}", "no published stamps"),
        (HONEST.replace("{", '{"grid": 4, ', 1).encode(), "twice in one object"),
        (HONEST.encode("utf-16"), "not UTF-8"),
        (changed(grid=4), r"up to 32.00 bits, release.json says 18"),
        (changed(alphabet=ALPHABET[:3].tolist()), "release.json says 18"),
        (changed(size=[64, 64]), r"pictures of \[64, 64\]"),
    ],
)
def test_stamps_of_another_converter_fail_verification(data, message, pair, tmp_path):
    (problem,) = found(data, tmp_path / "made", pair)
    assert (problem.rule, problem.path) == ("stamps", STAMPS)
    assert re.search(message, problem.message)


def test_a_hard_budget_without_its_stamps_is_refused(pair, tmp_path):
    made = make_release(tmp_path / "made", pair[0], manifest=MANIFEST, contents=make_contents(MANIFEST))
    (problem,) = inspect_release(made, pair[1]).problems
    assert (problem.rule, problem.path) == ("stamps", STAMPS)
    assert "payloads of at most 18.0 bits" in problem.message


def test_a_converter_without_a_hard_budget_has_no_stamps(pair, tmp_path):
    (problem,) = found(HONEST.encode(), tmp_path / "made", pair, make_manifest())
    assert "release.json says None" in problem.message
