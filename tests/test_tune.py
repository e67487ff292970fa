import importlib
import json
import sys
from dataclasses import replace

import numpy as np
import optuna
import pytest

from dapter import metrics
from dapter.defences.budget import Budget
from dapter.defences.dapter import Dapter
from dapter.errors import MissingExtra, UsageError
from dapter.loop import fit
from dapter.train import load_defence
from dapter.tune import STUDIES, Limits, shrink, sweep, tune
from helpers import PLAN, finish, make_data, make_service, start_worker, without_labels

ONE = replace(PLAN, epochs=1)
ANY = Limits(entropy=100.0, accuracy_drop=100.0)
TUNE, TRAIN = (importlib.import_module(f"dapter.{name}") for name in ("tune", "train"))  # not the functions


@pytest.fixture
def scored(monkeypatch):
    """Let training be real but set what each λ reaches: (entropy, accuracy drop)."""

    def set_scores(scores):
        asked = iter(scores)
        monkeypatch.setattr(TUNE, "_scores", lambda run, service, data: next(asked))

    return set_scores


@pytest.fixture
def tuned(data, service, tmp_path):
    def call(lam=0.9, plan=ONE, **options):
        defence = Dapter(width=4, lam=lam)
        return tune(defence, service, data, plan, fine_tune_epochs=1, root=tmp_path, **options)

    return call


def values(found):
    return [step.value for step in found.steps]


def test_limits_that_are_met_end_it_at_once(tuned):
    found = tuned(limits=ANY)
    assert found.reached
    assert found.reason == "reached at λ = 0.9"
    assert values(found) == [0.9]
    assert found.run == found.steps[0].run
    assert found.run.done


def test_scores_are_those_of_the_validation_split(tuned, data, service):
    found = tuned(limits=ANY)
    val = data.splits["val"]
    payload = load_defence(found.run).protect(val.images)
    assert found.steps[0].entropy == pytest.approx(metrics.entropy_bits(payload.pixels).mean())
    before = service.answer(type(payload)(val.images)).labels()["colour"] == val.labels["colour"]
    after = service.answer(payload).labels()["colour"] == val.labels["colour"]
    assert found.steps[0].accuracy_drop == pytest.approx(before.mean() - after.mean())


def test_too_much_entropy_raises_lam_until_it_is_reached(tuned, scored):
    scored([(9.0, 0.0), (8.0, 0.01), (2.0, 0.02)])
    found = tuned()
    assert found.reached
    assert values(found) == [0.9, 0.92, 0.94]
    assert found.run == found.steps[-1].run


def test_too_many_lost_answers_lower_lam(tuned, scored):
    scored([(1.0, 0.5), (1.0, 0.3), (2.0, 0.0)])
    assert values(tuned()) == [0.9, 0.88, 0.86]


def test_each_step_begins_with_the_last_ones_weights(tuned, scored):
    scored([(9.0, 0.0), (9.0, 0.0), (2.0, 0.0)])
    first, second, third = (step.run.manifest for step in tuned(plan=replace(ONE, epochs=2)).steps)
    assert (first["start"], first["plan"]["epochs"]) == (None, 2)
    assert second["start"].startswith("dapter-")
    assert third["start"] != second["start"]
    assert second["plan"]["epochs"] == third["plan"]["epochs"] == 1


def test_limits_that_contradict_each_other_are_named(tuned, scored):
    scored([(9.0, 0.0), (2.0, 0.5)])
    found = tuned()
    assert not found.reached
    assert "contradict" in found.reason
    assert values(found) == [0.9, 0.92]
    assert found.run == found.steps[0].run  # the one that kept the answers


def test_the_end_of_the_range_is_named(tuned, scored):
    scored([(9.0, 0.0), (9.0, 0.0)])
    found = tuned(lam=0.96)
    assert not found.reached
    assert "outside (0, 1)" in found.reason
    assert values(found) == [0.96, 0.98]
    assert found.run == found.steps[-1].run


def test_lost_answers_at_the_lower_end_too(tuned, scored):
    scored([(9.0, 0.9), (9.0, 0.9)])
    found = tuned(lam=0.04)
    assert values(found) == [0.04, 0.02]
    assert not found.reached


def test_it_gives_up_after_max_steps(tuned, scored):
    scored([(9.0, 0.0)] * 3)
    found = tuned(lam=0.5, max_steps=3)
    assert not found.reached
    assert "3 values of λ were tried" in found.reason
    assert len(found.steps) == 3


def test_limits_must_be_gone_below_not_met(tuned, scored):
    scored([(3.0, 0.0), (2.999, 0.0299)])
    assert values(tuned()) == [0.9, 0.92]


def test_for_real_without_labels(data, service, tmp_path):
    defence = Dapter(width=4, labels="service")
    found = tune(defence, service, without_labels(data), ONE, root=tmp_path, max_steps=2, fine_tune_epochs=1)
    assert 0 <= max(step.accuracy_drop for step in found.steps) <= 1


def test_the_worst_of_several_targets_counts(tmp_path):
    data, service = make_data(("colour", "shape")), make_service("colour", "shape")
    found = tune(Dapter(width=4), service, data, ONE, root=tmp_path, limits=ANY).steps[0]
    val = data.splits["val"]
    payload = load_defence(found.run).protect(val.images)
    before, after = service.answer(type(payload)(val.images)).labels(), service.answer(payload).labels()
    drops = [np.mean(before[name] == val.labels[name]) - np.mean(after[name] == val.labels[name]) for name in before]
    assert found.accuracy_drop == pytest.approx(max(drops))


@pytest.fixture
def shrunk(data, service, tmp_path):
    def call(budget=4.0, **options):
        defence = Budget(grid=2, alphabet=8, width=4, budget_bits=budget)
        return shrink(defence, service, data, ONE, fine_tune_epochs=1, root=tmp_path, **options)

    return call


def test_the_budget_is_halved_from_the_last_weights_until_too_many_answers_are_lost(shrunk, scored):
    scored([(9.0, 0.0), (9.0, 0.02), (9.0, 0.03)])
    found = shrunk()
    assert (found.reached, found.reason) == (True, "reached with 2 bits")
    assert values(found) == [4.0, 2.0, 1.0]
    assert found.run == found.steps[1].run
    assert found.run.manifest["start"] is not None


def test_a_first_budget_that_is_too_small_is_doubled(shrunk, scored):
    scored([(9.0, 0.9), (9.0, 0.9), (9.0, 0.0)])
    found = shrunk(budget=1.0)
    assert values(found) == [1.0, 2.0, 4.0]
    assert found.run == found.steps[-1].run


def test_no_budget_is_above_the_hard_one(shrunk, scored):
    scored([(9.0, 0.9), (9.0, 0.9)])
    found = shrunk(budget=6.0)
    assert (found.reached, found.reason) == (False, "not reached: 12 bits are too few")


def test_shrinking_ends_after_max_steps(shrunk, scored):
    scored([(9.0, 0.0), (9.0, 0.0)])
    assert values(shrunk(max_steps=2)) == [4.0, 2.0]


def test_only_one_budget_can_be_shrunk(data, service, tmp_path):
    with pytest.raises(UsageError, match="no budget"):
        shrink(Dapter(width=4), service, data, ONE, root=tmp_path)
    with pytest.raises(UsageError, match="range"):
        shrink(Budget(budget_bits_range=(1.0, 8.0)), service, data, ONE, root=tmp_path)


def test_sweep_trains_one_for_each_lam_in_their_order(data, service, tmp_path):
    runs = sweep(Dapter(width=4), service, data, ONE, values=(0.8, 0.2), root=tmp_path)
    assert [run.manifest["settings"]["lam"] for run in runs] == [0.8, 0.2]
    assert all(run.done for run in runs)


def test_a_sweep_that_was_cut_off_resumes_and_trains_nothing_twice(data, service, tmp_path, monkeypatch):
    fitted = []

    def noted(*arguments):
        if len(fitted) == 2:
            fitted.append("cut off")
            raise KeyboardInterrupt
        fitted.append("begun")
        return fit(*arguments)

    monkeypatch.setattr(TRAIN, "fit", noted)

    def again():
        return sweep(Dapter(width=4), service, data, ONE, values=(0.5, 0.7, 0.9), root=tmp_path)

    with pytest.raises(KeyboardInterrupt):
        again()
    done = {path.parent for path in tmp_path.glob("*/done")}
    assert len(done) == 2
    runs = again()
    assert {run.path for run in runs} > done
    assert again() == runs
    assert fitted == ["begun", "begun", "cut off", "begun"]


def test_the_study_holds_the_trade_off(data, service, tmp_path):
    sweep(Dapter(width=4), service, data, ONE, values=(0.3, 0.7), root=tmp_path)
    storage = f"sqlite:///{tmp_path / STUDIES}"
    (summary,) = optuna.get_all_study_summaries(storage)
    trials = optuna.load_study(study_name=summary.study_name, storage=storage).trials
    assert {trial.params["lam"] for trial in trials} == {0.3, 0.7}
    assert all(len(trial.values) == 2 and (tmp_path / trial.user_attrs["run"]).is_dir() for trial in trials)


def test_two_workers_share_a_sweep_and_train_nothing_twice(tmp_path):
    workers = [start_worker("sweep", tmp_path) for _ in range(2)]
    first, second = (json.loads(finish(worker).splitlines()[-1]) for worker in workers)
    assert sorted(first["trained"] + second["trained"]) == [0.5, 0.6, 0.7]
    assert first["runs"] == second["runs"]
    assert len(set(first["runs"])) == 3


@pytest.mark.parametrize("wrong", [(), (0.5, 1.5)])
def test_a_sweep_over_nothing_or_nonsense_is_refused(data, service, tmp_path, wrong):
    with pytest.raises(UsageError):
        sweep(Dapter(width=4), service, data, ONE, values=wrong, root=tmp_path)


def test_a_sweep_refuses_processes_that_share_one_training(data, service, tmp_path, monkeypatch):
    monkeypatch.setattr(TUNE.dist, "is_initialized", lambda: True)
    with pytest.raises(UsageError, match=r"torch.distributed.*Cure"):
        sweep(Dapter(width=4), service, data, ONE, root=tmp_path)


def test_without_optuna_the_extra_is_named(data, service, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingExtra, match=r"dapter\[sweep\]"):
        sweep(Dapter(width=4), service, data, ONE, root=tmp_path)
