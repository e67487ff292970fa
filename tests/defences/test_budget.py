import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dapter.batches import batches
from dapter.cost import multiply_adds
from dapter.defences import Task
from dapter.defences._answers import one_hot
from dapter.defences._price import BETA_RANGE, FIRST_BETA
from dapter.defences._seen import answer_to, exactly
from dapter.defences._stamps import SURE, find_stamps, teach_stamps
from dapter.defences._wire import halve_chroma
from dapter.defences.budget import Budget
from dapter.errors import CheckFailed, UsageError
from dapter.evaluate import evaluate
from dapter.imagefile import encode, open_image
from dapter.nets.painters import Painter
from dapter.nets.priors import FLOOR, Prior
from dapter.train import load_defence, train
from dapter.types import Payload
from helpers import PLAN, make_data, make_service, without_labels

SETTINGS = {"width": 4, "grid": 2, "stamps": "flat", "alphabet": 27, "budget_bits": 2.0}
ALL = torch.ones(10, 1)  # how much the one level counts for each of up to ten images
KINDS = [{}, {"stamps": "learned", "alphabet": 5, "patch": 3}]
ONE = {"grid": 1, "stamps": "learned", "alphabet": 8, "budget_bits": 1.0}


def defence(service=None, **settings):
    return Budget(**{**SETTINGS, **settings}).setup(0, service)


def first_batch(data, n=16):
    return next(batches(data.splits["train"], n, torch.device("cpu")))


@pytest.fixture(scope="module", params=[SETTINGS, {**SETTINGS, **ONE}], ids=["several cells", "one cell"])
def painted(request, data, service, tmp_path_factory):
    """A trained run, and its defence."""
    plan = replace(PLAN, epochs=30)
    run = train(Budget(**request.param), service, data, plan, root=tmp_path_factory.mktemp("painted"))
    return run, load_defence(run)


@pytest.mark.parametrize("settings", KINDS)
@pytest.mark.parametrize("shape", [(16, 16), (37, 23), (9, 64)])
def test_a_payload_is_stamps_of_the_alphabet_and_nothing_else(settings, shape):
    kept = defence(**settings)
    images = np.random.default_rng(0).integers(0, 256, (7, *shape, 3)).astype(np.uint8)
    payload = kept.protect(images)
    assert payload.pixels.shape == images.shape
    stamps = kept.indices(payload)  # raises unless every pixel is as the stamps say
    assert stamps.shape == (7, 4)
    assert stamps.min() >= 0
    assert stamps.max() < kept.alphabet
    if not settings:
        assert set(np.unique(payload.pixels)) <= {0, 128, 255}


@pytest.mark.parametrize("settings", KINDS)
def test_reading_inverts_painting(settings):
    kept = defence(**settings)
    indices = torch.randint(0, kept.alphabet, (20, 4), generator=torch.Generator().manual_seed(0))
    for shape in ((8, 8), (13, 50)):
        with torch.no_grad():
            painted = kept._painter.paint(indices, torch.zeros(20, 3, *shape)) * 255
        pixels = painted.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(kept.published().read(pixels), indices)


def test_cells_share_the_picture_evenly():
    painter = Painter(2, 27, None, 4)
    picture = painter.paint(torch.tensor([[0, 26, 13, 0]]), torch.zeros(1, 3, 5, 4))[0, 0] * 255
    assert picture.tolist() == [[0, 0, 255, 255]] * 3 + [[128, 128, 0, 0]] * 2


def test_the_width_sets_what_the_client_part_costs():
    each = [multiply_adds(defence(width=width).client(), (224, 224)) for width in (4, 8)]
    assert 3 < each[1] / each[0] < 4.1


def test_what_is_no_stamp_is_seen():
    kept = defence()
    payload = kept.protect(np.zeros((2, 16, 16, 3), np.uint8))
    payload.pixels[1, 3, 3, 0] ^= 1
    with pytest.raises(CheckFailed, match="Cure"):
        kept.indices(payload)
    with pytest.raises(UsageError, match="Cure"):
        kept.indices(Payload(np.zeros((1, 1, 1, 3), np.uint8)))


def test_code_lengths_and_rate_by_hand():
    prior = Prior(2, 2, 4, 0.1)
    prior.table.copy_(torch.tensor([[[0.5, 0.25, 0.125, 0.125]] * 2, [[0.25] * 4] * 2]))
    choice = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 1.0, 0]], [[0.5, 0.5, 0, 0], [0.25] * 4]])
    assert prior(choice, torch.tensor([0, 0]), ALL[:2]).tolist() == pytest.approx([1 + 3, 1.5 + 2.25])
    assert prior(choice, torch.tensor([1, 1]), ALL[:2]).tolist() == pytest.approx([4, 4])


def test_the_prior_counts_what_was_painted():
    prior = Prior(2, 1, 4, 0.1)
    prior.start(one_hot(torch.tensor([[0], [1]]), 4))
    assert prior.table[:, 0].argmax(dim=1).tolist() == [0, 1]
    painted = one_hot(torch.tensor([[3]] * 10), 4)
    before = prior.table[1].clone()
    for _ in range(200):
        prior.learn(painted, torch.zeros(10, dtype=torch.int64), ALL, 0.1)
    assert prior.table[0, 0, 3] > 0.99
    assert prior.table[0].min() >= FLOOR / 4 * 0.99
    assert torch.equal(prior.table[1], before / before.sum())


def test_the_search_finds_the_fewest_stamps_that_do():
    wanted = torch.tensor([4, 2, 2, 2])
    seen = []

    def cost(stamps):
        seen.append(len(stamps))
        return (stamps != wanted).float().sum(dim=1)

    assert torch.equal(find_stamps(cost, 4, 5), wanted)
    assert sum(seen) == 1 + 5  # the middle stamp was right elsewhere
    assert torch.equal(find_stamps(lambda stamps: torch.full((len(stamps),), SURE / 2), 4, 5), torch.full((4,), 2))


def test_a_budget_is_exceeded_by_the_mean_over_the_split(service):
    """Some batches of a split always take more than others."""
    kept = Budget(budget_bits=2.0)
    assert kept.validation_loss({"accuracy": 0.1, "rate": 1.9, "loss": 0.2}) == 0.1
    assert kept.validation_loss({"accuracy": 0.1, "rate": 3.0, "loss": 0.1}) == pytest.approx(0.6)
    levels = {"accuracy": 0.1, "rate": 1.0, "loss": 0.1, "taken_0": 1.4, "taken_1": 0.8}
    assert kept.validation_loss(levels) == pytest.approx(0.3)


def test_gradients_reach_the_painter_through_the_draw_and_through_its_distribution(data, service):
    kept = defence(service)
    kept.learner.nets.train()
    losses = kept.losses(first_batch(data), service)
    for name in ("accuracy", "rate", "taught"):
        parts = torch.autograd.grad(losses[name], list(kept.client().parameters()), retain_graph=True)
        assert all(part.isfinite().all() for part in parts)
        assert parts[0].abs().max() > 0


def test_of_one_cell_the_answer_and_the_stamps_learn_apart(data, service):
    """The painter's own answer from labels alone, the stamps from what they cost it."""
    kept = defence(service, **ONE)
    kept.learner.nets.train()
    losses = kept.losses(first_batch(data), service)
    parts = {"answer": kept._painter.features[0][0].weight, "stamps": kept._painter.stamps}
    moved = {
        name: {part for part, grad in zip(parts, _gradients(losses[name], parts), strict=True) if grad is not None}
        for name in ("accuracy", "taught")
    }
    assert moved == {"accuracy": {"stamps"}, "taught": {"answer"}}


def _gradients(loss, parts):
    return torch.autograd.grad(loss, list(parts.values()), retain_graph=True, allow_unused=True)


@pytest.mark.parametrize("settings", [KINDS[1], ONE])
def test_learned_stamps_learn(data, service, settings):
    kept = defence(service, **settings)
    kept.learner.nets.train()
    kept.losses(first_batch(data), service)  # teaches what they say at first
    before = kept._painter.alphabet().detach().clone()
    kept.update(first_batch(data), service)
    assert not torch.equal(kept._painter.alphabet(), before)


def test_the_stamps_of_one_cell_say_each_answer_from_sure_to_unsure(service):
    kept = defence(service, **ONE)
    like = torch.zeros(1, 3, 16, 16)
    expected = teach_stamps(kept._painter, service, {"colour": 2}, like)
    said = answer_to(torch.arange(8)[:, None], kept._painter, service, like)["colour"].softmax(dim=1)
    assert said.argmax(dim=1).tolist() == [0, 1] * 4
    sure = said.amax(dim=1).view(4, 2)
    assert sure[0].min() > 0.9
    assert (sure.diff(dim=0) < 0).all()
    assert expected.argmax(dim=2).tolist() == [[0], [1]]
    with pytest.raises(UsageError, match="Cure: an alphabet of 4"):
        defence(make_service("colour", "shape"), **{**ONE, "alphabet": 3}, given=("colour",))


def test_a_first_stamp_that_fails_is_taught_anew(service, monkeypatch):
    """One that is stuck, where nothing moves it, would leave its answer without a stamp."""
    kept = defence(service, **ONE)
    with torch.no_grad():
        kept._painter.stamps[1] = 1e4 * torch.sign(kept._painter.stamps[0])  # no gradient comes through the sigmoid
    like = torch.zeros(1, 3, 16, 16)
    left = answer_to(torch.tensor([[1]]), kept._painter, service, like)["colour"].argmax()
    monkeypatch.setattr("dapter.defences._stamps.TRIES", 1)
    teach_stamps(kept._painter, service, {"colour": 2}, like)
    assert kept._painter.nearest.row()[1] == left
    monkeypatch.setattr("dapter.defences._stamps.TRIES", 3)
    teach_stamps(kept._painter, service, {"colour": 2}, like)
    assert kept._painter.nearest.row()[:2].tolist() == [0, 1]


def test_an_answer_that_no_stamp_says_is_expected_of_none(service):
    kept = defence(service, **{**ONE, "stamps": "flat"})
    with torch.no_grad():
        kept._painter.stamps.fill_(0.5)  # one grey only
    expected = teach_stamps(kept._painter, service, {"colour": 2}, torch.zeros(1, 3, 16, 16))[:, 0]
    assert sorted(expected.amax(dim=1).tolist()) == pytest.approx([1 / 8, 1])


def test_stamps_that_look_the_same_count_as_one(data, service):
    kept = defence(service, **ONE)
    kept.losses(first_batch(data), service)
    with torch.no_grad():
        kept._painter.stamps[6] = kept._painter.stamps[2]
        kept._prior.table.fill_(1e-4).select(2, 6).fill_(0.999)
    images = data.splits["test"].images
    assert len(kept.published().alphabet) == kept.alphabet - 1
    payload = Payload(kept.published().paint(np.full((len(images), 1), 2), (16, 16)))
    found = {entry["measure"]: entry for entry in kept.figures(data.splits["test"], payload, service.answer(payload))}
    assert found["bits_beyond_answer"]["value"] < 0.01
    assert found["budget_bits"]["value"] == np.log2(kept.alphabet - 1)


def test_bits_above_the_budget_are_flagged(data, service):
    kept = defence(service, **{**ONE, "budget_bits": 1e-3})
    kept.losses(first_batch(data), service)
    with torch.no_grad():
        kept._prior.table.fill_(1 / kept.alphabet)
    payload = kept.protect(data.splits["test"].images)
    found = kept.figures(data.splits["test"], payload, service.answer(payload))
    assert {entry["measure"]: entry.get("flags") for entry in found}["bits_beyond_answer"] == ("over_budget",)


def test_a_warm_start_counts_beyond_the_same_answers(tmp_path):
    data, service = make_data(("colour", "shape")), make_service("colour", "shape")
    run = train(Budget(width=4, given=("colour",)), service, data, replace(PLAN, epochs=1), root=tmp_path)
    with pytest.raises(UsageError, match="cannot start this training"):
        train(Budget(width=4, given=("shape",)), service, data, PLAN, root=tmp_path, start=run)


@pytest.mark.parametrize("painted", [{**SETTINGS, **ONE}], indirect=True)
def test_a_payload_of_one_cell_says_the_painters_own_answer(painted, service, data):
    _, kept = painted
    with torch.no_grad():
        images = torch.from_numpy(data.splits["test"].images).permute(0, 3, 1, 2).float() / 255
        own = kept._painter(images).answers.argmax(dim=1).numpy()
    answer = service.answer(kept.protect(data.splits["test"].images)).labels()["colour"]
    assert np.array_equal(answer, own)


def test_of_one_cell_the_averages_over_the_draw_are_exact(data, service):
    kept = defence(service, **ONE)
    kept.learner.nets.train()
    batch, n = first_batch(data, 4), 2000
    with torch.no_grad():
        kept.losses(batch, service)
        scores, labels = kept._painter(batch.images), batch.labels["colour"]
        wanted = one_hot(labels, 2)
        accuracy, taught = exactly(kept._painter, service, scores, batch.images, wanted)
        pixels = kept._painter.drawn(scores.stamps.repeat_interleave(n, dim=0), batch.images)
        views = torch.cat([pixels, halve_chroma(pixels)])
        found = F.cross_entropy(service.logits(views)["colour"], labels.repeat_interleave(n).repeat(2))
    assert float(accuracy) == pytest.approx(float(found), rel=0.05)
    own = F.cross_entropy(scores.answers, labels, reduction="none") / math.log(2)
    assert taught.tolist() == pytest.approx(own.tolist())


def test_in_use_the_rate_is_the_code_length_given_the_answer(data, service):
    kept = defence(service)
    batch = first_batch(data)
    with torch.no_grad():
        kept.learner.nets.train()
        kept.losses(batch, service)  # starts the prior
        kept.learner.nets.eval()
        losses = kept.losses(batch, service)
    payload = kept.protect(data.splits["train"].images[:16])
    figures = kept.figures(data.splits["train"].head(16), payload, service.answer(payload))
    beyond = next(entry for entry in figures if entry["measure"] == "bits_beyond_answer")
    assert float(losses["rate"]) == pytest.approx(beyond["value"], rel=1e-4)
    excess = max(0.0, beyond["value"] / 2.0 - 1)
    assert float(losses["loss"] - losses["accuracy"]) == pytest.approx(excess, rel=1e-3, abs=1e-4)


def test_the_price_moves_towards_the_budget(data, service):
    batch = first_batch(data)
    for budget, sign in ((1e-3, 1), (8.0, -1)):
        kept = defence(service, budget_bits=budget)
        kept.learner.nets.train()
        prices = [kept.update(batch, service)["beta"] for _ in range(3)]
        if sign < 0:  # the first stamps cost less than eight bits only once they are painted
            kept._prior.table.fill_(1 / 27).select(2, 13).fill_(0.9)
            kept._prior.log_beta.fill_(math.log(FIRST_BETA))
            kept._follow(batch, torch.full((16, 4), 13), torch.full((16,), budget), service)
            prices = [FIRST_BETA, float(kept._prior.log_beta.exp())]
        assert sign * (prices[-1] - prices[0]) > 0
        assert BETA_RANGE[0] <= min(prices) <= max(prices) <= BETA_RANGE[1]


def test_while_nothing_is_learned_the_prior_stays(data, service):
    kept = defence(service)
    kept.learner.nets.train()
    batch = first_batch(data)
    kept.losses(batch, service)
    before = kept._prior.table.clone()
    wrong = replace(batch, labels={"colour": 1 - batch.labels["colour"]})
    stamps, budgets = kept._prior.table.argmax(dim=2)[batch.labels["colour"]], torch.full((16,), 2.0)
    kept._follow(wrong, stamps, budgets, service)
    assert torch.allclose(kept._prior.table, before)
    kept._follow(batch, stamps, budgets, service)
    assert not torch.allclose(kept._prior.table, before)


def test_it_learns_to_answer_within_its_budget(painted, service, data):
    run, kept = painted
    found = {(entry.measure, entry.secret): entry for entry in evaluate(run, service, data)}
    assert found["target_accuracy", None].value > 0.85
    beyond, total = found["bits_beyond_answer", None], found["bits_total", None]
    assert beyond.value <= total.value <= beyond.value + 1 + 1e-9
    assert beyond.low <= beyond.value <= beyond.high
    assert beyond.value < 2 * kept.budget_bits
    assert (beyond.grade, beyond.n) == ("estimated", len(data.splits["test"]))
    hard = found["budget_bits", None]
    assert (hard.value, hard.grade) == (pytest.approx(kept.grid**2 * math.log2(kept.alphabet)), "guaranteed")
    assert total.value <= hard.value
    assert 2 <= found["distinct_payloads", None].value <= 30
    mse = found["restored_mse_bound", None]
    assert 0 < mse.value <= mse.floor


def test_figures_of_secrets(painted, service):
    _, kept = painted
    split = make_data(("colour", "shape")).splits["test"]
    payload = kept.protect(split.images)
    found = {entry["measure"]: entry for entry in kept.figures(split, payload, service.answer(payload))}
    bound = found["secret_accuracy_bound"]
    assert bound["secret"] == "shape"
    assert 0.5 <= bound["floor"] <= bound["value"] <= 1
    assert found["secret_accuracy_fano"]["value"] <= 1
    unknown = replace(split, labels={**split.labels, "shape": np.full(len(split), -1)})
    assert not [entry for entry in kept.figures(unknown, payload, service.answer(payload)) if "secret" in entry]


def test_it_survives_the_wire(painted, service, data):
    """PNG exactly; JPEG and WebP of quality 75 and above give the same answer."""
    _, kept = painted
    payload = kept.protect(data.splits["test"].images)
    answers = service.answer(payload).labels()["colour"]
    for codec, quality in (("PNG", None), *product(("JPEG", "WEBP"), (75, 85, 95))):
        pixels = np.stack([open_image(encode(image, codec, quality)) for image in payload.pixels])
        assert np.mean(service.answer(Payload(pixels)).labels()["colour"] == answers) >= (1 if codec == "PNG" else 0.9)
        if codec == "PNG":
            assert np.array_equal(pixels, payload.pixels)


def test_halved_chroma_is_what_the_codecs_do():
    painter = Painter(4, 27, None, 4)
    stamps = torch.randint(0, 27, (20, 16), generator=torch.Generator().manual_seed(0))
    clean = painter.paint(stamps, torch.zeros(20, 3, 32, 32))
    grey = clean[:, :1].expand(-1, 3, -1, -1)
    assert torch.allclose(halve_chroma(grey), grey, atol=1e-5)
    pixels = (clean * 255).permute(0, 2, 3, 1).numpy().round().astype(np.uint8)
    sent = np.stack([open_image(encode(image, "JPEG", 75)) for image in pixels]) / 255
    guess = halve_chroma(clean).permute(0, 2, 3, 1).numpy()
    assert np.abs(guess - sent).mean() < 0.5 * np.abs(pixels / 255 - sent).mean()


def test_several_targets_have_a_prior_of_joint_answers_and_need_no_labels(tmp_path):
    data, service = make_data(("colour", "shape")), make_service("colour", "shape")
    run = train(
        Budget(**SETTINGS, labels="service"), service, without_labels(data), replace(PLAN, epochs=1), root=tmp_path
    )
    assert load_defence(run)._prior.table.shape == (4, 4, 27)
    with pytest.raises(UsageError, match="labels='service'"):
        defence(service).losses(first_batch(without_labels(data)), service)


def test_bfloat16_paints_the_same_exact_levels(data, service):
    kept = defence(service)
    kept.learner.nets.train()
    kept.learner.bfloat16 = True
    assert all(np.isfinite(value) for value in kept.update(first_batch(data), service).values())
    with kept.learner.autocast():
        pixels = kept.client()(torch.rand(2, 3, 16, 16)) * 255
    assert pixels.dtype == torch.float32
    assert set(pixels.round().unique().tolist()) <= {0, 128, 255}
    assert torch.allclose(pixels, pixels.round(), atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"stamps": "other"},
        {"labels": "other"},
        {"alphabet": 20, "stamps": "flat"},
        {"alphabet": 1},
        {"grid": 0},
        {"grid": 257},
        {"budget_bits": 0},
        {"budget_bits": 4.1},
        {"flip": 1.0},
        {"flip": -0.1},
        {"flip": 1e-20},
        {"budget_bits_range": (1.0, 1.0)},
        {"budget_bits_range": (0.0, 4.0)},
        {"budget_bits_range": (1.0, 77.0)},
        {"budget_bits_range": (2.0, 4.0)},
    ],
)
def test_settings_that_cannot_work_name_the_cure(settings):
    with pytest.raises(UsageError, match="Cure"):
        Budget(**settings)


def test_images_too_small_for_a_stamp_are_refused():
    data = make_data(size=8)
    Budget(patch=8).setup(0, make_service(), Task.of(data))
    with pytest.raises(UsageError, match=r"8 pixels cannot show 9\. Cure"):
        Budget(patch=9).setup(0, make_service(), Task.of(data))


def test_too_many_joint_answers_are_refused(monkeypatch):
    monkeypatch.setattr("dapter.defences.budget.MOST_ANSWERS", 3)
    with pytest.raises(UsageError, match="Cure"):
        defence(make_service("colour", "shape"))
