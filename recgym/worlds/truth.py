"""What a learner may not know: only `agents.valuing` and `experiments` import this."""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from recgym import choice
from recgym.rollout import rollout
from recgym.simulator import SimState, Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Observation, Outcome, Page, Policy
from recgym.users.base import after_log_probs
from recgym.worlds.base import TrueShop

CHANGE = 0.05  # of log price, to either side
SHARE_CHANGED = 0.2  # of the items: all at once would be another experiment


def oracle_spec(world: TrueShop, num_slots: int) -> ObservationSpec:
    """Observations in which ``encoder`` is the true shop's own hidden state."""
    return ObservationSpec(Simulator(world, encoder=world, num_slots=num_slots), "history")


def elasticity(
    world: TrueShop, policy: Policy, *, num_slots: int, num_sessions: int, seed: int
) -> float:
    """D log P(an item is bought or carted on a page) / d log of its price, under a policy.

    Central difference with the prices of a random fifth of the items changed, on the page and off
    it, everything else as it is; averaged over the pages of ``num_sessions`` sessions.
    """
    generator = torch.Generator().manual_seed(seed)
    num_items = world.catalog.num_items
    changed_I = (torch.rand(num_items, generator=generator) < SHARE_CHANGED).to(
        world.catalog.category.device
    )
    sold = {sign: 0.0 for sign in (-1, 1)}
    spec = oracle_spec(world, num_slots)

    def on_step(_: Tensor, state: SimState, seen: Observation, outcome: Outcome) -> None:
        for sign in sold:
            sold[sign] += _sold(world, state, seen.price, outcome.page, changed_I, sign)

    seed_B = (1 << 53) + (seed << 32) + torch.arange(num_sessions)
    rollout(spec, policy, seed_B, torch.zeros_like(seed_B), on_step=on_step)
    return (math.log(sold[1]) - math.log(sold[-1])) / (2 * CHANGE)


def _sold(
    world: TrueShop, state: SimState, price_NI: Tensor, page: Page, changed_I: Tensor, sign: int
) -> float:
    """Expected sales of the changed items on these pages, their log prices moved by CHANGE."""
    factor_I = 1.0 + (math.exp(sign * CHANGE) - 1.0) * changed_I.to(price_NI.dtype)
    item_NK = page.item.clamp(min=0)
    page = dataclasses.replace(page, price=page.price * factor_I[item_NK])
    reading = world.read(state.user)
    chosen = choice.probabilities(
        choice.law(world.respond(reading, page, state.visit), state.visit)
    )
    found = after_log_probs(world.after(reading, None, price_NI * factor_I, False)).exp()
    shown = after_log_probs(world.after(reading, item_NK, page.price, True)).exp()
    first = int(After.CART)  # carted or bought
    found_NI = chosen.organic * found[..., first:].sum(-1) * changed_I
    shown_NK = chosen.slot * shown[..., first:].sum(-1) * changed_I[item_NK]
    return float(found_NI.sum() + shown_NK.sum())
