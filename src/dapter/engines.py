"""Do many jobs in several processes: a pool on this machine, or Ray Data on one machine or many.

A worker can die, of too little memory or in a decoder that crashes. A job that was under way then is tried once more,
alone; if it kills that worker too, it is given up, and the rest goes on.
"""

import functools
import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, TypeVar

from dapter.errors import UsageError, need

Engine = Literal["pool", "ray"]
Job = TypeVar("Job")
Done = TypeVar("Done")

QUEUED = 4
"""Jobs that wait for each worker of the pool."""

BLOCK = 32
"""Jobs that Ray hands out at a time."""

WAVE = 50_000
"""Jobs that Ray knows of at a time: bounds its memory."""

OBJECT_STORE = 100 * 2**20
"""Bytes of Ray's shared memory on this machine. Only the names of jobs and their results pass through it."""

RAY_STARTS = 3
"""How often Ray is started: it gives up when the machine is so busy that one of its processes is not up in time."""


def run_jobs(
    work: Callable[[Job], Done], jobs: Sequence[Job], workers: int = 1, engine: Engine = "pool"
) -> Iterator[tuple[Job, Done | None]]:
    """Each job with what `work` gave for it, in the order in which they end; None if a worker died of it.

    Args:
        work: must not raise; for more than one worker, or Ray, something that can be pickled. It comes to every
            worker once, and should compute on one thread.
        jobs: small values that can be pickled.
        workers: processes at most; a pool of one is this process, and few jobs get few workers. A cluster of Ray
            (RAY_ADDRESS) uses all that it has.

    Raises:
        UsageError: no worker, or `work` cannot be pickled.
        MissingExtra: Ray is not installed.
    """
    if workers < 1:
        raise UsageError(f"{workers} workers can do nothing. Cure: 1 or more")
    if engine == "ray":
        _check(work)
        return _ray(work, jobs, workers)
    if workers == 1:
        return ((job, work(job)) for job in jobs)
    _check(work)
    return _pool(work, deque(jobs), min(workers, -(-len(jobs) // QUEUED)))


def _check(work: Callable[..., Any]) -> None:
    """Refuse what cannot be handed to another process, before one is started."""
    try:
        pickle.dumps(work)
    except Exception as error:  # whatever is in it may raise anything
        cure = "Cure: workers=1, or a function at the top of a module"
        raise UsageError(f"the work cannot be handed to other processes ({error}). {cure}") from error


def _pool(work: Callable[[Job], Any], jobs: deque[Job], workers: int) -> Iterator[tuple[Job, Any]]:
    while jobs:
        for job in (yield from _until_a_death(work, jobs, workers)):
            if (yield from _until_a_death(work, deque([job]), 1)):
                yield job, None


def _until_a_death(
    work: Callable[[Job], Any], jobs: deque[Job], workers: int
) -> Generator[tuple[Job, Any], None, list[Job]]:
    """Take jobs and do them until none is left or a worker dies; returns the jobs that were under way then."""
    running: dict[Future[Any], Job] = {}
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (work,))
    try:
        while jobs or running:
            while jobs and len(running) < QUEUED * workers:
                running[pool.submit(_do, jobs[0])] = jobs[0]
                jobs.popleft()
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                done = future.result()
                yield running.pop(future), done
    except BrokenProcessPool:
        ended = [future for future in running if future.done() and future.exception() is None]
        for future in ended:
            yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)
    return list(running.values())


_work: Callable[[Any], Any]
"""In a worker of the pool: the work."""


def _start(work: Callable[[Any], Any]) -> None:
    """Prepare a worker of the pool: one thread; the parent handles Ctrl-C; it ends when the parent is killed."""
    global _work
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _work = work


def end_with_parent() -> None:
    """For a thread of a worker process, which would go on for ever after its parent was killed."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def _do(job: Any) -> Any:
    return _work(job)


def _ray(work: Callable[[Job], Any], jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Any]]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = need("ray", "ray")
    need("ray.data", "ray")
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what went wrong is in the results
    started = not ray.is_initialized()
    if started:
        _start_ray(ray, workers)
    try:
        shared = ray.put(work)
        for start in range(0, len(jobs), WAVE):
            lost = yield from _ray_blocks(shared, jobs[start : start + WAVE], BLOCK)
            for job in (yield from _ray_blocks(shared, lost, 1)):
                yield job, None
    finally:
        if started:
            ray.shutdown()


def _start_ray(ray: Any, workers: int) -> None:
    here = {"num_cpus": workers, "object_store_memory": OBJECT_STORE, "include_dashboard": False}
    for start in range(RAY_STARTS):
        try:
            ray.init(**({} if "RAY_ADDRESS" in os.environ else here), log_to_driver=False, logging_level="ERROR")
            return
        except Exception as error:  # Ray raises many kinds
            ray.shutdown()
            if start == RAY_STARTS - 1:
                raise UsageError(
                    f"Ray does not start ({error}). Cure: a less busy machine, or --engine pool"
                ) from error


def _ray_blocks(shared: Any, jobs: Sequence[Job], block: int) -> Generator[tuple[Job, Any], None, list[Job]]:
    """Do jobs in blocks of that size; returns those of blocks whose worker died."""
    if not jobs:
        return []
    data = need("ray.data", "ray")
    rows = [{"number": number, "job": job} for number, job in enumerate(jobs)]
    blocks = data.from_items(rows, override_num_blocks=-(-len(rows) // block))
    results = blocks.map(_do_row, fn_args=(shared,), num_cpus=1, max_retries=0)
    results.context.enable_progress_bars = False
    results.context.max_errored_blocks = -1
    left = dict(enumerate(jobs))
    for row in results.iter_rows():
        yield left.pop(row["number"]), row["done"]
    return list(left.values())


def _do_row(row: dict[str, Any], shared: Any) -> dict[str, Any]:
    return {"number": row["number"], "done": _fetch(shared)(row["job"])}


@functools.lru_cache(maxsize=1)
def _fetch(shared: Any) -> Callable[[Any], Any]:
    """The work, in a worker of Ray; kept from one job to the next."""
    work: Callable[[Any], Any] = need("ray", "ray").get(shared)
    return work
