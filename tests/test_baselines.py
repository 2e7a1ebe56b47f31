"""agents.baselines: the honest baselines pick what their names say, by hand."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from probe_shop import CLICK, ProbeShop

from agents.baselines import Greedy, GreedyClicks, Popular, Random, click_alone, top_k
from recgym.logging_policy import EmptyPages
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation


def observed(num: int = 1, num_slots: int = 2) -> Observation:
    """The probe shop before a first page, its own state in the encoder's place."""
    spec = ObservationSpec(Simulator(ProbeShop(), num_slots=num_slots), "history")
    seed = torch.arange(num)
    state = spec.simulator.reset(seed, torch.zeros_like(seed))
    return dataclasses.replace(spec.observe(state), encoder=state.user)


def forbid(observation: Observation, item: int) -> Observation:
    eligible = observation.eligible.clone()
    eligible[:, item] = False
    return dataclasses.replace(observation, eligible=eligible)


def test_nothing_shows_empty_pages() -> None:
    # Why: it is what increments are measured against.
    assert EmptyPages(2).act(observed(3)).tolist() == [[-1, -1]] * 3


def test_popular_shows_the_most_viewed_first() -> None:
    # Why: by hand; views 5, 9, 2, 7 rank 1, 3, 0, 2.
    policy = Popular(torch.tensor([5, 9, 2, 7]), num_slots=2)
    assert policy.act(observed()).tolist() == [[1, 3]]
    assert policy.act(forbid(observed(), 1)).tolist() == [[3, 0]]


def test_random_shows_each_item_as_often() -> None:
    # Why: 6,000 pages of 2 of 4 items show each one 3,000 times, sd 39.
    item_NK = Random(num_slots=2).act(observed(6000))
    assert bool((item_NK[:, 0] != item_NK[:, 1]).all())
    assert bool((torch.bincount(item_NK.flatten(), minlength=4) - 3000).abs().max() < 4 * 39)
    assert torch.equal(Random(num_slots=2).act(observed(10)), item_NK[:10])


def test_click_alone_by_hand() -> None:
    # Why: greedy ranks by it; item 3 alone adds 0.1236068 and is clicked with 0.1592064.
    observation, shop = observed(), ProbeShop()
    assert observation.encoder is not None
    click_NI = click_alone(shop, observation.encoder, observation.visit, observation.price)
    assert click_NI[0, 3].item() == pytest.approx(CLICK, abs=1e-6)


def test_greedy_for_clicks_looks_at_clicks_alone() -> None:
    # Why: with an appeal of 0.2 for all, items found with 0.4, 0.3, 0.2 and 0.1 are clicked, by
    # hand, with 0.0854, 0.1046, 0.1306 and 0.1592, whatever they cost and sell.
    observation, policy = observed(), GreedyClicks(ProbeShop(), num_slots=2)
    assert policy.act(observation).tolist() == [[3, 2]]
    assert policy.act(forbid(observation, 2)).tolist() == [[3, 1]]


def test_greedy_ranks_by_click_times_sale_times_price() -> None:
    # Why: by hand on day 0 with no cart ever paid. Clicks are (m + p * (1 - p / n)) / (1 + m) with
    # n = (p**2 + 0.04)**0.5 and m = n - p; sale times price is 5, 6.667, 7.5 and 8:
    #   item 0: 0.0853 * 5 = 0.427    item 1: 0.1045 * 6.667 = 0.697
    #   item 2: 0.1306 * 7.5 = 0.980  item 3: 0.1592 * 8 = 1.274
    observation = observed()
    policy = Greedy(ProbeShop(), num_slots=3, cart_paid=0.0)
    assert policy.act(observation).tolist() == [[3, 2, 1]]
    assert policy.act(forbid(observation, 3)).tolist() == [[2, 1, 0]]


def test_too_few_eligible_items_leave_slots_empty() -> None:
    # Why: a masked item of score -inf must never be shown to fill the page.
    score = torch.tensor([[-3.0, -1.0, -2.0]])
    eligible = torch.tensor([[True, False, True]])
    assert top_k(score, eligible, 3).tolist() == [[2, 0, -1]]
    assert top_k(score, eligible, 5).tolist() == [[2, 0, -1, -1, -1]]
