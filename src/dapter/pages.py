"""What self-contained HTML pages share: their template, what they read from run folders, how settings are listed."""

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from dapter.errors import RunError, UsageError, need
from dapter.figures import variables
from dapter.runs import RESULTS
from dapter.tables import plain
from dapter.types import check_images

SMOOTH = 128
"""Pictures narrower than this are enlarged without smoothing, so that each of their pixels is seen."""

GUESSED = ("male", "gender", "sex")
"""Labels of data sets that are an annotator's guess at appearance."""


def render(template: str, **values: Any) -> str:
    """A page from a template of this package, with the colours of both modes. All values are escaped.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = need("jinja2", "report")

    def source(name: str) -> str:
        return resources.files("dapter").joinpath(name).read_text(encoding="utf-8")

    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(source),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page: str = environment.get_template(template).render(light=variables(0), dark=variables(1), **values)
    return page


def read_pictures(path: Path, most: int) -> dict[str, np.ndarray]:
    """The first pictures of a run folder's file, by name, each uint8 (N, H, W, 3); `original` and `payload` are there.

    Raises:
        RunError: the file is damaged, or its pictures do not pair.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes())) as arrays:
            found = {name: check_images(arrays[name])[:most] for name in {"original", "payload", *arrays}}
        if len({each.shape for each in found.values()}) > 1:
            shapes = ", ".join(f"{name} {each.shape}" for name, each in found.items())
            raise UsageError(f"its pictures differ in count or size: {shapes}")
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, UsageError) as error:
        raise RunError(f"{path} cannot be read ({error}). Cure: delete it and {RESULTS}, measure again") from error
    return found


def guessed(names: Iterable[str]) -> list[str]:
    """Those of the labels that are an annotator's guess."""
    return [name for name in dict.fromkeys(names) if name.lower() in GUESSED]


def list_settings(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every setting of a manifest: a group for each part that is an object, and one for the rest."""
    groups = {"run": {name: value for name, value in manifest.items() if not isinstance(value, dict)}}
    groups |= {name: value for name, value in manifest.items() if isinstance(value, dict)}
    return [
        {"name": name, "rows": [(key, _setting(each)) for key, each in sorted(values.items())]}
        for name, values in groups.items()
        if values
    ]


def _setting(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False) if isinstance(value, dict) else plain(value)
