"""Dynamic batching: what arrives while the model computes is computed together next.

An idle model begins at once, so that batching costs a lone request nothing; a busy one finds its next batch waiting.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dapter.service.refused import Refused

Answers = Mapping[str, np.ndarray]
"""For each target, logits, float32 (N, classes)."""


@dataclass(frozen=True)
class _Job:
    images: np.ndarray
    answers: "asyncio.Future[Answers]"


class Batcher:
    """Asks one model, one batch at a time, in a thread of its own. To be used from one event loop.

    Args:
        answer: images, uint8 (N, H, W, 3), to answers.
        max_batch: images in a batch; a request of more is a batch by itself.
        max_waiting: images that may wait; further requests are refused.
        observe: told the size of every batch.
    """

    def __init__(
        self,
        answer: Callable[[np.ndarray], Answers],
        max_batch: int = 32,
        max_waiting: int = 512,
        observe: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._answer, self._observe = answer, observe
        self._max_batch, self._max_waiting = max_batch, max_waiting
        self._jobs: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, "model")
        self._work: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many images wait for their turn."""
        return sum(len(job.images) for job in self._jobs)

    async def ask(self, images: np.ndarray) -> Answers:
        """The answers to images, uint8 (N, H, W, 3).

        Raises:
            Refused: too many are waiting already.
            Exception: whatever the model raised.
        """
        if self.waiting + len(images) > self._max_waiting and self._jobs:
            raise Refused(503, f"{self.waiting} images are waiting already. Cure: try again later")
        job = _Job(images, asyncio.get_running_loop().create_future())
        self._jobs.append(job)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._compute())
        return await job.answers

    def close(self) -> None:
        """Let the thread go."""
        self._thread.shutdown(wait=True)

    async def _compute(self) -> None:
        while batch := self._take():
            images = np.concatenate([job.images for job in batch]) if len(batch) > 1 else batch[0].images
            self._observe(len(images))
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, images)
            except Exception as error:  # belongs to those who asked
                for job in batch:
                    if not job.answers.done():
                        job.answers.set_exception(error)
                continue
            start = 0
            for job in batch:
                rows = slice(start, start := start + len(job.images))
                if not job.answers.done():
                    job.answers.set_result({target: logits[rows] for target, logits in found.items()})

    def _take(self) -> list[_Job]:
        """The next batch: the oldest job, and others of its image size; jobs that nobody waits for are dropped."""
        batch: list[_Job] = []
        left: deque[_Job] = deque()
        for job in self._jobs:
            if job.answers.done():
                continue
            fits = not batch or (
                job.images.shape[1:] == batch[0].images.shape[1:]
                and sum(len(other.images) for other in batch) + len(job.images) <= self._max_batch
            )
            (batch if fits else left).append(job)
        self._jobs = left
        return batch
