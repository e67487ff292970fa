import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # for `import helpers`
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data():
    """Coloured shapes, 16 px; the service answers the colour."""
    from helpers import make_data

    return make_data()


@pytest.fixture(scope="session")
def service_run(data, tmp_path_factory):
    """A finished run of `train_service`."""
    from dapter.service.training import train_service
    from helpers import PLAN

    return train_service(data, replace(PLAN, epochs=15), arch="lenet", width=3, root=tmp_path_factory.mktemp("service"))


@pytest.fixture(scope="session")
def service(service_run):
    """A service that answers the colour well."""
    from dapter.service.training import load_trained_service

    return load_trained_service(service_run)


@pytest.fixture(scope="session")
def trained(data, service, tmp_path_factory):
    """A finished run of `train`, and what it was trained with."""
    from dapter.defences.dapter import Dapter
    from dapter.train import train
    from helpers import PLAN

    return train(Dapter(width=4), service, data, PLAN, root=tmp_path_factory.mktemp("trained"))
