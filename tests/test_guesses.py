"""Guesses of strangers: scored against what was kept, and read strictly."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dapter.attacks.recognition import Recognition
from dapter.audit import audit
from dapter.defences import Task, build_defence
from dapter.errors import DataError
from dapter.guesses import find_scales, score_guesses
from dapter.hidden import KEY, export_benchmark
from dapter.loop import Plan
from dapter.runs import Run
from dapter.subjects import Subject
from planted import make_secret_data

ROWS = 40


@pytest.fixture(scope="module")
def secret_data():
    return make_secret_data(counts=(120, 40, ROWS))


@pytest.fixture(scope="module")
def given(secret_data, service):
    return Subject(build_defence("identity", {}).setup(0, service, Task.of(secret_data)), service, secret_data)


@pytest.fixture
def exported(given, tmp_path):
    """Ids of the test rows, their secrets, and the root of the run folders."""
    key = export_benchmark(given, tmp_path / "out", tmp_path / "runs")
    with np.load(key.path / KEY) as kept:
        truth = kept["test:shape"]
    return pq.read_table(tmp_path / "out" / "test-00000.parquet")["id"].to_pylist(), truth, tmp_path / "runs"


def write(path, rows, header=("id", "shape:0", "shape:1")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def perfect(ids, truth):
    return [[each, float(label == 0), float(label == 1)] for each, label in zip(ids, truth, strict=True)]


def test_they_are_scored_whatever_their_order(exported, tmp_path):
    ids, truth, root = exported
    rows = perfect(ids, truth)
    file = write(tmp_path / "best.csv", [rows[place] for place in np.random.default_rng(0).permutation(ROWS)])
    lines = {line.measure: line for line in score_guesses(file, root)}
    assert set(lines) == {"secret_accuracy", "secret_balanced_accuracy", "secret_auc"}
    for line in lines.values():
        assert line.value == 1
        assert line.low < 1
        assert (line.n, line.attack, line.secret, line.leak) == (ROWS, "guesses", "shape", None)
        assert line.settings["attack"]["file"] == "best.csv"
    worst = write(tmp_path / "worst.csv", [[each, right, wrong] for each, wrong, right in rows])
    assert {line.value for line in score_guesses(worst, root)} == {0.0}


def test_csv_as_spreadsheets_write_it_is_read(exported, tmp_path):
    ids, truth, root = exported
    file = write(tmp_path / "sheet.csv", perfect(ids, truth))
    file.write_text("\ufeff" + file.read_text() + "\r\n", encoding="utf-8")
    assert {line.value for line in score_guesses(file, root)} == {1.0}


def test_parquet_is_read_as_well(exported, tmp_path):
    ids, truth, root = exported
    columns = {"id": ids, "shape:0": 0.5 - truth, "shape:1": np.zeros(ROWS)}
    pq.write_table(pa.table(columns), tmp_path / "good.parquet")
    assert {line.value for line in score_guesses(tmp_path / "good.parquet", root)} == {1.0}


def test_with_an_audit_beside_they_have_a_leak(exported, given, secret_data, service, tmp_path):
    ids, truth, root = exported
    plan = Plan(epochs=4, batch_size=32, bfloat16=False)
    asked = {"attacks": (Recognition("cnn", width=4, plan=plan),), "root": root, "preset": "tiny"}
    audited = audit([given], service, secret_data, **asked)
    scale = next(line for line in audited if line.measure == "secret_auc")
    floor, ceiling = scale.floor, scale.ceiling
    (found,) = [line for line in score_guesses(write(tmp_path / "a.csv", perfect(ids, truth)), root)
                if line.measure == "secret_auc"]  # fmt: skip
    assert (found.floor, found.ceiling) == (floor, ceiling)
    assert found.leak == pytest.approx((1 - floor) / (ceiling - floor))
    more = replace(audited[0], measure="ssim", secret="image", floor=None, ceiling=None)
    others = Run.open(root, "audit", {"kind": "audit", "attacks": ["a", "b"]})  # more attacks, on other secrets
    others.write_results([more])
    others.finish()
    assert find_scales(found, root)["shape", "secret_auc"][:2] == (floor, ceiling)
    wider = Run.open(root, "audit", {"kind": "audit", "attacks": ["a", "b", "c"]})
    wider.write_results([replace(found, floor=0.4, ceiling=0.5, flags=("no_room", "still_improving"))])
    wider.finish()
    assert find_scales(found, root)["shape", "secret_auc"] == (0.4, 0.5, ("no_room",))
    (again,) = [line for line in score_guesses(tmp_path / "a.csv", root) if line.measure == "secret_auc"]
    assert again.flags == ("no_room",)


def test_they_are_kept_as_they_were_scored(exported, tmp_path):
    ids, truth, root = exported
    found = score_guesses(write(tmp_path / "a.csv", perfect(ids, truth)), root)[0]
    (kept,) = root.glob("hidden/*/guesses-*.jsonl")
    assert found.to_json() in [line.strip() for line in kept.read_text().splitlines()]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[1:], "1 missing: .*-test-"),
        (lambda rows: [*rows, rows[3]], "1 twice or more"),
        (lambda rows: [*rows, [rows[0][0][:-7] + "9999999", 0, 0]], "1 not of the test rows"),
        (lambda rows: [["0" * 16 + "-test-0000000", 0, 0], *rows[1:]], "no benchmark whose key"),
        (lambda rows: [[rows[0][0], "", 0], *rows[1:]], "is no number"),
        (lambda rows: [[rows[0][0], "nan", 0], *rows[1:]], "not finite"),
        (lambda rows: [[rows[0][0], "1e308", 0], *rows[1:]], "too large"),
        (lambda rows: [[*rows[0], 3], *rows[1:]], "no table"),
        (lambda rows: [], "no benchmark whose key"),
    ],
)
def test_rows_that_cannot_be_are_refused(change, message, exported, tmp_path):
    ids, truth, root = exported
    with pytest.raises(DataError, match=message):
        score_guesses(write(tmp_path / "bad.csv", change(perfect(ids, truth))), root)


def test_a_list_in_a_cell_is_refused(exported, tmp_path):
    ids, _, root = exported
    table = {"id": ids, **{f"shape:{place}": [[0.1, 0.9]] * ROWS for place in (0, 1)}}
    pq.write_table(pa.table(table), tmp_path / "lists.parquet")
    with pytest.raises(DataError, match="score of shape"):
        score_guesses(tmp_path / "lists.parquet", root)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (("id", "shape:0", "shape:2"), "missing or unknown: shape:1, shape:2"),
        (("id", "a", "b"), "missing or unknown"),
        (("row", "shape:0", "shape:1"), "one named id"),
        (("id", "shape:0", "shape:0"), "each column once"),
    ],
)
def test_columns_that_cannot_be_are_refused(header, message, exported, tmp_path):
    ids, truth, root = exported
    with pytest.raises(DataError, match=message):
        score_guesses(write(tmp_path / "bad.csv", perfect(ids, truth), header), root)
    with pytest.raises(DataError, match="Cure"):
        score_guesses(tmp_path / "nowhere.csv", root)
