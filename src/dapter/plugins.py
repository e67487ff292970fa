"""Plug-ins are found by their file: the name is the file's stem, the class the only public one in it.

A newcomer adds a data set, a defence or an attack with one new file in the folder of its kind.
Files whose names begin with an underscore are helpers, not plug-ins.
"""

import hashlib
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

from dapter.errors import UsageError

KINDS = {"attacks": "Attack", "data": "Dataset", "defences": "Defence", "export": "Exporter"}
"""The folders that hold plug-ins, and the class of each that is the contract."""


def names(kind: str) -> list[str]:
    """The plug-ins of a kind, sorted."""
    package = importlib.import_module(f"dapter.{kind}")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if not module.name.startswith("_"))


def find(kind: str, name: str) -> type[Any]:
    """The class of one plug-in.

    Raises:
        UsageError: no plug-in of that name; the message lists those there are.
    """
    if name not in names(kind):
        raise UsageError(f"no {kind} named {name!r}. There are: {', '.join(names(kind))}")
    module = importlib.import_module(f"dapter.{kind}.{name}")
    contract = getattr(importlib.import_module(f"dapter.{kind}"), KINDS[kind])
    found = [
        value
        for label, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, contract) and value.__module__ == module.__name__
        if not label.startswith("_")
    ]
    if len(found) != 1:
        raise UsageError(
            f"{module.__name__} must define one public {contract.__name__}, not {len(found)}. Cure: one file for each"
        )
    return found[0]


def file_digest(plugin: object) -> str:
    """The SHA-256 of the file that defines a plug-in: what an edited one did before is not taken for its own."""
    return hashlib.sha256(Path(inspect.getfile(type(plugin))).read_bytes()).hexdigest()
