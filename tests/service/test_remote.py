import json
import os

import numpy as np
import pytest

import black_box
from dapter.errors import ServiceError, UsageError
from dapter.service.remote import JOURNAL, TOKEN, Remote, ask_v2, find_adapter, to_probabilities
from upstream import Reply, Upstream, answer, metadata

NAMES = ("red", "blue")


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), np.uint8)


def make(url, root, **changes):
    return Remote(
        **{"url": url, "target": "colour", "classes": NAMES, "limit": 100, "root": root, "pause": 0, **changes}
    )


@pytest.mark.parametrize("encoded", [False, True])
def test_an_image_is_asked_about_once(tmp_path, encoded, monkeypatch):
    def only_files(received):
        if received.path.endswith("/infer"):
            return answer(received)
        described = metadata()
        return Reply(json.dumps({**described, "inputs": described["inputs"][1:]}).encode())

    monkeypatch.setenv(TOKEN, "secret")
    with Upstream(only_files if encoded else answer) as upstream:
        remote = make(f"{upstream.url}/v2/models/model", tmp_path, batch=4, price=0.5)
        found = remote.answer(np.concatenate([images(6), images(2)]))
        assert found.shape == (8, 2)
        np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
        np.testing.assert_array_equal(found[:2], found[6:])
        assert remote.cost == "6 of 100 queries, 3.00 at 0.5 each"
        assert [len(each.infer_request().inputs[0].data) for each in upstream.requests if each.body] == [4, 2]
        assert {each.headers["authorization"] for each in upstream.requests} == {"Bearer secret"}
        asked = len(upstream.requests)
        again = make(f"{upstream.url}/v2/models/model", tmp_path)
        np.testing.assert_array_equal(again.answer(images(6)), found[:6])
        assert (len(upstream.requests), again.used, again.unknown(images(7))) == (asked, 6, 1)


def test_the_limit_is_kept_and_nothing_is_asked_beyond_it(tmp_path):
    black_box.calls.clear()
    remote = make("any", tmp_path, ask=black_box.ask, limit=10)
    remote.answer(images(8))
    with pytest.raises(UsageError, match="query-limit 11"):
        remote.answer(images(3, seed=1))
    assert (remote.used, sum(black_box.calls)) == (8, 8)
    remote.answer(images(2, seed=1))
    assert remote.used == 10


def test_attempts_without_an_answer_count_and_answers_are_kept(tmp_path):
    with Upstream() as upstream:
        replies = iter(
            [Reply(status=503), None, Reply(cut=20), None, Reply(b"rubbish"), Reply(b"{}"), Reply(status=500)]
        )

        def unreliable(received):
            return (next(replies, None) if received.path.endswith("/infer") else None) or answer(received)

        upstream.answer = unreliable
        url = f"{upstream.url}/v2/models/model"
        remote = make(url, tmp_path, batch=2)
        with pytest.raises(ServiceError, match="the same command goes on"):
            remote.answer(images(6))
        assert remote.used == 14  # twice two attempts, then three in vain, of two images each
        again = make(url, tmp_path)
        assert (again.used, again.unknown(images(6))) == (14, 2)
        again.answer(images(6))
        assert again.used == 16


def test_a_journal_that_was_cut_off_is_read_up_to_there(tmp_path):
    remote = make("any", tmp_path, ask=black_box.ask, batch=2)
    remote.answer(images(4))
    journal = remote.run.path / JOURNAL
    os.truncate(journal, journal.stat().st_size - 5)
    again = make("any", tmp_path, ask=black_box.ask, batch=2)
    assert (again.used, again.unknown(images(4))) == (4, 2)
    again.answer(images(4))
    lines = [next(iter(json.loads(line))) for line in journal.read_text().splitlines()]
    assert lines == ["sent", "answers", "sent", "sent", "answers"]


def test_what_is_answered_becomes_probabilities():
    shares = np.array([[0.25, 0.75]])
    np.testing.assert_allclose(to_probabilities(shares, 1, NAMES), shares)
    np.testing.assert_allclose(to_probabilities(np.log(shares) + 7, 1, NAMES), shares, rtol=1e-6)
    for labels in (["blue", "red"], [b"blue", b"red"], [1, 0], np.array([[1], [0]])):
        np.testing.assert_array_equal(to_probabilities(labels, 2, NAMES), [[0, 1], [1, 0]])
    for wrong in (["green"], [2], [-1], [0.5], [True], np.zeros((1, 3)), np.full((1, 2), np.nan), [0, 1], None):
        with pytest.raises(ServiceError, match="Cure"):
            to_probabilities(wrong, 1, NAMES)


def test_images_do_not_leave_for_an_input_of_features(tmp_path):
    def only_features(received):
        described = {**metadata(), "inputs": [{"name": "features", "datatype": "BYTES", "shape": [-1]}]}
        return Reply(json.dumps(described).encode())

    with Upstream(only_features) as upstream:
        with pytest.raises(UsageError, match="no input takes images"):
            make(f"{upstream.url}/v2/models/model", tmp_path).answer(images(2))
        assert not any(each.body for each in upstream.requests)


def test_a_connection_that_is_refused_spends_nothing(tmp_path):
    with Upstream() as upstream:
        url = f"{upstream.url}/v2/models/model"
    remote = make(url, tmp_path, limit=2)
    with pytest.raises(ServiceError, match="0 of 2 queries"):
        remote.answer(images(2))
    assert make(url, tmp_path).used == 0


def test_a_model_that_takes_no_images_spends_nothing(tmp_path):
    with Upstream(lambda received: Reply(json.dumps({**metadata(), "inputs": []}).encode())) as upstream:
        remote = make(f"{upstream.url}/v2/models/model", tmp_path)
        with pytest.raises(UsageError, match="no input takes images"):
            remote.answer(images(2))
    assert remote.used == 0


@pytest.mark.parametrize("token", [None, "a-very-secret-token"])
def test_originals_and_tokens_do_not_travel_unprotected(tmp_path, monkeypatch, token):
    if token:
        monkeypatch.setenv(TOKEN, token)
    with pytest.raises(UsageError, match="not protected"):
        make("http://service.example/v2/models/model", tmp_path)
    with pytest.raises(UsageError, match="not protected"):
        ask_v2("http://service.example/v2/models/model", images(1))


def test_what_goes_to_this_machine_goes_through_no_proxy(tmp_path, monkeypatch):
    with Upstream() as proxy, Upstream() as upstream:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        make(f"{upstream.url}/v2/models/model", tmp_path).answer(images(2))
    assert proxy.received == b""
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("ask", [None, black_box.ask])
def test_a_password_in_the_url_is_refused_and_not_repeated(tmp_path, ask):
    with pytest.raises(UsageError, match="a name or a password") as refused:
        make("https://user:hunter2@service.example/v2/models/model", tmp_path, ask=ask)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(UsageError, match="a name or a password") as refused:
        ask_v2("https://user:hunter2@service.example", images(1))
    assert "hunter2" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_a_token_that_no_header_holds_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(TOKEN, "sekr\net")
    with pytest.raises(UsageError, match="characters that cannot be sent") as refused:
        make("http://127.0.0.1:9/v2/models/model", tmp_path)
    assert "sekr" not in str(refused.value)


def test_what_cannot_be_asked_is_refused(tmp_path):
    assert find_adapter("black_box:ask") is black_box.ask
    for path in ("black_box:missing", "no_such_module:ask", "black_box"):
        with pytest.raises(UsageError, match="no adapter"):
            find_adapter(path)
    with pytest.raises(UsageError, match="/v2/models/NAME"):
        make("http://127.0.0.1:9/classify", tmp_path).answer(images(1))
    with pytest.raises(UsageError, match="query-limit"):
        make("any", tmp_path, limit=0)
