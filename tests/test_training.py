"""recgym.users.training: a fit comes nearer to the shop that wrote the log, and repeats itself."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from simulated_log import logging_policy, simulate, without_pages
from torch.nn import functional as F  # noqa: N812

from recgym.errors import UserError
from recgym.simulator import Simulator
from recgym.types import Kind, Sessions, Split
from recgym.users import training
from recgym.users.fit_settings import FitSettings
from recgym.users.heads import INITIAL_SLOPE
from recgym.users.likelihood import Steps, cart_counts, expectations, gather_steps, run
from recgym.users.lstm import LSTMUserModel
from recgym.users.passes import mean_nll
from recgym.users.report import predictive_report
from recgym.users.sessions import rows_of
from recgym.users.states import SequenceState
from recgym.users.surprises import Expectation, tallies
from recgym.users.training import fit, start_from_counts
from recgym.worlds.taste import TasteShop

SLOTS = 6
ITEMS = 60


def true_shop() -> TasteShop:
    """A small shop with many sales, and prices that move enough to tell what they do."""
    return TasteShop(
        num_items=ITEMS, num_categories=6, buy=-5.5, cart=-3.5, promotion_share=0.3, promotion=-1.0
    )


def log_of(num_sessions: int, first_seed: int = 0) -> Sessions:
    shop = true_shop()
    simulator = Simulator(shop, num_slots=SLOTS, expected_revenue=False)
    policy = logging_policy(shop, SLOTS)
    return simulate(simulator, policy, num_sessions, first_seed=first_seed)[0]


def untrained(sessions: Sessions) -> LSTMUserModel:
    torch.manual_seed(0)
    train_B = rows_of(sessions, Split.TRAIN)
    start_B = sessions.time_ms[sessions.offset[:-1]][train_B]
    seen_I = torch.ones(ITEMS, dtype=torch.bool)
    return LSTMUserModel(
        true_shop().catalog, seen_I, sessions.profile[train_B], start_B, hidden=32, embedding=8
    )  # fmt: skip


class Fitted(NamedTuple):
    model: LSTMUserModel
    sessions: Sessions
    best: dict[str, float]


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    sessions = log_of(2000)
    model = untrained(sessions)
    settings = FitSettings(epochs=6, learning_rate=1e-2, batch_steps=1024)
    return Fitted(model, sessions, fit(model, sessions, settings, seed=0))


class Foreseen(NamedTuple):
    steps: Steps
    expected: Expectation
    state: SequenceState


@pytest.fixture(scope="module")
def fresh(fitted: Fitted) -> Foreseen:
    """What the fitted model expects of shoppers that it never met."""
    sessions = log_of(1500, first_seed=10_000)
    steps = gather_steps(sessions, cart_counts(sessions), torch.arange(1500))
    with torch.no_grad():
        expected = expectations(fitted.model, steps)
        return Foreseen(steps, expected, run(fitted.model, steps, expected).reading.state)


def test_a_fit_predicts_better_than_its_start_and_the_baselines(fitted: Fitted) -> None:
    # Why: a user model that knows no more than popularity is no shopper.
    model, sessions, best = fitted
    train_B, valid_B = rows_of(sessions, Split.TRAIN), rows_of(sessions, Split.VALID)
    start = untrained(sessions)
    start_from_counts(start, sessions, train_B)
    assert best["nll"] < mean_nll(start, sessions, valid_B)["nll"] - 0.3
    report = predictive_report(model, sessions, train_B, rows_of(sessions, Split.TEST))
    ours = report["nll_next_view"]
    markov, popularity = report["markov_nll_next_view"], report["popularity_nll_next_view"]
    assert ours is not None and markov is not None and popularity is not None
    assert ours < markov < popularity


def test_the_price_slope_comes_nearer_to_the_truth(fitted: Fitted, fresh: Foreseen) -> None:
    # Why: revenue is price times demand; a slope that stayed at its start would be an invention.
    with torch.no_grad():
        slope_n2 = fitted.model.typical(fitted.model.read(fresh.state)).levels.slope
    start = float(F.softplus(torch.tensor(INITIAL_SLOPE)))  # 1.313
    true = true_shop().knobs.price_slope  # 2.2, for buying and carting alike
    learned = float(slope_n2.mean(0)[1])  # of sales
    assert abs(learned - true) < 0.75 * abs(start - true)


def test_rates_of_new_shoppers_are_as_expected(fresh: Foreseen) -> None:
    # Why: a simulator that clicks or buys too often is wrong in money, however well it ranks.
    steps, expected, _ = fresh
    clicked_n1 = ((steps.event.slot >= 0).float() - expected.slot.sum(-1)).unsqueeze(-1)
    clicked_n1 = clicked_n1 * (steps.event.kind == Kind.VIEW).unsqueeze(-1)
    surprise_n4 = torch.cat([tallies(expected, steps.event)[:, :3], clicked_n1], -1)
    sessions = steps.active[0]
    owner_n = torch.cat([torch.arange(active) for active in steps.active])
    sum_B4 = torch.zeros(sessions, 4).index_add_(0, owner_n, surprise_n4)
    z_4 = sum_B4.mean(0) / (sum_B4.std(0) / sessions**0.5)
    assert bool((z_4.abs() < 4).all()), z_4.tolist()


def test_a_log_without_pages_is_fitted_too() -> None:
    # Why: most public logs do not say what was shown.
    sessions = without_pages(log_of(150))
    model = untrained(sessions)
    curve: list[float] = []
    fit(
        model, sessions, FitSettings(epochs=3, learning_rate=1e-2, batch_steps=256), seed=0,
        log=lambda tag, value, step: curve.append(value) if tag == "fit/valid_nll" else None,
    )  # fmt: skip
    assert curve[-1] < curve[0]
    report = predictive_report(
        model, sessions, rows_of(sessions, Split.TRAIN), rows_of(sessions, Split.TEST)
    )
    assert all(value is None or value == value for value in report.values())


def test_the_same_seed_gives_the_same_parameters() -> None:
    # Why: a result that cannot be repeated cannot be checked.
    sessions = log_of(100)
    settings = FitSettings(epochs=2, batch_steps=256, least_updates=10)
    models = [untrained(sessions) for _ in range(3)]
    for model, seed in zip(models, (5, 5, 6), strict=True):
        fit(model, sessions, settings, seed=seed)
    first, again, other = (list(model.parameters()) for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_early_stopping_keeps_the_best_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    # Why: the last epoch of a small log has learned it by heart; what shrinking, polishing and
    # centring start from is the best one.
    monkeypatch.setattr(training, "polish", lambda *_: None)
    monkeypatch.setattr(training, "shrink", lambda *_: {})
    monkeypatch.setattr(training, "centre", lambda *_: None)
    sessions = log_of(150)
    model = untrained(sessions)
    curve: list[float] = []
    settings = FitSettings(epochs=20, patience=2, learning_rate=3e-2, batch_steps=128)
    best = fit(
        model, sessions, settings, seed=0,
        log=lambda tag, value, step: curve.append(value) if tag == "fit/valid_nll" else None,
    )  # fmt: skip
    assert best["nll"] == min(curve) < curve[-1]
    assert len(curve) == best["epoch"] + 2 < 20
    valid_B = rows_of(sessions, Split.VALID)
    assert mean_nll(model, sessions, valid_B)["nll"] == pytest.approx(best["nll"], abs=1e-6)


@pytest.mark.parametrize("name", ["epochs", "batch_steps", "least_updates"])
def test_a_fit_of_nothing_is_refused_in_a_sentence(name: str) -> None:
    # Why: 0 updates an epoch ended in a division by zero, long after the log was cleaned.
    with pytest.raises(UserError, match=rf"user_model.fit.{name}=0: expected .* at least 1"):
        FitSettings(**{name: 0})


@pytest.mark.parametrize("name", ["classes", "segments"])
def test_a_model_of_no_size_is_refused_in_a_sentence(name: str) -> None:
    # Why: without a latent class or a segment every probability is nan.
    sessions = log_of(20)
    with pytest.raises(UserError, match=rf"user_model.model.{name}=0: expected .* at least 1"):
        LSTMUserModel(
            true_shop().catalog, torch.ones(ITEMS, dtype=torch.bool), sessions.profile,
            sessions.time_ms[sessions.offset[:-1]], **{name: 0},
        )  # fmt: skip


def test_a_fit_that_explodes_says_so() -> None:
    # Why: a model of NaNs would be kept, simulated and believed.
    sessions = log_of(100)
    settings = FitSettings(epochs=1, learning_rate=float("inf"), batch_steps=256)
    with pytest.raises(UserError, match=r"finite.*learning_rate"):
        fit(untrained(sessions), sessions, settings, seed=0)
