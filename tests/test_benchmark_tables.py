"""The page of results, made from lines of audits."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from audit_pages import lines


@pytest.fixture(scope="module")
def tables():
    path = Path(__file__).parents[1] / "benchmarks" / "tables.py"
    spec = importlib.util.spec_from_file_location("benchmark_tables", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def study(name, found):
    return [replace(line, settings={**line.settings, "study": name}) for line in found]


SWEEP = study("lambda", [line for lam in (0.9, 0.5) for seed in (0, 1) for line in lines(lam=lam, seed=seed)])
BUDGET = [replace(line, settings={**line.settings, "budget_bits": 4.0}) for line in lines("budget", None, more=-0.3)]


def test_summaries_come_first_and_every_attack_is_folded(tables):
    parts = "\n".join(tables.audit_part("audit_x", [*SWEEP, *study("budget", BUDGET)]))
    assert parts.index("### Every λ") < parts.index("### Budget converters") < parts.index("<details>")
    assert "images/audit_x_lambda.svg" in parts
    assert "images/frontier_audit_x.svg" in parts
    assert "images/audit_x_budget.svg" not in parts
    assert parts.count("<details>") == parts.count("</details>") == 2
    assert parts.count("Necessity check") == 1
    assert len([line for line in parts.partition("<details>")[0].splitlines() if line.startswith("| dapter")]) == 2


def test_figures_are_made_for_what_the_page_shows(tables):
    made = tables.audit_figures({"audit_x": [*SWEEP, *study("budget", BUDGET)]})
    assert sorted(path.name for path in made) == ["audit_x_lambda.svg", "frontier_audit_x.svg"]
    assert tables.audit_figures({"audit_x": study("lambda", lines())}) == {}


def test_the_readme_shows_the_frontier_and_the_last_study_of_each_converter(tables):
    suite = study("suite", lines(more=0.1))
    shown = tables.worst_leaks({"audit_x": [*SWEEP, *suite]})
    assert "| dapter, λ 0.9 | 1 | 90.0 [89.0, 91.0] | class 0.96 [0.94, 0.98]" in shown
    assert "| dapter, λ 0.5 | 2 |" in shown
    assert tables.first_figure({"audit_x": SWEEP}) == ""
    assert "docs/images/frontier_audit_x.svg" in tables.first_figure({"audit_x": [*SWEEP, *study("budget", BUDGET)]})
    text = "a\n<!-- frontier:begin -->\nold\n<!-- frontier:end -->\nb"
    assert tables.between(text, "frontier", "new\n") == text.replace("old", "new")
