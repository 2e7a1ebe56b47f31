"""recgym.ads.market and its ledger: requests, pages, charges, credits, days and sessions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from probe_market import (
    LISTED,
    NUM_SLOTS,
    START_MS,
    RandomRun,
    observed,
    page_of,
    random_pages,
    request_of,
    settled,
    small_catalog,
    small_market,
    visit_of,
)
from probe_shop import learned_shop

from recgym import visit as visits
from recgym.ads.auction import PRICINGS
from recgym.ads.campaigns import campaigns_of, draw_campaigns
from recgym.ads.estimates import FittedCtr, FlatCtr, error_of
from recgym.ads.market import AdMarket
from recgym.ads.placement import PlacementRules, patterns
from recgym.ads.records import AdOutcome, Market
from recgym.errors import UserError
from recgym.lanes import Record
from recgym.simulator import SimState, Simulator
from recgym.types import DAY_MS, After, Kind, Observation, Page
from recgym.worlds.taste import TasteShop


def test_a_request_by_hand() -> None:
    # Why: the best come first, and a row with fewer of them is filled with nothing.
    market = small_market(num_candidates=3)
    visit = visit_of()
    found = request_of(market, market.begin(visit.time_ms), visit, FlatCtr(torch.tensor(
        [0.02, 0.05, 0.06, 0.01])))  # fmt: skip
    assert found.campaign.tolist() == [[1, 2, 0]]  # scores 0.020, 0.018, 0.010, 0.002
    assert found.item.tolist() == [[9, 10, 8]]
    assert found.score[0].tolist() == pytest.approx([0.020, 0.018, 0.010])
    few = small_market([LISTED[0], {**LISTED[1], "start": 1}])
    found = request_of(few, few.begin(visit.time_ms), visit)
    assert found.campaign.tolist() == [[0, -1]]
    assert found.item.tolist() == [[8, -1]]
    assert found.score.tolist() == [[0.05, -torch.inf]]
    assert found.pctr.tolist() == [[0.1, 0.0]]


def test_a_page_by_hand() -> None:
    # Why: what stands where, and what a click on it costs.
    market = small_market()
    visit = visit_of(hours=1.0)
    placed = page_of(market, market.begin(visit.time_ms), visit, (1, 3))
    assert placed.page.item.tolist() == [[0, 8, 1, 9]]
    assert placed.page.price.tolist() == [[10.0, 90.0, 20.0, 100.0]]
    assert placed.page.sponsored is not None
    assert placed.page.sponsored.tolist() == [[False, True, False, True]]
    assert placed.campaign.tolist() == [[-1, 0, -1, 1]]
    assert placed.price.tolist() == [[0, 400_000, 0, 300_000]]  # the next bid each


def only(market: AdMarket, state: Market, hours: float = 0.0) -> set[int]:
    """Campaigns that may advertise in the only lane."""
    visit = visit_of(hours=hours)
    organic = torch.tensor([[0, 1, 2, 3]])
    return set(market.eligible(state, observed(market, visit), organic)[0].nonzero()[:, 0].tolist())


def test_who_may_advertise() -> None:
    # Why: each rule of the issue takes out one campaign that nothing else does.
    market = small_market()
    state = market.begin(visit_of().time_ms)
    assert only(market, state) == {0, 1, 2, 3}
    spent = replace(state, spent=torch.tensor([[500_000, 600_001, 0, 0]]))
    assert only(market, spent) == {0, 2, 3}  # 0.5 is left for a bid of 0.5, less for one of 0.4
    assert only(market, replace(state, shown=torch.tensor([[2, 3, 4, 0]]))) == {0, 3}
    assert only(small_market(reserve=0.3), state) == {0, 1, 2}
    assert only(small_market(rules={"excluded_categories": (2,)}), state) == {1, 2}
    on_page = small_market([{**LISTED[0], "item": 3}, *LISTED[1:]])
    assert only(on_page, state) == {1, 2, 3}
    dated = small_market([{**LISTED[0], "start": 1, "stop": 2}, {**LISTED[1], "stop": 1}])
    for hours, expected in ((1.0, {1}), (25.0, {0}), (49.0, set())):
        begun = dated.begin(visit_of(hours=hours).time_ms)
        assert only(dated, begun, hours) == expected
    none = replace(observed(market, visit_of()), eligible=torch.zeros(1, 12, dtype=torch.bool))
    assert not market.eligible(state, none, torch.tensor([[0, 1, 2, 3]])).any()


@pytest.mark.parametrize(
    ("pricing", "slot", "charge"),
    [
        ("gsp", 1, [0, 400_000, 0, 0]),
        ("gsp", 2, [0, 0, 0, 0]),
        ("gsp", -1, [0, 0, 0, 0]),
        ("first_price", 3, [0, 0, 0, 400_000]),
        # chances of a click of 0.1 · 2^-1/2 and 0.1 · 4^-1/2
        ("second_price_cpm", 2, [0, 28_284, 0, 15_000]),
        ("cpa", 1, [0, 0, 0, 0]),
    ],
)
def test_what_is_paid_for_by_hand(pricing: str, slot: int, charge: list[int]) -> None:
    # Why: a click that is charged on an impression, or twice, empties budgets unseen.
    market = small_market(pricing=pricing)
    visit = visit_of()
    begun = market.begin(visit.time_ms)
    placed = page_of(market, begun, visit, (1, 3))
    state, brought, _ = settled(market, begun, visit, placed, slot=slot, item=7)
    assert brought.charge.tolist() == [charge]
    assert float(brought.ad_revenue()) == pytest.approx(sum(charge) / 1e6)
    assert state.spent.tolist() == [[charge[1], charge[3], 0, 0]]
    clicked = {1: 0, 3: 1}.get(slot, -1)
    assert brought.clicked_campaign.tolist() == [clicked]


def test_a_sale_is_credited_to_the_click_on_its_ad() -> None:
    # Why: at once, found alone pages later, or with a cart; but not without a click.
    market = small_market()
    visit = visit_of()
    state = market.begin(visit.time_ms)
    placed = page_of(market, state, visit, (1, 3))
    _, brought, _ = settled(market, state, visit, placed, item=8, after=After.BUY)
    assert brought.sponsored_sales.tolist() == [0.0]
    state, brought, visit = settled(market, state, visit, placed, slot=1, after=After.BUY)
    assert brought.campaign_sales.tolist() == [[90.0, 0.0, 0.0, 0.0]]
    assert state.sales.tolist() == [[90.0, 0.0, 0.0, 0.0]]
    state, brought, visit = settled(market, state, visit, placed, slot=3, after=After.CART)
    assert brought.sponsored_sales.tolist() == [0.0]
    state, brought, visit = settled(market, state, visit, placed, slot=0, after=After.CART)
    state, brought, visit = settled(market, state, visit, placed, kind=Kind.CHECKOUT)
    assert brought.outcome.revenue.tolist() == [110.0]  # items 9 and 0
    assert brought.campaign_sales.tolist() == [[0.0, 100.0, 0.0, 0.0]]
    state, brought, visit = settled(market, state, visit, placed, item=8, after=After.BUY)
    assert brought.sponsored_sales.tolist() == [90.0]


def test_an_order_is_charged_at_the_price_of_the_click() -> None:
    # Why: under `cpa` the auction that was won lies pages back.
    market = small_market(pricing="cpa")
    visit = visit_of()
    state = market.begin(visit.time_ms)
    placed = page_of(market, state, visit, (1, 3))
    state, brought, visit = settled(market, state, visit, placed, slot=1, after=After.CART)
    assert brought.ad_revenue().tolist() == [0.0]
    alone = page_of(market, state, visit, (3,))
    state, brought, visit = settled(market, state, visit, alone, kind=Kind.CHECKOUT)
    assert brought.order_charge.tolist() == [[400_000, 0, 0, 0]]
    assert state.spent.tolist() == [[400_000, 0, 0, 0]]
    # 0.6 of the budget is left, then 0.2: the third order costs no more than that
    for left in (400_000, 200_000):
        state, brought, visit = settled(market, state, visit, alone, item=8, after=After.BUY)
        assert brought.order_charge.tolist() == [[left, 0, 0, 0]]
    assert state.spent.tolist() == [[1_000_000, 0, 0, 0]]


def test_only_the_last_clicks_are_credited() -> None:
    # Why: the list is as long as `CREDITS`, and what falls off its end is forgotten.
    rows = [{"item": i, "bid": 0.2, "budget": 9.0} for i in range(4, 12)]
    market = small_market(rows, {"frequency_cap": 99}, num_candidates=8)
    visit = visit_of()
    state = market.begin(visit.time_ms)
    place = torch.tensor([[False, True, False, False]])
    for click in range(9):
        request = request_of(market, state, visit)
        wish = torch.full((1, NUM_SLOTS), -1)
        wish[0, 1] = 0 if click == 0 else 1 + (click % 7)
        placed = market.place(request, market.plan(request, place, wish), visit.time_ms)
        assert placed.page.item[0, 1] == 4 + int(wish[0, 1])
        if click == 8:
            _, brought, _ = settled(market, state, visit, placed, item=4, after=After.BUY)
            assert brought.sponsored_sales.tolist() == [50.0]
        state, _, visit = settled(market, state, visit, placed, slot=1)
    _, brought, _ = settled(market, state, visit, placed, item=4, after=After.BUY)
    assert brought.sponsored_sales.tolist() == [0.0]


def test_counts_begin_anew_with_a_session_and_the_ledger_with_a_day() -> None:
    # Why: a frequency cap is a session's, a budget is a day's, a credit is the shopper's.
    market = small_market()
    visit = visit_of(hours=23.0)
    state = market.begin(visit.time_ms)
    bare = page_of(market, state, visit, ())
    for pages in (1, 2):
        state, _, visit = settled(market, state, visit, bare)
        assert (state.since.tolist(), state.ads.tolist()) == ([pages], [0])
    placed = page_of(market, state, visit, (1, 3))
    state, _, visit = settled(market, state, visit, placed, slot=1)
    assert state.shown.tolist() == [[1, 1, 0, 0]]
    assert (state.since.tolist(), state.ads.tolist()) == ([0], [2])
    assert state.impressions.tolist() == [12]
    assert (state.day.tolist(), state.spent.tolist()) == ([0], [[400_000, 0, 0, 0]])
    state, brought, visit = settled(market, state, visit, placed, slot=3, gap_s=3600.0)
    assert brought.charge.sum() == 300_000
    assert (state.day.tolist(), state.spent.tolist()) == ([1], [[0, 0, 0, 0]])
    assert state.shown.tolist() == [[2, 2, 0, 0]]
    back = visits.again(visit, visit.time_ms + DAY_MS, torch.ones_like(visit.gap))
    _, outcome, _ = settled(market, state, visit, placed)
    state, _ = market.settle(state, visit, placed, outcome.outcome, back)
    assert (state.shown.tolist(), state.day.tolist()) == ([[0, 0, 0, 0]], [2])
    assert [x.tolist() for x in (state.since, state.ads, state.impressions)] == [[0], [0], [0]]
    assert state.credit_item[0, :3].tolist() == [9, 8, -1]


def test_a_plan_of_its_own_alpha_and_reserve_ranks_anew() -> None:
    # Why: an agent that sets prices acts after the request was made.
    market = small_market()
    visit = visit_of()
    rates = FlatCtr(torch.tensor([0.01, 0.02, 0.04, 0.08]))
    request = request_of(market, market.begin(visit.time_ms), visit, rates)
    assert request.campaign.tolist() == [[3, 2, 1, 0]]  # scores 0.016, 0.012, 0.008, 0.005
    place = torch.tensor([[False, True, True, False]])
    plan = market.plan(request, place)
    by_bid = replace(plan, alpha=torch.zeros(1, dtype=torch.float64))
    assert market.place(request, plan, visit.time_ms).campaign.tolist() == [[-1, 3, 2, -1]]
    assert market.place(request, by_bid, visit.time_ms).campaign.tolist() == [[-1, 0, 1, -1]]
    dear = replace(plan, reserve=torch.full((1,), 0.45, dtype=torch.float64))
    placed = market.place(request, dear, visit.time_ms)
    assert placed.campaign.tolist() == [[-1, 0, -1, -1]]
    assert placed.price.tolist() == [[0, 450_000, 0, 0]]
    # an organic ranking of the agent's own that holds the best ad's item
    own = replace(plan, organic=torch.tensor([[11, 1, 2, 3]]))
    assert market.place(request, own, visit.time_ms).campaign.tolist() == [[-1, 2, 1, -1]]


@pytest.mark.parametrize("pricing", PRICINGS)
def test_quotes_are_what_the_pages_would_cost(pricing: str) -> None:
    # Why: agents choose by them.
    market = small_market(pricing=pricing)
    visit = visit_of(3)
    rates = FlatCtr(torch.tensor([0.02, 0.05, 0.06, 0.01]))
    request = request_of(market, market.begin(visit.time_ms), visit, rates)
    found = patterns(market.rules, NUM_SLOTS)
    column, paid = market.quotes(request, found)
    assert (column[:, 0] == -1).all() and (paid[:, 0] == 0).all()
    for j, place in enumerate(found):
        placed = market.place(request, market.plan(request, place.expand(3, -1)), visit.time_ms)
        campaign = request.campaign.gather(-1, column[:, j].clamp(min=0))
        campaign = campaign.masked_fill(column[:, j] < 0, -1)
        assert torch.equal(campaign, placed.campaign)
        chance = request.pctr.gather(-1, column[:, j].clamp(min=0)) * market.position_K
        each = 1.0 if pricing == "second_price_cpm" else chance
        assert torch.allclose(paid[:, j], placed.price.double() / 1e6 * each, atol=1e-6)


def test_the_fitted_estimate_is_the_models_own_choice_alone_in_the_first_slot() -> None:
    # Why: an estimate that drifted from the model's law would misprice every ad.
    model = learned_shop(torch.float64)
    sim = Simulator(model, encoder=model, num_slots=1, dtype=torch.float64)
    state = sim.reset(torch.arange(3), torch.zeros(3, dtype=torch.int64))
    seen = Observation(torch.zeros(3, 1), state.visit, torch.ones(3, 40).bool(), state.encoder,
                       state.arrival, model.catalog)  # fmt: skip
    item_A = torch.tensor([4, 17])
    found = FittedCtr(model).pctr(seen, item_A)
    assert state.encoder is not None
    typical = model.typical(model.read(state.encoder))  # type: ignore[arg-type]
    for a, item in enumerate(item_A.tolist()):
        page = sim.page(state, torch.full((3, 1), item))
        mass = model.respond(typical, page, state.visit).slot[:, 0].exp()
        assert torch.allclose(found[:, a], mass / (1 + mass), rtol=1e-5)


def test_the_estimates_error_is_the_seeds_and_has_mean_1() -> None:
    # Why: a model that is wrong by campaign is not wrong for all of them alike.
    found = error_of(20_000, 0.3, 5)
    assert torch.equal(found[:7], error_of(7, 0.3, 5))
    assert float(found.mean()) == pytest.approx(1.0, abs=4 * 0.307 / 20_000**0.5)
    assert float(found.log().std()) == pytest.approx(0.3, abs=0.006)
    assert not torch.equal(found[:7], error_of(7, 0.3, 6))
    visit = visit_of()
    market = small_market(error=0.3, seed=5)
    request = request_of(market, market.begin(visit.time_ms), visit)
    assert torch.allclose(request.pctr, (0.1 * error_of(4, 0.3, 5))[request.campaign])


# ---- over many pages ----------------------------------------------------------------------------

BUSY = [
    {"item": 8, "bid": 0.50, "budget": 1.1},
    {"item": 9, "bid": 0.40, "budget": 0.9, "advertiser": 1},
    {"item": 10, "bid": 0.30, "budget": 0.7, "advertiser": 1},
    {"item": 11, "bid": 0.20, "budget": 0.45, "advertiser": 2, "target_roas": 30.0},
]


def busy(
    pricing: str = "gsp", pacing: str = "none", dtype: torch.dtype = torch.float64, **size: int
) -> RandomRun:
    market = small_market(BUSY, {"frequency_cap": 9}, pricing=pricing, pacing=pacing, dtype=dtype)
    return random_pages(market, **{"lanes": 500, "pages": 40, "seed": 0, **size})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_budget_is_overspent_in_a_million_pages(dtype: torch.dtype) -> None:
    # Why: one micro over is one that an advertiser never agreed to, whatever floats rank the ads.
    run = busy(lanes=25_000, pages=40, dtype=dtype)
    assert (run.most_A <= run.market.campaigns.budget).all()
    # and the budgets do bind: what is left would not pay for another bid
    bid = (run.market.campaigns.bid * 1e6).long()
    assert (run.most_A > run.market.campaigns.budget - bid).all()
    assert run.earned == int(run.spent().sum())


@pytest.mark.parametrize("pacing", ["none", "throttle", "multiplier"])
@pytest.mark.parametrize("pricing", PRICINGS)
def test_money_in_is_money_out(pricing: str, pacing: str) -> None:
    # Why: what the platform earns by page is what the campaigns' own ledgers say they spent, and
    # nothing is credited to ads that was not paid.
    run = busy(pricing, pacing)
    assert run.earned == int(run.spent().sum()) > 0
    assert (run.most_A <= run.market.campaigns.budget).all()
    assert 0.0 < run.sales < run.revenue


def test_two_runs_of_one_seed_have_equal_ledgers() -> None:
    # Why: to the micro; nothing may be drawn from a shared stream.
    one, same, other = (busy(pacing="throttle", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.spent(), same.spent())
    assert equal(one.state, same.state)
    assert not torch.equal(one.spent(), other.spent())


def equal(one: Record, other: Record) -> bool:
    return all(
        torch.equal(value, theirs) if isinstance(value, torch.Tensor) else equal(value, theirs)
        for value, theirs in zip(fields(one), fields(other), strict=True)
    )


def fields(record: Record) -> list[Any]:
    return [value for value in vars(record).values() if isinstance(value, torch.Tensor | Record)]


def test_lanes_do_not_depend_on_each_other() -> None:
    # Why: one environment and many in a vector are one market, exactly.
    shop = TasteShop(num_items=60, dtype=torch.float64)
    market = AdMarket(
        draw_campaigns(shop.catalog, seed=1, num_campaigns=30, daily_budget=0.4, part_time=0.0),
        shop.catalog, PlacementRules(), num_slots=6, pacing="throttle", dtype=torch.float64,
    )  # fmt: skip
    together = simulated(shop, market, torch.arange(60))
    clicked = (together[0].credit_campaign[:, 0] >= 0).nonzero()[:, 0].tolist()
    assert (together[0].spent > 0).any() and len(clicked) > 3
    for lane in (0, 59, *clicked[:3]):
        for many, single in zip(
            together, simulated(shop, market, torch.tensor([lane])), strict=True
        ):
            assert equal(many.lanes(slice(lane, lane + 1)), single)


def simulated(shop: TasteShop, market: AdMarket, seed_N: torch.Tensor) -> tuple[Market, AdOutcome]:
    """The market after 25 pages of a simulated shop, and what the last page brought."""
    sim = Simulator(shop, num_slots=6, expected_revenue=False, dtype=torch.float64)
    state: SimState = sim.reset(seed_N, torch.zeros_like(seed_N))
    books = market.begin(state.visit.time_ms)
    place = patterns(market.rules, 6)
    rates = FlatCtr(torch.linspace(0.02, 0.1, 30, dtype=torch.float64))
    for page in range(25):
        organic = (seed_N.unsqueeze(-1) * 11 + page * 7 + torch.arange(6) * 5) % 60
        seen = replace(observed(market, state.visit), arrival=state.arrival)
        request = market.request(books, seen, organic, rates)
        plan = market.plan(request, place[(seed_N + page) % len(place)])
        placed = market.place(request, plan, state.visit.time_ms)
        following, outcome = sim.step(state, placed.page)
        books, brought = market.settle(books, state.visit, placed, outcome, following.visit)
        state = following
    return books, brought


# ---- pacing -------------------------------------------------------------------------------------


def test_a_throttled_campaign_takes_part_as_often_as_its_pace_says() -> None:
    # Why: and each lane by a draw of its own.
    market = small_market(pacing="throttle")
    visit = visit_of(20_000)
    state = market.begin(visit.time_ms)
    state = replace(state, pace=torch.tensor([1.0, 0.5, 0.2, 0.1]).double().expand(20_000, -1))
    organic = torch.tensor([[0, 1, 2, 3]]).expand(20_000, -1)
    share = market.eligible(state, observed(market, visit), organic).double().mean(0)
    assert share.tolist() == pytest.approx([1.0, 0.5, 0.2, 0.1], abs=0.015)
    later = replace(visit, page_number=visit.page_number + 1)
    one, two = (market.eligible(state, observed(market, v), organic)[:, 1] for v in (visit, later))
    assert float((one == two).double().mean()) == pytest.approx(0.5, abs=0.015)


def test_a_multiplier_shades_the_bid() -> None:
    # Why: by hand: half the bid is half the score, and a price is never above what is bid now.
    market = small_market(pacing="multiplier", pricing="first_price")
    visit = visit_of()
    state = market.begin(visit.time_ms)
    state = replace(state, pace=torch.tensor([[0.5, 1.0, 1.0, 1.0]]).double())
    placed = page_of(market, state, visit, (1, 2))
    assert placed.campaign.tolist() == [[-1, 1, 2, -1]]
    assert placed.price.tolist() == [[0, 400_000, 300_000, 0]]


def test_pace_falls_with_spend_ahead_of_the_day_and_rises_behind_it() -> None:
    # Why: by hand: 0.4 of 1.0 spent at 6 o'clock is 0.15 ahead, so the pace is e^(-0.5 · 0.15);
    # at 18 o'clock it is 0.35 behind.
    market = small_market(pacing="multiplier")
    visit = visit_of(hours=6.0)
    state = market.begin(visit.time_ms)
    placed = page_of(market, state, visit, (1, 3))
    state, _, visit = settled(market, state, visit, placed, slot=1, gap_s=0.0)
    assert state.pace[0].tolist() == pytest.approx([0.92774, 1.0, 1.0, 1.0], abs=1e-5)
    placed = page_of(market, state, visit, ())
    state, _, visit = settled(market, state, visit, placed, gap_s=43_200.0)
    assert state.pace[0].tolist() == pytest.approx([1.0] * 4, abs=1e-12)


def test_pace_follows_a_target_roas() -> None:
    # Why: by hand: spend of 0.4 at a target of 5 asks for sales of 2; none of a budget of 1.0 is
    # short by 2 / (5 · 1.0) = 0.4, so the pace is e^(-0.5 · 0.4), though the day is nearly over.
    rows: list[dict[str, Any]] = [{**row, "target_roas": 5.0} for row in LISTED]
    market = small_market(rows, pacing="multiplier")
    visit = visit_of(hours=23.0)
    state = market.begin(visit.time_ms)
    placed = page_of(market, state, visit, (1, 3))
    missed, _, _ = settled(market, state, visit, placed, slot=1)
    assert missed.pace[0].tolist() == pytest.approx([0.818731, 1.0, 1.0, 1.0], abs=1e-6)
    met, _, _ = settled(market, state, visit, placed, slot=1, after=After.BUY)
    assert met.pace[0].tolist() == [1.0] * 4


@pytest.mark.parametrize("pacing", ["throttle", "multiplier"])
def test_pacing_leaves_more_of_the_budget_for_later_in_the_day(pacing: str) -> None:
    # Why: it is what pacing is for: the same shoppers in the morning spend less of it.
    def morning(pacing: str) -> int:
        rows = [{**row, "budget": 3.0} for row in LISTED]
        market = small_market(rows, {"frequency_cap": 99}, pacing=pacing)
        visit = visit_of(400)
        state = market.begin(visit.time_ms)
        for page in range(20):
            placed = page_of(market, state, visit, (1, 3))
            state, _, visit = settled(market, state, visit, placed, slot=1 + 2 * (page % 2))
        return int(state.spent.sum())

    assert morning(pacing) < 0.8 * morning("none")


# ---- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"pricing": "gps"}, "pricing='gps' is unknown: expected one of gsp, first_price, vcg"),
        ({"pacing": "slow"}, "pacing='slow' is unknown: expected one of none, throttle, multip"),
        ({"alpha": 3.0}, "ads.alpha=3.0: expected a number from 0 to 2."),
        ({"reserve": -0.1}, "ads.reserve=-0.1: expected a number of at least 0."),
        ({"num_candidates": 0}, "ads.num_candidates=0: expected a whole number of at least 1."),
        ({"position": torch.tensor([1.0, 0.5])}, "expected 4 numbers above 0, none larger than"),
        ({"rules": {"excluded_categories": (3,)}}, "holds 3: expected categories from 0 to 2."),
    ],
)
def test_a_bad_setting_ends_in_one_sentence(settings: dict[str, Any], sentence: str) -> None:
    # Why: before a page is shown.
    with pytest.raises(UserError, match=sentence):
        small_market(**settings)


def test_the_day_goes_on_past_the_catalogues_prices() -> None:
    # Why: prices stand still after their last day; budgets are filled up all the same.
    catalog = small_catalog()
    market = AdMarket(campaigns_of(LISTED, catalog), catalog, num_slots=NUM_SLOTS)
    time_ms = torch.tensor([START_MS - 1, START_MS, START_MS + 40 * DAY_MS])
    assert catalog.day(time_ms).tolist() == [0, 0, 0]
    assert market.begin(time_ms).day.tolist() == [-1, 0, 40]


def test_an_empty_page_has_no_ads() -> None:
    # Why: the market must not fail where nothing is shown.
    market = small_market()
    visit = visit_of()
    request = replace(
        request_of(market, market.begin(visit.time_ms), visit), organic=torch.full((1, 4), -1)
    )
    plan = market.plan(request, torch.zeros(1, 4, dtype=torch.bool))
    page: Page = market.place(request, plan, visit.time_ms).page
    assert page.item.tolist() == [[-1] * 4]
    assert page.price.tolist() == [[0.0] * 4]
