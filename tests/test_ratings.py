import numpy as np
import pytest

from dapter.errors import CheckFailed, DataError, UsageError
from dapter.ratings import LEFT_OUT, fleiss_kappa, score_study
from dapter.study import CANNOT_TELL
from dapter.types import Measurement
from study_pages import CLASSES, make, read_key, write_answers


def right(row, _):
    return row["label"]


def wrong_on_payloads(row, _):
    return row["label"] if row["kind"] == "gold" else CLASSES[CLASSES.index(row["label"]) - 1]


def by_measure(found):
    return {entry.measure: entry for entry in found if not entry.measure.startswith("rater_")}


def test_score_of_a_rater_who_is_always_right(tmp_path):
    page = make(tmp_path)
    found = score_study([write_answers(page, "a.csv", right)], page.with_name("key.csv"), source="here")
    measured = by_measure(found)
    accuracy = measured["secret_accuracy"]
    assert (accuracy.value, accuracy.n, accuracy.ceiling, accuracy.attack) == (1.0, 8, 1.0, "visual")
    assert accuracy.low == pytest.approx(0.6756, abs=1e-4)  # Wilson, 8 of 8
    assert accuracy.high == 1.0
    assert (accuracy.defence, accuracy.secret, accuracy.settings, accuracy.source) == (
        "dapter",
        "shape",
        {"lam": 0.9},
        "here",
    )
    assert measured["fleiss_kappa"].value is None
    assert [Measurement.from_json(entry.to_json()) for entry in found] == found


def test_score_of_several_raters(tmp_path):
    page = make(tmp_path)
    files = [
        write_answers(page, "a.csv", right, "a"),
        write_answers(page, "b.csv", wrong_on_payloads, "b"),
        write_answers(page, "c.csv", lambda row, _: CANNOT_TELL if row["kind"] == "payload" else row["label"], "c"),
        write_answers(page, "d.csv", lambda *_: CANNOT_TELL, "d"),
    ]
    found = score_study(files, page.with_name("key.csv"))
    measured = by_measure(found)
    assert measured["secret_accuracy"].value == pytest.approx(1 / 3)
    assert measured["secret_accuracy"].n == 8  # the images, not the answers
    assert measured["cannot_tell"].value == pytest.approx(1 / 3)
    assert measured["gold_accuracy"].value == 1
    assert (measured["raters"].value, measured["raters_left_out"].value) == (3, 1)
    assert measured["fleiss_kappa"].value < 0
    each = {(entry.settings["rater"], entry.measure): entry for entry in found if entry.measure.startswith("rater_")}
    assert [each[name, "rater_accuracy"].value for name in "abcd"] == [1, 0, 0, 0]
    assert [each[name, "rater_gold_accuracy"].value for name in "abcd"] == [1, 1, 1, 0]
    assert [each[name, "rater_accuracy"].flags for name in "abcd"] == [(), (), (), (LEFT_OUT,)]


def test_unanswered_items_do_not_count(tmp_path):
    page = make(tmp_path)
    rows = list(read_key(page).values())
    first = next(place for place, row in enumerate(rows) if row["kind"] == "payload")
    partly = write_answers(
        page, "a.csv", lambda row, place: row["label"] if row["kind"] == "gold" or place == first else None, "a"
    )
    whole = write_answers(page, "b.csv", right, "b")
    measured = by_measure(score_study([partly, whole], page.with_name("key.csv")))
    assert measured["secret_accuracy"].n == 8
    assert measured["fleiss_kappa"].n == 1
    assert by_measure(score_study([partly], page.with_name("key.csv")))["secret_accuracy"].n == 1


def test_nobody_counts(tmp_path):
    page = make(tmp_path)
    with pytest.raises(CheckFailed, match=r"no rater got 70% of the originals right, the best 0%\. Cure"):
        score_study([write_answers(page, "a.csv", lambda *_: CANNOT_TELL)], page.with_name("key.csv"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"study": "0"}, "answer is to study '0'"),
        ({"rater": ""}, "one file is of one rater"),
        ({"item": "0"}, "'0' is not in the key"),
        ({"kind": "gold"}, "is not in the key"),
        ({"answer": "purple"}, "'purple' is none of"),
        ({"time_ms": "soon"}, "'soon' is no time"),
    ],
)
def test_wrong_answers_name_file_line_and_cure(tmp_path, changes, message):
    page = make(tmp_path)
    path = write_answers(page, "a.csv", right, **changes)
    with pytest.raises(DataError, match=rf"a\.csv, line \d+: .*{message}.*Cure: give the file as the page saved it"):
        score_study([path], page.with_name("key.csv"))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.partition("\n")[0],
        lambda text: text.replace(",", ";"),
        lambda text: text.replace("time_ms", "time"),
        lambda text: text + "1,2\n",
        lambda text: text + '"',
        lambda text: text + text.splitlines()[-1] + "\n",
    ],
    ids=["empty", "header only", "semicolons", "other column", "short row", "open quote", "twice"],
)
def test_damaged_answers(tmp_path, change):
    page = make(tmp_path)
    path = write_answers(page, "a.csv", right)
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=r"a\.csv.*Cure: give the file as the page saved it"):
        score_study([path], page.with_name("key.csv"))


def test_answers_that_cannot_be_read(tmp_path):
    page = make(tmp_path)
    path = tmp_path / "a.csv"
    for content_ in (None, b"\xff\xfe\x00", b"study\x00"):
        if content_:
            path.write_bytes(content_)
        with pytest.raises(DataError, match="Cure"):
            score_study([path], page.with_name("key.csv"))
    with pytest.raises(UsageError, match="Cure: name the CSV files"):
        score_study([], page.with_name("key.csv"))


def test_a_file_with_a_byte_order_mark_is_read(tmp_path):
    page = make(tmp_path)
    path = write_answers(page, "a.csv", right)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert score_study([path], page.with_name("key.csv"))


def test_the_same_rater_twice(tmp_path):
    page = make(tmp_path)
    files = [write_answers(page, name, right) for name in ("a.csv", "b.csv")]
    with pytest.raises(DataError, match=r"rater r1 is there twice\. Cure: keep the later file"):
        score_study(files, page.with_name("key.csv"))


def test_no_gold_picture_is_answered(tmp_path):
    page = make(tmp_path)
    path = write_answers(page, "a.csv", lambda row, _: row["label"] if row["kind"] == "payload" else None)
    with pytest.raises(DataError, match=r"no gold picture is answered\. Cure"):
        score_study([path], page.with_name("key.csv"))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("study.json", lambda text: None),
        ("study.json", lambda text: "{}"),
        ("study.json", lambda text: text.replace('"defence"', '"fence"')),
        ("study.json", lambda text: text.replace("red square", "pink square")),
        ("key.csv", lambda text: None),
        ("key.csv", lambda text: text.replace("gold", "payload")),
        ("key.csv", lambda text: text.replace("label", "truth", 1)),
    ],
)
def test_a_damaged_key(tmp_path, name, change):
    page = make(tmp_path)
    answers, path = write_answers(page, "a.csv", right), page.with_name(name)
    text = change(path.read_text())
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(DataError, match=r"Cure: keep key\.csv and study\.json together"):
        score_study([answers], page.with_name("key.csv"))


def test_kappa_is_that_of_a_published_example():
    """Ten items, fourteen raters, five answers: kappa 0.210 (Wikipedia, "Fleiss' kappa", worked example)."""
    counts = """
    0 0 0 0 14
    0 2 6 4 2
    0 0 3 5 6
    0 3 9 2 0
    2 2 8 1 1
    7 7 0 0 0
    3 2 6 3 0
    2 5 3 2 2
    6 5 2 1 0
    0 2 2 3 7
    """
    table = np.array(counts.split(), int).reshape(10, 5)
    assert fleiss_kappa(table) == pytest.approx(0.20993, abs=1e-5)


def test_kappa_at_its_ends():
    assert fleiss_kappa(np.array([[2, 0], [0, 2]])) == 1
    assert fleiss_kappa(np.array([[1, 1], [1, 1]])) == -1
    assert fleiss_kappa(np.array([[3, 0], [3, 0]])) is None
    for counts in ([[2, 0], [1, 0]], [[1, 0], [0, 1]]):
        with pytest.raises(UsageError, match="Cure"):
            fleiss_kappa(np.array(counts))
