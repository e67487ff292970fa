import base64
import io
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from dapter.errors import RunError, UsageError
from dapter.report import write_report
from dapter.runs import Run, write_npz
from report_pages import assert_sound, make_run, measurements, read

HOSTILE = "</td><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report")
    return read(make_run(path / "run"), path)


def test_the_page_is_sound_and_asks_nothing_of_the_network(page):
    assert_sound(page)
    policy = next(each for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy["content"]


def test_accuracy_left_comes_with_intervals_n_and_grade(page):
    for part in (
        "92.1 % → 90.4 %",
        "1.7 points lost",
        "91.5 to 92.7",
        "89.8 to 91.0",
        "n = 10,000",
        "same for both 94.0 % 93.4 to 94.6",
        "measured",
    ):
        assert part in page.text


def test_the_page_says_what_has_not_been_shown(page):
    assert "No attack has been run on this converter" in page.text
    assert "only an audit can tell" in page.text
    assert "never a measure of privacy" in page.text


def test_entropy_bytes_and_cost_are_there(page):
    for part in ("12.20 → 0.61 bits", "0.42 nats", "PNG 3,280 164 20.0", "38.4 kB", "1,420.0 million", "103.0 ms"):
        assert part in page.text
    assert "Test CPU" in page.text


def test_every_setting_is_there(page):
    for part in ("lam 0.9", "epochs 4", "bfloat16 yes", "seed 0", "start none", "python 3.11.7", "5d95" * 16):
        assert part in page.text
    assert "beda" * 16 in page.text
    assert "0.1.0+g1234567" in page.text


def test_pictures_are_originals_payloads_and_their_amplified_residue(page):
    shown = [each for each in page.all("img") if each["alt"].startswith("Test image")]
    assert len(shown) == 6
    assert "amplified 127 times" in shown[2]["alt"]
    assert "\N{MULTIPLICATION SIGN} 127" in page.text
    assert "only grey" in page.text
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[2]["src"].split(",")[1]))))
    assert set(np.unique(pixels)) == {128, 255}


def test_training_curves_say_in_words_what_they_show(page):
    shown = [each["alt"] for each in page.all("img") if each["alt"].startswith("Training curve")]
    assert shown[0].startswith("Training curve: loss in training from 1 to 0.0526 and on validation from 0.1 to 0.1")
    assert len(shown) == 2


def test_the_same_run_gives_the_same_bytes(tmp_path):
    run = make_run(tmp_path / "run")
    first = write_report([run], tmp_path / "a.html").read_bytes()
    assert write_report([run], tmp_path / "deep" / "b.html").read_bytes() == first


def test_hostile_strings_are_only_text(tmp_path):
    run = make_run(
        tmp_path / "run",
        [replace(entry, target=HOSTILE) for entry in measurements()],
        name=HOSTILE,
        settings={HOSTILE: HOSTILE},
        preset=HOSTILE,
        data={"name": HOSTILE, "targets": [HOSTILE]},
    )
    page = read([run, run], tmp_path)
    assert_sound(page)
    assert "alert(1)" in page.text


def test_a_run_that_was_not_measured_says_so(tmp_path):
    page = read(make_run(tmp_path / "run", found=[], curve=False, pictures=False), tmp_path)
    assert_sound(page)
    assert "Nothing has been measured on this converter" in page.text
    assert "keeps no pictures" in page.text
    assert "keeps no training curve" in page.text


def test_data_without_labels_shows_agreement_only(tmp_path):
    page = read(make_run(tmp_path / "run", measurements(labelled=False)), tmp_path)
    assert "94.0 % of the answers stay the same" in page.text
    assert "accuracy cannot be measured" in page.text
    assert "points lost" not in page.text


@pytest.mark.parametrize("target", ["Male", "gender"])
def test_a_label_that_guesses_at_gender_is_called_a_guess(tmp_path, target, page):
    shown = read(make_run(tmp_path / "run", measurements(target=target)), tmp_path)
    assert f"The label {target} is an annotator's guess at appearance" in shown.text
    assert "guess at appearance" not in page.text


def test_each_target_has_its_own_answer(tmp_path):
    found = measurements("Smiling") + measurements("Male")[:3]
    page = read(make_run(tmp_path / "run", found), tmp_path)
    assert "Accuracy left: Smiling" in page.text
    assert "Accuracy left: Male" in page.text
    assert page.text.count("guess at appearance") == 1


def test_figures_of_attacks_flags_and_reports_change_the_page(tmp_path):
    found = measurements()
    attack = replace(
        found[0], measure="secret_accuracy", attack="recognition", secret="class", flags=("weak",), reported=0.3
    )
    page = read(make_run(tmp_path / "run", [*found, attack]), tmp_path)
    assert "No attack has been run" not in page.text
    assert "accuracy of class by recognition" in page.text
    assert "weak" in page.text
    assert "paper reports" in page.text


def test_accuracy_gained_is_not_called_lost(tmp_path):
    gained = [replace(each, value=0.95) if each.measure == "target_accuracy" else each for each in measurements()]
    assert "2.9 points gained" in read(make_run(tmp_path / "run", gained), tmp_path).text


def test_several_runs_are_compared_before_each_is_shown(tmp_path):
    runs = [
        make_run(tmp_path / f"run-{lam}", measurements("Male", lam=lam), settings={"lam": lam}) for lam in (0.5, 0.9)
    ]
    page = read(runs, tmp_path)
    assert_sound(page)
    assert page.text.index("2 converters compared") < page.text.index("Side by side") < page.text.index("Training")
    assert any(each["alt"].startswith("Accuracy, image entropy and eta over λ") for each in page.all("img"))
    assert [each["href"] for each in page.all("a")] == ["#run-1", "#run-2"]
    assert "dapter on cifar10, λ 0.5, seed 0" in page.text
    assert "guess at appearance" in page.text[: page.text.index("The trade-off")]
    assert "dapter no cifar10 Male 0.5 0 92.1 [91.5, 92.7] 90.4 [89.8, 91.0] 1.7" in page.text


def test_runs_of_one_lambda_have_no_tradeoff_figure(tmp_path):
    runs = [make_run(tmp_path / str(seed), measurements(seed=seed), seed=seed) for seed in (0, 1)]
    page = read(runs, tmp_path)
    assert_sound(page)
    assert "The trade-off" not in page.text


def test_several_runs_that_were_not_measured(tmp_path):
    page = read([make_run(tmp_path / name, found=[]) for name in "ab"], tmp_path)
    assert_sound(page)
    assert "Nothing has been measured on these converters" in page.text


def test_no_runs_no_report(tmp_path):
    with pytest.raises(UsageError, match="run folder"):
        write_report([], tmp_path / "report.html")


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="no run folder"):
        write_report([Run(tmp_path / "nothing")], tmp_path / "report.html")


def test_an_unfinished_run_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "done").unlink()
    with pytest.raises(RunError, match="not finished"):
        write_report([run], tmp_path / "report.html")


def test_a_run_of_another_kind_is_refused(tmp_path):
    with pytest.raises(RunError, match="holds a service"):
        write_report([make_run(tmp_path / "run", kind="service")], tmp_path / "report.html")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("results.jsonl", b"{"),
        ("results.jsonl", b"{}\n"),
        ("curve.jsonl", b"\xff"),
        ("pictures.npz", b""),
        ("pictures.npz", b"PK\x03\x04 damaged"),
        ("manifest.json", b"{"),
    ],
)
def test_a_damaged_file_is_named_with_a_cure_and_no_page_is_left(tmp_path, name, content):
    run = make_run(tmp_path / "run")
    (run.path / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name}.*Cure"):
        write_report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("n", [1, 3])
def test_pictures_that_do_not_pair_are_refused(tmp_path, n):
    run = make_run(tmp_path / "run")
    write_npz(
        run.path / "pictures.npz", original=np.zeros((2, 8, 8, 3), np.uint8), payload=np.zeros((n, 8, 8, 3), "u1")
    )
    with pytest.raises(RunError, match=r"pictures\.npz.*differ"):
        write_report([run], tmp_path / "report.html")


def test_a_report_needs_no_torch(tmp_path):
    run = make_run(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from dapter.report import write_report; from dapter.runs import Run\n"
        f"write_report([Run.load({str(run.path)!r})], Path({str(tmp_path / 'report.html')!r}))\n"
        "assert not {'torch', 'torchmetrics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
