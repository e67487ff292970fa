import fcntl
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapter import runs
from dapter.errors import RunError
from dapter.runs import DONE, LOCK, MANIFEST, RESULTS, Run, derive_seed, fingerprint, list_runs, write_atomic, write_npz

ASKED = {"defence": "dapter", "settings": {"lam": 0.9, "name": None}, "data": "0f", "seed": 1}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_with_its_folders(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "text", "é\n")
    write_atomic(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "é\n".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    assert names(tmp_path) == ["a", "bytes"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_before_the_rename_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch, step):
    def full(*_):
        raise OSError("disk full")

    write_atomic(tmp_path / "file", "old")
    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (runs.Path, "replace")), full)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("old", [None, "old"])
def test_a_crash_before_the_rename_leaves_nothing_half_written(tmp_path, old):
    """A process that dies at once, with nothing tidied up."""
    target = tmp_path / "file"
    if old is not None:
        target.write_text(old)
    code = (
        "import os, sys; from pathlib import Path; from dapter import runs; os.fsync = lambda _: os._exit(9); "
        "runs.write_atomic(Path(sys.argv[1]), 'new' * 100_000)"
    )
    assert subprocess.run([sys.executable, "-c", code, target], check=False).returncode == 9
    assert (target.read_text() if target.exists() else None) == old
    write_atomic(target, "next")
    assert target.read_text() == "next"


def test_a_crash_while_a_run_is_made_or_finished_leaves_no_run_that_seems_done(tmp_path, monkeypatch):
    run = Run.open(tmp_path, "dapter", ASKED)

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    with pytest.raises(KeyboardInterrupt):
        Run.open(tmp_path, "other", ASKED)
    assert not run.done
    assert list_runs(tmp_path) == [run]


def test_arrays_come_back(tmp_path):
    write_npz(tmp_path / "a.npz", images=np.arange(6, dtype=np.uint8).reshape(2, 3), values=np.array([0.5]))
    with np.load(tmp_path / "a.npz") as found:
        assert sorted(found) == ["images", "values"]
        np.testing.assert_array_equal(found["images"], [[0, 1, 2], [3, 4, 5]])
        assert found["images"].dtype == np.uint8


def test_the_same_manifest_is_the_same_folder(tmp_path):
    first = Run.open(tmp_path, "dapter", ASKED)
    before = (first.path / MANIFEST).read_bytes()
    turned = {name: ASKED[name] for name in reversed(ASKED)}
    assert Run.open(tmp_path, "dapter", turned) == first
    assert (first.path / MANIFEST).read_bytes() == before
    assert first.path.name.startswith("dapter-")


@pytest.mark.parametrize(
    "change",
    [{"seed": 2}, {"data": "0e"}, {"settings": {"lam": 0.8, "name": None}}, {"settings": {"lam": 0.9}}, {"more": 0}],
)
def test_a_changed_setting_is_another_folder(tmp_path, change):
    assert Run.open(tmp_path, "dapter", ASKED) != Run.open(tmp_path, "dapter", {**ASKED, **change})


def test_another_version_of_the_code_is_another_folder(tmp_path, monkeypatch):
    first = Run.open(tmp_path, "dapter", ASKED)
    monkeypatch.setattr(runs, "version", lambda _: "9.9")
    assert Run.open(tmp_path, "dapter", ASKED) != first


def test_the_manifest_says_what_was_asked_and_where_it_ran(tmp_path):
    found = Run.open(tmp_path, "dapter", ASKED).manifest
    assert {name: found[name] for name in ASKED} == ASKED
    assert found["code"] == runs.code_version()
    assert set(found["environment"]) == {"python", "torch", "numpy", "processor", "threads"}


def test_an_unfinished_run_is_not_loaded(tmp_path):
    run = Run.open(tmp_path, "dapter", ASKED)
    with pytest.raises(RunError, match="it will resume"):
        Run.load(run.path)
    run.finish()
    assert Run.load(str(run.path)) == run
    assert Run.open(tmp_path, "dapter", ASKED).done
    assert (run.path / DONE).exists()


def test_a_folder_without_a_run_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(RunError, match="dapter list"):
            Run.load(path)


@pytest.mark.parametrize("content", ["{", ""])
def test_a_damaged_manifest_is_named_with_its_cure(tmp_path, content):
    run = Run.open(tmp_path, "dapter", ASKED)
    (run.path / MANIFEST).write_text(content)
    with pytest.raises(RunError, match="Cure: delete the folder"):
        _ = run.manifest


@pytest.mark.parametrize("content", [b"{", b"{}\n", b"\xff"])
def test_damaged_results_are_named_with_their_cure(tmp_path, content):
    run = Run.open(tmp_path, "dapter", ASKED)
    (run.path / RESULTS).write_bytes(content)
    with pytest.raises(RunError, match=rf"{RESULTS}.*Cure: "):
        run.read_results()


def test_runs_are_listed_finished_or_not(tmp_path):
    assert list_runs(tmp_path / "missing") == []
    first, second = (Run.open(tmp_path / "deep", name, ASKED) for name in ("b", "a"))
    first.finish()
    assert list_runs(tmp_path) == [second, first]


def test_lines_come_back(tmp_path):
    run = Run.open(tmp_path, "dapter", ASKED)
    assert run.read_lines("curve.jsonl") == []
    lines = [{"epoch": 1, "note": "two\nlines\u2028"}, {"epoch": 2, "note": None}]
    run.write_lines("curve.jsonl", lines)
    assert run.read_lines("curve.jsonl") == lines
    text = (run.path / "curve.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == lines


def test_a_locked_folder_makes_others_wait(tmp_path):
    run = Run.open(tmp_path, "dapter", ASKED)
    with run.lock(), (run.path / LOCK).open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (run.path / LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@settings(deadline=None)
@given(st.integers(), st.text(), st.integers())
def test_seeds_differ_by_purpose_and_repeat(seed, name, number):
    found = derive_seed(seed, name, number)
    assert 0 <= found < 2**63
    assert found == derive_seed(seed, name, number)
    assert len({found, derive_seed(seed + 1, name, number), derive_seed(seed, name, number + 1)}) == 3
    assert derive_seed(seed, name) != derive_seed(seed, name + "x")


def test_seeds_do_not_change_between_versions():
    assert derive_seed(0, "splits") == 5964948839032586330  # every data set's splits hang on it


def test_fingerprints_see_content_not_order():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": (1, 2), "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])
    with pytest.raises(ValueError, match="float"):
        fingerprint(float("nan"))


def test_the_code_version_is_known_without_git(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(runs.subprocess, "run", missing)
    assert runs.code_version.__wrapped__() == runs.version("dapter")
