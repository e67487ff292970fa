"""Conversions in several processes: killed in the middle, with workers that die, resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converting import FATAL, NO_RAY, invert, invert_slowly
from dapter.convert import WORKER_DIED, convert_files, remove_leftovers
from dapter.errors import UsageError

SCRIPT = Path(__file__).with_name("converting.py")


def photographs(folder, n, height=8):
    """Noisy JPEG files; gives what is in them, each file's bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n):
        pixels = np.random.default_rng(number).integers(0, 256, (height, 9, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.jpg")
    return {path: path.read_bytes() for path in folder.iterdir()}


def check_converted(source, out):
    """Every image of the source has its payload, each a whole file, and nothing of an original is there."""
    originals = [path.read_bytes() for path in source.glob("*.jpg")]
    for path in out.rglob("*"):
        content = path.read_bytes()
        assert not any(original in content or original[20:60] in content for original in originals)
    for path in source.glob("*.jpg"):
        with Image.open(path) as image, Image.open(out / f"{path.name}.png") as payload:
            np.testing.assert_array_equal(np.array(payload), 255 - np.array(image))
    assert {path.name for path in out.iterdir()} == {f"{path.name}.png" for path in source.glob("*.jpg")}


@pytest.mark.parametrize("engine", ["pool", "ray"])
def test_a_file_that_kills_its_worker_stops_no_other(tmp_path, engine):
    source, out = tmp_path / "in", tmp_path / "out"
    photographs(source, 40)
    (source / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (5, FATAL)).save(source / "fatal.png")
    started = subprocess.run([sys.executable, str(SCRIPT), str(source), str(out), "0", engine], timeout=600)
    if started.returncode == NO_RAY:
        pytest.skip("Ray did not start in three attempts: on a busy machine its own 15 seconds are not enough")
    assert started.returncode == 0
    check_converted(source, out)

    again = convert_files(invert, source, out, workers=2)
    assert (len(again.written), len(again.kept)) == (0, 40)
    assert [path.name for path, _ in again.failed] == ["broken.png", "fatal.png"]
    assert dict(again.failed)[source / "fatal.png"] == WORKER_DIED
    path = again.write_failures(out)
    named = [Path(json.loads(line)["source"]).name for line in path.read_text().splitlines()]
    assert named == ["broken.png", "fatal.png"]
    (source / "broken.png").unlink()
    (source / "fatal.png").unlink()
    assert convert_files(invert, source, out).write_failures(out) is None
    assert not path.exists()


def living(group):
    """The processes of a session, by their command."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == group and fields[0] != "Z":
            found.append(status.parent.name)
    return found


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_killed_in_the_middle_nothing_is_half_written_and_it_resumes(tmp_path):
    source, out = tmp_path / "in", tmp_path / "out"
    before = photographs(source, 30)
    command = [sys.executable, str(SCRIPT), str(source), str(out), "0.3", "pool"]
    worker = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*.png"))) < 3:
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    while living(worker.pid):  # its workers end by themselves
        assert time.monotonic() < deadline
        time.sleep(0.05)
    written = sorted(out.glob("*.png"))
    assert 3 <= len(written) < 30
    for path in written:
        with Image.open(path) as image:
            image.load()

    (out / f".000.jpg.png.{worker.pid}.tmp").write_bytes(b"half")  # what dying in the middle of a write leaves
    mine = out / f".000.jpg.png.{os.getpid()}.tmp"
    mine.write_bytes(b"being written")
    done = convert_files(partial(invert_slowly, 0), source, out, workers=2)
    assert (len(done.written), len(done.kept), done.failed) == (30 - len(written), len(written), ())
    mine.unlink()
    check_converted(source, out)
    assert {path: path.read_bytes() for path in source.iterdir()} == before


def test_what_cannot_be_handed_to_other_processes_is_refused(tmp_path):
    photographs(tmp_path / "in", 10)
    with pytest.raises(UsageError, match="workers=1"):
        convert_files(lambda images: None, tmp_path / "in", tmp_path / "out", workers=2)


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for processes in /proc")
def test_what_an_ended_process_left_is_removed_though_nobody_waited_for_it(tmp_path):
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
    begun = [tmp_path / f".photo.png.{process}.tmp" for process in (child.pid, os.getpid())]
    for path in begun:
        path.write_bytes(b"half")
    remove_leftovers(tmp_path)
    child.wait()
    assert [path.exists() for path in begun] == [False, True]
