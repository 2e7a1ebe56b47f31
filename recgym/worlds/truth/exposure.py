"""What showing does, of a true shop and of a learned one by the same lines."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym import metrics, rng
from recgym.metrics import Estimate
from recgym.refill import MAX_PAGES
from recgym.rng import Purpose
from recgym.rollout import rollout
from recgym.simulator import SimState
from recgym.types import Observation, Outcome
from recgym.users.base import Shoppers
from recgym.worlds.truth.pages import choice_probabilities, item_sold, page_value
from recgym.worlds.truth.value import oracle_spec, shoppers


class RandomPages:
    """Random items on each page, a function of (lane seed, session, page): alike in every shop."""

    def __init__(self, num_slots: int) -> None:
        self.num_slots = num_slots

    def act(self, observation: Observation, *, explore: bool = False) -> Tensor:
        """Items [N, K], each set as likely as any other."""
        who = observation.arrival
        key_N = rng.key(who.seed, who.session, observation.visit.page_number, Purpose.POLICY)
        u_NI = rng.uniform(rng.mix(key_N + 1), observation.catalog.num_items, torch.float64)
        return u_NI.topk(self.num_slots, -1).indices


@dataclass(frozen=True)
class Exposure:
    """What showing one random item in one random slot changes, on a page."""

    slot_clicks: Estimate  # probability that this slot is clicked
    clicks: Estimate  # change of the probability that any slot is clicked
    views: Estimate  # change of the probability that any item is viewed, clicked or found
    sold: Estimate  # change of the probability that the item itself is bought or carted
    sold_in_all: Estimate  # change of the expected number of items bought or carted, of any
    sold_value: Estimate  # change of their expected value, currency units


def exposure(
    shop: Shoppers,
    *,
    num_slots: int,
    num_sessions: int,
    seed: int,
    max_pages: int = MAX_PAGES,
) -> Exposure:
    """The effect of exposure: a random item in a random slot against that slot left empty.

    Pages are random and the same in every shop of so many items, the states are those which the
    shop's own shoppers reach on them, and both pages are valued in the same state by exact
    expectation over all that can be chosen and follow. Averaged over slots, items and pages; what
    the item changes later in the session does not count. So carts count when they are filled, not
    when they are paid: who looks on first would seem to be lost. What the item itself sells more is
    several times what the page sells more, since most of it others sell less, and is known as much
    better: their difference is small beside what sessions differ by.

    Args:
        shop: a true shop or a learned one.
        num_slots: K, slots of a page; the others hold random items.
        num_sessions: of the roll-out.
        seed: of shoppers and pages.
        max_pages: of a session; 1 for first pages alone.
    """
    names = [field.name for field in dataclasses.fields(Exposure)]
    sums = {name: torch.zeros(num_sessions, dtype=torch.float64) for name in names}
    pages_B = torch.zeros(num_sessions, dtype=torch.float64)

    def on_step(index_N: Tensor, state: SimState, seen: Observation, outcome: Outcome) -> None:
        page, index_N = outcome.page, index_N.cpu()
        slot_N1 = _random_slot(state, num_slots).unsqueeze(-1)
        emptied = dataclasses.replace(
            page, item=page.item.scatter(-1, slot_N1, -1), price=page.price.scatter(-1, slot_N1, 0)
        )
        shown, without = (page_value(shop, state, x, seen.price) for x in (page, emptied))
        chosen = choice_probabilities(shop, state, page)
        item_N = page.item.gather(-1, slot_N1).squeeze(-1)
        price_N = seen.price.gather(-1, item_N.unsqueeze(-1)).squeeze(-1)
        own, other = (item_sold(shop, state, x, item_N, price_N) for x in (page, emptied))
        found = {
            "slot_clicks": chosen.slot.gather(-1, slot_N1).squeeze(-1),
            "clicks": shown.clicks - without.clicks,
            "views": shown.views - without.views,
            "sold": own - other,
            "sold_in_all": shown.bought + shown.carted - without.bought - without.carted,
            "sold_value": shown.sold_value - without.sold_value,
        }
        for name, value_N in found.items():
            sums[name][index_N] += value_N.double().cpu()
        pages_B[index_N] += 1.0

    seed_B = shoppers(num_sessions, seed)
    rollout(
        oracle_spec(shop, num_slots), RandomPages(num_slots), seed_B, torch.zeros_like(seed_B),
        max_pages=max_pages, on_step=on_step,
    )  # fmt: skip

    def mean(top: Any, bottom: Any, axis: int = -1) -> Any:
        return top.sum(axis) / bottom.sum(axis)

    return Exposure(**{n: metrics.bootstrapped((sums[n], pages_B), mean, seed) for n in names})


def _random_slot(state: SimState, num_slots: int) -> Tensor:
    """A slot for each lane, [N] int64, a function of (lane seed, session, page)."""
    who = state.arrival
    key_N = rng.key(who.seed, who.session, state.visit.page_number, Purpose.POLICY)
    return (rng.uniform(rng.mix(key_N + 2), dtype=torch.float64) * num_slots).long()
