import base64
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from converting import FATAL, invert
from dapter.convert import WORKER_DIED
from dapter.errors import DataError, UsageError
from dapter.parquet import FAILED, convert_parquet


def photograph(seed, height=8):
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, 9, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", comment=b"SECRETPLACE")
    return buffer.getvalue()


def save(path, images, group=3, struct=False, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": each, "path": "SECRETPATH.jpg"} for each in images] if struct else images
    table = pa.table({"image": images, "thumbnail": [b"SECRETTHUMB"] * len(images), **columns})
    pq.write_table(table.replace_schema_metadata({"note": "SECRETNOTE"}), path, row_group_size=group)


def pixels(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image)


@pytest.mark.parametrize("struct", [False, True])
@pytest.mark.parametrize("workers", [1, 2])
def test_each_row_group_becomes_a_file_without_anything_of_the_original(tmp_path, struct, workers):
    images = [photograph(seed) for seed in range(7)]
    save(tmp_path / "in" / "sub" / "a.parquet", images, struct=struct, label=list(range(7)), name=list("abcdefg"))
    done = convert_parquet(invert, tmp_path / "in", tmp_path / "out", keep=("label", "name"), workers=workers)
    assert [path.name for path in done.written] == [f"a.parquet-{group:05}.parquet" for group in range(3)]
    table = pa.concat_tables([pq.read_table(path) for path in done.written])
    assert table.column_names == ["image", "label", "name"]
    assert table["label"].to_pylist() == list(range(7))
    for original, payload in zip(images, table["image"].to_pylist(), strict=True):
        payload = payload["bytes"] if struct else payload
        np.testing.assert_array_equal(pixels(payload), 255 - pixels(original))
    content = b"".join(path.read_bytes() for path in done.written)
    assert b"SECRET" not in content
    assert not any(image[20:60] in content for image in images)
    again = convert_parquet(invert, tmp_path / "in", tmp_path / "out")
    assert (len(again.written), len(again.kept)) == (0, 3)


def test_rows_that_cannot_be_converted_are_left_out_and_named_again(tmp_path):
    images = [photograph(seed) for seed in range(6)]
    images[1], images[2], images[3:6] = b"no image", None, [b"bad"] * 3
    save(tmp_path / "a.parquet", images, text=["x" * (300 if row == 0 else 3) for row in range(6)])
    done = convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "out")
    assert [path.name for path in done.written] == ["a.parquet-00000.parquet"]
    names = [path.name for path, _ in done.failed]
    assert names == ["a.parquet#0:1", "a.parquet#0:2", "a.parquet#1:0", "a.parquet#1:1", "a.parquet#1:2"]
    again = convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "out")
    assert [path for path, _ in again.failed] == [path for path, _ in done.failed]
    failures = done.write_failures(tmp_path / "out").read_text().splitlines()
    assert all("Cure" in json.loads(line)["reason"] for line in failures)
    long = convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "more", keep=("text",))
    assert "300 characters" in long.failed[0][1]


@pytest.mark.parametrize("struct", [False, True])
def test_no_metadata_of_a_column_comes_along(tmp_path, struct):
    secret = {"thumb": "SECRETTHUMB"}
    inner = [
        pa.field("bytes", pa.binary(), metadata=secret),
        pa.field("path", pa.string(), metadata=secret),
        pa.field("more", pa.struct([pa.field("deep", pa.int8(), metadata=secret)])),
    ]
    schema = pa.schema(
        [
            pa.field("image", pa.struct(inner) if struct else pa.binary(), metadata=secret),
            pa.field("label", pa.int64(), metadata=secret),
        ],
        metadata=secret,
    )
    image = {"bytes": photograph(0), "path": "SECRETPATH.jpg", "more": {"deep": 1}} if struct else photograph(0)
    pq.write_table(pa.Table.from_pylist([{"image": image, "label": 3}], schema=schema), tmp_path / "a.parquet")
    done = convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "out", keep=("label",))
    (path,) = done.written
    assert b"SECRET" not in path.read_bytes()
    found = pq.read_table(path)
    with pq.ParquetFile(path) as opened:
        assert b"SECRET" not in base64.b64decode(opened.metadata.metadata[b"ARROW:schema"])
    assert set(found.schema.metadata) == {FAILED}
    assert (found["label"].type, found["label"].to_pylist()) == (pa.int64(), [3])
    if struct:
        assert found.schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_of_failed_rows_only_the_numbers_are_written(tmp_path):
    save(tmp_path / "a.parquet", [photograph(0), b"no image", photograph(2, height=1)[:200]])
    done = convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "out")
    assert all("0x" not in reason for _, reason in done.failed)
    metadata = pq.read_schema(done.written[0]).metadata
    assert metadata == {FAILED: b"[1, 2]"}


def test_a_damaged_file_stops_no_other(tmp_path):
    for name in ("a", "c"):
        save(tmp_path / "in" / f"{name}.parquet", [photograph(0)])
    (tmp_path / "in" / "b.parquet").write_bytes(b"no table")
    done = convert_parquet(invert, tmp_path / "in", tmp_path / "out")
    assert len(done.written) == 2
    ((path, reason),) = done.failed
    assert path == tmp_path / "in" / "b.parquet"
    assert "not a Parquet file" in reason


def test_a_row_that_kills_its_worker_costs_its_row_group(tmp_path):
    save(tmp_path / "a.parquet", [photograph(seed, FATAL if seed == 4 else 8) for seed in range(9)])
    done = convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "out", workers=2)
    assert len(done.written) == 2
    assert [(path.name, reason) for path, reason in done.failed] == [("a.parquet#1", WORKER_DIED)]


@pytest.mark.parametrize(
    ("column", "keep", "message"),
    [
        ("photo", (), "no column photo"),
        ("label", (), "label holds int64"),
        ("image", ("thumbnail",), "could hold an image"),
        ("image", ("image",), "could hold an image"),
        ("image", ("vector",), "could hold an image"),
    ],
)
def test_columns_that_cannot_work_are_refused(tmp_path, column, keep, message):
    save(tmp_path / "in" / "a.parquet", [photograph(0)], label=[1], vector=[[1.0, 2.0]])
    with pytest.raises(UsageError, match=message):
        convert_parquet(invert, tmp_path / "in", tmp_path / "out", column=column, keep=keep)
    assert not (tmp_path / "out").exists()


def test_what_is_no_parquet_file_is_refused(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match="not a Parquet file"):
        convert_parquet(invert, tmp_path / "a.parquet", tmp_path / "out")
    with pytest.raises(UsageError, match="beside"):
        convert_parquet(invert, tmp_path / "a.parquet", tmp_path)
    with pytest.raises(UsageError, match="no such file"):
        convert_parquet(invert, tmp_path / "b.parquet", tmp_path / "out")
