import subprocess
import sys

import pytest

import dapter


def run(code):
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_light_parts_need_no_torch():
    run("import sys, dapter, dapter.cli, dapter.data, dapter.convert, dapter.report; assert 'torch' not in sys.modules")


def test_a_public_name_wins_over_the_file_of_the_same_name():
    run("import dapter, dapter.evaluate; assert all(callable(each) for each in (dapter.train, dapter.evaluate))")
    run("from dapter.train import load_defence; from dapter import train; assert callable(train)")


@pytest.mark.parametrize("name", dapter.__all__)
def test_every_public_name_is_there(name):
    assert getattr(dapter, name).__name__ == name


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dapter.nothing  # noqa: B018


def test_it_runs_as_a_module():
    shown = subprocess.run([sys.executable, "-m", "dapter", "--help"], check=True, capture_output=True, text=True)
    assert "convert" in shown.stdout
