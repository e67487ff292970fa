"""The built page with a release, and a service, each on a server that keeps every byte it receives."""

import io
import mimetypes
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from releases.make import keys, make_release
from upstream import Reply, Upstream, answer

WEB = Path(__file__).parents[2] / "web"
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
BUILT = (WEB / "dist/index.html").is_file() and (WEB / "lib/index.js").is_file()
NEEDS = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.skipif(NODE is None or not BUILT, reason="the page is not built: make web"),
]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
CLASSES = {"Smiling": ("no", "yes")}
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Headers": "Content-Type, Inference-Header-Content-Length",
}


def make_site(folder, model, release=None, dial=False, key=None):
    """The site of a release in a new folder; returns it and the release."""
    private, public = keys(folder)
    release = release or make_release(folder / "release", private, dial=dial)
    out = folder / "site"
    command = [NODE, WEB / "site.mjs", "--release", release, "--key", key or public, "--model", model, "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, release


def files_of(site):
    """Answers with the files of a folder, as a plain web server does."""

    def reply(received):
        path = site / (received.path.split("?")[0].lstrip("/") or "index.html")
        if not path.is_file():
            return Reply(b"", status=404)
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        return Reply(path.read_bytes(), headers={"Content-Type": kind or "application/octet-stream"})

    return reply


def service(received, classes=CLASSES, encoded=True):
    """A well-behaved service that pages of other hosts may ask."""
    if received.method == "OPTIONS":
        return Reply(b"", headers=CORS)
    found = answer(received, classes, encoded)
    return replace(found, headers={**found.headers, **CORS})


@contextmanager
def serving(folder, **options):
    """Both servers, and the site's folder: `with serving(tmp_path) as (host, upstream, site)`."""
    with Upstream(service) as upstream, Upstream() as host:
        site, _ = make_site(folder, f"{upstream.url}/v2/models/model", **options)
        host.answer = files_of(site)
        yield host, upstream, site


@contextmanager
def opened(browser, host, upstream, *, ready=True, allow=(), **options):
    """The page in a new context. Fails on errors of the page that `allow` does not name, and on any third party."""
    options = {"viewport": {"width": 1100, "height": 900}, **options}
    context = browser.new_context(**options)
    page, errors, requests = context.new_page(), [], []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    context.on("request", lambda request: requests.append(request))
    page.requests = requests
    page.goto(host.url + "/")
    if ready:
        page.locator("#status[data-kind=good]").wait_for(timeout=30_000)
    yield page
    context.close()
    expected = (*allow, "blocked by Playwright", "No available adapters")  # no service worker, no graphics card
    unexpected = [text for text in errors if not any(re.search(pattern, text) for pattern in expected)]
    assert not unexpected, unexpected
    left = [request.url for request in requests if request.failure != "csp" and not request.url.startswith("blob:")]
    origins = {"/".join(url.split("/")[:3]) for url in left}
    assert origins <= {host.url, upstream.url}, origins


def choose(page, name, content, kind="image/png"):
    """Give the page a photo, and wait until it shows what would leave."""
    page.locator("#choose").set_input_files({"name": name, "mimeType": kind, "buffer": content})
    page.locator("#send:enabled").wait_for(timeout=30_000)


def noise(height=32, width=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def file_of(pixels, kind="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def send(page):
    page.get_by_role("button", name="Send what leaves").click()
    page.locator("#answer, #problem").locator("visible=true").first.wait_for()


def payload_of(upstream):
    """The PNG of the one request for an answer."""
    (received,) = [request for request in upstream.requests if request.method == "POST"]
    (tensor,) = received.infer_request().inputs
    return bytes(tensor.data[0])


def assert_refused(browser, host, upstream, message):
    with opened(browser, host, upstream, ready=False, allow=["404"], service_workers="block") as page:
        page.get_by_role("alert").get_by_text(message).wait_for(timeout=30_000)
        assert page.get_by_role("alert").get_by_text("Nothing has been sent.").is_visible()
        assert page.locator("#choose").is_disabled()
        assert page.get_by_role("button", name="Try again").is_visible()
        drop = "new DragEvent('drop', { dataTransfer: new DataTransfer(), bubbles: true })"
        page.evaluate(f"document.body.dispatchEvent({drop})")
    assert not upstream.received
