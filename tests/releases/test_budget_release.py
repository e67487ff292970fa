"""A budget converter with a dial, all the way: trained, exported, released, run again, sent as an image and packed."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dapter.client import Client, Policy
from dapter.defences import with_settings
from dapter.defences.budget import Budget
from dapter.errors import ConversionError
from dapter.evaluate import evaluate
from dapter.exporting import export
from dapter.recompute.exports import compare_exports, compare_stamps
from dapter.release.build import Terms, build_release
from dapter.release.folder import sign_with_key
from dapter.runner import Converter
from dapter.service.door import Door, Published
from dapter.service.gateway.running import serving
from dapter.stamps import Stamps
from dapter.train import load_defence, train
from dapter.verify import inspect_release, verify_release
from helpers import PLAN
from releases.make import keys, make_release
from upstream import Upstream, answer

SETTINGS = {
    "width": 2,
    "grid": 2,
    "stamps": "flat",
    "alphabet": 27,
    "budget_bits": 2.0,
    "budget_bits_range": (0.5, 8.0),
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def run(data, service, tmp_path_factory):
    made = train(Budget(**SETTINGS), service, data, replace(PLAN, epochs=4), root=tmp_path_factory.mktemp("runs"))
    evaluate(made, service, data, source="tests")
    export(made, "onnx", service, data)
    return made


@pytest.fixture(scope="module")
def release(run, service, pair, tmp_path_factory):
    folder = tmp_path_factory.mktemp("releases")
    (folder / "LICENSE").write_text("terms")
    built = build_release(
        run,
        folder / "budget",
        service=service,
        sign=lambda draft: sign_with_key(draft, pair[0]),
        check=lambda draft: inspect_release(draft, pair[1]),
        terms=Terms(licence_file=folder / "LICENSE"),
    )
    return verify_release(built, pair[1])


def test_it_says_what_can_be_chosen_and_what_holds_for_every_choice(release):
    assert release.manifest["dial"] == {"name": "budget_bits", "low": 0.5, "high": 8.0, "default": 2.0}
    assert release.manifest["budget_bits"] == pytest.approx(4 * np.log2(27))
    stamps, size = release.stamps()
    assert (len(stamps.alphabet), stamps.grid, size) == (27, 2, (16, 16))


def test_run_again_every_setting_gives_what_the_weights_give(release, run, data, service):
    found = list(compare_exports(release, load_defence(run), data, service))
    assert [each.verdict for each in found] == ["confirmed"] * 6
    assert sum("nothing but the stamps" in each.what for each in found) == 3


def test_stamps_that_are_not_those_of_the_weights_are_contradicted(release, run, data, service, pair, tmp_path):
    defence = load_defence(run)
    assert [each.verdict for each in compare_stamps(release, defence)] == ["confirmed"]
    stamps, size = release.stamps()
    contents = {name: release.read(name) for name in release.manifest["files"]}
    contents["stamps.json"] = Stamps(255 - stamps.alphabet // 2, stamps.grid).to_json(size).encode()
    manifest = {name: value for name, value in release.manifest.items() if name != "files"}
    forged = verify_release(make_release(tmp_path / "forged", pair[0], manifest=manifest, contents=contents), pair[1])
    assert [each.verdict for each in compare_stamps(forged, defence)] == ["contradicted"]
    (_, painted, *_) = compare_exports(forged, defence, data, service)
    assert painted.verdict == "contradicted"
    photo = data.splits["test"].images[:1]
    with pytest.raises(ConversionError, match="more than stamps"):
        Converter.open(forged).convert(photo)


def test_the_runner_of_a_release_writes_stamps_only(release, data, tmp_path):
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    Image.fromarray(data.splits["test"].images[0]).save(photo)
    command = [sys.executable, str(release.path / "runner/convert.py"), str(photo), "--out", str(out)]
    subprocess.run(command, check=True)
    stamps, _ = release.stamps()
    stamps.read(np.asarray(Image.open(out / "photo.png.png"))[None])
    table = json.loads((release.path / "stamps.json").read_text())
    made_of = runpy.run_path(str(release.path / "runner/convert.py"))["made_of"]
    for size in ((16, 16), (7, 5), (23, 40)):
        for cells in np.random.default_rng(0).integers(0, 27, (5, 4)):
            picture = stamps.paint(cells[None], size)
            assert made_of(table, picture)
            picture[0, -1, -1, 2] ^= 1
            assert not made_of(table, picture)
    assert not made_of(table, np.zeros((1, 1, 9, 3), np.uint8))


def test_the_user_chooses_the_budget_and_may_pack_what_leaves(release, run, data, pair):
    photo = data.splits["test"].images[0]
    strict = with_settings(load_defence(run), budget_bits=0.5).protect(photo[None]).pixels[0]
    options = {"dial": 0.5, "policy": Policy(timeout_s=5, pause_s=0.01)}
    with Upstream(partial(answer, classes={"colour": ("red", "blue")})) as upstream:
        with Client(upstream.url, release.path, pair[1], **options) as client:
            whole = client.classify(photo)
        published = Published(*release.stamps())
        with (
            serving(Door(published, upstream.url)) as url,
            Client(url, release.path, pair[1], packed=True, **options) as client,
        ):
            few = client.classify(photo)
    assert np.array_equal(whole.sent.payload, strict)
    assert np.array_equal(few.sent.payload, strict)
    assert (whole.sent.dial, few.sent.dial) == (0.5, 0.5)
    assert whole.labels == few.labels
    assert "it carries at most 20 bits" in few.sent.describe()
    assert few.sent.describe().startswith("3 bytes (stamps")
