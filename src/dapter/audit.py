"""Attack defences as hard as we can and report how much each attack learned beyond the answer.

Every cell (a defence, an attack's settings, a seed) is a run folder: interrupted work resumes, and finished work is
shared by all audits of the same data. Payloads are converted once for all attacks.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dapter.analysis import analyse, keep_pictures, report
from dapter.attacks import Attack, name_of
from dapter.cells import attack_key, open_cell, run_cell
from dapter.data import IDENTITY, UNKNOWN, Data
from dapter.defences import Defence, build_defence
from dapter.errors import UsageError
from dapter.judge import find_judge
from dapter.leaks import Finding, find_leaks
from dapter.plugins import file_digest
from dapter.processes import pick_device
from dapter.runs import Run, environment, fingerprint
from dapter.scoring import SAMPLE, Score, score_images
from dapter.service.classifier import Service
from dapter.spent import Spent, read_spent
from dapter.subjects import CALIBRATION, Subject, load_subject
from dapter.suites import PEOPLE, choose_attacks
from dapter.tasks import Asked, list_tasks
from dapter.types import Measurement
from dapter.workers import run_tasks

SHARED = "shared"
"""In the folder of an audit that is at work: the images and payloads that all workers read."""


def audit(
    subjects: Sequence[Run | Path | str | Defence | Subject],
    service: Service | None,
    data: Data,
    *,
    attacks: Sequence[str | Attack] = ("all",),
    seeds: int | Sequence[int] = 1,
    root: Path = Path("runs"),
    preset: str = "cpu",
    workers: int | None = 1,
    source: str = "",
) -> list[Measurement]:
    """Attack every subject with every attack and every seed.

    For each secret and measure there is one line an attack, with floor, ceiling, leak and flags; the line of measure
    `leak` is the headline: the worst attack, chosen on `val`, scored once on `test`. The lines are kept in a run
    folder `audit-...` under `root`, the cells under `root/attacks`.

    Args:
        subjects: run folders of `train`, defences that are trained or have nothing to train, names of the latter, or
            what `read_pairs` gives.
        service: the one that the defences were trained against; None, of a tool that was given as images only.
        data: attackers learn from `train`, are chosen on `val` and scored on `test`; its secrets are attacked.
        attacks: `all`, names of plug-ins, each with its suite of the preset, or attacks with their settings; those
            that see the answer alone (the floors) are always run.
        seeds: of the attacks: how many, or which.
        preset: the scale of the attacks, one of PRESETS.
        workers: processes that attack, each on one thread; results are the same for any number. None: one for each
            core, 1 when there is a GPU. With more than 1, a script needs `if __name__ == "__main__"`.
        source: the command that asked for it, for the record.

    Raises:
        UsageError: no such attack or preset, a subject that is not trained, or that belongs to other data.
        CheckFailed: an attack broke its contract.
        RunError: a worker process died.
    """
    run = run_audit(
        subjects,
        service,
        data,
        attacks=attacks,
        seeds=seeds,
        root=root,
        preset=preset,
        workers=workers,
        source=source,
    )
    return run.read_results()


def run_audit(
    subjects: Sequence[Run | Path | str | Defence | Subject],
    service: Service | None,
    data: Data,
    *,
    attacks: Sequence[str | Attack] = ("all",),
    seeds: int | Sequence[int] = 1,
    root: Path = Path("runs"),
    preset: str = "cpu",
    workers: int | None = 1,
    source: str = "",
) -> Run:
    """The same as `audit`; gives the run folder that holds the lines."""
    wanted = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not subjects or not wanted:
        raise UsageError("an audit needs something to attack, and a seed. Cure: name a run folder, and 1 seed or more")
    found = [load_subject(subject, service, data) for subject in subjects]
    chosen = choose_attacks(attacks, preset, _goals(data), found)
    manifest = {
        "kind": "audit",
        "subjects": [subject.record for subject in found],
        "attacks": [[name_of(attack), attack.settings(), file_digest(attack)] for attack in chosen],
        "data": data.record(),
        "seeds": list(wanted),
        "preset": preset,
    }
    run = Run.open(root, "-".join(filter(None, ["audit", data.name, "+".join(data.targets)])), manifest)
    with run.lock():
        if not run.done:
            shared = run.path / SHARED
            originals = Subject(build_defence("identity", {}).setup(), service, data)
            kept = [each.kept_in(shared / str(place)) for place, each in enumerate([originals, *found])]
            asked = Asked(kept[0], tuple(kept[1:]), tuple(chosen), wanted, Path(root), preset)
            run_tasks(list_tasks(asked), asked, workers, shared, "cell")
            run.write_results(_mark(list(_lines(asked, source, run))))
            shutil.rmtree(shared, ignore_errors=True)
            run.finish()
    return run


def _goals(data: Data) -> set[str]:
    """What there is to attack: the image always.

    Raises:
        UsageError: people are a secret, but no one could be found again.
    """
    found = {"image", *(["secrets"] if data.readable else [])}
    if IDENTITY not in data.secrets:
        return found
    for name, split in data.splits.items():
        people, photos = np.unique(split.labels[IDENTITY], return_counts=True)
        if ((people != UNKNOWN) & (photos > 1)).sum() < 2:
            cure = f"Cure: two people at least with two photos each in every split, or secrets without {IDENTITY}"
            raise UsageError(f"nobody in {name} can be found again in another photo. {cure}")
    return {*found, "people"}


def _lines(asked: Asked, source: str, run: Run) -> Iterator[Measurement]:
    """Every line of an audit whose cells are done; keeps pictures of each subject in its folder."""
    originals, root, preset = asked.originals, asked.root, asked.preset
    perfect = _perfect(asked)
    ends = {
        seed: {attack_key(each): run_cell(each, originals, seed, root) for each in asked.references}
        for seed in asked.seeds
    }
    for subject in asked.subjects:
        constant = subject.record["defence"] == CALIBRATION
        own = []
        for seed in asked.seeds:
            cells = [run_cell(attack, subject, seed, root) for attack in asked.attacks_on(subject)]
            found = find_leaks(cells, ends[seed], perfect, constant)
            own += [_line(finding, subject, preset, source) for finding in found]
        yield from own
        yield from _not_run(asked, subject, source)
        yield from analyse(subject, own, root, preset, source)
        yield from _minutes(asked, subject, source)
        keep_pictures(subject, own, asked.attacks_on(subject), root, run)


def _perfect(asked: Asked) -> list[Score]:
    """The scores of originals as restored images, where images or people are attacked."""
    originals = asked.originals
    if not any(attack.goal in PEOPLE for attack in asked.references):
        return []
    test, judge = originals.data.splits["test"], find_judge(originals.data, asked.root / "attacks")
    return score_images(test.images[:SAMPLE], test, originals.ask, judge)


def _line(finding: Finding, subject: Subject, preset: str, source: str) -> Measurement:
    score = finding.score
    return report(
        subject,
        {"attack": dict(finding.cell.settings)},
        secret=score.secret,
        attack=finding.cell.attack,
        measure=score.measure,
        value=score.value,
        low=score.low,
        high=score.high,
        n=score.n,
        floor=finding.floor,
        ceiling=finding.ceiling,
        leak=finding.leak,
        flags=(*finding.flags, *subject.flags),
        preset=preset,
        source=source,
        code=finding.cell.code,
        environment=_of_cells(finding.cell.environment),
    )


def _of_cells(environment: Mapping[str, Any]) -> dict[str, Any]:
    """What cells were computed with: without a GPU each on one thread."""
    return {**environment, **({} if pick_device().type == "cuda" else {"threads": 1})}


def _not_run(asked: Asked, subject: Subject, source: str) -> Iterator[Measurement]:
    """How many attacks were not run on a subject because it sends features, and which; nothing for images."""
    names = asked.not_run(subject)
    if names:
        about = {"attack": {"names": names}}
        yield report(subject, about, measure="attacks_not_run", value=len(names), preset=asked.preset, source=source)


def _minutes(asked: Asked, subject: Subject, source: str) -> Iterator[Measurement]:
    """What auditing this subject alone takes of processors; nothing if a part of it is not known.

    In it are floors and ceilings, although other audits of the same data share them, and the necessity check.
    """
    pairs = [(asked.originals, asked.references), (subject, asked.attacks_on(subject))]
    cells = {
        open_cell(attack, each, seed, asked.root)
        for each, attacks in pairs
        for attack in attacks
        for seed in asked.seeds
    }
    alone = asked.check_alone(subject)
    spent = Spent.total(map(read_spent, [*cells, alone] if alone else cells))
    if spent is not None:
        about = {"attack": {"cells": len(cells), "seeds": list(asked.seeds)}}
        about_time = {
            "measure": "audit_core_minutes",
            "value": spent.core_seconds / 60,
            "environment": _of_cells(environment()),
        }
        yield report(subject, about, preset=asked.preset, source=source, **about_time)


def _mark(lines: Sequence[Measurement]) -> list[Measurement]:
    """Carry the flag of an attack that read something from a constant image to all its lines."""
    flag = "constant_not_at_floor"
    guilty = {_identity(line) for line in lines if flag in line.flags}
    return [
        replace(line, flags=(*line.flags, flag)) if _identity(line) in guilty and flag not in line.flags else line
        for line in lines
    ]


def _identity(line: Measurement) -> str:
    return fingerprint([line.attack, line.settings.get("attack"), line.secret, line.measure])
