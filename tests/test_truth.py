"""recgym.worlds.truth: what only evaluation may know, against a shop whose answer is known."""

from __future__ import annotations

import pytest
import torch
from probe_shop import PRICE, ProbeShop, ProbeState
from torch import Tensor

from agents.baselines import Greedy, Popular
from recgym.users.base import AfterLogits
from recgym.worlds.taste import TasteShop
from recgym.worlds.truth import elasticity, oracle_spec

POWER = -2.6


class PowerShop(ProbeShop):
    """Sells at 0.2 * (price / 10) ** -2.6 a view, found or shown; views do not heed prices."""

    brand = torch.zeros(len(PRICE), dtype=torch.int64)
    fame = torch.zeros(len(PRICE))

    def after(
        self,
        state: ProbeState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        chance_NJ = 0.2 * (price_NJ.clamp(min=1.0) / 10.0) ** POWER
        never_NJ = torch.full_like(price_NJ, -40.0)
        return AfterLogits(chance_NJ.logit(), never_NJ, never_NJ)


def test_the_elasticity_of_a_power_law_is_its_power() -> None:
    # Why: in closed form, sales of every item move by exp(-2.6 * change), so the central difference
    # of the logarithms is -2.6 whatever is shown.
    policy = Popular(torch.arange(4), num_slots=2)
    found = elasticity(PowerShop(), policy, num_slots=2, num_sessions=200, seed=3)
    assert found == pytest.approx(POWER, abs=1e-3)


def test_the_elasticity_of_the_probe_shop_by_hand() -> None:
    # Why: P(bought or carted) = 1 - (1 - b)**2 with b = 10 / (10 + price) has the elasticity
    # -2 (1 - b)**2 / (2 - b): from -0.333 at price 10 to -0.732 at 44.
    policy = Popular(torch.arange(4), num_slots=2)
    shop = PowerShop()
    shop.after = ProbeShop().after  # type: ignore[method-assign]
    found = elasticity(shop, policy, num_slots=2, num_sessions=200, seed=3)
    assert -0.732 < found < -0.333


def test_the_oracle_acts_on_the_hidden_state() -> None:
    # Why: it is a ceiling only if it knows more than a site can: before the first page all visits
    # look alike to a site, and the oracle already serves each taste.
    world = TasteShop(num_items=40)
    spec = oracle_spec(world, 3)
    seed = torch.arange(64)
    state = spec.simulator.reset(seed, torch.zeros_like(seed))
    observation = spec.observe(state)
    assert observation.encoder is not None
    hidden, seen = vars(state.user), vars(observation.encoder)
    assert all(hidden[name] is seen[name] for name in hidden)
    slates = Greedy(world, num_slots=3, cart_paid=0.3).act(observation)
    same_day = world.catalog.day(state.visit.time_ms) == world.catalog.day(state.visit.time_ms)[0]
    assert len(slates[same_day].unique(dim=0)) > 1 or len(slates.unique(dim=0)) > 10
