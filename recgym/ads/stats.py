"""Sums of what pages with ads brought: a row for each shopper's episode, and one for each campaign.

Dims besides those of `recgym.ads.records`: B episodes · L numbers of ads in a session.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.ads.ledger import since_midnight
from recgym.ads.market import AdMarket
from recgym.ads.records import MICROS, PARTS, AdObservation, AdOutcome, Market, Plan
from recgym.lanes import Record, Shared
from recgym.types import DAY_MS, Visit

MOST_ADS = 1000  # of a session that are told apart, L - 1
NO_DAY = -(1 << 62)
SLOT_SUMS = ("shown", "clicked", "bought", "ads", "ad_clicked", "ad_bought")  # [B, 6, K]


@dataclass(frozen=True)
class CampaignSums(Shared):
    """Sums over all episodes, one row a campaign."""

    entered: Tensor  # [A] int64, pages on which it was a candidate
    impressions: Tensor  # [A] int64
    clicks: Tensor  # [A] int64
    orders: Tensor  # [A] int64, pages on which a sale was credited to it
    spend: Tensor  # [A] int64, micros
    sales: Tensor  # [A] float, currency units credited to it
    budget: Tensor  # [A] int64, micros that it had, for each shopper and day on which it ran
    off_pace: Tensor  # [A] float, sum over pages of |share of the budget spent - share of the day|
    running: Tensor  # [A] int64, pages on a day on which it ran
    session_ads: Tensor  # [L] int64, sessions with so many ads


@dataclass(frozen=True)
class AdStats(Record):
    """Sums over one shopper's episode, one row an episode: what metrics read."""

    shopper: Tensor  # [B] int64, the lane seed
    pages: Tensor  # [B] pages answered
    impressions: Tensor  # [B] items and ads shown
    wanted: Tensor  # [B] slots that ads were to take
    ads: Tensor  # [B] ads shown
    clicks: Tensor  # [B] on items and ads
    ad_clicks: Tensor  # [B]
    orders: Tensor  # [B]
    revenue: Tensor  # [B] currency units that shoppers paid
    sponsored_sales: Tensor  # [B] of them credited to ads
    ad_micros: Tensor  # [B] int64, micros that campaigns paid
    parts: Tensor  # [B, W] of the reward, in the order of `PARTS`
    slots: Tensor  # [B, 6, K] in the order of `SLOT_SUMS`
    sessions: Tensor  # [B] sessions that are over
    converted: Tensor  # [B] of them with an order
    left: Tensor  # [B] of them that the shopper left, and no page limit cut off
    chances: Tensor  # [B] of these, after which another may follow in the episode
    back_1: Tensor  # [B] of these, after which the shopper came back within a day
    back_7: Tensor  # [B] within 7 days
    campaigns: CampaignSums

    def ad_revenue(self) -> Tensor:
        """Currency units that campaigns paid, [B] float64."""
        return self.ad_micros.double() / MICROS


class Tally:
    """Adds pages up; its tensors are the sums so far.

    Args:
        market: whose campaigns pay.
        seed_B: shopper of each row.
        num_sessions: of an episode at most.
    """

    def __init__(self, market: AdMarket, seed_B: Tensor, num_sessions: int) -> None:
        self.market, self.num_sessions = market, num_sessions
        self._earlier_B = seed_B.new_zeros(len(seed_B), dtype=market.dtype)  # orders of sessions
        self._day_B = torch.full_like(seed_B, NO_DAY)
        count, num_slots = market.campaigns.num_campaigns, market.num_slots
        rows, like = len(seed_B), self._earlier_B
        whole_A = seed_B.new_zeros(count)
        shape = {
            "parts": (rows, len(PARTS)),
            "slots": (rows, len(SLOT_SUMS), num_slots),
        }
        fields = [field.name for field in dataclasses.fields(AdStats)]
        sums = {name: like.new_zeros(shape.get(name, (rows,))) for name in fields}
        sums |= {"shopper": seed_B, "ad_micros": torch.zeros_like(seed_B)}
        of_campaigns = {
            field.name: like.new_zeros(count)
            if field.name in ("sales", "off_pace")
            else whole_A.clone()
            for field in dataclasses.fields(CampaignSums)
        }
        of_campaigns["session_ads"] = seed_B.new_zeros(MOST_ADS + 1)
        self.campaigns = CampaignSums(**of_campaigns)
        self.stats = AdStats(**{**sums, "campaigns": self.campaigns})  # type: ignore[arg-type]

    def add(self, index_N: Tensor, seen: AdObservation, plan: Plan, ads: AdOutcome) -> None:
        """One page of the rows in ``index_N``."""
        outcome, stats = ads.outcome, self.stats
        ad_NK, like = ads.campaign >= 0, stats.revenue
        brought = {
            "pages": torch.ones_like(outcome.revenue),
            "impressions": outcome.impressions,
            "wanted": plan.place.sum(-1),
            "ads": ad_NK.sum(-1),
            "clicks": outcome.clicked,
            "ad_clicks": ads.clicked_campaign >= 0,
            "orders": outcome.bought,
            "revenue": outcome.revenue,
            "sponsored_sales": ads.sponsored_sales,
            "parts": ads.parts,
            "slots": _by_slot(ads),
            "ad_micros": ads.charge.sum(-1) + ads.order_charge.sum(-1),
        }
        for name, value_N in brought.items():
            into = getattr(stats, name)
            into.index_add_(0, index_N, value_N.to(into.dtype))
        self._add_campaigns(index_N, seen, ads, like)

    def _add_campaigns(
        self, index_N: Tensor, seen: AdObservation, ads: AdOutcome, like: Tensor
    ) -> None:
        sums, book = self.campaigns, self.market.campaigns
        ad_NK = ads.campaign >= 0
        one_NK = ad_NK.long()
        sums.entered.add_(_counted(seen.request.campaign, sums.entered))
        sums.impressions.add_(_counted(ads.campaign, sums.impressions))
        sums.clicks.add_(_counted(ads.clicked_campaign, sums.clicks))
        sums.spend.index_add_(
            0, ads.campaign.clamp(min=0).flatten(), (ads.charge * one_NK).flatten()
        )
        sums.spend.add_(ads.order_charge.sum(0))
        sums.orders.add_((ads.campaign_sales > 0).sum(0))
        sums.sales.add_(ads.campaign_sales.to(like.dtype).sum(0))
        market, time_ms_N = seen.market, seen.base.visit.time_ms
        day_N1 = market.day.unsqueeze(-1)
        runs_NA = (book.start <= day_N1) & (day_N1 < book.stop)
        new_N1 = (market.day != self._day_B[index_N]).unsqueeze(-1)
        self._day_B[index_N] = market.day
        sums.budget.add_((runs_NA & new_N1).sum(0) * book.budget)
        elapsed_N1 = (since_midnight(self.market.catalog, time_ms_N).double() / DAY_MS).unsqueeze(
            -1
        )
        off_NA = (market.spent.double() / book.budget - elapsed_N1).abs() * runs_NA
        sums.off_pace.add_(off_NA.sum(0).to(like.dtype))
        sums.running.add_(runs_NA.sum(0))

    def close(
        self, index_N: Tensor, before: Market, ads: AdOutcome, after: Visit, cut_N: Tensor
    ) -> None:
        """Count the sessions that this page ended.

        Args:
            index_N: rows of the page.
            before: the market that the page was shown in.
            ads: what the page brought.
            after: the visit after it: of the next session where the shopper came back.
            cut_N: where the page limit ends the session.
        """
        stats, left_N = self.stats, ads.outcome.left
        over_N, orders_N = left_N | cut_N, stats.orders[index_N]
        sold_N = over_N & (orders_N > self._earlier_B[index_N])
        back_N = left_N & ~ads.outcome.gone
        brought = {"sessions": over_N, "converted": sold_N, "left": left_N}
        if after.past is not None:
            # whoever came back has been counted by the visit already
            done_N = after.past.sessions - back_N.long()
            brought |= {
                "chances": left_N & (done_N < self.num_sessions - 1),
                "back_1": back_N & (after.past.away <= 1.0),
                "back_7": back_N & (after.past.away <= 7.0),
            }
        for name, value_N in brought.items():
            into = getattr(stats, name)
            into.index_add_(0, index_N, value_N.to(into.dtype))
        self._earlier_B[index_N] = torch.where(over_N, orders_N, self._earlier_B[index_N])
        num_ads_N = (before.ads + (ads.campaign >= 0).sum(-1)).clamp(max=MOST_ADS)
        self.campaigns.session_ads.index_add_(0, num_ads_N, over_N.long())


def _by_slot(ads: AdOutcome) -> Tensor:
    """What each slot brought, [N, 6, K]."""
    outcome = ads.outcome
    ad_NK, shown_NK = ads.campaign >= 0, outcome.page.item >= 0
    slot_K = torch.arange(ad_NK.shape[1], device=ad_NK.device)
    clicked_NK = outcome.event.slot.unsqueeze(-1) == slot_K
    # a click is bought at once where an order was paid on its page: a checkout has no slot
    bought_NK = clicked_NK & (outcome.bought > 0).unsqueeze(-1)
    whole_NK = [shown_NK, clicked_NK, bought_NK]
    return torch.stack([*whole_NK, ad_NK, ad_NK & clicked_NK, ad_NK & bought_NK], 1)


def _counted(campaign: Tensor, like_A: Tensor) -> Tensor:
    """How often each campaign is named, [A] int64; -1 names none."""
    return torch.bincount(campaign.flatten() + 1, minlength=len(like_A) + 1)[1:]
