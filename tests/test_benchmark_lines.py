"""Results that are measured anew replace their own lines and no others."""

from dataclasses import replace

import pytest

from audit_pages import lines
from benchmark_files import load
from dapter.errors import DataError


def named(defence, study, more=0.0):
    return [replace(line, settings={**line.settings, "study": study}) for line in lines(defence, None, more=more)]


def of(entry):
    return entry.settings["study"], entry.defence


def test_lines_of_the_same_are_replaced_and_no_others(tmp_path):
    module = load("lines")
    path = tmp_path / "results" / "audit.jsonl"
    path.parent.mkdir()
    others = [*named("dapter", "lambda"), *named("dapter", "identity"), *named("budget", "budget")]
    module.replace_lines(path, [*others, *named("budget", "identity")], of)
    anew = named("budget", "identity", more=0.1)
    module.replace_lines(path, anew, of)
    assert module.read(path) == [*others, *anew]


def test_a_results_file_that_cannot_be_read_is_left_as_it_is(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text("not a measurement\n")
    with pytest.raises(DataError):
        load("lines").replace_lines(path, named("dapter", "lambda"), of)
    assert path.read_text() == "not a measurement\n"
