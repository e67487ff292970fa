from dataclasses import replace

import pytest

from audit_pages import lines
from dapter.audit_lines import attacks_on, mean, spread, summary, variants
from dapter.tables import how
from dapter.wording import text

SWEEP = [line for lam in (0.9, 0.5) for seed in (0, 1) for line in lines(lam=lam, seed=seed, more=seed / 10)]


def test_seeds_belong_to_one_variant_and_a_dial_gives_the_order():
    made = variants([*lines("identity", None, None), *SWEEP])
    assert [each.name for each in made] == ["identity", "dapter, λ 0.5", "dapter, λ 0.9"]
    assert [len(each.subjects) for each in made] == [1, 2, 2]
    assert made[1].secrets == ["class", "image"]
    assert made[1].dial == ("lam", 0.5)
    assert made[0].dial is None


def test_two_converters_with_the_same_settings_and_seed_are_two():
    other = [replace(line, settings={**line.settings, "subject": "other"}) for line in lines()]
    assert [len(each.subjects) for each in variants([*lines(), *other])] == [2]


def test_what_was_not_attacked_is_left_out():
    assert variants([line for line in lines() if line.attack is None]) == []


def test_other_settings_tell_variants_apart_by_name():
    wide = [replace(line, settings={**line.settings, "width": 64}) for line in lines()]
    narrow = [replace(line, settings={**line.settings, "width": 16}) for line in lines()]
    assert [each.name for each in variants([*wide, *narrow])] == ["dapter, λ 0.9, width 64", "dapter, λ 0.9, width 16"]


def test_the_headline_and_the_score_behind_it():
    (each,) = variants(lines())
    (worst,), (score,) = each.worst("class"), each.behind("class")
    assert (score.measure, score.value) == ("secret_balanced_accuracy", 0.6)
    assert worst.value == score.leak == pytest.approx(0.76)
    assert how(worst) == "recognition cnn residue"
    assert each.leakiest() == "class"


def test_the_scores_of_a_headline_are_those_of_its_attack_alone():
    (each,) = variants([*lines(), *lines(seed=1, more=0.1)])
    assert [line.value for line in each.scores("class", "secret_accuracy")] == pytest.approx([0.6, 0.7])
    assert {how(line) for line in each.scores("class", "secret_accuracy")} == {"recognition cnn residue"}
    assert each.scores("image", "psnr") == []


def test_a_leak_without_a_scale_is_no_headline_beside_one_that_has():
    flagged = [replace(line, secret="other", flags=("no_room",)) for line in lines() if line.measure == "leak"]
    tiny = [replace(line, value=31.0, low=-5.0) for line in flagged]
    (each,) = variants([*lines(), *tiny])
    assert each.leakiest() == "class"
    (alone,) = variants([line for line in [*lines(), *tiny] if line.secret in (None, "other")])
    assert alone.leakiest() == "other"
    (read,) = variants([*lines(), *(replace(line, value=1.0, low=0.8) for line in flagged)])
    assert read.leakiest() == "other"


def test_of_several_attack_seeds_the_largest_leak_counts():
    again = [
        replace(line, value=0.9, settings={**line.settings, "attack": {**line.settings["attack"], "seed": 1}})
        for line in lines()
        if line.measure == "leak"
    ]
    (each,) = variants([*lines(), *again])
    assert [line.value for line in each.worst("class")] == [0.9]


def test_attacks_are_sorted_by_their_leak_and_less_labels_are_named():
    (each,) = variants(lines())
    order = [how(found[0]) for found in attacks_on(each, "class", "secret_balanced_accuracy")]
    readers = ["recognition cnn residue", "recognition cnn residue in place", "recognition cnn raw 10 % of labels"]
    assert order == [*readers, "answer", "unaware cnn"]


def test_the_leak_to_one_who_was_still_learning_is_a_lower_bound():
    leak = replace(next(line for line in lines() if line.measure == "leak"), flags=())
    flagged = replace(leak, flags=("still_improving",))
    assert spread([flagged]) == f"≥ {spread([leak])}"
    assert spread([leak, flagged]).startswith("≥ ")
    assert spread([replace(flagged, measure="ssim")]) == spread([replace(leak, measure="ssim")])


def test_one_figure_has_its_interval_and_several_their_range():
    one, two = variants(lines()), variants([*lines(), *lines(seed=1, more=0.1)])
    assert spread(one[0].behind("class")) == "60.0 [59.0, 61.0]"
    assert spread(two[0].behind("class"), text) == "65.0 % (60.0 to 70.0)"
    assert spread([]) == ""
    assert mean(two[0].figures("target_accuracy")) == pytest.approx(0.9)


def test_the_summary_sets_variants_side_by_side():
    header, rows = summary(variants([*SWEEP, *lines("identity", None, None, secrets=("image",))]))
    assert header[:5] == ["defence", "service changed", "trainings", "accuracy left, %", "points lost"]
    first = dict(zip(header, rows[0], strict=True))
    assert first["class: worst leak"] == "≥ 0.86 (0.76 to 0.96)"
    assert first["image: by"] == "reconstruction unet ssim"
    assert first["restored SSIM"] == "0.830 (0.780 to 0.880)"
    assert first["SSIM from the answer alone"] == "0.200"
    assert first["points lost"] == "2.0"
    assert dict(zip(header, rows[-1], strict=True))["class: worst leak"] == ""


def test_the_papers_figures_stand_beside_ours():
    claims = {"ssim": 0.2, "target_accuracy_lost": 0.03}
    header, rows = summary(variants([replace(line, reported=claims.get(line.measure)) for line in lines()]))
    found = dict(zip(header, rows[0], strict=True))
    assert (found["the paper: SSIM below"], found["the paper: points lost below"]) == ("0.200", "3.0")
    assert not any("paper" in name for name in summary(variants(lines()))[0])


def test_each_target_has_its_own_accuracy():
    two = [
        *lines(),
        *(replace(line, target="shape", value=0.5) for line in lines() if line.measure == "target_accuracy"),
    ]
    two += [replace(line, target="shape") for line in lines() if line.measure == "agreement"]
    header, rows = summary(variants(two))
    found = dict(zip(header, rows[0], strict=True))
    assert found["animal: accuracy left, %"] == "90.0 [89.0, 91.0]"
    assert found["shape: accuracy left, %"].startswith("50.0")
