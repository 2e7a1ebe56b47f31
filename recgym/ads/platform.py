"""One page with ads, from the shopper's arrival to the ledger, as pure functions over all lanes.

An organic ranking, a request for ads, a plan, the auction, the shopper's answer, the settlement: a
policy of ads decides the plan and nothing else. What the environments step and what roll-outs play
run through these lines.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.ads.estimates import CtrModel
from recgym.ads.market import AdMarket
from recgym.ads.records import AdObservation, AdOutcome, Market, Plan, Request
from recgym.ads.rewards import AdReward
from recgym.ads.tasks import Task
from recgym.lanes import Record, put, where
from recgym.simulator import SimState
from recgym.spaces import ObservationSpec
from recgym.types import Policy

NUM_MARKET = 5  # features of `market_features`
NUM_EACH = 4  # features of each candidate


@dataclass(frozen=True)
class AdLanes(Record):
    """All that running lanes with ads are."""

    shop: SimState
    market: Market


class Platform:
    """Shoppers, campaigns and what is decided between them; holds parameters, never state.

    Args:
        spec: what a recommender sees, and through ``spec.simulator`` the shop.
        market: of the ads.
        task: what is decided.
        organic: ranks what stands between the ads.
        estimator: of the chance that an ad is clicked.
        reward: parts of what a page brings.
    """

    def __init__(
        self,
        spec: ObservationSpec,
        market: AdMarket,
        task: Task,
        *,
        organic: Policy,
        estimator: CtrModel,
        reward: AdReward,
    ) -> None:
        self.spec, self.simulator = spec, spec.simulator
        self.market, self.task, self.reward = market, task, reward
        self.organic, self.estimator = organic, estimator
        self.catalog, self.device = spec.catalog, spec.catalog.category.device
        self.num_features = spec.num_features + NUM_MARKET + NUM_EACH * market.num_candidates
        self.num_option = task.num_features

    def reset(self, seed_N: Tensor, session_N: Tensor) -> AdLanes:
        """Each lane's shopper before the first page of the given session."""
        shop = self.simulator.reset(seed_N, session_N)
        return AdLanes(shop, self.market.begin(shop.visit.time_ms))

    def renew(self, lanes: AdLanes, ended_N: Tensor) -> AdLanes:
        """The lanes, those that ended with the shopper's next episode and an empty ledger."""
        shop = self.simulator.renew(lanes.shop, ended_N)
        fresh = self.market.begin(shop.visit.time_ms)
        return AdLanes(shop, where(ended_N, fresh, lanes.market))

    @torch.no_grad()
    def observe(self, lanes: AdLanes) -> AdObservation:
        """What the platform knows before it fills the page."""
        base = self.spec.observe(lanes.shop)
        organic_NK = self.organic.act(base)
        request = self.market.request(lanes.market, base, organic_NK, self.estimator)
        told = [base.feature, market_features(lanes.market), self._candidates(request)]
        return AdObservation(
            feature=torch.cat([part.to(base.feature.dtype) for part in told], -1),
            base=base,
            market=lanes.market,
            request=request,
            options=self.task.options(request, lanes.market),
        )

    def observe_again(self, seen: AdObservation, lanes: AdLanes, new_N: Tensor) -> AdObservation:
        """`observe`, where only the lanes in ``new_N`` are others than in ``seen``.

        A GPU looks at all lanes again: how many are new is not known without waiting for them.
        """
        if new_N.is_cuda:
            return self.observe(lanes)
        index_F = new_N.nonzero().squeeze(-1)
        if not len(index_F):
            return seen
        fresh = self.observe(lanes.lanes(index_F))
        options = seen.options
        if options is not None and fresh.options is not None:
            options = put(options, index_F, fresh.options)
        return AdObservation(
            feature=seen.feature.index_copy(0, index_F, fresh.feature),
            base=self.spec.observe(lanes.shop),
            market=lanes.market,
            request=put(seen.request, index_F, fresh.request),
            options=options,
        )

    def plan(self, seen: AdObservation, action: Tensor | Plan) -> Plan:
        """Of an option's index, [N] int64; a plan is one already."""
        if isinstance(action, Plan):
            return action
        return self.task.plan(seen.request, seen.market, action)

    @torch.no_grad()
    def step(self, lanes: AdLanes, seen: AdObservation, plan: Plan) -> tuple[AdLanes, AdOutcome]:
        """Fill the page, let the shoppers answer and the campaigns pay."""
        before = lanes.shop.visit
        if self.task.own_organic:
            may_NK = seen.base.eligible.gather(-1, plan.organic.clamp(min=0))
            plan = dataclasses.replace(plan, organic=plan.organic.masked_fill(~may_NK, -1))
        placed = self.market.place(seen.request, plan, before.time_ms)
        shop, outcome = self.simulator.step(lanes.shop, placed.page)
        market, ads = self.market.settle(lanes.market, before, placed, outcome, shop.visit)
        added_N = getattr(shop.user, "added", torch.zeros_like(outcome.revenue))
        ads = dataclasses.replace(ads, tired=added_N)
        ads = dataclasses.replace(ads, parts=self.reward.parts(ads))
        return AdLanes(shop, market), ads

    def _candidates(self, request: Request) -> Tensor:
        """Whether there is one, chance of a click, bid and score of each candidate, [N, 4Q]."""
        there_NQ = (request.campaign >= 0).to(request.bid.dtype)
        score_NQ = request.score.masked_fill(request.campaign < 0, 0.0)
        return torch.cat([there_NQ, request.pctr, request.bid, score_NQ], -1)


def market_features(market: Market) -> Tensor:
    """Ads and impressions of the session, its ad load, pages since an ad, [N, NUM_MARKET]."""
    like = market.pace
    ads_N, shown_N = market.ads.to(like.dtype), market.impressions.to(like.dtype)
    since_N = market.since.to(like.dtype)
    load_N = ads_N / shown_N.clamp(min=1.0)
    spent_N = (market.spent > 0).sum(-1).to(like.dtype)
    return torch.stack(
        [ads_N.log1p(), shown_N.log1p() / 3.0, load_N, since_N.log1p(), spent_N.log1p()], -1
    )
