"""The leaderboard, a table of a paper and an audit on generated portraits: trained, attacked, written, shown."""

import sys

import pytest

from benchmark_files import load

SMALL = [
    *("--data", "faces", "--n", "300", "--size", "32", "--target", "Smiling", "--secrets", "Eyeglasses"),
    *("--preset", "tiny", "--recogniser-epochs", "1", "--decoder-epochs", "1"),
]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script, and gives the lines that it wrote."""

    def ran(name, wrote, *args):
        folders = ["--runs", str(tmp_path), "--results", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *SMALL, *folders, *args])
        load(name).main()
        return load("lines").read(tmp_path / f"{wrote}_tiny.jsonl")

    return ran


def test_what_is_run_can_be_shown(run):
    board = run("leaderboard", "leaderboard_faces_Smiling", "--defences", "constant")
    assert {line.seed for line in board} == {0}  # it learns nothing: another seed would find the same
    header, rows = load("standings").standings(board)
    assert rows[0][header.index("defence")] == "constant"
    assert rows[0][header.index("service changed")] == "no"
    figure = ("--study", "disco_figure4", "--rows", "R 0.2", "--attacks")
    rival = run("rivals", "rivals_disco_figure4", *figure)
    assert {line.settings["row"] for line in rival} == {"R 0.2"}
    assert {line.settings["pruning"] for line in rival if line.attack} == {0.2}
    assert "R 0.2" in "\n".join(load("reproductions").reproduction_part("rivals_disco_figure4_tiny", rival))
    again = run("rivals", "rivals_disco_figure4", *figure, "--seeds", "0")
    assert len(again) == len(rival)


def test_a_converter_of_many_budgets_is_attacked_at_each(run):
    dial = ("--study", "dial", "--budgets", "0.5", "1", "--conditioned", "--widths", "8", "--epochs", "1")
    found = run("audit", "audit_faces_Smiling", *dial, "--seeds", "0")
    assert {line.settings["budget_bits"] for line in found} == {0.5, 1.0}
    assert {line.seed for line in found} == {0}
    for budget in (0.5, 1.0):  # of attackers so short there may be no headline
        attacks = {line.attack for line in found if line.settings["budget_bits"] == budget}
        assert {"recognition", "reconstruction"} <= attacks
