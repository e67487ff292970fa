"""What the workers of a conversion do in tests; in a file of its own, so that other processes can import it."""

import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from dapter.convert import convert_files
from dapter.errors import UsageError
from dapter.types import Payload

NO_RAY = 3
"""The exit code when Ray does not start."""

FATAL = 13
"""The height of an image that kills its worker."""


def invert(images):
    if images.shape[1] == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    return Payload(255 - images)


def invert_slowly(seconds, images):
    time.sleep(seconds)
    return invert(images)


if __name__ == "__main__":
    source, destination, seconds, engine = sys.argv[1:]
    # `__main__` is not what the workers import
    from converting import invert_slowly as work

    try:
        convert_files(partial(work, float(seconds)), Path(source), Path(destination), workers=2, engine=engine)
    except UsageError as error:
        sys.exit(NO_RAY if "Ray does not start" in str(error) else str(error))
