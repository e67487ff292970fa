"""Use a cloud image-recognition service without handing over an image that can be abused.

The public names are loaded on first use, so that light parts import without torch.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_HOMES = {
    "load_data": "dapter.data",
    "load_service": "dapter.service.load",
    "train_service": "dapter.service.training",
    "load_trained_service": "dapter.service.training",
    "build_defence": "dapter.defences",
    "with_settings": "dapter.defences",
    "Plan": "dapter.loop",
    "train": "dapter.train",
    "load_defence": "dapter.train",
    "tune": "dapter.tune",
    "shrink": "dapter.tune",
    "sweep": "dapter.tune",
    "evaluate": "dapter.evaluate",
    "audit": "dapter.audit",
    "read_pairs": "dapter.pairs",
    "Client": "dapter.client",
    "AsyncClient": "dapter.client",
    "convert_files": "dapter.convert",
    "export": "dapter.exporting",
    "convert_parquet": "dapter.parquet",
    "write_report": "dapter.report",
    "make_study": "dapter.study",
    "score_study": "dapter.ratings",
    "build_release": "dapter.release.build",
    "verify_release": "dapter.verify",
    "Run": "dapter.runs",
    "Answer": "dapter.types",
    "Measurement": "dapter.types",
    "Payload": "dapter.types",
    "DapterError": "dapter.errors",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'dapter' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """A public name wins over the file of the same name (dapter.train), which importing would put in its place."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in _HOMES or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
