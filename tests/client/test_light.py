"""The client is light: no torch, no matplotlib, and it starts fast."""

import subprocess
import sys

HEAVY = ("torch", "matplotlib", "scipy", "onnx", "pandas", "tritonclient", "starlette")


def run(code):
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def test_importing_and_using_it_takes_no_torch(releases):
    code = f"""
import sys, dapter
with dapter.Client("http://127.0.0.1:9", {str(releases.plain)!r}, {str(releases.key)!r}) as client:
    client._protector.protect(bytes.fromhex({png()!r}))
print([name for name in {HEAVY} if name in sys.modules])
"""
    assert run(code) == "[]"


def test_importing_it_is_fast():
    code = "import time; began = time.process_time(); from dapter import Client; print(time.process_time() - began)"
    assert min(float(run(code)) for _ in range(3)) < 0.5


def png():
    import numpy as np

    from dapter.imagefile import encode

    return encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).hex()
