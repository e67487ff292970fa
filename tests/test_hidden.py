"""A benchmark for strangers: what is in it, and what is not."""

import json
import secrets
from dataclasses import replace
from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pytest

from dapter import hidden
from dapter.data import Split
from dapter.defences import Task, build_defence
from dapter.errors import UsageError
from dapter.features import unpack
from dapter.hidden import FOLDER, KEY, export_benchmark
from dapter.imagefile import open_image
from dapter.subjects import DRAWS, Subject, Tool
from planted import make_secret_data

COUNTS = (60, 20, 40)


@pytest.fixture(scope="module")
def secret_data():
    return make_secret_data(counts=COUNTS)


def subject(data, service, defence="identity"):
    defence = build_defence(defence, {"width": 4} if defence == "split_inference" else {})
    return Subject(defence.setup(0, service, Task.of(data)), service, data)


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_what_was_sent_and_what_is_asked(secret_data, service, tmp_path, monkeypatch):
    monkeypatch.setattr(hidden, "SHARD_ROWS", 25)
    key = export_benchmark(subject(secret_data, service), tmp_path / "out", tmp_path / "runs")
    made = files(tmp_path / "out")
    shards = [f"{name}-{n:05}.parquet" for name, count in (("test", 2), ("train", 3), ("val", 1)) for n in range(count)]
    assert sorted(made) == sorted([*shards, "README.md", "benchmark.json"])
    about, readme = json.loads(made["benchmark.json"]), made["README.md"].decode()
    assert about["rows"] == dict(zip(("train", "val", "test"), COUNTS, strict=True))
    for said in ("16 x 16 x 3", "`shape:0`, `shape:1`", "0 = square, 1 = cross", "logits of red, blue", "none"):
        assert said in readme
    table = pq.read_table(BytesIO(made["train-00001.parquet"])).to_pydict()
    assert list(table) == ["id", "payload", "answer:colour", "secret:shape"]
    assert table["id"][0] == f"{about['benchmark']}-train-0000025"
    test = pq.read_table(BytesIO(made["test-00000.parquet"])).to_pydict()
    assert list(test) == ["id", "payload", "answer:colour"]
    assert key.path.is_relative_to(tmp_path / "runs" / FOLDER)
    images = secret_data.splits["train"].images
    labels = {
        image.tobytes(): label for image, label in zip(images, secret_data.splits["train"].labels["shape"], strict=True)
    }
    for payload, label in zip(table["payload"], table["secret:shape"], strict=True):
        assert labels[open_image(payload).tobytes()] == label  # each label with its own payload


def test_nothing_that_is_written_depends_on_the_test_secrets(secret_data, service, tmp_path, monkeypatch):
    """Two data sets that differ in the test secrets alone give the same bytes; and the keys differ."""
    test = secret_data.splits["test"]
    labels = {"colour": test.labels["colour"], "shape": 1 - test.labels["shape"]}
    other = replace(secret_data, splits={**secret_data.splits, "test": Split(test.images, labels)}, digest="f" * 64)
    monkeypatch.setattr(secrets, "token_hex", lambda n: "ab" * n)
    monkeypatch.setattr(secrets, "randbits", lambda n: 7)
    keys = []
    for name, data in (("one", secret_data), ("two", other)):
        keys.append(export_benchmark(subject(data, service), tmp_path / name, tmp_path / f"runs-{name}"))
    assert files(tmp_path / "one") == files(tmp_path / "two")
    with np.load(keys[0].path / KEY) as first, np.load(keys[1].path / KEY) as second:
        assert np.array_equal(first["test:shape"], 1 - second["test:shape"])
        assert np.array_equal(first["train:shape"], second["train:shape"])


def test_the_test_secrets_and_the_originals_are_in_no_column(secret_data, service, tmp_path):
    key = export_benchmark(subject(secret_data, service, "split_inference"), tmp_path / "out", tmp_path / "runs")
    with np.load(key.path / KEY) as kept:
        hiding = kept["test:shape"].tolist()
    assert 0 < sum(hiding) < len(hiding)
    table = pq.read_table(tmp_path / "out" / "test-00000.parquet").to_pydict()
    assert set(table) == {"id", "payload", "answer:colour"}
    for values in table.values():
        assert hiding not in (values, [str(value) for value in values])
    made = b"".join(
        b"".join(pq.read_table(path)["payload"].to_pylist()) for path in (tmp_path / "out").glob("*.parquet")
    )
    for split in secret_data.splits.values():
        assert not any(image.tobytes()[:48] in made for image in split.images)


def test_rows_are_in_an_order_that_nobody_can_draw_again(secret_data, service, tmp_path):
    payloads = []
    for name in ("one", "two"):
        export_benchmark(subject(secret_data, service), tmp_path / name, tmp_path / "runs")
        payloads.append(pq.read_table(tmp_path / name / "test-00000.parquet")["payload"].to_pylist())
    assert sorted(payloads[0]) == sorted(payloads[1])
    assert payloads[0] != payloads[1]


def test_of_random_payloads_strangers_see_as_many_draws_as_the_audit_s_attackers(secret_data, service, tmp_path):
    export_benchmark(subject(secret_data, service, "gaussian_noise"), tmp_path / "out", tmp_path / "runs")
    about = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert about["rows"] == {"train": DRAWS * COUNTS[0], "val": COUNTS[1], "test": COUNTS[2]}
    rows = [
        row for path in sorted((tmp_path / "out").glob("train-*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    seen = {each: [row for row in rows if row["id"] == each] for each in {row["id"] for row in rows}}
    assert len(seen) == COUNTS[0]
    for same in seen.values():
        assert len({row["payload"] for row in same}) == DRAWS
        assert len({row["secret:shape"] for row in same}) == 1


def test_features_are_packed_as_they_go_over_the_wire(secret_data, service, tmp_path):
    given = subject(secret_data, service, "split_inference")
    export_benchmark(given, tmp_path / "out", tmp_path / "runs")
    about = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    sent = given.observe("test").payloads
    assert about["payload"] == {"kind": "features", "shape": list(sent.shape[1:])}
    found = [unpack(each) for each in pq.read_table(tmp_path / "out" / "test-00000.parquet")["payload"].to_pylist()]
    assert {each.tobytes() for each in found} == {each.tobytes() for each in sent}
    assert "one tensor, `payload`, float16" in (tmp_path / "out" / "README.md").read_text()


def test_what_cannot_be_handed_out_is_refused(secret_data, service, data, tmp_path):
    tool = Tool("tool", {name: split.images for name, split in secret_data.splits.items()})
    for wrong in (subject(data, service), Subject(tool, service, secret_data)):
        with pytest.raises(UsageError, match="secrets to hide"):
            export_benchmark(wrong, tmp_path / "out", tmp_path / "runs")
    good = subject(secret_data, service)
    who = Subject(good.defence, service, replace(secret_data, secrets=("shape", "identity")))
    with pytest.raises(UsageError, match="nobody can guess identity"):
        export_benchmark(who, tmp_path / "out", tmp_path / "runs")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UsageError, match="in use"):
        export_benchmark(good, tmp_path / "full", tmp_path / "runs")
    with pytest.raises(UsageError, match="would hold the secrets"):
        export_benchmark(good, tmp_path / "all", tmp_path / "all" / "runs")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "all").exists()
