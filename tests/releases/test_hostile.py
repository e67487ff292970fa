import re

import pytest

from dapter.verify import inspect_release, verify_release
from dapter.verify.problems import Broken
from dapter.verify.signature import load_key, read_signature
from releases.hostile import DISHONEST, TAMPERED
from releases.make import keys, make_contents, make_manifest, make_release


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return keys(tmp_path_factory.mktemp("keys"))


def listed(folder, key):
    return "\n".join(str(problem) for problem in inspect_release(folder, key).problems)


def test_there_are_enough():
    assert len(TAMPERED) + len(DISHONEST) >= 40


@pytest.mark.parametrize("dial", [False, True])
def test_an_honest_release_passes(pair, tmp_path, dial):
    release = verify_release(make_release(tmp_path / "honest", pair[0], dial=dial), pair[1])
    assert release.export() == release.read("exports/converter.onnx")


@pytest.mark.parametrize(("message", "damage"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
def test_tampering_is_caught(message, damage, pair, tmp_path):
    release = make_release(tmp_path / "release", pair[0])
    damage(release, pair[0])
    assert re.search(message, listed(release, pair[1]))


@pytest.mark.parametrize(("message", "damage"), [case[1:] for case in DISHONEST], ids=[case[0] for case in DISHONEST])
def test_a_dishonest_provider_is_caught(message, damage, pair, tmp_path):
    manifest = make_manifest()
    contents = make_contents(manifest)
    damage(manifest, contents)
    release = make_release(tmp_path / "release", pair[0], manifest=manifest, contents=contents)
    found = listed(release, pair[1])
    assert re.search(message, found)
    assert "[signature]" not in found


def test_a_flipped_bit_is_caught_in_every_file(pair, tmp_path):
    release = make_release(tmp_path / "release", pair[0])
    paths = sorted(path for path in release.rglob("*") if path.is_file())
    assert len(paths) > 8
    for path in paths:
        data = path.read_bytes()
        for place in {0, len(data) // 2, len(data) - 1}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            problems = inspect_release(release, pair[1]).problems
            name = path.relative_to(release).as_posix()
            assert any(problem.path == name for problem in problems), (name, place)
        path.write_bytes(data)
    assert not inspect_release(release, pair[1]).problems


def test_a_flipped_bit_is_caught_anywhere_in_the_signature(pair, tmp_path):
    data = (make_release(tmp_path / "release", pair[0]) / "model.sig").read_bytes()
    public = load_key(pair[1])
    assert read_signature(data, public)
    for bit in range(0, len(data) * 8, 11):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Broken):
            read_signature(bytes(flipped), public)
