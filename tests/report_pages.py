"""Run folders as `train` and `evaluate` leave them, and a reader of the pages made from them."""

import json
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np

from dapter.report import write_report
from dapter.runs import Run, write_npz
from dapter.types import Measurement

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: its tags with their attributes, its text, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    def all(self, *names):
        return [attributes for tag, attributes in self.tags if tag in names]


def measurements(target="animal_vehicle", lam=0.9, labelled=True, **fields):
    settings = {"lam": lam, "net": "paper", "image_size": [8, 8]}
    base = {"defence": "dapter", "data": "cifar10", "target": target, "settings": settings, "seed": 0, **fields}
    base["environment"] = {"processor": "Test CPU"}
    rates = {"agreement": 0.94}
    if labelled:
        rates |= {"target_accuracy": 0.904, "target_accuracy_original": 0.921}
    found = [
        Measurement(measure=name, value=value, low=value - 0.006, high=value + 0.006, n=10000, **base)
        for name, value in rates.items()
    ]
    pictures = {"entropy_bits": 0.61, "entropy_nats": 0.42, "eta": 0.012, "payload_bytes_png": 164}
    for suffix, times in (("", 1), ("_original", 20)):
        found += [
            Measurement(measure=name + suffix, value=times * value, low=0.0, high=2.0 * value * times, n=2000, **base)
            for name, value in pictures.items()
        ]
    cost = {"client_bytes": 38400.0, "multiply_adds": 1.42e9, "latency_ms": 103.0}
    return found + [Measurement(measure=name, value=value, **base) for name, value in cost.items()]


def make_run(path, found=None, curve=True, pictures=True, **manifest):
    """A run folder as `train` and `evaluate` leave it."""
    path.mkdir(parents=True)
    record = {
        "kind": "defence",
        "name": "dapter",
        "settings": {"lam": 0.9, "net": "paper"},
        "service": "5d95" * 16,
        "start": None,
        "data": {"name": "cifar10", "targets": ["animal_vehicle"], "secrets": [], "digest": "beda" * 16},
        "plan": {"epochs": 4, "bfloat16": True},
        "seed": 0,
        "preset": "cpu",
        "code": "0.1.0+g1234567",
        "environment": {"python": "3.11.7", "torch": "2.13.0"},
        **manifest,
    }
    (path / "manifest.json").write_text(json.dumps(record))
    run = Run(path)
    run.write_lines("results.jsonl", [entry.record() for entry in (measurements() if found is None else found)])
    if curve:
        points = [{"step": step, "loss": 1 / step, "eta": 0.3 / step} for step in range(1, 20)]
        run.write_lines("curve.jsonl", [*points, {"step": 19, "epoch": 1, "val_loss": 0.1, "val_eta": 0.02}])
    if pictures:
        payload = np.full((2, 8, 8, 3), 128, np.uint8)
        payload[0, ::2] = 129
        original = np.random.default_rng(0).integers(0, 256, payload.shape, dtype=np.uint8)
        write_npz(path / "pictures.npz", original=original, payload=payload)
    run.finish()
    return run


def read(run, path):
    return Page(write_report([run] if isinstance(run, Run) else run, path / "report.html").read_text(encoding="utf-8"))


def assert_sound(page):
    """Closed tags, no outside world, no script, alternatives for all pictures, headings without gaps."""
    assert page.open == []
    assert not page.all("script", "link", "iframe", "object", "base", "form")
    for attributes in page.all("img"):
        assert attributes["src"].startswith("data:image/")
        assert attributes["alt"].strip()
    assert all(attributes["href"].startswith("#") for attributes in page.all("a"))
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    names = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(names) == len(set(names))
    assert all(attributes["href"][1:] in names for attributes in page.all("a"))
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.tags if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
