"""Tasks that do not depend on one another, done by this process or by several, each on one thread.

Two processes with a thread each train two networks much faster than one process with two threads trains them one
after the other. A task gives the same result either way: it computes on one thread, and keeps what it does in files.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from dapter import cost
from dapter.engines import end_with_parent
from dapter.errors import RunError, UsageError
from dapter.processes import pick_device
from dapter.sharing import hand_over, take_over

LOG = "workers.log"
"""In the folder of the work: what the worker processes said."""

LOOK_SECONDS = 5.0
"""How often a worker that died unnoticed is looked for: the pool can miss one that dies while another is started."""

_common: Any = None
"""In a worker process: what all tasks have in common."""


class Task(Protocol):
    """A piece of work that keeps its result in files, and resumes if it was interrupted."""

    @property
    def title(self) -> str:
        """What it does, in a few words."""

    def run(self, common: Any) -> None:
        """Do it; or nothing if it is done.

        Args:
            common: what all tasks need.
        """


def default_workers() -> int:
    """One for each processor that this process may use; one if there is a GPU."""
    if pick_device().type == "cuda":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(tasks: Sequence[Task], common: Any, workers: int | None, folder: Path, unit: str) -> None:
    """Do all tasks, begun in their order; what is being done and how many are left is shown.

    Args:
        common: what they all need; with several workers it is handed over, its large arrays through files in `folder`.
        workers: processes; with 1 this process does everything. None: `default_workers`, and 1 if `common` cannot be
            handed over, which is said.
        folder: for what the processes share, and for what they say.
        unit: what a task is called.

    Raises:
        UsageError: no worker, or `common` cannot be handed over.
        RunError: a worker died.
    """
    count = min(default_workers() if workers is None else workers, max(1, len(tasks)))
    if count < 1:
        raise UsageError(f"{workers} workers can do nothing. Cure: 1 or more")
    handed = b""
    if count > 1:
        try:
            handed = hand_over(common, folder)
        except UsageError as error:
            if workers is not None:
                raise
            tqdm.write(f"{error}; there is one now")
            count = 1
    with tqdm(total=len(tasks), unit=unit, disable=None) as bar:
        if count == 1:
            for place, task in enumerate(tasks):
                _say(task, place, len(tasks))
                with one_thread():
                    task.run(common)
                bar.update()
        else:
            _run_all(tasks, handed, count, folder, bar)


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Compute on one thread for a while, so that results do not depend on how many there are; not beside a GPU."""
    return contextlib.nullcontext() if pick_device().type == "cuda" else cost.one_thread()


def _run_all(tasks: Sequence[Task], common: bytes, workers: int, folder: Path, bar: Any) -> None:
    """Keep every worker busy; if one fails or this process is interrupted, stop the others, who will resume."""
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    others = set(multiprocessing.active_children())
    ours: set[BaseProcess] = set()
    pool = ProcessPoolExecutor(workers, spawn, _begin, (common, folder / LOG))
    busy: dict[Future[None], Task] = {}
    left = iter(enumerate(tasks))

    def begin(count: int) -> None:
        for place, task in _next(left, count):
            _say(task, place, len(tasks))
            busy[pool.submit(_do, task)] = task
        ours.update(set(multiprocessing.active_children()) - others)

    try:
        begin(workers)
        while busy:
            done, _ = wait(busy, LOOK_SECONDS, return_when=FIRST_COMPLETED)
            if not done and not all(child.is_alive() for child in ours):
                raise BrokenProcessPool
            for future in done:
                future.result()
                del busy[future]
                bar.update()
            begin(len(done))
    except BrokenProcessPool as error:
        titles = "; ".join(task.title for task in busy.values())
        raise RunError(
            f"a worker process died, often for want of memory, while these were at work: {titles}. What is done is "
            f"kept; {folder / LOG} may say more. Cure: the same command resumes; fewer workers need less memory"
        ) from error
    finally:
        if busy:
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
        pool.shutdown(cancel_futures=True)


def _next(left: Iterator[tuple[int, Task]], count: int) -> Iterator[tuple[int, Task]]:
    for _ in range(count):
        yield from (entry for entry in [next(left, None)] if entry is not None)


def _say(task: Task, place: int, total: int) -> None:
    tqdm.write(f"{place + 1} of {total} begins: {task.title}")


def _begin(common: bytes, log: Path) -> None:
    """A worker process begins."""
    global _common
    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent stops the others
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout = sys.stderr = log.open("a", buffering=1)
    torch.set_num_threads(1)
    _common = take_over(common)


def _stop(*_: Any) -> None:
    """End in order; the pool asks again, which must not interrupt that."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _do(task: Task) -> None:
    try:
        task.run(_common)
    except SystemExit:
        os._exit(1)  # by SIGTERM; the pool would keep the process
