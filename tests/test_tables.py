from collections import Counter
from dataclasses import replace

import pytest

from dapter.plugins import find, names
from dapter.tables import compare, differences, how, leak_table, lost, pick, table, targets
from dapter.types import PRESETS, Measurement
from dapter.wording import interval, number, text, wording


def figure(measure, value, low=None, high=None, **fields):
    fields = {"defence": "dapter", "data": "faces", "target": "Smiling", "settings": {"lam": 0.9}, "n": 1000, **fields}
    return Measurement(measure=measure, value=value, low=low, high=high, **fields)


def run(lam=0.9, seed=0, after=0.9, **fields):
    fields = {"settings": {"lam": lam, "width": 16}, "seed": seed, **fields}
    return [
        figure("agreement", 0.95, 0.93, 0.97, **fields),
        figure("target_accuracy", after, after - 0.02, after + 0.02, **fields),
        figure("target_accuracy_original", 0.95, 0.93, 0.97, **fields),
        figure("entropy_bits", 1.234, 1.2, 1.3, **fields),
    ]


def test_a_measure_is_written_with_its_unit():
    assert text("target_accuracy", 0.923) == "92.3 %"
    assert text("entropy_bits_original", 21.0) == "21.00 bits"
    assert text("client_bytes", 38400) == "38.4 kB"
    assert text("target_auc", 0.97) == "0.970"
    assert number("multiply_adds", 1.42e9) == "1,420.0"
    assert number("leak", -0.004) == "0.00"
    assert text("latency_ms", None) == number("latency_ms", None) == ""


def test_an_unknown_measure_keeps_its_name():
    assert wording("patches_left").label == "patches left"
    assert wording("patches_left_original").label == "patches left: original"
    assert text("patches_left", 12.345678) == "12.35"


def test_an_interval_is_written_only_where_there_is_one():
    assert interval(figure("target_accuracy", 0.9, 0.88, 0.92)) == "88.0 to 92.0"
    assert interval(figure("calibration_error", 0.02)) == ""


def test_pick_leaves_out_attacks_and_figures_without_a_value():
    attack = figure("ssim", 0.5, attack="reconstruction")
    assert pick([attack, figure("ssim", None)], "ssim") is None
    assert pick([attack, figure("ssim", 0.1)], "ssim").value == 0.1
    assert pick(run(), "agreement", "Male") is None


def test_points_lost_has_no_negative_zero():
    assert lost(run(after=0.93), "Smiling") == 2.0
    assert str(lost(run(after=0.9501), "Smiling")) == "0.0"
    assert lost(run(after=0.97), "Smiling") == -2.0
    assert lost([], "Smiling") is None


def test_targets_keep_their_order():
    joint = figure("eta", 0.1, target="b+a")
    found = [figure("agreement", 0.9, target="b"), figure("agreement", 0.9, target="a"), joint]
    assert targets(found) == ["b", "a"]


def test_differences_name_lambda_seed_and_what_differs():
    groups = [run(0.5), run(0.9, seed=1, settings={"lam": 0.9, "width": 32}), []]
    assert differences(groups) == [
        {"λ": "0.5", "width": "16", "seed": "0"},
        {"λ": "0.9", "width": "32", "seed": "1"},
        {},
    ]


def test_settings_that_are_the_same_are_left_out():
    assert differences([run(), run(seed=None)]) == [{"λ": "0.9", "seed": "0"}, {"λ": "0.9", "seed": "none"}]
    assert differences([run(seed=None)]) == [{"λ": "0.9"}]


def test_compare_leaves_out_columns_without_entries():
    header, rows = compare([[figure("agreement", 0.95, 0.93, 0.97)]])
    assert header == ["defence", "service changed", "data", "target", "λ", "same answer, %"]
    assert rows == [["dapter", "no", "faces", "Smiling", "0.9", "95.0 [93.0, 97.0]"]]


def test_every_table_says_whether_the_service_must_be_changed():
    """And not as a setting that differs."""
    changed = [figure("agreement", 0.9, settings={"lam": 0.9, "service_changed": True})]
    header, rows = compare([run(), changed])
    assert [row[header.index("service changed")] for row in rows] == ["no", "yes"]
    assert "service_changed" not in header
    attacks = [replace(each, measure="leak", attack="recognition", secret="Male") for each in (*changed, *run()[:1])]
    said = [line.split("|")[-2].strip(" *") for line in leak_table(attacks).splitlines()[2:]]
    assert said == ["yes", "no"]


def test_table_has_a_row_a_run_and_says_what_stands_behind_it():
    lines = table(run(0.5, after=0.94) + run(0.9)).splitlines()
    assert len(lines) == 6
    assert len({len(line) for line in lines[:4]}) == 1
    cells = [cell.strip() for cell in lines[3].strip("|").split("|")]
    assert cells[:6] == ["dapter", "no", "faces", "Smiling", "0.9", "0"]
    assert cells[6:] == ["95.0 [93.0, 97.0]", "90.0 [88.0, 92.0]", "5.0", "95.0 [93.0, 97.0]", "1.23"]
    assert lines[5] == "Rates: n = 1,000; pictures: n = 1,000; in brackets: 95 % intervals; grade: measured."


def test_table_keeps_runs_apart_that_differ_in_any_setting_or_seed():
    assert table(run() + run(seed=1) + run(settings={"lam": 0.9, "width": 8})).count("\n| dapter") == 3


def test_table_escapes_what_would_break_markdown():
    shown = table(run(settings={"lam": 0.9, "net": "a|b\nc"}) + run())
    assert "a\\|b c" in shown


def test_table_of_nothing_says_so():
    assert table([]) == table([figure("ssim", 0.5, attack="reconstruction")]) == "Nothing has been measured.\n"


def attacked(measure, secret="class", value=0.5, **more):
    settings = {"lam": 0.9, "attack": {"family": "cnn", "inputs": "residue"}}
    return Measurement(
        defence="dapter", data="d", target="t", measure=measure, secret=secret, attack="recognition", value=value,
        low=value - 0.1, high=value + 0.1, floor=0.2, ceiling=0.8, leak=0.5, n=1000, settings=settings, **more,
    )  # fmt: skip


def test_the_leak_table_shows_each_attack_and_marks_the_worst():
    found = [attacked("secret_accuracy"), attacked("secret_balanced_accuracy"), attacked("leak")]
    shown = leak_table(found)
    assert shown.count("recognition cnn residue") == 2
    assert "0.500 [0.400, 0.600]" in shown
    assert "**worst leak**" in shown
    assert "| accuracy" not in shown


def test_of_two_classes_the_leak_table_shows_the_auc():
    found = [attacked("secret_auc", "Smiling"), attacked("secret_balanced_accuracy", "Smiling")]
    assert leak_table(found).count("recognition") == 1
    assert "nothing has been attacked" in leak_table([]).lower()


@pytest.mark.parametrize("preset", PRESETS)
def test_every_attack_of_a_suite_has_a_name_of_its_own(preset):
    called = Counter(
        how(figure("ssim", 0.5, attack=name, settings={"attack": attack.settings()}))
        for name in names("attacks")
        for attack in find("attacks", name).suite(preset)
    )
    twins = [name for name, times in called.items() if times > 1]
    assert not twins, "name in tables.APART the settings that tell them apart"
    assert {"partition dense depth 1 width 4", "inversion tv weight 1.0", "reconstruction unet ssim residue"} <= set(
        called
    )
