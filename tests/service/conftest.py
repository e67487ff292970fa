import pytest

from dapter.service.inference import Model
from dapter.service.server import Server, Settings
from service_model import MODEL, answer


@pytest.fixture(scope="session")
def server():
    """A reference service on free ports of this machine."""
    second = Model("shapes", "2", MODEL.classes, lambda images: {k: -v for k, v in answer(images).items()})
    tenth = Model("other", "10", {"colour": ("red", "blue")}, answer)
    with Server([MODEL, second, tenth], Settings(port=0, grpc_port=0)) as running:
        yield running
