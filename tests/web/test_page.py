"""The page in a real browser: what leaves, what a person is told, and what happens when something is wrong."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from dapter.runner import Converter
from releases.make import keys, make_contents, make_graph, make_manifest, make_release
from upstream import Reply
from web.pages import (
    CORS,
    NEEDS,
    WEB,
    assert_refused,
    choose,
    file_of,
    make_site,
    noise,
    opened,
    payload_of,
    send,
    service,
    serving,
)

pytestmark = NEEDS
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """The page with an honest release, and a service; for tests that change neither."""
    with serving(tmp_path_factory.mktemp("site")) as (host, upstream, _):
        yield host, upstream


@pytest.fixture
def quiet(servers):
    """The same, with nothing received yet."""
    for server in servers:
        server.received.clear()
        server.requests.clear()
    yield servers
    servers[1].answer = service


def assert_kept(servers, *secrets):
    """No piece of them went to either server, in no usual form; the page's own host got no body and no query."""
    forms = [form for secret in secrets for form in (secret, base64.b64encode(secret), secret.hex().encode())]
    for server in servers:
        assert server.received_nothing_of(*forms)
    assert {request.method for request in servers[0].requests} == {"GET"}
    assert all("?" not in request.path and not request.body for request in servers[0].requests)


def test_exactly_the_converters_bytes_leave(browser, quiet):
    pixels = noise()
    file = file_of(pixels)
    with opened(browser, *quiet) as page:
        choose(page, "portrait.png", file)
        assert quiet[1].requests == []  # nothing before the person says so
        with page.expect_download() as download:
            page.get_by_role("button", name="Save a copy").click()
        send(page)
        bodies = [request.post_data_buffer for request in page.requests if request.post_data_buffer]
        saved = download.value.path().read_bytes()
    sent = payload_of(quiet[1])
    expected = Converter(make_graph().SerializeToString()).convert(pixels[None])[0]
    assert np.array_equal(np.array(Image.open(io.BytesIO(sent))), expected)
    assert saved == sent
    assert bodies == [request.body for request in quiet[1].requests if request.body]  # what the browser says it sent
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    assert_kept(quiet, file[41:-16], pixels.tobytes(), rgba.tobytes())  # all PNG files begin and end alike
    assert b"portrait" not in quiet[0].received + quiet[1].received


def test_metadata_and_thumbnail_stay_and_the_orientation_is_applied(browser, quiet):
    picture = np.full((48, 96, 3), 40, np.uint8)
    picture[:, 48:] = 220
    thumbnail = file_of(noise(16, 16, seed=1), "JPEG")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: left comes on top
    exif[0x010F] = "A-camera-with-a-name-that-would-tell-who-took-this-photo"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 29.0)})
    file = file_of(picture, "JPEG", exif=exif.tobytes() + thumbnail, quality=95)
    with opened(browser, *quiet) as page:
        choose(page, "IMG_4711.jpg", file, "image/jpeg")
        send(page)
    found = np.array(Image.open(io.BytesIO(payload_of(quiet[1])))).astype(int)
    assert found.shape == (32, 32, 3)
    assert abs(found[:12] - (128 - 8.8)).max() < 3
    assert abs(found[-12:] - (128 + 9.2)).max() < 3
    assert_kept(quiet, file, thumbnail, exif[0x010F].encode())
    assert Image.open(io.BytesIO(payload_of(quiet[1]))).info == {}


def test_transparency_lies_over_grey(browser, quiet):
    clear = np.dstack([noise(), np.zeros((32, 32), np.uint8)])
    clear[:4, :4] = (255, 0, 0, 255)
    with opened(browser, *quiet) as page:
        choose(page, "clear.png", file_of(clear))
        send(page)
    found = np.array(Image.open(io.BytesIO(payload_of(quiet[1]))))
    assert (found[8:] == 128).all()
    assert found[0, 0].tolist() == [141, 115, 115]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.txt", b"not a photo", "not a photo"),
        ("vector.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a photo"),
        ("half.png", file_of(noise())[:400], "damaged"),
        ("bomb.png", file_of(noise())[:16] + b"\0\1\0\0\0\1\0\0" + file_of(noise())[24:], "65536 x 65536 pixels"),
    ],
)
def test_a_bad_photo_is_refused_and_nothing_is_sent(browser, quiet, name, content, message):
    with opened(browser, *quiet, service_workers="block") as page:
        page.locator("#choose").set_input_files({"name": name, "mimeType": "image/png", "buffer": content})
        page.get_by_role("alert").get_by_text(message).wait_for()
        assert page.get_by_role("alert").get_by_text("Nothing has been sent.").is_visible()
        assert page.locator("#compare").is_hidden()
    assert not quiet[1].received


def test_photos_come_by_drop_and_by_paste_and_an_older_one_is_forgotten(browser, quiet):
    give = """([content, type]) => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(content)], 'photo.png', { type: 'image/png' }));
        const event = type === 'drop' ? new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true })
                                      : new ClipboardEvent(type, { clipboardData: data, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    with opened(browser, *quiet, service_workers="block") as page:
        for kind, seed in (("drop", 1), ("paste", 2)):
            quiet[1].requests.clear()
            pixels = noise(seed=seed)
            page.evaluate(give, [list(file_of(pixels)), kind])
            page.locator("#send:enabled").wait_for()
            send(page)
            expected = Converter(make_graph().SerializeToString()).convert(pixels[None])[0]
            assert np.array_equal(np.array(Image.open(io.BytesIO(payload_of(quiet[1])))), expected)
        page.locator("#choose").set_input_files({"name": "x", "mimeType": "image/png", "buffer": b"no"})
        page.get_by_role("alert").wait_for()
        assert page.locator("#compare").is_hidden()
        assert page.locator("#answer").is_hidden()


def test_offline_everything_works_but_the_sending(browser, tmp_path):
    pixels = noise()
    with (
        serving(tmp_path) as (host, upstream, _),
        opened(browser, host, upstream, allow=["ERR_INTERNET_DISCONNECTED"]) as page,
    ):
        page.evaluate("() => navigator.serviceWorker.ready")
        page.context.set_offline(True)
        host.answer = lambda _: Reply(b"gone", status=500)
        page.reload()
        page.get_by_role("status").get_by_text("Offline.").wait_for(timeout=30_000)
        choose(page, "photo.png", file_of(pixels))
        send(page)
        assert page.get_by_role("alert").get_by_text("No connection.").is_visible()
        assert not upstream.received
        page.context.set_offline(False)
        page.get_by_role("status").get_by_text("Ready.").wait_for()
        send(page)
        assert page.locator("#answer").is_visible()
        assert Image.open(io.BytesIO(payload_of(upstream))).size == (32, 32)
        assert_kept((host, upstream), pixels.tobytes())


def damaged(site, path, change):
    file = site / path
    file.write_bytes(change(file.read_bytes()))


def flipped(data):
    return data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda site: damaged(site, "release/exports/converter.onnx", flipped), "SHA-256 differs"),
        (lambda site: damaged(site, "release/release.json", flipped), "not the file that was signed"),
        (lambda site: (site / "release/claims.json").unlink(), "claims.json is missing"),
        (lambda site: (site / "release/model.sig").unlink(), "model.sig is missing"),
        (lambda site: damaged(site, "release/claims.json", lambda data: data.replace(b"0.75", b"0.05")), "differs"),
    ],
)
def test_a_release_that_was_tampered_with_is_not_used(browser, tmp_path, damage, message):
    with serving(tmp_path) as (host, upstream, site):
        damage(site)
        assert_refused(browser, host, upstream, message)


def test_a_release_under_another_key_is_not_used(browser, tmp_path):
    with serving(tmp_path) as (host, upstream, site):
        _, stranger = keys(tmp_path, "stranger")
        config = json.loads((site / "config.json").read_text())
        (site / "config.json").write_text(json.dumps({**config, "key": stranger.read_text()}))
        assert_refused(browser, host, upstream, "signed with another key")


def test_a_signed_graph_with_one_more_input_is_not_used(browser, tmp_path):
    from onnx import TensorProto, helper

    graph, manifest = make_graph(), make_manifest()
    graph.graph.input.append(helper.make_tensor_value_info("location", TensorProto.FLOAT, []))
    contents = make_contents(manifest, graph)
    release = make_release(tmp_path / "hostile", keys(tmp_path)[0], manifest=manifest, contents=contents)
    with serving(tmp_path, release=release) as (host, upstream, _):
        assert_refused(browser, host, upstream, "this is no converter")


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"<html>", headers=CORS), "cannot be read"),
        (Reply(b'{"error": "too busy"}', status=503, headers=CORS), "too busy"),
        (Reply(b"{}"), "cannot be reached"),  # a service that does not let this page ask
        (Reply(raw=b"HTTP/1.1 200 OK\r\n\r"), "cannot be reached"),
        (Reply(status=302, headers={**CORS, "Location": "/elsewhere"}), "cannot be reached"),
    ],
)
def test_a_service_that_fails_is_told_and_gets_no_original(browser, quiet, reply, message):
    host, upstream = quiet
    upstream.answer = lambda received: reply
    pixels = noise()
    with opened(browser, host, upstream, allow=["Failed to load", "CORS"], service_workers="block") as page:
        choose(page, "photo.png", file_of(pixels))
        send(page)
        alert = page.get_by_role("alert")
        assert message in alert.inner_text()
        assert "Your photo has not left this device" in alert.inner_text()
        assert page.locator("#answer").is_hidden()
        assert page.locator("#send").is_enabled()
    assert_kept(quiet, file_of(pixels)[41:-16], pixels.tobytes())


def test_the_dial_changes_what_leaves(browser, tmp_path):
    pixels = noise()
    with (
        serving(tmp_path, dial=True) as (host, upstream, _),
        opened(browser, host, upstream, service_workers="block") as page,
    ):
        choose(page, "photo.png", file_of(pixels))
        slider = page.get_by_role("slider", name="How strongly to protect")
        assert float(slider.input_value()) == 0.9
        turn = """slider => {
            slider.value = 0.3;
            slider.dispatchEvent(new Event('input'));
            return document.querySelector('#send').disabled;
        }"""
        assert slider.evaluate(turn)  # what was shown may not be sent any more
        page.locator("#send:enabled").wait_for()
        assert page.get_by_text("These figures hold for the provider's setting only").is_visible()
        chosen = float(slider.input_value())
        send(page)
    assert chosen == pytest.approx(0.3)
    found = np.array(Image.open(io.BytesIO(payload_of(upstream)))).astype(float)
    assert abs(found - (128 + (pixels - 128.0) * (1 - chosen))).max() <= 0.51


def test_by_keyboard_alone(browser, quiet):
    with opened(browser, *quiet, service_workers="block") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.className") == "skip"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "choose"
        choose(page, "photo.png", file_of(noise()))
        assert page.evaluate("document.activeElement.id") == "compare-title"
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "send"
        page.keyboard.press("Enter")
        page.locator("#answer").wait_for()
        assert page.evaluate("document.activeElement.id") == "answer-title"


@pytest.mark.parametrize("options", [{}, {**PHONE, "color_scheme": "dark"}], ids=["desktop", "dark phone"])
def test_accessible(browser, tmp_path, options):
    axe = (WEB / "node_modules/axe-core/axe.min.js").read_text()

    def check(page):
        page.evaluate(axe)
        found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    with (
        serving(tmp_path, dial=True) as (host, upstream, _),
        opened(browser, host, upstream, service_workers="block", **options) as page,
    ):
        check(page)
        choose(page, "photo.png", file_of(noise()))
        send(page)
        page.locator("summary").click()
        check(page)
        page.locator("#choose").set_input_files({"name": "x", "mimeType": "image/png", "buffer": b"no"})
        page.get_by_role("alert").wait_for()
        check(page)


def test_installable(browser, tmp_path):
    with serving(tmp_path) as (host, upstream, site), opened(browser, host, upstream) as page:
        page.evaluate("() => navigator.serviceWorker.ready")
        errors = page.context.new_cdp_session(page).send("Page.getInstallabilityErrors")["installabilityErrors"]
    assert [error["errorId"] for error in errors if error["errorId"] != "in-incognito"] == []
    for icon in json.loads((site / "app.webmanifest").read_text())["icons"]:
        if icon["type"] == "image/png":
            size = Image.open(io.BytesIO((site / icon["src"]).read_bytes())).size
            assert size == tuple(int(side) for side in icon["sizes"].split("x"))


def test_the_policy_forbids_third_parties(browser, quiet):
    with opened(browser, *quiet, allow=["Content Security Policy", "Failed to fetch"], service_workers="block") as page:
        tried = (
            """async () => { try { await fetch('https://example.org/'); return 'left'; } catch { return 'kept'; } }"""
        )
        assert page.evaluate(tried) == "kept"
        page.evaluate("() => { new Image().src = 'https://example.org/pixel.png'; }")


def test_against_the_reference_service(browser, tmp_path):
    pytest.importorskip("uvicorn", reason="the server is not installed: pip install 'dapter[serve]'")
    from dapter.service.inference import Model
    from dapter.service.server import Server, Settings
    from upstream import Upstream
    from web.pages import files_of

    def logits(images):
        return {"Smiling": images.reshape(len(images), -1, 3).mean(axis=1).astype(np.float32)[:, :2]}

    with Upstream() as host:
        settings = Settings(port=0, grpc_port=None, origins=[host.url])
        with Server([Model("faces", "1", {"Smiling": ("no", "yes")}, logits)], settings) as server:
            site, _ = make_site(tmp_path, f"{server.url}/v2/models/faces")
            host.answer = files_of(site)
            with opened(browser, host, server, service_workers="block") as page:
                choose(page, "photo.png", file_of(noise()))
                send(page)
                assert page.locator("#answers .label").inner_text() in ("no", "yes")
                assert "%" in page.locator("#answers").inner_text()


def test_no_site_is_made_of_a_release_that_fails(tmp_path):
    release = make_release(tmp_path / "release", keys(tmp_path)[0])
    damaged(release, "exports/converter.onnx", flipped)
    with pytest.raises(AssertionError, match="SHA-256 differs"):
        make_site(tmp_path, "/v2/models/faces", release=release)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["release", "signing.key", "signing.pub"]


def test_a_site_speaks_https_only(tmp_path):
    with pytest.raises(AssertionError, match="only https"):
        make_site(tmp_path, "http://example.org/v2/models/faces")
