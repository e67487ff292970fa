import json

import pytest
from PIL import Image

from dapter import cli
from dapter.data import load_data
from dapter.defences import build_defence
from dapter.loop import Plan
from dapter.nets.classifiers import build_classifier
from dapter.service.classifier import Classifier, Service
from dapter.train import train
from study_pages import content, read_key, shown, write_answers

DATA = ["--data", "faces", "--n", "400", "--size", "16"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of the defence that sends images as they are."""
    data = load_data("faces", n=400, size=16, target="Smiling")
    service = Service(Classifier(build_classifier("lenet", 2, 3), "Smiling", data.classes["Smiling"]))
    return train(
        build_defence("identity", {}), service, data, Plan(epochs=1), root=tmp_path_factory.mktemp("runs")
    ).path


def make(run_folder, out, *more, data=DATA):
    sizes = ["--images", "10", "--gold", "4"]
    return cli.main(["study", "make", "--run", str(run_folder), *data, "--out", str(out), *sizes, *more])


def test_a_study_is_made_and_scored(run_folder, tmp_path, capsys):
    assert make(run_folder, tmp_path, "--secret", "Eyeglasses", "--answers", "no glasses", "glasses") == 0
    assert "Keep everything else" in capsys.readouterr().out
    page = tmp_path / "study.html"
    assert content(page)["classes"] == ["no glasses", "glasses"]
    assert len(read_key(page)) == 14
    assert "real people" not in page.read_text()
    answers = write_answers(page, "a.csv", lambda row, _: row["label"], "ada")
    assert cli.main(["study", "score", str(answers), "--key", str(tmp_path / "key.csv")]) == 0
    shown = capsys.readouterr().out
    assert "a rater's accuracy on originals, ada: 100.0 %" in shown
    assert "is right once in 2" in shown
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert (lines[0]["measure"], lines[0]["value"], lines[0]["attack"]) == ("secret_accuracy", 1.0, "visual")
    assert (lines[0]["defence"], lines[0]["target"], lines[0]["secret"]) == ("identity", "Smiling", "Eyeglasses")
    assert lines[0]["settings"]["image_size"] == [16, 16]
    assert lines[0]["seed"] == 0
    assert lines[0]["source"].startswith("dapter ")


def test_people_can_be_asked_for_the_target_and_see_it_amplified(run_folder, tmp_path):
    assert make(run_folder, tmp_path, "--secret", "Smiling", "--amplified", "--question", "A smile?") == 0
    assert "<title>A smile?</title>" in (tmp_path / "study.html").read_text()
    assert json.loads((tmp_path / "study.json").read_text())["measurement"]["settings"]["amplified"] is True


def test_a_set_that_may_show_people_says_who_may_see_it(run_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("dapter.study_cli.WITHOUT_PEOPLE", ())
    assert make(run_folder, tmp_path, "--secret", "Smiling") == 0
    for text in (capsys.readouterr().out, (tmp_path / "study.html").read_text()):
        assert "may show real people. This page is only for those whom the experimenter has asked" in text


@pytest.mark.parametrize(
    ("more", "data", "message"),
    [
        (["--secret", "Smiling"], [*DATA[:3], "300", *DATA[4:]], "another data set"),
        (["--secret", "Smiling", "--answers", "yes"], DATA, "an answer for each"),
        (["--secret", "identity"], DATA, "people cannot choose among"),
        (["--secret", "Nose"], DATA, "no label Nose"),
        (["--secret", "Smiling", "--images", "200"], DATA, "a balanced study needs"),
    ],
)
def test_wrong_use_names_the_cure(run_folder, tmp_path, capsys, more, data, message):
    assert make(run_folder, tmp_path / "out", *more, data=data) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def folders(tmp_path):
    """What somebody else's tool made of images, and a table of them."""
    rows = ["file,shape,shade"]
    for number in range(24):
        for folder, times in (("originals", 10), ("protected", 5)):
            path = tmp_path / folder / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (times * number, 0, 0)).save(path)
        rows.append(f"{number}.png,{('disc', 'square')[number % 2]},dark")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    given = {name: tmp_path / name for name in ("originals", "protected")}
    return [*(f"--{name}={path}" for name, path in given.items()), f"--labels={tmp_path / 'labels.csv'}"]


def test_a_study_of_somebody_elses_tool_needs_two_folders_and_a_table(folders, tmp_path, capsys):
    asked = ["study", "make", *folders, "--secret", "shape", "--out", str(tmp_path / "out"), "--images=16", "--gold=8"]
    assert cli.main(asked) == 0
    page = tmp_path / "out" / "study.html"
    assert "real people" in capsys.readouterr().out
    key = read_key(page)
    reds = {}
    for item in content(page)["items"]:
        (red,) = set(shown(item)[..., 0].flatten().tolist())
        reds.setdefault(item["kind"], set()).add(red)
        number = red // {"gold": 10, "payload": 5}[item["kind"]]
        assert key[item["id"]]["label"] == ("disc", "square")[number % 2]
    assert (len(reds["payload"]), len(reds["gold"])) == (16, 8)
    measurement = json.loads((tmp_path / "out" / "study.json").read_text())["measurement"]
    assert (measurement["defence"], measurement["data"], measurement["target"]) == ("tool", "folder", "")
    answers = write_answers(page, "a.csv", lambda row, _: row["label"])
    assert cli.main(["study", "score", str(answers), "--key", str(page.with_name("key.csv"))]) == 0


@pytest.mark.parametrize("more", [[], ["--originals", "a", "--protected", "b"]])
def test_half_of_what_is_needed_is_not_enough(tmp_path, capsys, more):
    assert cli.main(["study", "make", "--secret", "shape", "--out", str(tmp_path / "out"), *more]) == 2
    assert "Cure: --run, or --originals, --protected and --labels" in capsys.readouterr().err


def test_a_run_and_folders_are_one_too_many(run_folder, folders, tmp_path, capsys):
    assert make(run_folder, tmp_path / "out", "--secret", "Smiling", *folders) == 2
    assert "Cure: one of them" in capsys.readouterr().err


def test_damaged_answers_end_with_1(run_folder, tmp_path, capsys):
    make(run_folder, tmp_path, "--secret", "Smiling")
    (tmp_path / "a.csv").write_text("hello")
    assert cli.main(["study", "score", str(tmp_path / "a.csv"), "--key", str(tmp_path / "key.csv")]) == 1
    assert "Cure: give the file as the page saved it" in capsys.readouterr().err
