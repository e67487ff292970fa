import pytest

from service_model import start


@pytest.fixture(scope="session")
def server():
    """A reference service."""
    with start() as running:
        yield running
