import json
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dapter.errors import DataError, UsageError
from dapter.types import FIGURES, Answer, Measurement, Payload, check_images

FIELDS = {
    *("defence", "settings", "data", "target", "secret", "attack", "measure", "value", "low", "high", "n", "floor"),
    *("ceiling", "leak", "seed", "preset", "grade", "flags", "reported", "source", "code", "data_digest"),
    "environment",
}

FULL = Measurement(
    defence="dapter",
    settings={"lam": 0.9, "image_size": [64, 64]},
    data="faces",
    target="Male",
    secret="Smiling",
    attack="recognition",
    measure="secret_accuracy",
    value=0.75,
    low=0.7,
    high=0.8,
    n=300,
    floor=0.5,
    ceiling=0.9,
    leak=0.625,
    seed=3,
    preset="tiny",
    grade="estimated",
    flags=("still improving", "é\u2028"),
    reported=0.5,
    source="dapter attack",
    code="0.1.0+gabc",
    data_digest="0f",
    environment={"threads": 2},
)


def images(*shape, dtype=np.uint8):
    return np.zeros(shape, dtype)


def test_images_are_checked():
    good = images(2, 5, 7, 3)
    assert check_images(good) is good
    assert check_images(images(0, 5, 7, 3)).shape == (0, 5, 7, 3)


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [
        (images(2, 5, 7, 3, dtype=np.float32), "scale to 0..255"),
        ([[1]], "scale to 0..255"),
        (None, "scale to 0..255"),
        (images(5, 7, 3), "channels last"),
        (images(2, 3, 5, 7), "channels last"),
        (images(2, 5, 7, 4), "channels last"),
    ],
)
def test_other_images_are_refused_with_a_cure(wrong, cure):
    with pytest.raises(UsageError, match=cure):
        check_images(wrong)
    with pytest.raises(UsageError, match=cure):
        Payload(wrong)


def test_values_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Payload(images(1, 1, 1, 3)).pixels = images(1, 1, 1, 3)
    with pytest.raises(FrozenInstanceError):
        FULL.value = 1.0


def test_answer_gives_the_likeliest_class_of_each_target():
    found = Answer({"a": np.array([[0.1, 0.9], [2.0, 1.0]]), "b": np.array([[3.0], [4.0]])}).labels()
    assert {name: labels.tolist() for name, labels in found.items()} == {"a": [1, 0], "b": [0, 0]}


def test_a_measurement_has_exactly_the_fields_that_machines_read():
    assert set(json.loads(FULL.to_json())) == FIELDS
    least = Measurement(defence="dapter", data="faces", target="Male", measure="ssim", value=None)
    found = json.loads(least.to_json())
    assert set(found) == FIELDS
    assert found["attack"] is None
    assert found["flags"] == []


def test_a_measurement_survives_json():
    line = FULL.to_json()
    assert len(line.splitlines()) == 1
    assert Measurement.from_json(line) == FULL
    assert Measurement.from_json(line).to_json() == line
    assert Measurement.from_record(FULL.record()) == FULL


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False), st.text(), st.lists(st.text()))
def test_any_figure_and_text_survives_json(value, text, flags):
    entry = replace(FULL, value=value, source=text, flags=tuple(flags))
    assert Measurement.from_json(entry.to_json()) == entry


def changed(**changes):
    return json.dumps({**FULL.record(), **changes})


def test_lines_that_are_no_measurement_are_refused():
    without = {name: value for name, value in FULL.record().items() if name != "grade"}
    for line, message in {
        "{": "not JSON",
        "[]": "list",
        json.dumps(without): "grade",
        changed(extra=1): "extra",
        changed(flags=None): "cannot be right",
        changed(grade="certain"): "certain",
        changed(value=float("nan")): "nan",
        changed(value="0.5"): "cannot be right",
    }.items():
        with pytest.raises(DataError, match=message):
            Measurement.from_json(line)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("figure", [float("nan"), float("inf"), float("-inf")])
def test_figures_are_finite(name, figure):
    with pytest.raises(UsageError, match=name):
        replace(FULL, **{name: figure})


@pytest.mark.parametrize("change", [{"grade": "certain"}, {"preset": "huge"}])
def test_grades_and_presets_are_known_ones(change):
    with pytest.raises(UsageError, match="none of"):
        replace(FULL, **change)


def test_light_parts_do_not_import_torch():
    light = "dapter, dapter.types, dapter.errors, dapter.imagefile, dapter.data, dapter.runs, dapter.convert"
    code = f"import sys, {light}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
