"""A small ad market for the tests, and pages that are answered by hand or at random."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recgym import visit as visits
from recgym.ads.campaigns import campaigns_of
from recgym.ads.estimates import CtrModel, FlatCtr
from recgym.ads.market import AdMarket
from recgym.ads.placement import PlacementRules, patterns
from recgym.ads.records import AdOutcome, Market, Placed, Request
from recgym.lanes import where
from recgym.types import DAY_MS, After, Arrival, Catalog, Event, Kind, Observation, Outcome, Visit

START_MS = 1_700_000_000_000
NUM_SLOTS = 4
ORGANIC = (0, 1, 2, 3)
LISTED: list[dict[str, Any]] = [
    {"item": 8, "bid": 0.50, "budget": 1.0},
    {"item": 9, "bid": 0.40, "budget": 1.0, "advertiser": 1},
    {"item": 10, "bid": 0.30, "budget": 1.0, "advertiser": 1},
    {"item": 11, "bid": 0.20, "budget": 1.0, "advertiser": 2},
]


def small_catalog(num_items: int = 12, dtype: torch.dtype = torch.float64) -> Catalog:
    """Item i costs 10 · (i + 1), and is of category i modulo 3."""
    price_I = 10.0 * torch.arange(1, num_items + 1, dtype=dtype)
    return Catalog(
        price=price_I.unsqueeze(0),
        category=torch.arange(num_items) % 3,
        feature=torch.zeros(num_items, 1, dtype=dtype),
        start_ms=START_MS,
        num_categories=3,
    )


def small_market(
    rows: list[dict[str, Any]] | None = None, rules: dict[str, Any] | None = None, **settings: Any
) -> AdMarket:
    """Four campaigns, no error in the estimates, ads side by side from slot 1 on."""
    given = {"min_distance": 1, "max_ads": 2, **(rules or {})}
    known = {"num_slots": NUM_SLOTS, "error": 0.0, "dtype": torch.float64, **settings}
    catalog = small_catalog()
    return AdMarket(
        campaigns_of(rows or LISTED, catalog), catalog, PlacementRules(**given), **known
    )


def visit_of(lanes: int = 1, *, hours: float = 0.0, num_slots: int = NUM_SLOTS) -> Visit:
    """Visits that begin so many hours after the catalogue's day 0 does."""
    time_ms_N = torch.full((lanes,), START_MS + int(hours * DAY_MS / 24))
    return visits.begin(time_ms_N, num_slots, torch.float64, returning=True)


def observed(market: AdMarket, visit: Visit) -> Observation:
    """What a site without a fitted model sees of a visit; lane i has seed i."""
    seed_N = torch.arange(len(visit.gap))
    profile_N1 = torch.zeros(len(seed_N), 1, dtype=torch.float64)
    everything = torch.ones(1, market.catalog.num_items, dtype=torch.bool)
    return Observation(
        feature=profile_N1,
        visit=visit,
        eligible=everything.expand(len(seed_N), -1),
        encoder=None,
        arrival=Arrival(seed_N, torch.zeros_like(seed_N), profile_N1, visit.time_ms),
        catalog=market.catalog,
    )


def request_of(
    market: AdMarket, state: Market, visit: Visit, model: CtrModel | None = None
) -> Request:
    """The request of a page whose organic ranking is `ORGANIC` in every lane."""
    organic = torch.tensor(ORGANIC).expand(len(visit.gap), -1)
    return market.request(state, observed(market, visit), organic, model or FlatCtr(0.1))


def page_of(market: AdMarket, state: Market, visit: Visit, slots: tuple[int, ...]) -> Placed:
    """The page with ads in these slots, filled by the auction."""
    place = torch.zeros(len(visit.gap), NUM_SLOTS, dtype=torch.bool)
    place[:, list(slots)] = True
    request = request_of(market, state, visit)
    return market.place(request, market.plan(request, place), visit.time_ms)


def answered(
    placed: Placed,
    visit: Visit,
    *,
    slot: Tensor | int = -1,
    item: Tensor | int = -1,
    after: Tensor | int = After.NOTHING,
    kind: Tensor | int = Kind.VIEW,
) -> Outcome:
    """The outcome of a choice; the item is the slot's where one is clicked."""
    none_N = torch.zeros_like(visit.page_number)
    kind_N, slot_N, after_N = (none_N + x for x in (kind, slot, after))
    shown_N = placed.page.item.gather(-1, slot_N.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    item_N = torch.where(slot_N >= 0, shown_N, none_N + item)
    price_N = 10.0 * (item_N + 1)
    quantity_N = (after_N >= int(After.CART)).double()
    event = Event(kind_N, item_N, slot_N, after_N, price_N, quantity_N, visit.gap)
    paid_N = kind_N == int(Kind.CHECKOUT)
    bought_N = after_N == int(After.BUY)
    revenue_N = visit.cart_value() * paid_N + price_N * bought_N
    nought_N = torch.zeros_like(price_N)
    left_N = kind_N == int(Kind.LEAVE)
    return Outcome(
        event=event,
        page=placed.page,
        impressions=(placed.page.item >= 0).sum(-1),
        clicked=slot_N >= 0,
        carted=after_N == int(After.CART),
        bought=(paid_N | bought_N).double(),
        revenue=revenue_N,
        chosen_revenue=nought_N,
        expected_revenue=nought_N,
        credited_revenue=nought_N,
        left=left_N,
        gone=left_N,
        doubt=nought_N,
    )


def settled(
    market: AdMarket,
    state: Market,
    visit: Visit,
    placed: Placed,
    *,
    gap_s: float = 60.0,
    **choice: Any,
) -> tuple[Market, AdOutcome, Visit]:
    """The page answered so and settled: the market, what it brought, the visit."""
    outcome = answered(placed, visit, **choice)
    gap_N = torch.full_like(visit.gap, gap_s)
    after = visits.advance(visit, placed.page, outcome.event, gap_N)
    state, brought = market.settle(state, visit, placed, outcome, after)
    return state, brought, after


def random_pages(market: AdMarket, lanes: int, pages: int, seed: int) -> RandomRun:
    """Lanes whose shoppers click half of all pages, buy a third of what they click and come back.

    A page in six is half a day after the one before, so that days pass.
    """
    generator = torch.Generator().manual_seed(seed)
    visit = visit_of(lanes)
    run = RandomRun(market, market.begin(visit.time_ms))
    pattern_JK = patterns(market.rules, NUM_SLOTS)

    def uniform() -> Tensor:
        return torch.rand(lanes, generator=generator)

    def uniform_4() -> Tensor:
        return torch.rand(4, generator=generator)

    for _ in range(pages):
        request = request_of(market, run.state, visit, FlatCtr(0.02 + 0.1 * uniform_4()))
        place = pattern_JK[(uniform() * len(pattern_JK)).long()]
        placed = market.place(request, market.plan(request, place), visit.time_ms)
        slot = torch.where(uniform() < 0.5, (uniform() * NUM_SLOTS).long(), -1)
        after = torch.where(slot >= 0, (uniform() * 4).long(), 0)
        pays = (uniform() < 0.3) & (slot < 0) & (visit.cart_count() > 0)
        kind = torch.where(pays, int(Kind.CHECKOUT), int(Kind.VIEW))
        outcome = answered(placed, visit, slot=slot, after=after, kind=kind)
        gap = torch.where(uniform() < 1 / 6, 43_200.0, 60.0).double()
        later = visits.advance(visit, placed.page, outcome.event, gap)
        again = visits.again(later, later.time_ms, torch.ones_like(later.gap))
        later = where(uniform() < 0.05, again, later)
        run.settle(visit, placed, outcome, later)
        visit = later
    return run


class RandomRun:
    """A market over random pages, and books kept beside its own: by page and by advertiser."""

    def __init__(self, market: AdMarket, state: Market) -> None:
        self.market, self.state = market, state
        self.earned = 0  # micros, as the platform sums its pages
        self.closed_A = torch.zeros_like(state.spent[0])  # of days that are over
        self.most_A = torch.zeros_like(state.spent[0])  # spent by a lane on one day
        self.sales = 0.0
        self.revenue = 0.0

    def settle(self, visit: Visit, placed: Placed, outcome: Outcome, later: Visit) -> None:
        """One page."""
        before = self.state
        self.state, brought = self.market.settle(before, visit, placed, outcome, later)
        by_slot = brought.charge.sum(-1)
        self.earned += int(by_slot.sum() + brought.order_charge.sum())
        day_N1 = (self.state.day != before.day).unsqueeze(-1)
        paid_NA = brought.order_charge.scatter_add(-1, placed.campaign.clamp(min=0), brought.charge)
        day_spend_NA = before.spent + paid_NA
        self.most_A = torch.maximum(self.most_A, day_spend_NA.amax(0))
        self.closed_A += (day_spend_NA * day_N1).sum(0)
        self.sales += float(brought.sponsored_sales.sum())
        self.revenue += float(outcome.revenue.sum())

    def spent(self) -> Tensor:
        """Micros that each campaign spent, of all lanes and days, from its own ledger."""
        return self.closed_A + self.state.spent.sum(0)
