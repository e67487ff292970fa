"""The page of results, made from lines of audits."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro

from audit_pages import lines
from benchmark_files import load
from dapter.features import pack
from dapter.subjects import DRAWS, FEATURES


@pytest.fixture(scope="module")
def audit_tables():
    return load("audit_tables")


@pytest.fixture(scope="module")
def readme():
    return load("readme")


@pytest.fixture(scope="module")
def standings():
    return load("standings")


def study(name, found):
    return [replace(line, settings={**line.settings, "study": name}) for line in found]


SWEEP = study("lambda", [line for lam in (0.9, 0.5) for seed in (0, 1) for line in lines(lam=lam, seed=seed)])
BUDGET = [replace(line, settings={**line.settings, "budget_bits": 4.0}) for line in lines("budget", None, more=-0.3)]


def test_summaries_come_first_and_every_attack_is_folded(audit_tables):
    parts = "\n".join(audit_tables.audit_part("audit_x", [*SWEEP, *study("budget", BUDGET)]))
    assert parts.index("## Every λ") < parts.index("## Budget converters") < parts.index("<details>")
    assert "images/audit_x_lambda.svg" in parts
    assert "images/frontier_audit_x.svg" in parts
    assert "images/audit_x_budget.svg" not in parts
    assert parts.count("<details>") == parts.count("</details>") == 2
    assert parts.count("Necessity check") == 2
    assert len([line for line in parts.partition("<details>")[0].splitlines() if line.startswith("| dapter")]) == 2


def test_figures_are_made_for_what_the_page_shows(audit_tables):
    made = audit_tables.audit_figures("audit_x", [*SWEEP, *study("budget", BUDGET)])
    assert sorted(made) == ["audit_x_lambda", "frontier_audit_x"]
    assert audit_tables.audit_figures("audit_x", study("lambda", lines())) == {}


def test_the_readme_shows_the_frontier_and_the_whole_suite_by_its_name(readme):
    suite = study("suite", lines(more=0.1))
    audits, overview = {"audit_x": [*SWEEP, *suite], "audit_y": study("tiles", lines())}, load("overview")
    table = overview.worst_leaks(audits).splitlines()
    rows = {cells[3]: cells for line in table if len(cells := [cell.strip() for cell in line.split("|")]) > 3}
    assert {"90.0 [89.0, 91.0]", "class ≥ 0.96 [0.94, 0.98]"} < set(rows["dapter, λ 0.9, whole suite"])
    assert rows["dapter, λ 0.5"][4] == "2"
    few = overview.headlines(audits)
    assert "λ 0.9, whole suite" in few
    assert "λ 0.5" not in few
    assert "tiles" not in few
    assert readme.first_figure({"audit_x": SWEEP}) == ""
    assert "docs/images/frontier_audit_x.svg" in readme.first_figure({"audit_x": [*SWEEP, *study("budget", BUDGET)]})
    bound = replace(BUDGET[0], measure="secret_accuracy_bound", secret="Young", value=0.8, floor=0.7)
    looser = replace(bound, secret="Smiling", value=0.95, floor=0.93)
    said = readme.first_figure({"audit_x": [*SWEEP, *study("budget", [*BUDGET, looser, bound])]})
    assert "none of 2 secrets is named rightly more than 10.0 points more often" in said
    assert "(Young: 80.0 instead of 70.0 %)" in said
    text = "a\n<!-- frontier:begin -->\nold\n<!-- frontier:end -->\nb"
    assert readme.between(text, "frontier", "new\n") == text.replace("old", "new")


def test_budgets_have_a_row_each_and_only_columns_with_figures():
    first = next(line for line in lines("budget", None) if line.measure == "agreement")

    def figures(budget):
        own = {**first.settings, "study": "budgets", "budget_bits": budget}
        return [replace(first, settings=own), replace(first, settings=own, measure="budget_bits", value=48.0, low=None)]

    header, rows = load("budget_tables").rows([*figures(1.0), *figures(2.0)])
    assert [dict(zip(header, row, strict=True))["budget_bits"] for row in rows] == ["1.0", "2.0"]
    assert {dict(zip(header, row, strict=True))["hard budget, bits"] for row in rows} == {"48.0"}
    assert "epsilon" not in header


def test_what_any_attack_can_find_out_stands_beside_what_the_answer_tells():
    first = next(line for line in lines("budget", None) if line.measure == "agreement")
    module = load("budget_tables")

    def figures(budget):
        own = replace(first, settings={**first.settings, "study": "budgets", "budget_bits": budget}, low=None, n=2500)
        bound = replace(own, measure="secret_accuracy_bound", secret="Young", value=0.8, floor=0.7)
        fano = replace(own, measure="secret_accuracy_fano", secret="Young", value=1.0)
        return [own, bound, replace(bound, secret="Smiling"), fano]

    header, rows = module.bounds([*figures(1.0), *figures(2.0)])
    assert header[0] == "budget_bits"
    assert rows[0][2:] == ["Young", "2,500", "70.0", "80.0", "100.0"]
    assert [(row[0], row[2], row[-1]) for row in rows[1:3]] == [("1.0", "Smiling", ""), ("2.0", "Young", "100.0")]
    assert module.bounds([first]) is None


def board(count):
    """Lines of that many defences; the first leaks least, the second sends features."""
    found = []
    for number in range(count):
        own = lines(f"rival_{number}", None, more=0.01 * number - 0.3)
        cost = next(line for line in own if line.measure == "agreement")
        sent = "payload_bytes_features" if number == 1 else "payload_bytes_png"
        for measure, value in (
            (sent, 100.0),
            ("multiply_adds", 2e6),
            *([("budget_bits", 48.0)] if number == 0 else []),
        ):
            own.append(replace(cost, measure=measure, value=value, low=None, high=None))
        found += [replace(each, settings={**each.settings, "service_changed": number == 1}) for each in own]
    return found


def test_the_leaderboard_has_a_row_a_defence_and_a_point_each(standings):
    found = board(25)
    header, rows = standings.standings(found)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["defence"] for row in table[:2]] == ["rival 0", "rival 1"]
    assert len(table) == 25
    assert [row["service changed"] for row in table[:3]] == ["no", "yes", "no"]
    assert {row["bits sent"] for row in table} == {"800"}
    assert [row["hard budget, bits"] for row in table[:2]] == ["48.0", ""]
    assert table[0]["answer right, %"].startswith("90.0 [")
    assert float(table[0]["worst leak"].split()[0]) < float(table[-1]["worst leak"].split()[0])
    ((name, drawn),) = standings.board_figures("leaderboard_x", found).items()
    assert name == "leaderboard_x_8px"
    assert b">25 rival" in drawn.replace(b"\n", b"")
    assert b"svg" in standings.board_figures("few", board(2))["few_8px"]


def test_the_board_says_what_its_figures_rest_on_for_each_size_of_images(standings):
    def sized(side):
        about = {"image_size": [side, side], "epsilon": 1.0}
        return [replace(line, settings={**line.settings, **about}, data_digest=f"{side}") for line in board(2)]

    longer = {"plan": {"epochs": 3}}
    small = [
        replace(line, settings={**line.settings, "attack": longer}) if line.attack == "reconstruction" else line
        for line in sized(32)
    ]
    epsilon = next(line for line in small if line.measure == "agreement")
    found = [*small, replace(epsilon, measure="epsilon", value=3.0, low=None), *sized(64)]
    part = "\n".join(standings.board_part("leaderboard_x", found))
    assert "Secrets: class, image." in part
    first, second = part.split("### ")[1:]
    assert "images/leaderboard_x_32px.svg" in first
    assert "images/leaderboard_x_64px.svg" in second
    assert set(standings.board_figures("leaderboard_x", found)) == {"leaderboard_x_32px", "leaderboard_x_64px"}
    assert "resnet18 of width 16, and every defence that learns were trained for 12 epochs" in first
    assert "reconstruction 3 epochs. n: answers 2,000, attacks on class 2,000, attacks on image 2,000" in first
    assert " 3.00 " in first
    assert "epsilon 1.0" in second
    assert "hard budget" in first
    assert "| epsilon |" not in second


def test_trainings_are_counted_of_what_learns(standings):
    header, rows = standings.standings(lines("blur", None) + lines("disco", None) + lines("retrained", None))
    trainings = {row[header.index("defence")]: row[header.index("trainings")] for row in rows}
    assert trainings == {"blur": "", "disco": "1", "retrained": "1"}


@pytest.mark.parametrize(
    ("features", "inputs", "old"),
    [
        (None, "channels", True),
        (FEATURES - 1, "channels", True),
        (FEATURES, "residue", True),
        (FEATURES, "channels", False),
    ],
)
def test_features_that_older_attackers_read_are_flagged_on_the_board(standings, features, inputs, old):
    about = {} if features is None else {"features": features}
    sent = [replace(line, settings={**line.settings, **about}) for line in lines("nopeek", None)]
    attack = next(line for line in sent if line.measure == "secret_accuracy")
    read = {**attack.settings["attack"], "inputs": inputs}
    found = [*sent, replace(attack, settings={**attack.settings, "attack": read}), *lines("blur", None)]
    header, rows = standings.standings(found)
    flagged = {row[header.index("defence")] for row in rows if "older attackers" in row[header.index("flags")]}
    assert flagged == ({"nopeek"} if old else set())


@pytest.mark.parametrize("defence", ["blur", "a tool"])
def test_images_that_no_recogniser_read_in_place_are_flagged_on_the_board(standings, defence):
    def moved(line):
        plan = line.settings.get("attack", {}).get("plan", {})
        return plan.get("augment", True)

    old = [line for line in lines(defence, None) if moved(line)]
    header, rows = standings.standings([*old, *lines("downscale", None)])
    flagged = {row[header.index("defence")] for row in rows if "older attackers" in row[header.index("flags")]}
    assert flagged == {defence}


@pytest.mark.parametrize("draws", [None, DRAWS])
def test_noise_that_older_attackers_saw_once_is_flagged_on_the_board(standings, draws):
    about = {} if draws is None else {"draws": draws}
    noisy = [replace(line, settings={**line.settings, **about}) for line in lines("gaussian_noise", None)]
    header, rows = standings.standings(noisy + lines("blur", None))
    flagged = {row[header.index("defence")] for row in rows if "older attackers" in row[header.index("flags")]}
    assert flagged == (set() if draws else {"gaussian noise"})
    assert "draws" not in str(rows)


def test_packed_features_have_the_header_that_the_legend_names():
    features = np.zeros((8, 8, 64), np.float16)
    assert len(pack(features)) - features.nbytes == 80
    assert "a header of about 80 bytes" in load("legend").LEGEND


def test_a_new_defence_gets_onto_the_board_and_one_that_fails_stops_no_other(tmp_path, monkeypatch, capsys):
    leaderboard, more = load("leaderboard"), {"constant": 0.1}

    path = tmp_path / "leaderboard_cifar10_animal_vehicle_cpu.jsonl"

    class Board:
        def __init__(self, settings):
            self.path = path

        def lines(self, name):
            if name == "blur":
                raise ValueError("no blur today")
            yield from lines(name, None, more=more.get(name, 0.0))

    monkeypatch.setattr(leaderboard, "Board", Board)

    def run(*defences):
        monkeypatch.setattr(sys, "argv", ["leaderboard.py", "--results", str(tmp_path), "--defences", *defences])
        return leaderboard.main()

    assert run("identity", "constant") == 0
    first = path.read_text().splitlines()
    more["constant"] = 0.2
    assert run("blur", "constant") == 1
    assert "Failed, see above: blur" in capsys.readouterr().out
    second = path.read_text().splitlines()
    assert len(first) == len(second)
    assert [line for line in first if '"identity"' in line] == [line for line in second if '"identity"' in line]
    assert [line for line in first if '"constant"' in line] != [line for line in second if '"constant"' in line]


def test_the_command_of_a_line_asks_for_the_same_again():
    budget, source = load("budget"), load("source")
    dial = {"budgets": (1.0, 2.0), "conditioned": True, "epochs": 3}
    asked = budget.Settings(root=Path("data"), secrets=(), study="a dial", **dial)
    words = shlex.split(source.command("budget.py", asked, ("data", "target")))
    assert tyro.cli(budget.Settings, args=[*words[1:], "--root", "data"]) == asked
    audit = load("audit")
    pairs = (("Smiling", "Beard", 0.5), ("Smiling", "Bangs", -0.2))
    asked = audit.Settings(data="faces", size=32, cooccurrence=pairs, budgets=(1.0,))
    words = shlex.split(source.command("audit.py", asked, ("data",)))
    assert tyro.cli(audit.Settings, args=words[1:]) == asked
