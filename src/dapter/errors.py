"""The exception tree. Every message says what is wrong and what to do about it.

DapterError
 ├── UsageError           a setting or argument that cannot work (exit code 2)
 │    └── MissingExtra    an optional part is not installed
 ├── DataError            a data set or image file that cannot be read
 ├── ServiceError         a service that cannot be loaded, frozen or asked
 ├── WireError            a message that does not follow the Open Inference Protocol
 ├── ConversionError      an image could not be converted, so nothing may be sent
 ├── RunError             a run folder that cannot be used
 └── CheckFailed          a check ran and did not pass (exit code 1)
"""

import importlib
from types import ModuleType


class DapterError(Exception):
    """Base of every error that dapter raises on purpose."""


class UsageError(DapterError):
    """A setting or argument that cannot work."""


class MissingExtra(UsageError):
    """An optional part is not installed; the message names the extra to install."""


class DataError(DapterError):
    """A data set or image file cannot be read; the message names the file and the cure."""


class ServiceError(DapterError):
    """A service cannot be loaded, frozen or asked."""


class WireError(DapterError):
    """A message to or from a service does not follow the Open Inference Protocol."""


class ConversionError(DapterError):
    """An image could not be converted. Nothing of it may be sent (fail closed)."""


class RunError(DapterError):
    """A run folder is missing, unfinished, damaged or of another kind."""


class CheckFailed(DapterError):
    """A check ran and did not pass."""


def need(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which extra brings it.

    Raises:
        MissingExtra: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{module} is not installed. Cure: pip install 'dapter[{extra}]'") from error
