"""LiteRT's environment; what it makes is tested with all other formats, where it is there."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from dapter.errors import CheckFailed, ConversionError, UsageError
from dapter.export import litert
from dapter.exporting import export


def test_without_its_environment_the_command_that_makes_it_is_named(trained, monkeypatch, tmp_path):
    monkeypatch.setenv("DAPTER_LITERT", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"nowhere.*Cure: python -m dapter\.export\.litert"):
        export(trained, "litert")


def test_it_lies_in_the_cache_by_what_it_holds(monkeypatch, tmp_path):
    monkeypatch.delenv("DAPTER_LITERT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = litert.environment_folder()
    assert folder.parent == tmp_path / "dapter"
    assert all(part.replace("==", "-") in folder.name for part in litert.PACKAGES)


@pytest.mark.parametrize("code", [0, 1])
def test_it_is_ready_once_pip_is_done(code, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(litert.venv, "create", lambda folder, **_: folder.mkdir())

    def pip(args, **_):
        asked.append(args)
        return SimpleNamespace(returncode=code)

    monkeypatch.setattr(litert.subprocess, "run", pip)
    monkeypatch.setenv("DAPTER_LITERT", str(tmp_path / "env"))
    if code:
        with pytest.raises(CheckFailed, match="pip failed"):
            litert.make_environment(tmp_path / "env")
        assert litert.Litert().missing()
        return
    for _ in range(2):
        litert.make_environment(tmp_path / "env")
    assert len(asked) == 1
    assert set(litert.PACKAGES) <= set(asked[0])
    assert not litert.Litert().missing()


def test_what_is_no_environment_stays_as_it_is(tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(UsageError, match="Cure: let DAPTER_LITERT name a new folder"):
        litert.make_environment(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years"


def test_what_fails_in_it_is_told(monkeypatch, tmp_path):
    broken = subprocess.CompletedProcess([], 1, stdout="", stderr="operation not supported")
    monkeypatch.setattr(litert.subprocess, "run", lambda *_, **__: broken)
    (tmp_path / "model.tflite").write_bytes(b"")
    with pytest.raises(ConversionError, match="could not run the converter: operation not supported"):
        litert.Litert().open(tmp_path / "model.tflite")(np.zeros((1, 4, 4, 3), np.uint8), None)
