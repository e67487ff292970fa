"""Where the time of one photo goes in the browser: open, convert (with its PNG), send; WebAssembly, one thread.

    make web
    python benchmarks/web.py --photos FOLDER

The page is driven in headless Chromium; the service is the reference service on this machine, with a model that
answers at once. Photos are those of `benchmarks/client.py`; the page scales them to the size of the release (--release,
--key): without one, that of `benchmarks/load.py` in the photos' size, hardly trained, as fast as a trained one. Figures
are the median over all photos, with the quartiles as low and high. `ready` is from the page's address to the moment
it takes photos, all files from this machine, n = 1. Writes `results/web.jsonl`; lines of other settings stay.
"""

import argparse
import functools
import http.server
import os
import shutil
import subprocess
import tempfile
import threading
import time

os.environ["OMP_NUM_THREADS"] = "1"

from contextlib import contextmanager
from pathlib import Path

import load
import numpy as np
from lines import replace_lines
from playwright.sync_api import sync_playwright

from client import photos
from dapter.runs import code_version, environment, fingerprint
from dapter.service.inference import Model
from dapter.service.server import Server, Settings
from dapter.types import Measurement
from dapter.verify import verify_release

SOURCE = "python benchmarks/web.py"
RESULTS = Path(__file__).parents[1] / "results" / "web.jsonl"
STEPS = ("open", "convert", "send")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def static(folder):
    """The address of a web server for that folder."""
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def site(release, key):
    """The page's address, with that release and a service that answers at once."""
    classes = verify_release(release, key).manifest["targets"]

    def answer(images):
        return {target: np.zeros((len(images), len(names)), np.float32) for target, names in classes.items()}

    settings = Settings(port=0, grpc_port=None, origins=["*"])
    with Server([Model("bench", "1", classes, answer)], settings) as server, tempfile.TemporaryDirectory() as folder:
        out, model = Path(folder) / "site", f"{server.url}/v2/models/bench"
        arguments = ["--release", release, "--key", key, "--model", model, "--out", out]
        subprocess.run(["node", Path(__file__).parents[1] / "web/site.mjs", *arguments], check=True)
        with static(out) as address:
            yield address


def measure(address, files, rounds):
    """Milliseconds: until the page is ready, and one row a photo and round; and the engine that computed."""
    rows = []
    with sync_playwright() as api:
        browser = api.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(service_workers="block").new_page()
        started = time.perf_counter()
        page.goto(address)
        page.locator("#status[data-kind=good]").wait_for(timeout=120_000)
        ready = 1000 * (time.perf_counter() - started)
        for file in files * (rounds + 1):
            page.evaluate("performance.clearMeasures()")
            page.locator("#choose").set_input_files({"name": "photo.jpg", "mimeType": "image/jpeg", "buffer": file})
            page.locator("#send:enabled").wait_for(timeout=120_000)
            page.locator("#send").click()
            page.locator("#answer").wait_for(timeout=120_000)
            found = page.evaluate("performance.getEntriesByType('measure').map((each) => [each.name, each.duration])")
            rows.append([dict(found)[step] for step in STEPS])
        engine = page.locator("#about-list").text_content().rsplit("Computed by", 1)[1]
        browser.close()
    return ready, np.array(rows[len(files) :]), engine  # the first round is warm-up


def lines(manifest, ready, rows, about):
    """A Measurement for each figure."""
    common = {
        "defence": manifest["defence"],
        "settings": {**manifest["settings"], **about},
        "data": "photos",
        "target": ",".join(manifest["targets"]),
        "source": SOURCE,
        "code": code_version(),
        "environment": environment(),
    }
    yield Measurement(measure="web_latency_ms_ready", value=ready, n=1, **common)
    for name, values in [*zip(STEPS, rows.T, strict=True), ("total", rows.sum(axis=1))]:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
        yield Measurement(measure=f"web_latency_ms_{name}", value=middle, low=low, high=high, n=len(values), **common)


def main():
    """Measure, print, and write the results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--size", type=int, default=224, help="pixels on a side of the photos")
    parser.add_argument("--n", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        release, key = asked.release, asked.key
        if release is None:
            _, release, key = load.make_parts(Path(folder), load.Settings(size=asked.size, net="paper"))
        manifest = verify_release(release, key).manifest
        with site(release, key) as address:
            ready, rows, engine = measure(address, photos(asked.photos, asked.size, asked.n), asked.rounds)
    about = {"engine": engine, "image_size": manifest["image"]["trained"]}
    found = list(lines(manifest, ready, rows, about))
    for line in found:
        print(f"{line.measure}: {line.value:.1f}")
    replace_lines(asked.out, found, lambda entry: fingerprint(entry.settings))


if __name__ == "__main__":
    main()
