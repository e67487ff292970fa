import importlib
import json
from dataclasses import replace

import numpy as np
import pytest

from dapter import cost, metrics
from dapter.data import Split
from dapter.defences.dapter import Dapter
from dapter.defences.split_inference import SplitInference
from dapter.errors import RunError, UsageError
from dapter.evaluate import PICTURES, evaluate, measure
from dapter.imagefile import encode, open_image
from dapter.runs import RESULTS
from dapter.train import load_defence, train
from dapter.types import Measurement, Payload
from helpers import PLAN, make_data, make_service, without_labels

EVALUATE = importlib.import_module("dapter.evaluate")  # not the function
AGREEMENT = {"agreement", "agreement_jpeg_q75", "agreement_webp_q75"}
RATES = AGREEMENT | {
    f"{name}{suffix}"
    for name in ("target_accuracy", "target_balanced_accuracy", "target_auc")
    for suffix in ("", "_original")
}
PICTURE = (
    {f"{name}{suffix}" for name in ("entropy_bits", "entropy_nats", "eta") for suffix in ("", "_original")}
    | {f"payload_bytes_{codec}{suffix}" for codec in metrics.WIRE for suffix in ("", "_original")}
    | {f"payload_{name}" for name in ("ssim", "ms_ssim", "psnr", "l1")}
)
CALIBRATION = {"calibration_error", "calibration_error_original"}
COST = {"client_bytes", "multiply_adds", "latency_ms"}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(EVALUATE, "COST_SIZE", (32, 32))
    monkeypatch.setattr(EVALUATE, "COST_REPEATS", 2)


@pytest.fixture(scope="module")
def run(data, service, tmp_path_factory):
    """A converter of its own: its folder gets results."""
    return train(Dapter(width=4), service, data, PLAN, root=tmp_path_factory.mktemp("evaluate"), preset="tiny")


def by_name(found):
    return {entry.measure: entry for entry in found}


def fresh(data, service, **settings):
    return Dapter(width=4, **settings).setup(0, service)


def test_every_measure_is_there_once_with_n_and_interval(run, data, service):
    found = evaluate(run, service, data, source="a test")
    assert sorted(entry.measure for entry in found) == sorted(RATES | PICTURE | CALIBRATION | COST)
    for entry in found:
        assert entry.value is not None
        assert np.isfinite(entry.value)
        if entry.measure in RATES | PICTURE:
            assert entry.n == 48
            assert entry.low <= entry.value <= entry.high
        if entry.measure in RATES | CALIBRATION:
            assert 0 <= entry.value <= 1


def test_each_line_says_where_it_comes_from(run, data, service):
    evaluate(run, service, data, source="a test")
    lines = (run.path / RESULTS).read_text().splitlines()
    for line in lines:
        entry = Measurement.from_json(line)
        assert json.loads(line) == entry.record()
        assert (entry.defence, entry.data, entry.target) == ("dapter", "shapes", "colour")
        assert entry.settings["lam"] == 0.9
        assert entry.settings["image_size"] == [16, 16]
        assert (entry.seed, entry.preset, entry.grade) == (0, "tiny", "measured")
        assert entry.data_digest == data.digest
        assert entry.code == run.manifest["code"]
        assert entry.source
        assert entry.secret is None


def test_figures_are_those_of_payload_and_answer(data, service):
    defence = fresh(data, service)
    found = by_name(measure(defence, service, data))
    test = data.splits["test"]
    payload = defence.protect(test.images)
    truth = test.labels["colour"]
    before, after = (service.answer(sent).logits["colour"] for sent in (Payload(test.images), payload))
    arrived = np.stack([open_image(encode(each, "JPEG", 75)) for each in payload.pixels])
    expected = {
        "agreement_jpeg_q75": np.mean(service.answer(Payload(arrived)).labels()["colour"] == after.argmax(1)),
        "target_accuracy": np.mean(after.argmax(1) == truth),
        "target_accuracy_original": np.mean(before.argmax(1) == truth),
        "agreement": np.mean(after.argmax(1) == before.argmax(1)),
        "target_auc_original": metrics.auc(before[:, 1] - before[:, 0], truth).value,
        "eta": np.abs(payload.pixels.astype(float) - 128).mean() / 127.5,
        "entropy_bits": metrics.entropy_bits(payload.pixels).mean(),
        "payload_l1": np.abs(payload.pixels.astype(float) - test.images).mean() / 255,
        "payload_bytes_png_original": metrics.wire_bytes(test.images)["png"].mean(),
        "client_bytes": cost.size_bytes(defence.client()),
        "multiply_adds": cost.multiply_adds(defence.client(), (32, 32)),
    }
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=1e-5), name
    assert found["entropy_bits"].value == pytest.approx(found["entropy_nats"].value / np.log(2))
    assert found["target_accuracy_original"].value > 0.9


def test_the_test_split_is_measured(data, service):
    other = replace(data, splits={**data.splits, "test": data.splits["test"].head(20)})
    assert by_name(measure(fresh(data, service), service, other))["agreement"].n == 20


def test_pictures_show_what_was_sent(run, data, service):
    evaluate(run, service, data)
    with np.load(run.path / PICTURES) as shown:
        assert np.array_equal(shown["original"], data.splits["test"].images[:8])
        assert np.array_equal(shown["payload"], load_defence(run).protect(shown["original"]).pixels)


def test_a_second_call_reads_what_the_first_measured(run, data, service, monkeypatch):
    first = evaluate(run, service, data)
    monkeypatch.setattr(EVALUATE, "measure", lambda *arguments, **options: pytest.fail("it was measured again"))
    assert evaluate(run, service, data) == first


def test_what_is_read_equals_what_was_measured_for_every_setting(data, service, tmp_path):
    run = train(Dapter(width=4, lam_range=(0.5, 0.95)), service, data, replace(PLAN, epochs=1), root=tmp_path)
    assert evaluate(run, service, data) == evaluate(run, service, data)


@pytest.mark.parametrize("measured", [False, True])
def test_another_service_or_data_set_is_refused(data, service, tmp_path, measured):
    run = train(Dapter(width=4), service, data, replace(PLAN, epochs=1), root=tmp_path)
    if measured:
        evaluate(run, service, data)
    with pytest.raises(UsageError, match=r"another service.*Cure"):
        evaluate(run, make_service(), data)
    with pytest.raises(UsageError, match=r"another service or data set.*Cure"):
        evaluate(run, service, make_data(seed=9))


def test_a_service_is_no_defence(service_run, data, service):
    with pytest.raises(RunError, match="holds a service"):
        evaluate(service_run, service, data)


def test_every_target_of_the_service_is_reported():
    data, service = make_data(("colour", "shape")), make_service("colour", "shape")
    found = measure(fresh(data, service), service, data)
    for target in ("colour", "shape"):
        assert {entry.measure for entry in found if entry.target == target} == RATES | CALIBRATION
    assert {entry.target for entry in found if entry.measure in PICTURE | COST} == {"colour+shape"}


def test_without_labels_only_agreement_is_reported(data, service, tmp_path):
    bare = without_labels(data)
    run = train(Dapter(width=4, labels="service"), service, bare, replace(PLAN, epochs=1), root=tmp_path)
    names = {entry.measure for entry in evaluate(run, service, bare)}
    assert names == AGREEMENT | PICTURE | COST


@pytest.mark.parametrize(("size", "missing"), [(10, {"payload_ssim", "payload_ms_ssim"}), (11, set())])
def test_images_too_small_for_ssim_go_without_it(size, missing):
    data, service = make_data(size=size, counts=(8, 8, 8)), make_service()
    names = {entry.measure for entry in measure(fresh(data, service), service, data)}
    assert names == (RATES | PICTURE | CALIBRATION | COST) - missing


def test_a_single_class_has_no_auc(data, service):
    test = data.splits["test"]
    reds = np.flatnonzero(test.labels["colour"] == 0)
    only = Split(test.images[reds], {"colour": test.labels["colour"][reds]})
    names = {
        entry.measure
        for entry in measure(fresh(data, service), service, replace(data, splits={"train": test, "test": only}))
    }
    assert "target_auc" not in names
    assert "target_balanced_accuracy" in names


def test_a_conditioned_converter_is_measured_at_its_lam(data, service):
    found = by_name(measure(fresh(data, service, lam=0.5, lam_range=(0.1, 0.9)), service, data))
    assert found["multiply_adds"].settings["lam"] == 0.5
    assert found["multiply_adds"].settings["lam_range"] == [0.1, 0.9]


def test_features_have_bytes_and_no_picture(service, tmp_path):
    shapes = make_data(secrets=("shape",))
    run = train(SplitInference(width=4), service, shapes, PLAN, root=tmp_path)
    names = {entry.measure for entry in evaluate(run, service, shapes)}
    assert {"payload_bytes_features", "agreement", "entropy_bits_original"} <= names
    assert not {"entropy_bits", "payload_ssim", "agreement_jpeg_q75"} & names
    with np.load(run.path / PICTURES) as pictures:
        assert pictures["payload"].shape == pictures["original"].shape
