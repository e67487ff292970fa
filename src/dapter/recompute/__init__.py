"""Run a verified release, and measure it again on the verifier's own images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load

from dapter.data import Data
from dapter.defences import Defence, Task, build_defence
from dapter.errors import DapterError
from dapter.recompute.channel import look_for_channel
from dapter.recompute.claims import check_again
from dapter.recompute.exports import compare_exports, compare_stamps, runner_of
from dapter.service.classifier import Service
from dapter.verify import Release
from dapter.verify.limits import WEIGHTS
from dapter.verify_report import Outcome


def recompute(
    release: Release,
    data: Data,
    service: Service | None = None,
    *,
    attacks: Sequence[str] = ("all",),
    preset: str = "cpu",
    root: Path = Path("runs"),
) -> list[Outcome]:
    """Run every export, look for a hidden channel, and measure the claims again.

    Args:
        release: verified.
        data: the verifier's own images; those of the training show no more than that nobody mistyped.
        service: the one that the release names; without it no claim about answers or leaks can be checked.
        attacks, preset: as for `audit`.
        root: where the run folders of attacks are kept.

    Raises:
        UsageError: the attacks or the preset do not exist.
    """
    try:
        defence = load_released(release)
    except (DapterError, SafetensorError, RuntimeError, TypeError, ValueError, KeyError) as error:
        return [Outcome("the weights fit the defence and its settings", "contradicted", reason=str(error)[:300])]
    compared = [*compare_exports(release, defence, data, service), *compare_stamps(release, defence)]
    convert = runner_of(release)
    everything = np.concatenate([split.images for split in data.splits.values()])
    channel = look_for_channel(convert, everything)
    return [*compared, channel, *check_again(release, defence, data, service, attacks, preset, root)]


def load_released(release: Release) -> Defence:
    """The defence of a release, with its weights, as plug-ins of this installation build it."""
    manifest = release.manifest
    task = manifest["training"].get("task")
    defence = build_defence(manifest["defence"], manifest["settings"])
    defence.setup(task=None if task is None else Task.from_record(task))
    defence.learner.nets.load_state_dict(load(release.read(WEIGHTS)))
    defence.learner.nets.eval()
    return defence
