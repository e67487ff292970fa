"""Which attacks an audit runs, with which settings."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from dapter.attacks import GOALS, Attack, name_of
from dapter.cells import attack_key, is_floor
from dapter.errors import UsageError
from dapter.plugins import find, names
from dapter.subjects import Subject
from dapter.tables import plain
from dapter.types import PRESETS

PEOPLE = {"image", "people"}
"""Attacks that may lead to a person: by what they restore, or directly. They share floors and ceiling."""


def choose_attacks(
    attacks: Sequence[str | Attack], preset: str, goals: Collection[str] = GOALS, subjects: Sequence[Subject] = ()
) -> list[Attack]:
    """The attacks with their settings, after the floors of what they are after; as for `audit`.

    Args:
        goals: what there is to attack.
        subjects: what is attacked; an attack that needs the client part is left out where none of them has one.

    Raises:
        UsageError: no such attack, or none is left.
    """
    every = [attack for name in names("attacks") for attack in _suite(name, preset)]
    wanted: list[Attack] = []
    for attack in attacks:
        if isinstance(attack, Attack):
            wanted.append(attack)
        elif attack == "all":
            wanted += every
        else:
            wanted += _suite(attack, preset)
    wanted = [attack for attack in wanted if attack.goal in goals]
    white_box = not subjects or any(subject.white_box for subject in subjects)
    wanted = [attack for attack in wanted if white_box or "client" not in attack.sees]
    left = wanted if not subjects else [each for subject in subjects for each in suited(wanted, subject)]
    if not left:
        reach = "" if white_box else "; the client part was not given, so none that needs it"
        reach += "; features are sent, so none that takes payloads for images" if wanted else ""
        raise UsageError(f"nothing to attack. Cure: name an attack, and for recognition the data's secrets{reach}")
    after: set[str] = {attack.goal for attack in wanted}
    if "people" in goals and after & PEOPLE:
        after |= PEOPLE
    floors = [attack for attack in every if is_floor(attack) and attack.goal in after]
    return list({attack_key(attack): attack for attack in (*floors, *wanted)}.values())


def suited(attacks: Iterable[Attack], subject: Subject) -> list[Attack]:
    """The attacks that what is known of a subject allows; each as features are attacked, where it sends these."""
    allowed = [attack for attack in attacks if subject.white_box or "client" not in attack.sees]
    if subject.sends_features:
        allowed = [each for attack in allowed if (each := attack.on_features()) is not None]
    return list({attack_key(attack): attack for attack in allowed}.values())


def select_attacks(name: str, preset: str, settings: Mapping[str, str]) -> list[Attack]:
    """Those attacks of the preset's suite that have these settings; if there are none, the attack's usual settings
    with these.

    Args:
        settings: by name, each as a word or a JSON value.

    Raises:
        UsageError: no such attack, preset or setting, or a value that cannot be.
    """
    suite = _suite(name, preset)
    kind = find("attacks", name)
    usual: Attack = kind()
    given = {setting: _value(usual, setting, text) for setting, text in settings.items()}
    same = [attack for attack in suite if all(getattr(attack, key) == value for key, value in given.items())]
    return same or [replace(usual, **given)]


def describe(attack: Attack) -> str:
    """Its name, and the settings in which it differs from what is usual, in words."""
    usual = type(attack)()
    differs = [
        f"{entry.name} {plain(getattr(attack, entry.name))}"
        for entry in fields(attack)
        if entry.name != "plan" and getattr(attack, entry.name) != getattr(usual, entry.name)
    ]
    return f"{name_of(attack)} ({', '.join(differs)})" if differs else name_of(attack)


def _suite(name: str, preset: str) -> tuple[Attack, ...]:
    if preset not in PRESETS:
        raise UsageError(f"no preset named {preset!r}. There are: {', '.join(PRESETS)}")
    if name not in names("attacks"):
        raise UsageError(f"no attack named {name!r}. There are: all, {', '.join(names('attacks'))}")
    suite: tuple[Attack, ...] = find("attacks", name).suite(preset)
    return suite


def _value(usual: Attack, setting: str, text: str) -> Any:
    """A setting from the text that a user gave."""
    known = {entry.name: getattr(usual, entry.name) for entry in fields(usual) if entry.name != "plan"}
    if setting not in known:
        raise UsageError(f"{name_of(usual)} has no setting {setting!r}. Cure: one of {', '.join(known)}")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    old = known[setting]
    if isinstance(old, float) and type(value) is int:
        return float(value)
    if old is not None and type(value) is not type(old):
        raise UsageError(f"{setting}={text} cannot be. Cure: a value like {plain(old)}")
    return value
