"""A budget converter with a dial, all the way: trained, exported, released, run again, sent as an image and packed."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from dapter.client import Client, Policy
from dapter.defences import with_settings
from dapter.defences.budget import Budget
from dapter.evaluate import evaluate
from dapter.exporting import export
from dapter.recompute.exports import compare_exports, compare_stamps
from dapter.release.build import Terms, build_release
from dapter.release.folder import sign_with_key
from dapter.service.door import Door, Published
from dapter.service.gateway.running import serving
from dapter.stamps import Stamps, read_stamps
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
    stamps, size = read_stamps(release.read("stamps.json"))
    assert (len(stamps.alphabet), stamps.grid, size) == (27, 2, (16, 16))


def test_run_again_every_setting_gives_what_the_weights_give(release, run, data, service):
    found = list(compare_exports(release, load_defence(run), data, service))
    assert [each.verdict for each in found] == ["confirmed"] * 3


def test_stamps_that_are_not_those_of_the_weights_are_contradicted(release, run, pair, tmp_path):
    defence = load_defence(run)
    assert [each.verdict for each in compare_stamps(release, defence)] == ["confirmed"]
    stamps, size = read_stamps(release.read("stamps.json"))
    contents = {name: release.read(name) for name in release.manifest["files"]}
    contents["stamps.json"] = Stamps(255 - stamps.alphabet // 2, stamps.grid).to_json(size).encode()
    manifest = {name: value for name, value in release.manifest.items() if name != "files"}
    forged = verify_release(make_release(tmp_path / "forged", pair[0], manifest=manifest, contents=contents), pair[1])
    assert [each.verdict for each in compare_stamps(forged, defence)] == ["contradicted"]


def test_the_user_chooses_the_budget_and_may_pack_what_leaves(release, run, data, pair):
    photo = data.splits["test"].images[0]
    strict = with_settings(load_defence(run), budget_bits=0.5).protect(photo[None]).pixels[0]
    options = {"dial": 0.5, "policy": Policy(timeout_s=5, pause_s=0.01)}
    with Upstream(partial(answer, classes={"colour": ("red", "blue")})) as upstream:
        with Client(upstream.url, release.path, pair[1], **options) as client:
            whole = client.classify(photo)
        published = Published(*read_stamps(release.read("stamps.json")))
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
