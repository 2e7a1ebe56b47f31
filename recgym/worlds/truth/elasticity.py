"""What prices do, of a true shop and of a learned one by the same lines."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recgym import metrics
from recgym.metrics import Estimate
from recgym.rollout import rollout
from recgym.simulator import SimState
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Outcome, Policy
from recgym.users.base import Shoppers
from recgym.worlds.truth.pages import page_value
from recgym.worlds.truth.value import oracle_spec, shoppers

CHANGE = 0.05  # of log price, to either side
SHARE_CHANGED = 0.2  # of the items: all at once would be another experiment

SpecOf = Callable[[Shoppers], ObservationSpec]


def _changed(shop: Shoppers, seed: int, share: float) -> Tensor:
    """Random items whose prices are changed, [I] float of 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    changed_I = torch.rand(shop.catalog.num_items, generator=generator) < share
    return changed_I.to(shop.catalog.price)


def elasticity(
    world: Shoppers, policy: Policy, *, num_slots: int, num_sessions: int, seed: int
) -> float:
    """D log P(an item is bought or carted on a page) / d log of its price, under a policy.

    The slope of one page: states and pages stay those of the prices as they are, so that nothing
    which a price does later in the session counts; a fit's slopes are to be held against this one.
    Central difference with the prices of a random fifth of the items changed, on the page and off
    it, everything else as it is; averaged over the pages of ``num_sessions`` sessions.
    """
    changed_I = _changed(world, seed, SHARE_CHANGED)
    sold = {sign: 0.0 for sign in (-1, 1)}

    def on_step(_: Tensor, state: SimState, seen: Observation, outcome: Outcome) -> None:
        for sign in sold:
            factor_I = (sign * CHANGE * changed_I).exp()
            item_NK = outcome.page.item.clamp(min=0)
            page = dataclasses.replace(outcome.page, price=outcome.page.price * factor_I[item_NK])
            value = page_value(world, state, page, seen.price * factor_I, changed_I)
            sold[sign] += float((value.bought + value.carted).sum())

    seed_B = shoppers(num_sessions, seed)
    spec = oracle_spec(world, num_slots)
    rollout(spec, policy, seed_B, torch.zeros_like(seed_B), on_step=on_step)
    return (math.log(sold[1]) - math.log(sold[-1])) / (2 * CHANGE)


def repriced(shop: Shoppers, factor_I: Tensor) -> Shoppers:
    """The same shoppers where each item costs so many times what it did, on every day.

    What a user model holds of its items' usual prices stays as it was fitted.
    """
    changed: Any = copy.copy(shop)
    changed.catalog = dataclasses.replace(shop.catalog, price=shop.catalog.price * factor_I)
    return changed  # type: ignore[no-any-return]


def session_elasticity(
    shop: Shoppers,
    policy: Policy,
    *,
    num_slots: int,
    num_sessions: int,
    seed: int,
    spec_of: SpecOf | None = None,
    share: float = SHARE_CHANGED,
) -> Estimate:
    """D log P(purchase of an item in a session) / d log of its price, under a policy.

    Unlike `elasticity` it follows whole sessions at the changed prices: being clicked and found,
    bought at once, carted and paid later, and what all this does to the rest of the session; a
    policy that reads prices reacts. What is approximated: (1) a central difference of 5 % to either
    side; (2) the expected number of purchases stands for the probability of one, since an item is
    hardly ever bought twice in a session; (3) a random ``share`` of the items moves together, so
    what one of them takes from another counts as not lost (about ``share`` of all substitution);
    (4) sessions are drawn, with the same noise at both prices, while purchases are counted by their
    exact expectation on each page (the mean is the same, the variance less); (5) items are weighed
    by how much they sell; (6) a carted item counts at the share of them that is paid in the end,
    one share for both prices: which carts fill is then no noise, and what a price does to paying a
    cart that is filled is left out (no true shop here lets it depend on prices).

    Args:
        shop: a true shop or a learned one.
        policy: that fills the pages.
        num_slots: K, slots of a page.
        num_sessions: simulated at each of the two prices.
        seed: of the shoppers and of the choice of items.
        spec_of: what the policy sees of a shop; the default is the shop's own state.
        share: of the items whose price is moved.
    """
    changed_I = _changed(shop, seed, share)
    look: SpecOf = spec_of or (lambda one: oracle_spec(one, num_slots))
    seed_B = shoppers(num_sessions, seed)

    def sales(sign: int) -> tuple[Tensor, Tensor, float]:
        """Expected items bought at once and carted, [B] each, and items paid from carts."""
        other = repriced(shop, (sign * CHANGE * changed_I).exp())
        sums_3B = torch.zeros(3, num_sessions, dtype=torch.float64, device=changed_I.device)

        def on_step(index_N: Tensor, state: SimState, seen: Observation, outcome: Outcome) -> None:
            value = page_value(other, state, outcome.page, seen.price, changed_I)
            sums_3B[:, index_N] += torch.stack([value.bought, value.carted, value.paid]).double()

        rollout(look(other), policy, seed_B, torch.zeros_like(seed_B), on_step=on_step)
        return sums_3B[0], sums_3B[1], float(sums_3B[2].sum())

    def slope(dear: Any, cheap: Any, axis: int = -1) -> Any:
        return np.log(dear.sum(axis) / cheap.sum(axis)) / (2 * CHANGE)

    dear, cheap = sales(1), sales(-1)
    carted = float(dear[1].sum() + cheap[1].sum())
    share_paid = (dear[2] + cheap[2]) / carted if carted else 0.0
    sold = tuple(bought_B + share_paid * carted_B for bought_B, carted_B, _ in (dear, cheap))
    return metrics.bootstrapped(sold, slope, seed)
