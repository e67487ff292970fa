import sys
from textwrap import dedent

import pytest

import dapter.data
from dapter import plugins
from dapter.errors import UsageError


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Add a data set's file to the plug-ins."""
    monkeypatch.setattr(dapter.data, "__path__", [*dapter.data.__path__, str(tmp_path)])
    before = set(sys.modules)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(dedent(text))

    yield write
    for module in set(sys.modules) - before:
        if module.startswith("dapter.data."):
            del sys.modules[module]
            vars(dapter.data).pop(module.rpartition(".")[2], None)


def test_helpers_are_not_plug_ins():
    found = plugins.names("data")
    assert found == sorted(found)
    assert "faces" in found
    assert not [name for name in found if name.startswith("_")]


@pytest.mark.parametrize("kind", plugins.KINDS)
def test_every_plug_in_is_found_by_its_name(kind):
    for name in plugins.names(kind):
        found = plugins.find(kind, name)
        assert found.__module__ == f"dapter.{kind}.{name}"


@pytest.mark.parametrize("name", ["nonsense", "_files", "", "..runs"])
def test_an_unknown_plug_in_lists_those_there_are(name):
    with pytest.raises(UsageError) as caught:
        plugins.find("data", name)
    assert all(known in str(caught.value) for known in plugins.names("data"))


def test_a_new_file_is_a_new_plug_in(add):
    add(
        "zz_new",
        """
        from dapter.data import Dataset
        from dapter.data.faces import Faces  # of another file: not this file's class

        class _Shared(Dataset):
            pass

        class New(_Shared):
            pass
        """,
    )
    assert "zz_new" in plugins.names("data")
    assert plugins.find("data", "zz_new").__name__ == "New"


@pytest.mark.parametrize("classes", ["", "class A(Dataset): pass\nclass B(Dataset): pass"])
def test_a_file_holds_one_plug_in(add, classes):
    add("zz_wrong", "from dapter.data import Dataset\n" + classes)
    with pytest.raises(UsageError, match=r"dapter\.data\.zz_wrong must define one public Dataset"):
        plugins.find("data", "zz_wrong")
