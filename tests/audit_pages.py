"""Lines of audits as `audit` gives them, and run folders of audits."""

import json
from dataclasses import replace

import numpy as np

from dapter.audit_report import pictures_name
from dapter.runs import Run, write_npz
from dapter.types import Measurement

READER = {"family": "cnn", "inputs": "residue", "share": 1.0, "plan": {"epochs": 4, "augment": True}}
ATTACKS = {
    "class": (
        ("answer", {"hidden": 8}, "secret_balanced_accuracy", 0.22),
        ("recognition", READER, "secret_balanced_accuracy", 0.6),
        ("recognition", {**READER, "plan": {"epochs": 4, "augment": False}}, "secret_balanced_accuracy", 0.55),
        ("recognition", {**READER, "inputs": "raw", "share": 0.1}, "secret_balanced_accuracy", 0.4),
        ("unaware", {"family": "cnn"}, "secret_balanced_accuracy", 0.2),
    ),
    "image": (
        ("answer_image", {}, "ssim", 0.2),
        ("reconstruction", {"family": "unet", "objective": "ssim"}, "ssim", 0.78),
    ),
    "identity": (
        ("answer_people", {}, "reid_auc", 0.57),
        ("people", {"family": "cnn", "inputs": "residue"}, "reid_auc", 0.78),
    ),
}
ENDS = {"class": (0.22, 0.72), "image": (0.2, 1.0), "identity": (0.57, 0.8)}


def lines(defence="dapter", lam=0.9, seed=0, more=0.0, secrets=("class", "image"), **fields):
    """Every line of one subject.

    Args:
        more: added to every attacker's score but the floor's.
    """
    own = {"image_size": [8, 8], "subject": f"{defence}{seed}{lam}"} | ({} if lam is None else {"lam": lam})
    base = {
        "defence": defence, "data": "cifar10", "target": "animal", "seed": seed, "preset": "cpu", "n": 2000,
        "data_digest": "d", "environment": {"processor": "Test CPU"}, "source": "dapter audit", **fields,
    }  # fmt: skip
    found = []
    for secret in secrets:
        floor, ceiling = ENDS[secret]
        scores = []
        for name, settings, measure, value in ATTACKS[secret]:
            value = value if "answer" in name else value + more
            flags = ("unaware",) if name == "unaware" else ("still_improving",) if "share" in settings else ()
            scores.append(Measurement(
                measure=measure, secret=secret, attack=name, value=value, low=value - 0.01, high=value + 0.01,
                floor=floor, ceiling=ceiling, leak=(value - floor) / (ceiling - floor), flags=flags,
                settings={**own, "attack": {**settings, "seed": 0}}, **base,
            ))  # fmt: skip
        if secret == "class":
            scores += [replace(each, measure="secret_accuracy") for each in scores]
        worst = max(scores, key=lambda each: each.leak)
        leak = {"value": worst.leak, "low": worst.leak - 0.02, "high": worst.leak + 0.02}
        found += [*scores, replace(worst, measure="leak", **leak)]
    figures = {
        "agreement": 0.95, "target_accuracy": 0.9, "target_accuracy_original": 0.92, "target_accuracy_lost": 0.02,
        "entropy_bits": 3.0, "entropy_bits_original": 21.0, "attention_consistency": 0.6,
    }  # fmt: skip
    for measure, value in figures.items():
        found.append(
            Measurement(measure=measure, value=value, low=value - 0.01, high=value + 0.01, settings=own, **base)
        )
    for end, value in (("", 0.2), ("_vanilla", 0.15)):
        ideal = {"value": value, "low": value - 0.01, "high": value + 0.01, "secret": "class"}
        found.append(Measurement(measure=f"secret_accuracy_ideal{end}", **ideal, settings=own, **base))
    needed = {**own, "classifier": {"arch": "resnet18", "width": 2}}
    alone = {"value": 0.93, "low": 0.92, "high": 0.94, "ceiling": 0.92, "flags": ("service_not_needed",)}
    return [*found, Measurement(measure="necessity_accuracy", settings=needed, **alone, **base)]


def make_audit(path, found=None, pictures=True, **manifest):
    """A run folder as `audit` leaves it."""
    found = lines() if found is None else found
    path.mkdir(parents=True)
    record = {
        "kind": "audit",
        "subjects": [{"defence": "dapter", "settings": {"lam": 0.9}, "weights": "ab" * 32, "service": "cd" * 32}],
        "attacks": [["recognition", {"family": "cnn"}]],
        "data": {"name": "cifar10", "targets": ["animal"], "secrets": ["class"], "digest": "be" * 32},
        "seeds": [0],
        "preset": "cpu",
        "code": "0.1.0+g1234567",
        "environment": {"python": "3.11.7", "processor": "Test CPU"},
        **manifest,
    }
    (path / "manifest.json").write_text(json.dumps(record))
    run = Run(path)
    run.write_lines("results.jsonl", [entry.record() for entry in found])
    if pictures:
        rng = np.random.default_rng(0)
        shown = ("original", "restored", "attention_before", "attention_after")
        arrays = {name: rng.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8) for name in shown}
        payload = np.full((2, 8, 8, 3), 128, np.uint8)
        payload[0, ::2] = 129
        for subject in dict.fromkeys(entry.settings.get("subject", "") for entry in found):
            write_npz(path / pictures_name(subject), payload=payload, **arrays)
    run.finish()
    return run
