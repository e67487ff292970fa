"""Attack defences as hard as we can and report how much each attack learned beyond the answer.

Every cell (a defence, an attack's settings, a seed) is a run folder: interrupted work resumes, and finished work is
shared by all audits of the same data. Payloads are converted once for all attacks.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dapter import defences
from dapter.attacks import Attack, name_of
from dapter.cells import Subject, attack_key, is_floor, run_cell
from dapter.data import Data
from dapter.defences import Defence, build_defence
from dapter.errors import UsageError
from dapter.evaluate import RESULTS
from dapter.leaks import Finding, find_leaks
from dapter.necessity import measure_necessity
from dapter.plugins import find, names
from dapter.runs import Run, code_version, environment, fingerprint
from dapter.scoring import SAMPLE, score_images
from dapter.service.classifier import Service
from dapter.train import load_defence
from dapter.types import PRESETS, Measurement

CALIBRATION = "constant"
"""The defence that sends nothing: an attack that reads something from it is marked wherever it is used."""


def audit(
    subjects: Sequence[Run | Path | str | Defence],
    service: Service,
    data: Data,
    *,
    attacks: Sequence[str | Attack] = ("all",),
    seeds: int | Sequence[int] = 1,
    root: Path = Path("runs"),
    preset: str = "cpu",
    source: str = "",
) -> list[Measurement]:
    """Attack every subject with every attack and every seed.

    For each secret and measure there is one line an attack, with floor, ceiling, leak and flags; the line of measure
    `leak` is the headline: the worst attack, chosen on `val`, scored once on `test`. The lines are kept in a run
    folder `audit-...` under `root`, the cells under `root/attacks`.

    Args:
        subjects: run folders of `train`, defences that are trained or have nothing to train, or names of the latter.
        service: the one that the defences were trained against.
        data: attackers learn from `train`, are chosen on `val` and scored on `test`; its secrets are attacked.
        attacks: `all`, names of plug-ins, each with its suite of the preset, or attacks with their settings; those
            that see the answer alone (the floors) are always run.
        seeds: of the attacks: how many, or which.
        preset: the scale of the attacks, one of PRESETS.
        source: the command that asked for it, for the record.

    Raises:
        UsageError: no such attack or preset, a subject that is not trained, or that belongs to other data.
        CheckFailed: an attack broke its contract.
    """
    if not subjects or seeds in (0, ()):
        raise UsageError("an audit needs something to attack, and a seed. Cure: name a run folder, and 1 seed or more")
    found = [_load(subject, service, data) for subject in subjects]
    chosen = choose_attacks(attacks, preset, bool(data.secrets))
    wanted = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    manifest = {
        "kind": "audit",
        "subjects": [subject.record for subject in found],
        "attacks": [[name_of(attack), attack.settings()] for attack in chosen],
        "data": data.record(),
        "seeds": list(wanted),
        "preset": preset,
    }
    run = Run.open(root, f"audit-{data.name}-{'+'.join(data.targets)}", manifest)
    with run.lock():
        if not run.done:
            lines = list(_lines(found, chosen, wanted, Path(root), preset, source))
            run.write_lines(RESULTS, [line.record() for line in _mark(lines)])
            run.finish()
    return [Measurement.from_record(line) for line in run.read_lines(RESULTS)]


def choose_attacks(attacks: Sequence[str | Attack], preset: str, secrets: bool = True) -> list[Attack]:
    """The attacks with their settings, after the floors of what they are after; as for `audit`.

    Args:
        secrets: whether there are secret labels to attack.
    """
    if preset not in PRESETS:
        raise UsageError(f"no preset named {preset!r}. There are: {', '.join(PRESETS)}")
    suites: dict[str, tuple[Attack, ...]] = {name: find("attacks", name).suite(preset) for name in names("attacks")}
    every = [attack for suite in suites.values() for attack in suite]
    wanted: list[Attack] = []
    for attack in attacks:
        if isinstance(attack, Attack):
            wanted.append(attack)
        elif attack == "all":
            wanted += every
        elif attack in suites:
            wanted += suites[attack]
        else:
            raise UsageError(f"no attack named {attack!r}. There are: all, {', '.join(suites)}")
    wanted = [attack for attack in wanted if secrets or attack.goal != "secrets"]
    if not wanted:
        raise UsageError("nothing to attack. Cure: name an attack, and for recognition the data's secrets")
    goals = {attack.goal for attack in wanted}
    floors = [attack for attack in every if is_floor(attack) and attack.goal in goals]
    return list({attack_key(attack): attack for attack in (*floors, *wanted)}.values())


def _lines(
    subjects: Sequence[Subject], attacks: Sequence[Attack], seeds: Sequence[int], root: Path, preset: str, source: str
) -> Iterator[Measurement]:
    """Every line of an audit."""
    originals = Subject(build_defence("identity", {}).setup(), subjects[0].service, subjects[0].data)
    test = originals.data.splits["test"].head(SAMPLE)
    perfect = score_images(test.images, test, originals.ask)
    references = [attack.on_originals() for attack in attacks if attack.goal == "secrets" or is_floor(attack)]
    ends = {seed: {attack_key(each): run_cell(each, originals, seed, root) for each in references} for seed in seeds}
    originals.forget()
    for subject in subjects:
        constant = subject.record["defence"] == CALIBRATION
        for seed in seeds:
            cells = [run_cell(attack, subject, seed, root) for attack in attacks]
            for finding in find_leaks(cells, ends[seed], perfect, constant):
                yield _line(finding, subject, preset, source)
        subject.forget()
        if any(True for _ in subject.defence.client().parameters()):
            yield from measure_necessity(
                subject.defence, subject.service, subject.data, root / "attacks", preset, source
            )


def _line(finding: Finding, subject: Subject, preset: str, source: str) -> Measurement:
    score, data = finding.score, subject.data
    return Measurement(
        defence=subject.record["defence"],
        settings={
            **subject.record["settings"],
            "image_size": list(data.image_size),
            "attack": dict(finding.cell.settings),
        },
        data=data.name,
        target="+".join(data.targets),
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
        flags=finding.flags,
        seed=subject.seed,
        preset=preset,
        source=source,
        code=code_version(),
        data_digest=data.digest,
        environment=environment(),
    )


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


def _load(subject: Run | Path | str | Defence, service: Service, data: Data) -> Subject:
    """A subject from what the caller gave."""
    if isinstance(subject, str) and subject in names("defences"):
        subject = build_defence(subject, {}).setup()
        if subject.learner.optimizers:
            raise UsageError(f"{defences.name_of(subject)} is not trained. Cure: `dapter train`, then audit its run")
    if isinstance(subject, Defence):
        if not hasattr(subject, "learner"):
            raise UsageError("this defence has no networks yet. Cure: train it, or audit the run folder of `train`")
        return Subject(subject, service, data)
    run = Run.load(subject.path if isinstance(subject, Run) else subject)
    defence, manifest = load_defence(run), run.manifest
    if manifest["service"] != service.digest or manifest["data"]["digest"] != data.digest:
        raise UsageError(f"{run.path} was trained with another service or data set. Cure: give the same ones")
    return Subject(defence, service, data, manifest["seed"])
