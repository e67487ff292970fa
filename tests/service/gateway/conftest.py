import pytest

from dapter.service.gateway.running import Settings, open_gateway, serving
from releases.make import keys, make_release
from upstream import Upstream


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """A signed release and its maker's public key."""
    folder = tmp_path_factory.mktemp("release")
    private, public = keys(folder)
    return make_release(folder / "release", private), public


@pytest.fixture
def upstream():
    with Upstream() as running:
        yield running


@pytest.fixture
def gateway(release, upstream):
    """The URL of a gateway in front of `upstream`."""
    with serving(open_gateway(*release, Settings(upstream.url, keep_size=True))) as url:
        yield url
