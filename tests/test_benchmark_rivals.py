"""The tables of the rivals' papers can be repeated: every row is a defence that can be built."""

import pytest

from benchmark_files import load
from dapter.defences import Task, with_settings
from dapter.defences.disco import Disco
from dapter.presets import find_preset
from dapter.types import Measurement
from helpers import make_data


@pytest.fixture(scope="module")
def rivals():
    return load("rivals")


def test_every_row_can_be_built_and_says_which_study_it_is(rivals):
    assert all(name in rivals.__doc__ for name in rivals.STUDIES)
    for study in rivals.STUDIES.values():
        for row in study.rows.values():
            assert set(row.use) <= row.build("cpu").adjustable()
            row.build("paper")
    decoupled = rivals.STUDIES["disco_table1"].rows["DISCO with decoupler"]
    assert [(decoupled.build(preset).width, decoupled.build(preset).decoupler) for preset in ("cpu", "paper")] == [
        (16, 4), (64, 8)]  # fmt: skip


@pytest.mark.parametrize("preset", ["cpu", "paper"])
def test_attackers_are_as_large_and_learn_as_long_as_the_preset_wants(preset):
    scale = find_preset(preset)
    for features in (False, True):
        attacks = load("audit").first_attacks(preset, features=features)
        assert all(attack.width >= scale.width for attack in attacks)
        assert preset == "cpu" or all(attack.plan.epochs >= 60 for attack in attacks)


def test_a_trial_does_not_replace_what_was_measured(rivals, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rivals.py", "--study", "disco_table1", "--data", "faces"])
    with pytest.raises(SystemExit, match="another folder"):
        rivals.main()


def test_an_unknown_row_ends_before_anything_is_trained(rivals, monkeypatch):
    monkeypatch.setattr("sys.argv", ["rivals.py", "--study", "disco_table1", "--rows", "DISCO", "Disco"])
    with pytest.raises(SystemExit, match=r"unknown Disco\. Cure: one or more of none, noise"):
        rivals.main()


def test_the_presets_width_is_taken_where_none_is_said():
    build = load("converter").build_at_scale
    assert build("disco", {}, "tiny").width == 8
    assert build("disco", {}, "paper").width == 64
    assert build("disco", {"width": 16}, "paper").width == 16
    assert build("blur", {}, "paper").settings() == {"sigma": 2.0}


def test_the_papers_figures_are_shown_for_its_own_data_only(rivals, monkeypatch):
    line = Measurement(
        defence="deepobfuscator", data="celeba", target="Smiling", measure="secret_accuracy", value=0.9,
        attack="recognition",
    )  # fmt: skip
    monkeypatch.setattr(rivals, "audit", lambda *args, **kwargs: [line])
    monkeypatch.setattr(rivals, "leak_table", lambda found: "")
    for data, paper in ((None, 0.5885), ("faces", None)):
        repetition = rivals.Repetition.__new__(rivals.Repetition)
        repetition.settings = rivals.Settings("deepobfuscator", data=data)
        repetition.study = rivals.STUDIES["deepobfuscator"]
        repetition.data = make_data()
        repetition.bench = _Bench()
        found = list(repetition.lines("DeepObfuscator"))
        assert [entry.reported for entry in found] == [paper]
        assert found[0].settings["row"] == "DeepObfuscator"


class _Bench:
    class preset:  # noqa: N801
        service_plan = plan = None

    service = None

    def train(self, *args, **kwargs):
        return None


def test_r_is_chosen_in_use(rivals):
    rows = rivals.STUDIES["disco_figure4"].rows.values()
    trained = Disco(width=4).setup(0, None, Task.of(make_data(secrets=("shape",))))
    assert [with_settings(trained, **row.use).pruning for row in rows] == [0.0, 0.2, 0.4, 0.6, 0.8]
