import base64
import re
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from dapter.errors import UsageError
from dapter.study import CANNOT_TELL, make_study
from report_pages import Page
from study_pages import ABOUT, CLASSES, content, make, pictures, read_key, shown


def test_a_study_is_balanced_and_shows_no_image_twice(tmp_path):
    page = make(tmp_path)
    key = read_key(page)
    for kind, n in (("payload", 8), ("gold", 4)):
        labels = [row["label"] for row in key.values() if row["kind"] == kind]
        counts = [labels.count(name) for name in CLASSES]
        assert sum(counts) == n
        assert max(counts) - min(counts) <= 1
    originals, payloads, labels = pictures()
    rows = []
    for item in content(page)["items"]:
        assert item["kind"] == key[item["id"]]["kind"]
        source = originals if item["kind"] == "gold" else payloads
        (row,) = np.flatnonzero((source == shown(item)).all(axis=(1, 2, 3)))
        assert CLASSES[labels[row]] == key[item["id"]]["label"]
        rows.append(row)
    assert len(set(rows)) == len(rows) == 12


def test_a_seed_gives_the_same_study_and_another_seed_another(tmp_path):
    first, again, other = (make(tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    for name in ("s.html", "key.csv", "study.json"):
        assert first.with_name(name).read_bytes() == again.with_name(name).read_bytes()
    assert not read_key(first).keys() & read_key(other).keys()


def test_kinds_and_classes_are_mixed(tmp_path):
    originals, payloads, _ = pictures(90)
    labels = np.arange(90) % 3
    page = make_study(originals, payloads, labels, CLASSES, "?", tmp_path / "s.html", images=60, gold=15)
    rows = list(read_key(page).values())
    places = [place for place, row in enumerate(rows) if row["kind"] == "gold"]
    assert min(places) < 25 < 50 < max(places)
    runs = sum(before["label"] != after["label"] for before, after in pairwise(rows))
    assert 30 < runs < 70


def test_the_page_does_not_hold_the_key(tmp_path):
    page = make(tmp_path)
    text = page.read_text()
    study = content(page)
    assert set(study) == {"id", "classes", "items", "fields", "cannotTell"}
    for item in study["items"]:
        assert set(item) == {"id", "kind", "picture"}
        assert re.fullmatch(r"[0-9a-f]{8}", item["id"])
        assert text.count(item["id"]) == 1
        png = base64.b64decode(item["picture"].removeprefix("data:image/png;base64,"))
        assert set(re.findall(rb"tEXt|iTXt|zTXt|eXIf|tIME|pHYs|gAMA|iCCP", png)) == set()
    for name in ("key.csv", "study.json", *map(str, ABOUT["settings"]), "dapter_", str(tmp_path), "shapes"):
        assert name not in text.replace("dapter-study-", "")


def test_other_labels_give_other_ids_so_the_seed_does_not_give_the_key(tmp_path):
    _, _, labels = pictures()
    swapped = np.where(labels < 0, labels, (labels + 1) % 3)
    assert not read_key(make(tmp_path / "a")).keys() & read_key(make(tmp_path / "b", labels=swapped)).keys()


def test_the_page_is_well_formed_and_loads_nothing(tmp_path):
    page = Page(make(tmp_path, notice="For our group only. Terms: <none>").read_text())
    assert page.open == []
    assert "For our group only. Terms: <none>" in page.text
    assert "You will see 12 pictures" in page.text
    policy = next(each["content"] for each in page.all("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not [each for each in page.all("script", "img", "link", "a", "form") if each.get("src") or each.get("href")]
    assert [each["value"] for each in page.all("button") if "value" in each] == [*CLASSES, CANNOT_TELL]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": 28}, "images of .* but a balanced study needs 12"),
        ({"classes": ("only",)}, "cannot choose among 1 classes"),
        ({"classes": tuple("abcdefghijk")}, "cannot choose among 11 classes"),
        ({"classes": ("a", "b", "a")}, "a name of its own"),
        ({"classes": ("a", "b", CANNOT_TELL)}, "a name of its own"),
        ({"gold": 2}, "at least one of every class"),
        ({"threshold": 70}, "between 0 and 1"),
        ({"labels": np.zeros(3, int)}, "do not belong together"),
        ({"labels": pictures()[2] + 1}, "outside its 3 classes"),
    ],
)
def test_settings_that_cannot_work_name_the_cure(tmp_path, changes, message):
    with pytest.raises(UsageError, match=rf"{message}.*") as caught:
        make(tmp_path, **changes)
    assert "Cure: " in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_study_is_never_overwritten(tmp_path):
    page = make(tmp_path)
    page.unlink()
    with pytest.raises(UsageError, match=r"key\.csv exists.*Cure: name a new folder"):
        make(tmp_path)


def test_studies_need_no_torch():
    code = "import sys, dapter.study, dapter.ratings, dapter.study_cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
