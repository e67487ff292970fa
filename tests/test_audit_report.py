import re
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from audit_pages import lines, make_audit
from dapter.audit_report import write_audit
from dapter.checks import FLAGS
from dapter.errors import RunError, UsageError
from dapter.report import write_report
from dapter.runs import write_npz
from report_pages import Page, assert_sound, make_run

HOSTILE = "</td><script>alert(1)</script><img src=http://evil.example/x onerror=alert(2)>"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def read(run, path):
    return Page(write_audit(run, path / "audit.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit")
    return read(make_audit(path / "run"), path)


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    path = tmp_path_factory.mktemp("several")
    found = [line for lam in (0.5, 0.9) for seed in (0, 1) for line in lines(lam=lam, seed=seed, more=seed / 10)]
    return read(make_audit(path / "run", [*found, *lines("identity", None, None)]), path)


def test_the_page_is_sound_and_asks_nothing_of_the_network(page, several):
    for each in (page, several):
        assert_sound(each)
        policy = next(tag for tag in each.all("meta") if tag.get("http-equiv") == "Content-Security-Policy")
        assert "default-src 'none'" in policy["content"]


def test_the_four_questions_are_answered_before_anything_else(page):
    first = page.text[: page.text.index("The worst leak of each secret")]
    for part in (
        "How much accuracy is left?", "92.0 → 90.0 %", "2.0 points lost", "n = 2,000",
        "What is the worst leak?", "0.76 of class", "by recognition cnn residue", "95 % interval 0.74 to 0.78",
        "The answer alone gives 22.0 %, the original 72.0 %", "measured",
        "How sure are we?", "A stronger attack may find more", "One training of the converter",
        "What does a restored image look like?", "SSIM 0.780 (0.770 to 0.790)", "answer alone gives has 0.200",
    ):  # fmt: skip
        assert part in first


def test_flags_are_said_in_words_with_their_cure_and_whom_they_concern(page):
    for flag in ("still_improving", "unaware"):
        means, _, cure = FLAGS[flag].partition(" Cure: ")
        assert means.rstrip(".") in page.text
        assert f"Cure: {cure}" in page.text
        assert flag in page.text
    assert "3 of 7 attacks, among them the worst on class" in page.text
    assert FLAGS["no_room"].partition(" Cure: ")[0] not in page.text


def test_pictures_and_their_words(page):
    shown = [each["alt"] for each in page.all("img") if each["alt"].startswith("Test image 1")]
    assert [each.partition(", ")[2] for each in shown[:4]] == ["original", "payload", "amplified", "restored"]
    assert "only grey" in page.text
    assert any(each["alt"].startswith("balanced accuracy of class: 22.0 from the answer") for each in page.all("img"))


def test_everything_below(page):
    for part in (
        "class: every attack", "recognition cnn raw 10 % of labels", "The image itself: every attack",
        "Secrets that the true answer gives away", "20.0 [19.0, 21.0] 15.0 [14.0, 16.0]",
        "Is the cloud needed at all?", "93.0 % of the images (92.0 to 94.0, n = 2,000), the service in 92.0 %",
        "the cloud is not needed", "Correlation of its attention", "0.60 [0.59, 0.61]",
        "Which services can still use the payloads?", "Every setting, and the machine", "Test CPU", "ab" * 32,
    ):  # fmt: skip
        assert part in page.text


def test_several_defences_are_compared_before_each_is_shown(several):
    first = several.text[: several.text.index("What is traded for what")]
    assert "3 defences on cifar10" in first
    assert "dapter, λ 0.5 no 2 90.0 (90.0 to 90.0) 2.0 ≥ 0.86 (0.76 to 0.96)" in first
    assert [each["href"] for each in several.all("a")] == ["#defence-1", "#defence-2", "#defence-3"]
    assert "0.76 to 0.96 over 2 trainings" in several.text
    assert sum(each["alt"].startswith("The same, restored from the payload of") for each in several.all("img")) == 3
    assert sum("over the dial" in each["alt"] for each in several.all("img")) == 1


def test_what_was_not_computed_is_said_and_how_to_get_it(tmp_path):
    gone = ("attention_consistency", "necessity_accuracy", "target_accuracy", "agreement", "secret_accuracy_ideal")
    page = read(make_audit(tmp_path / "run", [x for x in lines() if x.measure not in gone], pictures=False), tmp_path)
    assert_sound(page)
    for part in ("pip install 'dapter[saliency]'", "Not checked", "no service answered", "keeps no pictures"):
        assert part in page.text
    assert "Secrets that the true answer gives away" not in page.text


def test_of_who_is_shown_people_are_counted(tmp_path):
    page = read(make_audit(tmp_path / "run", lines(secrets=("identity",), n=500)), tmp_path)
    assert re.search(r"The worst leak: .{1,60}, n = 500 people", page.text)


def test_without_an_attack_on_the_image_there_is_nothing_restored(tmp_path):
    run = make_audit(tmp_path / "run", lines(secrets=("class",)))
    for path in run.path.glob("pictures-*.npz"):
        with np.load(path) as arrays:
            write_npz(path, original=arrays["original"], payload=arrays["payload"])
    page = read(run, tmp_path)
    assert_sound(page)
    assert "No attack restored images in this audit" in page.text


def test_bounds_have_their_grade(tmp_path):
    own = next(line for line in lines() if line.measure == "agreement")
    bound = {"low": None, "high": None, "grade": "guaranteed"}
    page = read(
        make_audit(tmp_path / "run", [*lines(), replace(own, measure="budget_bits", value=48.0, **bound)]), tmp_path
    )
    assert "the most that any payload carries 48.0 bits 2,000 guaranteed" in page.text


def test_a_leak_without_a_scale_has_no_headline(tmp_path):
    found = [replace(x, leak=None, flags=("no_room",)) for x in lines(secrets=("class",)) if x.measure != "leak"]
    page = read(make_audit(tmp_path / "run", found), tmp_path)
    assert_sound(page)
    assert "No leak could be told" in page.text


def test_a_secret_without_a_headline_beside_one_with_it_is_named(tmp_path):
    found = [
        replace(x, leak=None, flags=("no_room",)) if x.secret == "image" else x
        for x in lines()
        if (x.measure, x.secret) != ("leak", "image")
    ]
    page = read(make_audit(tmp_path / "run", found), tmp_path)
    assert "No worst leak of image: attackers of originals found no more" in page.text


def test_hostile_strings_are_only_text(tmp_path):
    found = [replace(line, defence=HOSTILE, target=HOSTILE, source=HOSTILE) for line in lines()]
    page = read(make_audit(tmp_path / "run", found, preset=HOSTILE, attacks=[[HOSTILE, {HOSTILE: HOSTILE}]]), tmp_path)
    assert_sound(page)
    assert "alert(1)" in page.text


def test_a_report_of_an_audit_is_this_page_and_does_not_mix(tmp_path):
    run = make_audit(tmp_path / "run")
    expected = write_audit(run, tmp_path / "a.html").read_bytes()
    assert write_report([run], tmp_path / "b.html").read_bytes() == expected
    with pytest.raises(RunError, match="an audit is reported alone"):
        write_report([make_run(tmp_path / "other"), run], tmp_path / "c.html")


def test_a_folder_that_cannot_be_shown_is_refused(tmp_path):
    run = make_audit(tmp_path / "run")
    next(run.path.glob("pictures-*.npz")).write_bytes(b"PK")
    with pytest.raises(RunError, match=r"pictures-.*Cure"):
        write_audit(run, tmp_path / "a.html")
    with pytest.raises(UsageError, match="nothing was attacked"):
        write_audit(make_audit(tmp_path / "empty", []), tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_hangs_out_of_the_page(tmp_path, width):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'dapter[dev]'")
    found = [line for lam in (0.5, 0.9) for line in lines(lam=lam)]
    path = write_audit(make_audit(tmp_path / "run", found), tmp_path / "audit.html")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with api.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": width, "height": 800})
        heard, asked = [], []
        page.on("console", lambda message: heard.append(message.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        wide = page.locator(".scroll").first
        page.keyboard.press("Tab")
        assert wide.evaluate("each => document.activeElement === each")
        browser.close()
    assert heard == []
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}


def test_the_page_needs_no_torch(tmp_path):
    run = make_audit(tmp_path / "run")
    code = (
        "import sys; from pathlib import Path; from dapter.report import write_report; from dapter.runs import Run\n"
        f"write_report([Run.load({str(run.path)!r})], Path({str(tmp_path / 'report.html')!r}))\n"
        "assert not {'torch', 'torchmetrics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
