"""Probe shops: shoppers so simple that the best pages follow by hand, each a trap for some agents.

All have six items, two slots and a session of a few pages, after which everybody leaves. Item i on
a page is clicked with probability v(i) / (1 + sum of v over the page), since items compete in one
choice; what is found alone is never bought. A click on item i sells it with chance c(i) and so
brings w(i) = c(i) · price(i). A page thus brings (sum of v w) / (1 + sum of v) over its items. With
v = 2 for both of them that is 0.4 (w + w').

The user model that agents read knows how shoppers choose and nothing of what they buy: to it every
click sells by 1/2. So what sells has to be learned.
"""

from __future__ import annotations

import copy
import dataclasses
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from probe_model import ModelState
from probe_shop import START_MS, found_alone, lanes_of
from torch import Tensor

from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Arrival, Catalog, Event, Page, Policy, Response, Visit
from recgym.users.base import AfterLogits, Known
from recgym.worlds.exact import ExactShop, Plan

ITEMS, SLOTS = 6, 2
KINDS = 3  # channels of the profile, as the tables of agents.tabular read it
CERTAIN = 1e4  # a logit whose probability is 1, and of its negative 0


class Probe(Known):
    """Shoppers of one kind who remember nothing, and items of one price that appeal alike."""

    quantity, num_encoded = 1.0, 1 + ITEMS
    num_pages = 3
    num_kinds = 1
    price: tuple[float, ...] = (10.0,) * ITEMS
    odds: tuple[float, ...] = (2.0,) * ITEMS
    optimum: float  # a session, currency units: worked out in the shop's docstring

    def __init__(self) -> None:
        price_I, eye_II = torch.tensor(self.price), torch.eye(ITEMS)
        self.catalog = Catalog(
            price=price_I.unsqueeze(0),
            category=torch.zeros(ITEMS, dtype=torch.int64),
            feature=eye_II,
            start_ms=START_MS,
            num_categories=1,
        )
        self.found = found_alone((1 / ITEMS,) * ITEMS, self.catalog.category, torch.float32)
        self.page_weight, self.dissimilarity = torch.zeros(()), torch.ones(())
        self.tables = SimpleNamespace(vector_ID=eye_II, mean_log_price=price_I.log().mean())
        self.answers = SimpleNamespace(page_weight=self.page_weight)
        self.knows_sales = True

    # ---- what a probe shop changes --------------------------------------------------------------

    def odds_of(self, state: ModelState) -> Tensor:
        """v, [N, I]."""
        return torch.tensor(self.odds).expand(len(state.h), -1)

    def chance_of(self, state: ModelState) -> Tensor:
        """c, [N, I]."""
        raise NotImplementedError

    def remembered(self, state: ModelState, page: Page, event: Event) -> Tensor:
        """What moves these shoppers: a bit, then one an item, [N, 1 + I]."""
        return state.h

    # ---- the protocol ---------------------------------------------------------------------------

    def arrive(self, seed_N: Tensor, session_N: Tensor) -> Arrival:
        return self.arrival_of((seed_N + session_N) % self.num_kinds, seed_N, session_N)

    def arrival_of(self, kind_N: Tensor, seed_N: Tensor, session_N: Tensor) -> Arrival:
        profile_NP = torch.nn.functional.one_hot(kind_N, KINDS).float()
        return Arrival(seed_N, session_N, profile_NP, torch.full_like(seed_N, START_MS))

    def init_state(self, arrival: Arrival) -> ModelState:
        nothing_NH = torch.zeros(len(arrival.seed), self.num_encoded)
        return _state(nothing_NH, arrival.profile)

    def read(self, state: ModelState) -> ModelState:
        return state

    def typical(self, reading: ModelState) -> ModelState:
        return reading

    def encode(self, state: Any) -> Tensor:
        encoded: Tensor = state.h
        return encoded

    def respond(self, state: ModelState, page: Page, visit: Visit) -> Response:
        slot_NK = self.odds_of(state).log().gather(-1, page.item.clamp(min=0))
        over_N = visit.page_number >= self.num_pages
        return Response(
            leave=torch.where(over_N, CERTAIN, -CERTAIN),
            checkout=torch.zeros(len(over_N)),
            organic=lanes_of(self.found, len(over_N)),
            slot=slot_NK.masked_fill(page.item < 0, -torch.inf),
            page_item=page.item,
            page_weight=self.page_weight,
            dissimilarity=self.dissimilarity,
        )

    def appeal(self, state: ModelState, visit: Visit, price_NI: Tensor) -> Tensor:
        return self.odds_of(state).log()

    def after(
        self,
        state: ModelState,
        item_NJ: Tensor | None,
        price_NJ: Tensor,
        clicked_NJ: Tensor | bool,
    ) -> AfterLogits:
        chance_NJ = self.chance_of(state) if self.knows_sales else torch.full_like(price_NJ, 0.5)
        if item_NJ is not None and self.knows_sales:
            chance_NJ = chance_NJ.gather(-1, item_NJ)
        never_NJ = torch.full_like(price_NJ, -CERTAIN)
        clicked_NJ = torch.as_tensor(clicked_NJ)
        return AfterLogits(torch.where(clicked_NJ, chance_NJ.logit(), never_NJ), never_NJ, never_NJ)

    def observe(self, state: ModelState, page: Page, event: Event, visit: Visit) -> ModelState:
        return dataclasses.replace(state, h=self.remembered(state, page, event))

    def gap(self, state: ModelState) -> tuple[Tensor, Tensor]:
        return torch.full((len(state.h),), 3.0), torch.ones(())

    # ---- for the tests --------------------------------------------------------------------------

    @cached_property
    def model(self) -> Probe:
        """The user model: how these shoppers choose, and nothing of what they buy."""
        model = copy.copy(self)
        model.knows_sales = False
        return model

    @cached_property
    def spec(self) -> ObservationSpec:
        """This shop, read through its user model."""
        return ObservationSpec(Simulator(self, encoder=self.model, num_slots=SLOTS), "encoder")

    @cached_property
    def exact(self) -> ExactShop:
        """All states and all slates, those with empty slots included."""
        kind_N = torch.arange(self.num_kinds)
        arrival = self.arrival_of(kind_N, kind_N, torch.zeros_like(kind_N))
        share_N = torch.full((self.num_kinds,), 1.0 / self.num_kinds)
        return ExactShop(self.spec.simulator, arrival, share_N, max_pages=self.num_pages)

    def plan_of(self, policy: Policy) -> Plan:
        """What a policy does in every state, and what it brings a session: no chance is left."""
        chosen = []
        for stage in self.exact.stages:
            state = dataclasses.replace(stage.state, encoder=stage.state.user)
            item_SK = self.spec.simulator.page(state, policy.act(self.spec.observe(state))).item
            same_SA = (item_SK.unsqueeze(1) == self.exact.slate_AK).all(-1)
            assert bool(same_SA.any(-1).all())
            chosen.append(same_SA.int().argmax(-1))
        return self.exact.plan(chosen)


def _state(memory_NH: Tensor, profile_NP: Tensor) -> ModelState:
    empty = ModelState.of(memory_NH[:, 0])
    return dataclasses.replace(empty, h=memory_NH, context=profile_NP)


class Constant(Probe):
    """One slate is best for all: items 2 and 4, a page 0.4 · (9 + 8) = 6.8; three pages."""

    optimum = 20.4

    def chance_of(self, state: ModelState) -> Tensor:
        return torch.tensor([0.1, 0.3, 0.9, 0.2, 0.8, 0.1]).expand(len(state.h), -1)


class Taste(Probe):
    """Two kinds whom the profile tells: 0 and 1 are best for one, 3 and 4 for the other.

    A page of one's own brings 0.4 · (9 + 8) = 6.8, so three bring 20.4. Whoever shows all the same
    brings no more than items 0 and 3 do, 0.4 · (9 + 1) = 4 a page from either kind: 12 (58.8 %).
    """

    num_kinds, optimum = 2, 20.4

    def chance_of(self, state: ModelState) -> Tensor:
        chance_ZI = torch.tensor([[0.9, 0.8, 0.2, 0.1, 0.1, 0.2], [0.1, 0.1, 0.2, 0.9, 0.8, 0.2]])
        return chance_ZI[state.context.argmax(-1)]


class Delayed(Probe):
    """A first purchase makes trust: before it an item of 10 sells by 0.1, and by 0.9 ever after.

    Items 1 and 3 are samples for a cent, always taken where clicked. Let V(n) be what n pages are
    worth before and W(n) after the first purchase. Then W(n) = 7.2 n, since two items bring
    0.4 · 18, and V(1) = 0.4 · 2 = 0.8. Two samples are clicked by 4/5, so
    V(n) = 0.8 (0.01 + W(n - 1)) + 0.2 V(n - 1), V(2) = 0.008 + 5.76 + 0.16 = 5.928 and
    V(3) = 0.008 + 11.52 + 1.1856 = 12.7136.

    Who looks at one page alone shows two items of 10, of which 0.8 · 0.1 = 0.08 buys:
    U(n) = 0.8 + 0.08 W(n - 1) + 0.92 U(n - 1), U(2) = 0.8 + 0.576 + 0.736 = 2.112 and
    U(3) = 0.8 + 1.152 + 1.94304 = 3.89504: 30.6 % of it.
    """

    price = (10.0, 0.01, 10.0, 0.01, 10.0, 10.0)
    optimum, myopic = 12.7136, 3.89504

    def chance_of(self, state: ModelState) -> Tensor:
        sample_I = torch.tensor(self.price) < 1.0
        others_N1 = torch.where(state.h[:, :1] > 0.0, 0.9, 0.1)
        return torch.where(sample_I, 1.0 - 1e-6, others_N1)

    def remembered(self, state: ModelState, page: Page, event: Event) -> Tensor:
        bought_N1 = (event.after == int(After.BUY)).unsqueeze(-1)
        return torch.cat([state.h[:, :1].masked_fill(bought_N1, 1.0), state.h[:, 1:]], -1)


class Fatigue(Probe):
    """An item of the last page has v = 0.2 instead of 2, so that the best pages alternate.

    Two pages that share no item bring at most 0.4 · (9 + 9 + 8 + 8) = 13.6: items 1 and 5, then
    items 3 and 4. Four pages bring 27.2. The same page four times brings at most
    7.2 + 3 · 0.2 · 18 / 1.4 = 14.914286 (54.8 %).
    """

    num_pages, optimum = 4, 27.2

    def odds_of(self, state: ModelState) -> Tensor:
        return torch.where(state.h[:, 1:] > 0.0, 0.2, 2.0)

    def chance_of(self, state: ModelState) -> Tensor:
        return torch.tensor([0.1, 0.9, 0.1, 0.8, 0.8, 0.9]).expand(len(state.h), -1)

    def remembered(self, state: ModelState, page: Page, event: Event) -> Tensor:
        shown_NI = (page.item.unsqueeze(-1) == torch.arange(ITEMS)).any(1)
        return torch.cat([state.h[:, :1], shown_NI.to(state.h)], -1)


class PriceTradeOff(Probe):
    """Dear items sell less, and are clicked less.

    Items at 5, 10, 20, 40, 80, 160 have w = 4.5, 8, 12, 16, 8, 3.2 and v = 4, 3, 2, 2, 1, 1. The
    best page holds those at 20 and 40: (24 + 32) / 5 = 11.2; three pages bring 33.6. Those clicked
    most, at 5 and 10, bring (18 + 24) / 8 = 5.25 a page (46.9 %); the dearest, at 80 and 160,
    (8 + 3.2) / 3 = 3.733 (33.3 %); the next best full page, 40 and 80, 40 / 4 = 10 (89.3 %).
    """

    price = (20.0, 160.0, 5.0, 40.0, 10.0, 80.0)
    odds = (2.0, 1.0, 4.0, 2.0, 3.0, 1.0)
    optimum = 33.6

    def chance_of(self, state: ModelState) -> Tensor:
        return torch.tensor([0.6, 0.02, 0.9, 0.4, 0.8, 0.1]).expand(len(state.h), -1)


class Substitution(Probe):
    """Items 0 and 3 are often clicked and worth little, and take the clicks from all others.

    They have v = 9 and w = 2.4, items 2 and 5 v = 1 and w = 4, the rest v = 1 and w = 1. Alone on a
    page the first bring 21.6 / 10 = 2.16 and the second 4 / 2 = 2, and v · w says the same. Yet two
    of the second bring 8 / 3 = 2.667, one of each 25.6 / 11 = 2.327 (87.3 %), two of the first
    43.2 / 19 = 2.274 (85.3 %): 6.821053 in three pages, of which the best bring 8.
    """

    odds = (9.0, 1.0, 1.0, 9.0, 1.0, 1.0)
    optimum, top_k = 8.0, 6.821053

    def chance_of(self, state: ModelState) -> Tensor:
        return torch.tensor([0.24, 0.1, 0.4, 0.24, 0.1, 0.4]).expand(len(state.h), -1)


PROBES: dict[str, Probe] = {
    "constant": Constant(),
    "taste": Taste(),
    "delayed": Delayed(),
    "fatigue": Fatigue(),
    "price": PriceTradeOff(),
    "substitution": Substitution(),
}
