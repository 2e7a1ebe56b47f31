"""After a page: who pays, which sales are credited to which ad, and what the platform keeps of it.

A click, an impression or an order is paid for, by pricing. Sales are credited to the last click on
an ad for the item, among the last `CREDITS` such clicks of the episode, whether the item is bought
at once, found alone later, or paid with a cart. All money is int64 micros, and no charge exceeds
what is left of the day's budget.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from recgym.ads.records import PARTS, AdOutcome, Campaigns, Market, Placed
from recgym.types import DAY_MS, After, Catalog, Kind, Outcome, Visit

CREDITS = 8  # M: clicks on ads that later sales can be credited to


def day_of(catalog: Catalog, time_ms_N: Tensor) -> Tensor:
    """Simulated day of each lane, [N] int64: unlike `Catalog.day` it goes on past the prices."""
    return torch.div(time_ms_N - catalog.start_ms, DAY_MS, rounding_mode="floor")


def since_midnight(catalog: Catalog, time_ms_N: Tensor) -> Tensor:
    """Milliseconds of the simulated day that are over, [N] int64."""
    return torch.remainder(time_ms_N - catalog.start_ms, DAY_MS)


def settle(
    catalog: Catalog,
    campaigns: Campaigns,
    event: str,
    market: Market,
    before: Visit,
    placed: Placed,
    outcome: Outcome,
    after: Visit,
) -> tuple[Market, AdOutcome]:
    """The market after a page, and what the page brought; ``tired`` and ``parts`` are 0."""
    ad_NK = placed.campaign >= 0
    slot_K = torch.arange(ad_NK.shape[1], device=ad_NK.device)
    clicked_NK = ad_NK & (slot_K == outcome.event.slot.unsqueeze(-1))
    paying_NK = {"click": clicked_NK, "impression": ad_NK}.get(event, torch.zeros_like(ad_NK))
    left_NA = campaigns.budget - market.spent
    charge_NK = torch.minimum(placed.price, left_NA.gather(-1, placed.campaign.clamp(min=0)))
    charge_NK = charge_NK * paying_NK
    credited = _clicked(market, placed, clicked_NK)
    sales_NA, order_NA = _sales(credited, before, outcome, left_NA)
    if event != "order":
        order_NA = torch.zeros_like(order_NA)
    order_NA = torch.minimum(order_NA, left_NA)
    campaign_N = torch.where(clicked_NK, placed.campaign, -1).amax(-1)
    paid_NA = order_NA.scatter_add(-1, placed.campaign.clamp(min=0), charge_NK)
    brought = AdOutcome(
        outcome=outcome,
        campaign=placed.campaign,
        charge=charge_NK,
        order_charge=order_NA,
        clicked_campaign=campaign_N,
        sponsored_sales=sales_NA.sum(-1),
        campaign_sales=sales_NA,
        tired=torch.zeros_like(sales_NA[:, 0]),
        parts=sales_NA.new_zeros(len(sales_NA), len(PARTS)),
    )
    return _moved(catalog, credited, placed, paid_NA, sales_NA, after), brought


def _clicked(market: Market, placed: Placed, clicked_NK: Tensor) -> Market:
    """The market with the click on an ad of this page put in front of those before."""
    hit_N = clicked_NK.any(-1)

    def pushed(old_NM: Tensor, value_NK: Tensor) -> Tensor:
        new_N1 = (value_NK * clicked_NK).sum(-1, keepdim=True)  # of the one clicked
        return torch.where(hit_N.unsqueeze(-1), torch.cat([new_N1, old_NM[:, :-1]], -1), old_NM)

    return replace(
        market,
        credit_item=pushed(market.credit_item, placed.page.item),
        credit_campaign=pushed(market.credit_campaign, placed.campaign),
        credit_price=pushed(market.credit_price, placed.price),
    )


def _sales(
    market: Market, before: Visit, outcome: Outcome, money_NA: Tensor
) -> tuple[Tensor, Tensor]:
    """Currency units of sales, and micros due for an order of each campaign, both [N, A]."""
    event = outcome.event
    bought_N = event.after == int(After.BUY)
    checkout_N1 = (event.kind == int(Kind.CHECKOUT)).unsqueeze(-1)
    now_N1 = torch.where(bought_N, event.item, -1).unsqueeze(-1)
    value_N1 = (event.price * event.quantity).unsqueeze(-1)
    item_NB = torch.cat([now_N1, torch.where(checkout_N1, before.cart_item, -1)], -1)
    value_NB = torch.cat([value_N1, before.cart_price], -1)
    match_NBM = item_NB.unsqueeze(-1) == market.credit_item.unsqueeze(-2)
    match_NBM = match_NBM & (item_NB >= 0).unsqueeze(-1)
    newest_NBM = match_NBM & (match_NBM.cumsum(-1) == 1)
    sold_NM = torch.where(newest_NBM, value_NB.unsqueeze(-1), 0.0).sum(-2)
    due_NM = newest_NBM.any(-2) * market.credit_price
    to_NM = market.credit_campaign.clamp(min=0)
    sales_NA = torch.zeros_like(market.sales).scatter_add(-1, to_NM, sold_NM.to(market.sales))
    return sales_NA, torch.zeros_like(money_NA).scatter_add(-1, to_NM, due_NM)


def _moved(
    catalog: Catalog,
    market: Market,
    placed: Placed,
    paid_NA: Tensor,
    sales_NA: Tensor,
    after: Visit,
) -> Market:
    """The market on the next page: counts begin anew with a session, the ledger with a day."""
    ad_NK = placed.campaign >= 0
    num_ads_N, none_N = ad_NK.sum(-1), ~ad_NK.any(-1)
    shown_NA = market.shown.scatter_add(-1, placed.campaign.clamp(min=0), ad_NK.long())
    day_N = day_of(catalog, after.time_ms)
    same_day_N1, same_N = (day_N == market.day).unsqueeze(-1), after.page_number > 0
    return replace(
        market,
        day=day_N,
        spent=(market.spent + paid_NA) * same_day_N1,
        sales=(market.sales + sales_NA) * same_day_N1,
        shown=shown_NA * same_N.unsqueeze(-1),
        since=(market.since + 1) * none_N * same_N,
        ads=(market.ads + num_ads_N) * same_N,
        impressions=(market.impressions + (placed.page.item >= 0).sum(-1)) * same_N,
    )
