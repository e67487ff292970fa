"""A benchmark for strangers: what a defence sends, to be attacked by anyone; the secrets of its test images stay here.

DISCO (Singh et al., CVPR 2021, abstract) announced such data. Rows are shuffled by the system's entropy and numbered
anew, so that who has the same data set cannot look secrets up by their place; a defence draws its noise anew, too.
Nothing that is written depends on the test secrets. Who has the same images can still compare them with the payloads:
the originals of blurred or noisy CIFAR-10 images were found by correlation alone, nearly all. The README forbids that.
"""

import io
import itertools
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dapter.analysis import report
from dapter.data import IDENTITY, UNKNOWN
from dapter.defences import Defence
from dapter.errors import UsageError, need
from dapter.features import pack
from dapter.imagefile import encode
from dapter.runs import Run, write_atomic, write_npz
from dapter.subjects import Subject, Tool
from dapter.types import Answer, Payload

FORMAT = 1
FOLDER = "hidden"
"""Below the root of the run folders: the keys of benchmarks. They are never handed out."""

KEY = "key.npz"
"""In the folder of a key: the secrets of the test rows in the order of their ids, and those of the training rows."""

ABOUT = "benchmark.json"
SHARD_ROWS, SHARD_BYTES = 5000, 200_000_000
"""Rows of a Parquet file, at most, and about how many bytes of payloads."""


def export_benchmark(subject: Subject, folder: Path, root: Path) -> Run:
    """Write payloads and answers of every split, and secrets of `train` and `val`, as Parquet files.

    Args:
        subject: a defence, trained.
        folder: a new or empty one.
        root: of the run folders; the key is kept below it.

    Returns:
        The folder of the key; `guesses.score_guesses` finds it again.

    Raises:
        UsageError: there are no secrets to read, or identity is one; the folder is in use, or would hold the key.
        MissingExtra: pyarrow is not installed.
    """
    defence, data = subject.defence, subject.data
    if IDENTITY in data.secrets:
        raise UsageError(
            f"nobody can guess {IDENTITY}: test people are in no other split. Cure: leave it out of --secrets"
        )
    if isinstance(defence, Tool) or not data.readable:
        raise UsageError("a benchmark needs a defence, and secrets to hide. Cure: name a run, and --secrets")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is in use. Cure: name a new folder")
    if (root / FOLDER).resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{folder} would hold the secrets of {root / FOLDER}. Cure: a folder apart from the runs")
    need("pyarrow.parquet", "ray")
    token = secrets.token_hex(8)
    orders = {name: _shuffled(len(split)) for name, split in data.splits.items()}
    key = _keep_key(subject, orders, token, root)
    first: Payload | None = None
    for name, order in orders.items():
        known = {} if name == "test" else {secret: data.splits[name].labels[secret][order] for secret in data.readable}
        numbers = itertools.count()
        for _ in range(_draws(subject, name)):
            payload = defence.protect(data.splits[name].images[order])
            answer = defence.tail(payload, subject.service) if subject.service is not None else Answer({})
            size = max(1, min(SHARD_ROWS, SHARD_BYTES // payload.values[0].nbytes))
            for rows in range(0, len(order), size):
                table = _table(payload, answer, known, slice(rows, rows + size), row_ids(token, name, len(order)))
                write_atomic(folder / f"{name}-{next(numbers):05}.parquet", table)
            first = first or Payload(payload.values[:1].copy())
    assert first is not None
    about = _about(subject, defence, first, token)
    write_atomic(folder / "README.md", _readme(about))
    write_atomic(folder / ABOUT, json.dumps(about, indent=2, sort_keys=True) + "\n")
    key.finish()
    return key


def _draws(subject: Subject, split: str) -> int:
    """How often a split is handed out: that of training as often as an audit's attackers see it, with other noise."""
    return subject.seen_as.get("draws", 1) if split == "train" else 1


def row_ids(token: str, split: str, rows: int) -> list[str]:
    """What the rows of a split are called; `token` is of the benchmark."""
    return [f"{token}-{split}-{place:07}" for place in range(rows)]


def column(secret: str, place: int) -> str:
    """The column in which a guess says how likely a secret has its value of that number."""
    return f"{secret}:{place}"


def _shuffled(n: int) -> np.ndarray:
    """The numbers below n in an order that nobody can draw again, int64 (n,)."""
    return np.random.default_rng(secrets.randbits(128)).permutation(n)


def _keep_key(subject: Subject, orders: dict[str, np.ndarray], token: str, root: Path) -> Run:
    """Keep what guesses are scored with."""
    data, line = subject.data, report(subject, {}, measure="", value=None)
    manifest = {
        "kind": "hidden",
        "token": token,
        "classes": {secret: len(data.classes[secret]) for secret in data.readable},
        "rows": len(orders["test"]),
        "line": line.record(),
    }
    run = Run.open(root / FOLDER, f"{subject.record['defence']}-{data.name}-{token}", manifest)
    labels = {
        f"{name}:{secret}": data.splits[name].labels[secret][orders[name]]
        for name in ("train", "test")
        for secret in data.readable
    }
    write_npz(run.path / KEY, **labels)
    return run


def _table(payload: Payload, answer: Answer, known: dict[str, np.ndarray], rows: slice, ids: list[str]) -> bytes:
    """A Parquet file of some rows, with those secrets that are known."""
    arrow, buffer = need("pyarrow", "ray"), io.BytesIO()
    columns: dict[str, Any] = {
        "id": ids[rows],
        "payload": arrow.array(list(_wire(payload, rows)), arrow.binary()),
    }
    for target, logits in answer.logits.items():
        columns[f"answer:{target}"] = arrow.array(logits[rows].tolist(), arrow.list_(arrow.float32()))
    for secret, labels in known.items():
        columns[f"secret:{secret}"] = arrow.array(labels[rows], arrow.int64(), mask=labels[rows] == UNKNOWN)
    need("pyarrow.parquet", "ray").write_table(arrow.table(columns), buffer)
    return buffer.getvalue()


def _wire(payload: Payload, rows: slice) -> Iterator[bytes]:
    """Each payload as it goes over the wire: a PNG file, or packed features."""
    if payload.is_features:
        yield from (pack(each) for each in payload.values[rows])
    else:
        yield from (encode(each, fast=True) for each in payload.pixels[rows])


def _about(subject: Subject, defence: Defence, payload: Payload, token: str) -> dict[str, Any]:
    """What may be known of the benchmark, as JSON values: nothing that follows from the test secrets."""
    data = subject.data
    classes = {name: list(values) for name, values in data.classes.items()}
    return {
        "format": FORMAT,
        "benchmark": token,
        "data": data.name,
        "licence": data.licence,
        "defence": subject.record["defence"],
        "settings": subject.record["settings"],
        "payload": {
            "kind": "features" if payload.is_features else "image",
            "shape": list(payload.values.shape[1:]),
        },
        "targets": {target: classes[target] for target in data.targets},
        "secrets": {secret: classes[secret] for secret in data.readable},
        "rows": {name: len(split) * _draws(subject, name) for name, split in data.splits.items()},
    }


def _readme(about: dict[str, Any]) -> str:
    payload = about["payload"]
    shape = " x ".join(map(str, payload["shape"]))
    form = (
        f"packed features: a safetensors file with one tensor, `payload`, float16 {shape} (channels last)"
        if payload["kind"] == "features"
        else f"an image: a PNG file, 8-bit RGB, {shape}"
    )
    targets = "\n".join(f"- `answer:{name}`: logits of {', '.join(each)}" for name, each in about["targets"].items())
    wanted = "\n".join(f"- `secret:{name}`: {_values(each)}; null: unknown" for name, each in about["secrets"].items())
    columns = "\n".join(
        f"- {', '.join(f'`{column(name, place)}`' for place in range(len(each)))}"
        for name, each in about["secrets"].items()
    )
    return _README.format(
        token=about["benchmark"],
        defence=about["defence"],
        data=about["data"],
        licence=about["licence"],
        form=form,
        targets=targets,
        wanted=wanted,
        columns=columns,
        **about["rows"],
    )


def _values(names: list[str]) -> str:
    return ", ".join(f"{place} = {name}" for place, name in enumerate(names))


_README = """\
# What can you learn from these payloads?

Benchmark `{token}`. A device sent these payloads to a cloud service instead of images of `{data}`; the defence is
`{defence}`. The service's answer is known to whoever sees the payload. Your attack shall tell the secrets of the test
payloads. They are not in these files; the originals are not either, unless this defence sends them. `benchmark.json`
says all this to machines.

Not an attack on the defence: to compare the payloads with the test images of a public data set. Such guesses do not
count.

Licence of the images that the payloads were made of: {licence}

## Files

`train-*.parquet` ({train:,} rows), `val-*.parquet` ({val:,}) and `test-*.parquet` ({test:,}); rows are in no order.

- `id`: of the row; where the defence draws noise, there are several rows of each training image, with one `id`
- `payload`: {form}
{targets}

and in `train` and `val` only

{wanted}

## Send back

One CSV or Parquet file with every `id` of `test` once, and for each secret that you guess a column for each of its
values:

{columns}

A column holds how likely that value is: log-probabilities, up to a constant for each row, where the values are as
frequent as in `train`. Finite numbers, no others. Say nothing of a secret by leaving out all of its columns.

Scored are accuracy, balanced accuracy (with the logarithm of each value's frequency in `train` taken off) and, for two
values, AUC, each with its 95 % interval; and the leak: 0 where the answer alone says as much, 1 where the original
does.
"""
