import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from dapter import plugins, workers
from dapter.defences import Task, build_defence
from dapter.errors import CheckFailed, RunError, UsageError
from dapter.sharing import LARGE, hand_over, take_over
from dapter.workers import LOG, default_workers, run_tasks
from helpers import make_data

HERE = Path(__file__)


@dataclass(frozen=True)
class Common:
    """What the tasks of this file need."""

    numbers: np.ndarray
    folder: Path


class Here(Common):
    """The same, but for this process only."""

    def __init__(self, folder):
        super().__init__(np.ones(LARGE, np.uint8), folder)
        object.__setattr__(self, "secret", lambda: None)


@dataclass(frozen=True)
class Write:
    """Writes a file that says who did it; or does something else."""

    name: str
    then: str = ""

    @property
    def title(self):
        return self.name

    def run(self, common):
        print(f"{self.name} at work")
        if self.then == "meet":
            (common.folder / f"{self.name}.here").touch()
            while len(list(common.folder.glob("*.here"))) < 2:
                time.sleep(0.01)
        if self.then == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.then == "fail":
            raise CheckFailed("this one cannot be done")
        if self.then == "sleep":
            try:
                time.sleep(600)
            finally:
                (common.folder / f"{self.name}.stopped").touch()
        said = f"{os.getpid()} {torch.get_num_threads()} {common.numbers.sum()}"
        (common.folder / self.name).write_text(said)


def common(folder):
    return Common(np.ones(LARGE, np.uint8), folder)


def run(names, folder, count, **then):
    tasks = [Write(name, then.get(name, "")) for name in names]
    run_tasks(tasks, common(folder), count, folder / "shared", "cell")


def said(folder, name):
    return (folder / name).read_text().split()


def test_several_processes_share_the_tasks_and_each_has_one_thread(tmp_path, capsys):
    run("abcd", tmp_path, 2, a="meet", b="meet")
    lines = [said(tmp_path, name) for name in "abcd"]
    assert len({line[0] for line in lines}) == 2
    assert str(os.getpid()) not in {line[0] for line in lines}
    assert {tuple(line[1:]) for line in lines} == {("1", str(LARGE))}
    assert "4 of 4 begins: d" in capsys.readouterr().out
    assert "d at work" in (tmp_path / "shared" / LOG).read_text()


def test_one_worker_is_this_process_for_a_while_on_one_thread(tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run("ab", tmp_path, 1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert said(tmp_path, "a") == said(tmp_path, "b") == [str(os.getpid()), "1", str(LARGE)]


def test_a_worker_that_dies_is_told_with_what_was_at_work(tmp_path):
    with pytest.raises(RunError, match=r"died.*while these were at work: .*second.*Cure: the same command resumes"):
        run(["first", "second", "third"], tmp_path, 2, second="die", first="sleep")
    assert (tmp_path / "first.stopped").exists()


def test_a_task_that_fails_stops_the_others_and_its_error_arrives(tmp_path):
    with pytest.raises(CheckFailed, match="cannot be done"):
        run(["good", "bad", "slow", "never"], tmp_path, 2, bad="fail", good="sleep", slow="sleep")
    assert not (tmp_path / "good").exists()
    assert not (tmp_path / "never").exists()


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(UsageError, match="1 or more"):
        run("a", tmp_path, 0)
    with pytest.raises(UsageError, match="Cure: one worker"):
        run_tasks([Write("a"), Write("b")], lambda: None, 2, tmp_path, "cell")


def test_who_does_not_say_how_many_gets_one_for_what_cannot_be_handed_over(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(workers, "default_workers", lambda: 2)
    here = Here(tmp_path)
    run_tasks([Write("a"), Write("b")], here, None, tmp_path / "shared", "cell")
    assert said(tmp_path, "a")[0] == said(tmp_path, "b")[0] == str(os.getpid())
    assert "there is one now" in capsys.readouterr().out
    assert default_workers() >= 1


@pytest.mark.parametrize("name", plugins.names("defences"))
def test_every_defence_can_be_handed_over(name, data, service, tmp_path):
    ready = build_defence(name, {}).setup(0, service, Task.of(make_data(secrets=("shape",))))
    images = data.splits["test"].images[:3]
    other, its_service = take_over(hand_over((ready, service), tmp_path))
    assert np.array_equal(other.protect(images, seed=0).values, ready.protect(images, seed=0).values)
    assert its_service.digest == service.digest
    assert its_service.frozen


def test_large_arrays_are_shared_and_nobody_writes_into_anothers(tmp_path):
    large, small = np.arange(LARGE, dtype=np.uint8), np.arange(5)
    content = hand_over({"a": large, "b": large, "small": small}, tmp_path)
    assert len(content) < LARGE / 100
    assert len(list(tmp_path.glob("*.npy"))) == 1
    one, other = take_over(content), take_over(content)
    one["a"][0] = 7
    torch.from_numpy(one["b"])  # a warning is an error here
    assert np.array_equal(other["a"], large)
    assert np.array_equal(other["b"], large)
    assert np.array_equal(other["small"], small)


def start(folder):
    """This file as a program: two tasks that take ten minutes."""
    child = subprocess.Popen(
        [sys.executable, str(HERE), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    for _ in range(2400):
        log = folder / "shared" / LOG
        if log.exists() and log.read_text().count("at work") == 2:
            return child
        time.sleep(0.1)
    child.kill()
    raise AssertionError(child.communicate()[0])


def test_an_interrupt_stops_all_workers_at_once(tmp_path):
    child = start(tmp_path)
    child.send_signal(signal.SIGINT)
    assert "stopped" in child.communicate(timeout=120)[0]
    assert {path.name for path in tmp_path.glob("*.stopped")} == {"a.stopped", "b.stopped"}


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path):
    child = start(tmp_path)
    child.kill()
    child.communicate(timeout=120)  # ends when no worker holds the pipe any more


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell switches off in the background
    try:
        run("ab", Path(sys.argv[1]), 2, a="sleep", b="sleep")
    except KeyboardInterrupt:
        print("stopped")
