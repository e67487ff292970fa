"""The page of a study in a real browser, answered as people do."""

import csv
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from dapter.ratings import score_study
from dapter.study import CANNOT_TELL
from study_pages import CLASSES, content, make, read_key

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install 'dapter[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
KEYS = {name: str(place) for place, name in enumerate(CLASSES, 1)} | {CANNOT_TELL: "c"}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def study(tmp_path):
    return make(tmp_path, notice="For our group only.")


@contextmanager
def opened(browser, study, **options):
    """The page, in a browser that was never used; fails on any error, and on any request but for the page."""
    context = browser.new_context(viewport={"width": 1000, "height": 750}, **options)
    page, errors, requests = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text))
    page.on("request", lambda request: requests.append(request.url))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(study.as_uri())
    yield page
    context.close()
    assert errors == []
    assert {url for url in requests if not url.startswith(("data:", "blob:"))} == {study.as_uri()}


def wait_for(page, number):
    """Until that picture is there and takes answers."""
    page.wait_for_function(
        "number => document.querySelector('#count').textContent.startsWith(number)", arg=f"Picture {number} "
    )
    page.locator("#choices[aria-busy=false]").wait_for()


def saved(page, name="Save my answers"):
    """The rows of the file that a click on the button saves, and its path."""
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    path = Path(download.value.path()).with_name(download.value.suggested_filename)
    download.value.save_as(path)
    with path.open(newline="") as file:
        return list(csv.DictReader(file)), path


def press(page, answers, first=1):
    for number, answer in enumerate(answers, first):
        wait_for(page, number)
        page.keyboard.press(KEYS[answer])


def test_a_study_is_answered_by_keyboard_saved_and_scored(browser, study):
    key = read_key(study)
    order = [key[item["id"]] for item in content(study)["items"]]
    answers = [row["label"] if row["kind"] == "gold" else CLASSES[0] for row in order]
    unsure = next(place for place, row in enumerate(order) if (row["kind"], row["label"]) == ("payload", CLASSES[1]))
    answers[unsure] = CANNOT_TELL
    with opened(browser, study) as page:
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        press(page, answers)
        page.get_by_role("heading", name="Thank you").wait_for()
        rows, path = saved(page)
        assert page.get_by_role("status").inner_text() == f"Saved as {path.name}"
    assert [row["answer"] for row in rows] == answers
    assert [row["kind"] for row in rows] == [row["kind"] for row in order]
    assert all(140 < int(row["time_ms"]) < 20000 for row in rows)
    found = {entry.measure: entry for entry in score_study([path], study.with_name("key.csv"))}
    expected = sum(row["kind"] == "payload" and row["label"] == CLASSES[0] for row in order)
    assert found["secret_accuracy"].value == expected / 8
    assert found["cannot_tell"].value == 1 / 8
    assert found["gold_accuracy"].value == 1


def test_pause_reload_and_previous_picture(browser, study):
    with opened(browser, study) as page:
        page.get_by_role("button", name="Begin").click()
        press(page, [CLASSES[0], CLASSES[1]])
        wait_for(page, 3)
        page.keyboard.press("Backspace")
        wait_for(page, 2)
        assert page.get_by_role("button", name=CLASSES[1], pressed=True).is_visible()
        page.get_by_role("button", name="Cannot tell").click()
        wait_for(page, 3)
        page.keyboard.press("p")
        assert page.get_by_text("2 of 12 pictures answered").is_visible()
        assert not page.locator("#large").is_visible()
        page.keyboard.press("1")  # nothing is answered while the page is paused
        page.reload()
        page.get_by_role("button", name="Go on where you stopped").click()
        wait_for(page, 3)
        page.get_by_role("button", name="Pause").click()
        rows, _ = saved(page, "Stop here and save my answers")
        assert [row["answer"] for row in rows] == [CLASSES[0], CANNOT_TELL]
        page.get_by_role("button", name="Begin again as someone else").click()
        wait_for(page, 1)
        press(page, [CLASSES[2]])
        wait_for(page, 2)
        page.get_by_role("button", name="Pause").click()
        others, _ = saved(page, "Stop here and save my answers")
        assert [row["answer"] for row in others] == [CLASSES[2]]
        assert others[0]["rater"] != rows[0]["rater"]


def test_keys_can_be_switched_off_and_a_slip_does_not_count(browser, study):
    with opened(browser, study) as page:
        page.get_by_role("button", name="Begin").click()
        wait_for(page, 1)
        page.get_by_label("Answer by keys").uncheck()
        page.keyboard.press("1")
        page.wait_for_timeout(250)
        wait_for(page, 1)
        page.get_by_role("button", name=CLASSES[0]).dblclick()
        wait_for(page, 2)


def test_without_storage_the_page_says_so(browser, study):
    with opened(browser, study) as page:
        page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
        page.reload()
        page.get_by_role("button", name="Begin").click()
        wait_for(page, 1)
        page.get_by_role("button", name="Pause").click()
        assert page.get_by_text("Keep this page open").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1000])
def test_everything_has_a_name_and_fits(browser, study, width, scheme):
    with opened(browser, study, color_scheme=scheme, reduced_motion="reduce") as page:
        page.set_viewport_size({"width": width, "height": 844})
        for step in ("Begin", "Pause", None):
            snapshot = page.locator("body").aria_snapshot()
            assert not [line for line in snapshot.splitlines() if line.strip() in ("- button", "- checkbox", "- img")]
            for control in page.locator("button:visible").all():
                assert control.inner_text().strip()
                assert control.bounding_box()["height"] >= 44
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            assert page.evaluate("document.activeElement.tagName") in ("BODY", "H2")
            if step:
                page.get_by_role("button", name=step).click()
                page.wait_for_timeout(250)
        page.get_by_role("button", name="Go on").click()
        wait_for(page, 1)
        assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
        assert page.evaluate("getComputedStyle(document.querySelector('#large')).imageRendering") == "pixelated"
        assert page.locator("#small").bounding_box()["width"] == 5
        assert page.evaluate("document.getAnimations().length") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out(browser, study, scheme):
    """WCAG AA: at least 4.5 to 1 for every text that is shown, on the ground that is behind it."""
    ratios = """() => {
      const light = (text) => text.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255)
        .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
      const ground = (node) => {
        const colour = getComputedStyle(node).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? ground(node.parentElement) : colour;
      };
      return [...document.querySelectorAll("h1, h2, p, li, button:enabled, kbd, label, figcaption")]
        .filter((node) => node.checkVisibility() && node.innerText.trim())
        .map((node) => {
          const [low, high] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => a - b);
          return [node.innerText, (high + 0.05) / (low + 0.05)];
        });
    }"""
    with opened(browser, study, color_scheme=scheme) as page:
        for step in ("Begin", "Pause", None):
            found = page.evaluate(ratios)
            assert found
            assert [text for text, ratio in found if ratio < 4.5] == []
            if step:
                page.get_by_role("button", name=step).click()
                page.wait_for_timeout(250)
