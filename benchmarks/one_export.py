"""Time and memory of one exported file, in a process of its own; `benchmarks/export.py` starts it.

    python benchmarks/one_export.py FORMAT FILE HEIGHT WIDTH [DIAL]

Prints JSON: `latency_ms`, the median of runs on one processor core, and `memory_bytes`, the peak above what the process
held before it loaded the file.
"""

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

REPEATS, WARM_UP = 20, 3

Convert = Callable[[np.ndarray], object]


def prepare_here(form: str, path: Path, dial: float | None) -> Callable[[], Convert]:
    """Import what the format needs; gives what loads the file."""
    from dapter import plugins

    exporter = plugins.find("export", form)()
    if form == "executorch":
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool

        _unsafe_reset_threadpool(1)

    def load() -> Convert:
        run = exporter.open(path)
        return lambda image: run(image, dial)

    return load


def prepare_litert(path: Path, dial: float | None) -> Callable[[], Convert]:
    """The same in LiteRT's environment, which has no dapter."""
    from ai_edge_litert.interpreter import Interpreter

    def load() -> Convert:
        interpreter = Interpreter(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        inputs = interpreter.get_input_details()

        def convert(image: np.ndarray) -> None:
            for entry in inputs:
                value = image if len(entry["shape"]) == 4 else np.float32(dial)
                interpreter.set_tensor(entry["index"], np.asarray(value, entry["dtype"]).reshape(entry["shape"]))
            interpreter.invoke()

        return convert

    return load


def memory(name: str) -> int:
    """`VmRSS` (now) or `VmHWM` (the peak) of this process in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Measure."""
    form, path, dial = sys.argv[1], Path(sys.argv[2]), float(sys.argv[5]) if len(sys.argv) > 5 else None
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    load = prepare_litert(path, dial) if form == "litert" else prepare_here(form, path, dial)
    image = np.random.default_rng(0).integers(0, 256, (1, int(sys.argv[3]), int(sys.argv[4]), 3), dtype=np.uint8)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory("VmRSS")
    convert = load()
    convert(image)
    peak = memory("VmHWM") - before
    for _ in range(WARM_UP):
        convert(image)
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        convert(image)
        times.append(time.perf_counter() - start)
    found = {"latency_ms": 1000 * statistics.median(times), "memory_bytes": peak, "repeats": REPEATS}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
