"""What every data set owes, found by itself."""

import dataclasses
import re

import pytest

from dapter.data import Dataset
from dapter.plugins import find, names


@pytest.mark.parametrize("name", names("data"))
def test_every_data_set_keeps_the_contract(name):
    reader = find("data", name)
    assert issubclass(reader, Dataset)
    assert dataclasses.is_dataclass(reader)
    assert reader.__dataclass_params__.frozen
    assert reader.licence
    assert isinstance(reader.default_target, str)
    assert isinstance(reader.mirror, bool)
    documented = set(re.findall(r"^ +(\w+):", reader.__doc__, re.MULTILINE))
    assert documented >= {field.name for field in dataclasses.fields(reader)}
