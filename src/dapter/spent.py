"""How much time a piece of work took, over all attempts at it: a file in its run folder."""

import contextlib
import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from dapter.runs import Run, write_atomic

SPENT = "spent.json"


@dataclass(frozen=True)
class Spent:
    """Time that one or more pieces of work took.

    Attributes:
        seconds: on the clock; of several pieces the sum, although they may have run side by side.
        core_seconds: of processors, user and system, of the process that did the work; waiting costs nothing. It is
            about the same on a busy machine. What a GPU does is not in it.
        begun: attempts; an interrupted run takes more than one.
        ended: attempts that ended in any way but the process being killed; the time of the others is not known.
    """

    seconds: float = 0.0
    core_seconds: float = 0.0
    begun: int = 0
    ended: int = 0

    @property
    def known(self) -> bool:
        """Whether no time is missing."""
        return 0 < self.begun == self.ended

    @classmethod
    def total(cls, parts: Iterable["Spent"]) -> "Spent | None":
        """The sum; None if the time of a part is not known."""
        parts = list(parts)
        if not all(part.known for part in parts):
            return None
        names = ("seconds", "core_seconds", "begun", "ended")
        return cls(*(sum(getattr(part, name) for part in parts) for name in names))


def read_spent(run: Run) -> Spent:
    """What was spent on a run; nothing for one from before this was noted."""
    path = run.path / SPENT
    return Spent(**json.loads(path.read_text())) if path.exists() else Spent()


@contextlib.contextmanager
def noted(run: Run) -> Iterator[None]:
    """Add what happens inside to the run's time."""
    before = read_spent(run)
    begun = Spent(before.seconds, before.core_seconds, before.begun + 1, before.ended)
    _write(run.path / SPENT, begun)
    clock, cores = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        seconds = before.seconds + time.perf_counter() - clock
        core_seconds = before.core_seconds + time.process_time() - cores
        _write(run.path / SPENT, Spent(seconds, core_seconds, begun.begun, before.ended + 1))


def _write(path: Path, spent: Spent) -> None:
    write_atomic(path, json.dumps(asdict(spent), sort_keys=True) + "\n")
