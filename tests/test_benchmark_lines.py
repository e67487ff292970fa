"""Results that are measured anew replace their own lines and no others."""

import threading
import time
from dataclasses import replace

import pytest

from audit_pages import lines
from benchmark_files import load
from dapter.errors import DataError
from dapter.runs import hold


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


def test_two_at_once_lose_nothing(tmp_path):
    """While one holds the file, the other waits, and then reads what the first has written."""
    module = load("lines")
    path = tmp_path / "audit.jsonl"
    started = threading.Event()

    def other():
        started.set()
        module.replace_lines(path, named("budget", "budget"), of)

    thread = threading.Thread(target=other)
    with hold(tmp_path):
        thread.start()
        started.wait()
        time.sleep(0.2)
        assert not path.exists()
        path.write_text("".join(line.to_json() + "\n" for line in named("dapter", "lambda")))
    thread.join()
    assert module.read(path) == [*named("dapter", "lambda"), *named("budget", "budget")]


def test_one_that_fails_is_named_and_stops_no_other(tmp_path, capsys):
    def lines_of(name):
        if name == "bad":
            raise ValueError("broken")
        return named(name, "board")

    path = tmp_path / "board.jsonl"
    assert load("lines").measure_each(["bad", "dapter"], lines_of, path, of, "--defences") == 1
    assert {entry.defence for entry in load("lines").read(path)} == {"dapter"}
    assert "Failed, see above: bad. Cure: mend them and repeat with --defences" in capsys.readouterr().out


def test_nothing_measured_is_a_failure_and_leaves_no_file(tmp_path, capsys):
    path = tmp_path / "board.jsonl"
    assert load("lines").measure_each(["dapter"], lambda name: [], path, of, "--defences") == 1
    assert not path.exists()
    assert "Failed" in capsys.readouterr().out


def test_lines_of_other_settings_are_not_mixed(tmp_path):
    module, path = load("lines"), tmp_path / "board.jsonl"
    made = "board.py --data faces --secrets A B --defences x y --seeds 0 --size 8"
    path.write_text("".join(replace(line, source=made).to_json() + "\n" for line in named("dapter", "board")))
    (size,) = {tuple(entry.settings["image_size"]) for entry in module.read(path)}
    but = ("defences", "seeds")
    module.refuse_others(path, "board.py --data faces --defences z --size 8 --secrets A B", size, but)
    module.refuse_others(path, "board.py --data faces --secrets A", (99, 99), but)
    for other in ("board.py --data faces --secrets A --size 8", f"{made} --recogniser-epochs 2"):
        with pytest.raises(SystemExit, match="Cure: the same settings"):
            module.refuse_others(path, other, size, but)


def test_a_results_file_that_cannot_be_read_is_left_as_it_is(tmp_path):
    path = tmp_path / "audit.jsonl"
    path.write_text("not a measurement\n")
    with pytest.raises(DataError):
        load("lines").replace_lines(path, named("dapter", "lambda"), of)
    assert path.read_text() == "not a measurement\n"
