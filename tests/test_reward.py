"""recgym.reward: what a learner is paid, on one page by hand and in expectation."""

from __future__ import annotations

import math

import pytest
import torch
from probe_shop import EXPECTED_REVENUE, ProbeShop

from recgym.errors import UserError
from recgym.reward import REWARDS, pessimistic, reward_named, with_orders
from recgym.simulator import Simulator
from recgym.types import Event, Outcome, Page


def outcome_by_hand() -> Outcome:
    """Lane 0 buys a shown item for 12, lane 1 pays a cart of 30, lane 2 leaves."""
    kind, slot = torch.tensor([2, 1, 0]), torch.tensor([0, -1, -1])
    nought = torch.zeros(3)
    return Outcome(
        event=Event(kind, torch.tensor([5, -1, -1]), slot, torch.tensor([3, 0, 0]), *[nought] * 3),
        page=Page(torch.tensor([[5], [5], [5]]), torch.full((3, 1), 12.0)),
        impressions=torch.ones(3, dtype=torch.int64),
        clicked=slot >= 0,
        carted=torch.zeros(3, dtype=torch.bool),
        bought=torch.tensor([1.0, 1.0, 0.0]),
        revenue=torch.tensor([12.0, 30.0, 0.0]),
        chosen_revenue=torch.tensor([3.0, 30.0, 0.0]),
        expected_revenue=torch.tensor([2.0, 4.0, 1.0]),
        credited_revenue=torch.tensor([2.0, 4.0, 1.0]),
        left=torch.tensor([False, False, True]),
        gone=torch.tensor([False, False, True]),
        doubt=torch.tensor([2.0, 0.0, 0.0]),
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("revenue", [12.0, 30.0, 0.0]),
        ("conversion", [1.0, 1.0, 0.0]),
        ("click", [1.0, 0.0, 0.0]),
        ("expected_revenue", [2.0, 4.0, 1.0]),
        ("chosen_revenue", [3.0, 30.0, 0.0]),
    ],
)
def test_each_reward_by_hand(name: str, expected: list[float]) -> None:
    # Why: a reward of the wrong field trains an agent for another goal without any error.
    reward = reward_named(name)(outcome_by_hand())
    assert reward.tolist() == expected and reward.dtype == torch.float32


def test_the_three_money_rewards_have_one_mean_and_falling_noise() -> None:
    # Why: they may be exchanged only because their optimum is the same; see probe_shop.
    simulator = Simulator(ProbeShop(), num_slots=1, expected_revenue=True)
    seed = torch.arange(100_000)
    state = simulator.reset(seed, torch.zeros_like(seed))
    day_0 = simulator.catalog.day(state.arrival.start_ms) == 0
    page = simulator.page(state, torch.full((len(seed), 1), 3))
    outcome = simulator.step(state, page)[1].lanes(day_0)
    spread = []
    for name in ("revenue", "chosen_revenue", "expected_revenue"):
        money = reward_named(name)(outcome).double()
        spread.append(money.std().item())
        error = spread[-1] / math.sqrt(len(money))
        assert abs(money.mean().item() - EXPECTED_REVENUE) < 3.5 * error + 1e-5
    assert spread[0] > spread[1] > spread[2]


def test_an_unknown_reward_names_the_known_ones() -> None:
    # Why: an error must say what to write instead.
    with pytest.raises(UserError, match="reward='sales' is unknown: expected one of revenue"):
        reward_named("sales")
    assert all(name in REWARDS for name in ("revenue", "click"))


def test_pessimism_takes_a_share_of_the_doubt_from_any_reward() -> None:
    reward = pessimistic(reward_named("revenue"), 0.5)
    assert reward(outcome_by_hand()).tolist() == [11.0, 30.0, 0.0]


def test_a_bonus_for_orders_joins_any_reward_by_hand() -> None:
    # Why: the front of revenue and conversion is drawn by it; two lanes pay an order each.
    reward = with_orders(reward_named("chosen_revenue"), 20.0)
    assert reward(outcome_by_hand()).tolist() == [23.0, 50.0, 0.0]
