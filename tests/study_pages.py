"""Small studies, what is in them, and files of answers as their pages save them."""

import base64
import csv
import json
import re

import numpy as np

from dapter.imagefile import open_image
from dapter.study import ANSWER_FIELDS, make_study

CLASSES = ("red square", "blue <b>", 'green, "dark"')
ABOUT = {"defence": "dapter", "data": "shapes", "target": "colour", "secret": "shape", "settings": {"lam": 0.9}}
SIZES = {"images": 8, "gold": 4}


def pictures(n=40, seed=0):
    """Originals, payloads and labels; every picture is another, and tells its row."""
    rng = np.random.default_rng(seed)
    originals = rng.integers(0, 256, (n, 6, 5, 3), dtype=np.uint8)
    originals[:, 0, 0] = np.arange(n)[:, None]
    payloads = originals // 2
    return originals, payloads, np.arange(n) % 4 - 1


def make(folder, **changes):
    originals, payloads, labels = pictures()
    settings = {"question": "Which one?", "seed": 1, "about": ABOUT, **SIZES, **changes}
    classes, question = settings.pop("classes", CLASSES), settings.pop("question")
    return make_study(
        originals, payloads, settings.pop("labels", labels), classes, question, folder / "s.html", **settings
    )


def content(page):
    """What the page knows of the study."""
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found[1])


def shown(item):
    return open_image(base64.b64decode(item["picture"].partition("base64,")[2]))


def read_key(page):
    with page.with_name("key.csv").open(newline="") as file:
        return {row["item"]: row for row in csv.DictReader(file)}


def write_answers(page, name, say, rater="r1", **changes):
    """A file of answers as the page saves it; `say` gives that to an item's row of the key, None leaves it out."""
    study = content(page)["id"]
    path = page.with_name(name)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ANSWER_FIELDS)
        writer.writeheader()
        for place, (item, row) in enumerate(read_key(page).items()):
            if (said := say(row, place)) is not None:
                given = {"study": study, "rater": rater, "item": item, "kind": row["kind"]}
                writer.writerow({**given, "answer": said, "time_ms": 1200, **changes})
    return path
