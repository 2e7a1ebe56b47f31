"""The ad market of a platform: who may advertise on a page, who wins, and what it costs.

Pure functions over `Market`; parameters live here, state never does. No lane depends on another.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from recgym import rng
from recgym.ads import auction, ledger, pacing
from recgym.ads.estimates import CtrModel, error_of
from recgym.ads.placement import PlacementRules, legal, merge
from recgym.ads.records import AdOutcome, Campaigns, Market, Placed, Plan, Request
from recgym.errors import UserError
from recgym.rng import Purpose
from recgym.settings import Count, Within, check
from recgym.types import Catalog, Observation, Outcome, Page, Visit

LEAST_PCTR = 1e-6  # an estimate of 0 would make a price per click infinite
Amount = Annotated[float, Within(0.0)]


class AdMarket:
    """Campaigns, auction and rules of one platform.

    Args:
        campaigns: see `recgym.ads.campaigns`.
        catalog: of the shop.
        rules: where ads may stand, and how often.
        num_slots: K, of a page.
        pricing: one of `recgym.ads.auction.PRICINGS`.
        alpha: exponent of pctr in the rank score.
        reserve: currency units, the least price; bids below it take no part.
        num_candidates: Q, campaigns that a request retrieves.
        error: standard deviation of the logarithm of what the estimates of clicks are wrong by, a
            factor for each campaign.
        seed: of that error.
        pacing: one of `recgym.ads.pacing.PACINGS`.
        position: x_k, share of clicks that each slot keeps of the first one's, [K]; None stands
            for 1 / sqrt(k).
        dtype: of every float.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        catalog: Catalog,
        rules: PlacementRules | None = None,
        *,
        num_slots: Count = 10,
        pricing: str = "gsp",
        alpha: Annotated[float, Within(0.0, 2.0)] = 1.0,
        reserve: Amount = 0.02,
        num_candidates: Count = 5,
        error: Amount = 0.3,
        seed: Annotated[int, Within(0)] = 0,
        pacing: str = "none",
        position: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        plain = dict(num_slots=num_slots, alpha=alpha, reserve=reserve, error=error, seed=seed)
        check("ads", {**plain, "num_candidates": num_candidates}, AdMarket)
        self.pricing, self.pacing = _named(pricing, pacing)
        self.event = auction.EVENT[self.pricing]
        self.alpha, self.reserve, self.num_slots, self.dtype = alpha, reserve, num_slots, dtype
        self.catalog, self.rules = catalog, rules or PlacementRules()
        floats = {k: v.to(dtype) for k, v in campaigns.packed().items() if v.is_floating_point()}
        self.campaigns = replace(campaigns, **floats)
        self.num_candidates = min(num_candidates, campaigns.num_campaigns)
        device = catalog.category.device
        self.position_K = _position(position, num_slots).to(device, dtype)
        self._error_A = error_of(campaigns.num_campaigns, error, seed).to(device, dtype)
        self._included_A = _included(campaigns, catalog, self.rules)

    def begin(self, time_ms_N: Tensor) -> Market:
        """Each lane's market before the first page of an episode that begins at this time."""
        n, campaigns = len(time_ms_N), self.campaigns
        zero_N = torch.zeros_like(time_ms_N)
        zero_NA = campaigns.budget.new_zeros(n, campaigns.num_campaigns)
        none_NM = torch.full_like(zero_N, -1).unsqueeze(-1).repeat(1, ledger.CREDITS)
        return Market(
            day=ledger.day_of(self.catalog, time_ms_N),
            spent=zero_NA,
            sales=zero_NA.to(self.dtype),
            pace=torch.ones_like(zero_NA, dtype=self.dtype),
            shown=zero_NA,
            since=zero_N,
            ads=zero_N,
            impressions=zero_N,
            credit_item=none_NM,
            credit_campaign=none_NM,
            credit_price=torch.zeros_like(none_NM),
        )

    def eligible(self, market: Market, observation: Observation, organic_NK: Tensor) -> Tensor:
        """Campaigns that may advertise on the page beside these organic items, [N, A] bool.

        One has to run today, to have a budget that pays for all that the page can cost it, to have
        been shown less often than the cap, and to promote an item that may be shown, is of no
        excluded category and does not stand on the page already.
        """
        campaigns, day_N1 = self.campaigns, market.day.unsqueeze(-1)
        on_page_NA = (organic_NK.unsqueeze(-1) == campaigns.item).any(-2)
        bid_NA = self._bid(market)
        may_NA = (
            self._included_A
            & (campaigns.start <= day_N1)
            & (day_N1 < campaigns.stop)
            # an item stands on a page once, so a page costs a campaign one bid at most
            & (campaigns.budget - market.spent >= auction.micros(bid_NA))
            & (market.shown < self.rules.frequency_cap)
            & observation.eligible.index_select(-1, campaigns.item)
            & ~on_page_NA
            & (bid_NA >= self.reserve)
        )
        if self.pacing != "throttle":
            return may_NA
        who, page_N = observation.arrival, observation.visit.page_number
        key_N = rng.key(who.seed, who.session, page_N, Purpose.PACE)
        return may_NA & (rng.uniform(key_N, may_NA.shape[1], self.dtype) < market.pace)

    def request(
        self, market: Market, observation: Observation, organic_NK: Tensor, model: CtrModel
    ) -> Request:
        """The campaigns that score best beside this organic ranking; equal scores by number."""
        campaigns = self.campaigns
        may_NA = self.eligible(market, observation, organic_NK)
        pctr_NA = model.pctr(observation, campaigns.item).to(self.dtype) * self._error_A
        pctr_NA = pctr_NA.clamp(LEAST_PCTR, 1.0)
        bid_NA = self._bid(market)
        score_NA = auction.rank_score(bid_NA, pctr_NA, campaigns.quality, self.alpha)
        score_NA = score_NA.masked_fill(~may_NA, -torch.inf)
        score_NQ, campaign_NQ = (x[:, : self.num_candidates] for x in auction.best_first(score_NA))
        none_NQ = score_NQ == -torch.inf
        return Request(
            organic=organic_NK,
            campaign=campaign_NQ.masked_fill(none_NQ, -1),
            item=campaigns.item[campaign_NQ].masked_fill(none_NQ, -1),
            pctr=pctr_NA.gather(-1, campaign_NQ).masked_fill(none_NQ, 0.0),
            bid=bid_NA.gather(-1, campaign_NQ).masked_fill(none_NQ, 0.0),
            quality=campaigns.quality[campaign_NQ].masked_fill(none_NQ, 1.0),
            score=score_NQ,
        )

    def plan(self, request: Request, place_NK: Tensor, candidate_NK: Tensor | None = None) -> Plan:
        """A decision about the request's own organic ranking, at the market's own settings."""
        none_NK = torch.full_like(request.organic, -1)
        one_N = torch.ones_like(request.bid[:, 0])
        return Plan(
            organic=request.organic,
            place=place_NK,
            candidate=none_NK if candidate_NK is None else candidate_NK,
            alpha=one_N * self.alpha,
            reserve=one_N * self.reserve,
        )

    def sold(self, request: Request, plan: Plan) -> tuple[Tensor, Tensor]:
        """Column of the request that wins each slot and its price, both [N, K].

        The column is -1 where no ad stands, the price in currency units for what is paid for. From
        the top, slots that no candidate is forced into take the best that are left. A plan's
        reserve only raises the market's, below which nobody was retrieved. A candidate whose item
        is in the plan's ranking takes no part, and a wish that breaks a rule is dropped.
        """
        live_NQ = (request.campaign >= 0) & (request.bid >= plan.reserve.unsqueeze(-1))
        live_NQ &= ~(plan.organic.unsqueeze(-1) == request.item.unsqueeze(-2)).any(-2)
        alpha_N1 = plan.alpha.unsqueeze(-1)
        weight_NQ = auction.weight(request.pctr, request.quality, alpha_N1)
        score_NQ = (request.bid * weight_NQ).masked_fill(~live_NQ, -torch.inf)
        column_NK = auction.winners(score_NQ, legal(self.rules, plan.place), plan.candidate)
        next_NQ = auction.following(score_NQ)
        won = self._won(column_NK.unsqueeze(1), request, weight_NQ, next_NQ)
        price_N1K = auction.prices(self.pricing, won, plan.reserve.unsqueeze(-1))
        return column_NK, price_N1K.squeeze(1)

    def place(self, request: Request, plan: Plan, time_ms_N: Tensor) -> Placed:
        """The page that a plan comes to, with the prices in force at this time."""
        column_NK, price_NK = self.sold(request, plan)
        none_NK, at_NK = column_NK < 0, column_NK.clamp(min=0)
        ad_NK = request.item.gather(-1, at_NK).masked_fill(none_NK, -1)
        item_NK = merge(plan.organic, ad_NK)
        shown_NK = self.catalog.price_of(item_NK.clamp(min=0), time_ms_N)
        return Placed(
            page=Page(item_NK, shown_NK.masked_fill(item_NK < 0, 0.0), sponsored=~none_NK),
            campaign=request.campaign.gather(-1, at_NK).masked_fill(none_NK, -1),
            price=auction.micros(price_NK),
        )

    def quotes(self, request: Request, place_JK: Tensor) -> tuple[Tensor, Tensor]:
        """What the auction would do with each of J legal patterns: column and expected payment.

        Both [N, J, K]; the column is -1 where no ad would stand, the payment in currency units by
        the platform's own estimate of clicks. Under `cpa` it is for a click that leads to an order.
        """
        # candidates stand in the order of their scores, so a pattern's slots take them one by one
        rank_JK = place_JK.cumsum(-1) - 1
        live_NQ = request.campaign >= 0
        filled_NJK = place_JK & (rank_JK < live_NQ.sum(-1).view(-1, 1, 1))
        column_NJK = torch.where(filled_NJK, rank_JK, -1)
        return column_NJK, self.quoted(request, column_NJK)

    def quoted(self, request: Request, column_NJK: Tensor) -> Tensor:
        """Expected payment of the candidates in the slots of J pages, as in `quotes`, [N, J, K]."""
        weight_NQ = auction.weight(request.pctr, request.quality, self.alpha)
        next_NQ = torch.cat(
            [request.score[:, 1:], torch.full_like(weight_NQ[:, :1], -torch.inf)], -1
        )
        won = self._won(column_NJK, request, weight_NQ, next_NQ)
        reserve_N1 = torch.full_like(weight_NQ[:, :1], self.reserve)
        price_NJK = auction.prices(self.pricing, won, reserve_N1)
        return price_NJK if self.event == "impression" else price_NJK * won.chance

    def _won(
        self, column_NJK: Tensor, request: Request, weight_NQ: Tensor, next_NQ: Tensor
    ) -> auction.Won:
        """What is won by the candidates in these slots of J pages a lane, [N, J, K]."""
        at_NX = column_NJK.clamp(min=0).flatten(1)

        def of(value_NQ: Tensor) -> Tensor:
            return value_NQ.gather(-1, at_NX).view(column_NJK.shape)

        return auction.Won(
            ad=column_NJK >= 0,
            bid=of(request.bid),
            weight=of(weight_NQ),
            following=of(next_NQ),
            chance=of(request.pctr) * self.position_K,
            effect=self.position_K.expand(column_NJK.shape),
        )

    def settle(
        self, market: Market, before: Visit, placed: Placed, outcome: Outcome, after: Visit
    ) -> tuple[Market, AdOutcome]:
        """The market after a page, and what the page brought; see `recgym.ads.ledger`.

        ``tired`` and ``parts`` of the outcome are 0: they are the shoppers' and the task's to fill.
        The visits are those that the page was shown in and that the answer led to: its page number
        is 0 where the shopper has come back already.
        """
        following, brought = ledger.settle(
            self.catalog, self.campaigns, self.event, market, before, placed, outcome, after
        )
        if self.pacing == "none":
            return following, brought
        since_ms_N = ledger.since_midnight(self.catalog, after.time_ms)
        pace_NA = pacing.moved(
            market.pace, self.campaigns, following.spent, following.sales, since_ms_N
        )
        return replace(following, pace=pace_NA), brought

    def _bid(self, market: Market) -> Tensor:
        """Bids in force, [N, A] currency units."""
        bid_A = self.campaigns.bid
        return bid_A * market.pace if self.pacing == "multiplier" else bid_A.expand_as(market.pace)


def _named(pricing: str, pace: str) -> tuple[str, str]:
    return auction.pricing_named(pricing), pacing.pacing_named(pace)


def _position(position: Tensor | None, num_slots: int) -> Tensor:
    if position is None:
        return torch.arange(1, num_slots + 1, dtype=torch.float64) ** -0.5
    falls = position.shape == (num_slots,) and bool((position[1:] <= position[:-1]).all())
    if not falls or not bool((position > 0).all()):
        raise UserError(
            f"ads.position={position.tolist()}: expected {num_slots} numbers above 0, none larger "
            "than the one before."
        )
    return position


def _included(campaigns: Campaigns, catalog: Catalog, rules: PlacementRules) -> Tensor:
    """Campaigns of no excluded category, [A] bool."""
    for category in rules.excluded_categories:
        if not 0 <= category < catalog.num_categories:
            raise UserError(
                f"rules.excluded_categories holds {category}: expected categories from 0 to "
                f"{catalog.num_categories - 1}."
            )
    category_A = catalog.category[campaigns.item]
    return ~torch.isin(category_A, category_A.new_tensor(rules.excluded_categories))
