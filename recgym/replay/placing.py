"""A policy of ads, played page by page: who could advertise, what was decided, who paid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recgym.ads.options import TOTALS
from recgym.ads.platform import AdLanes, Platform
from recgym.ads.records import MICROS, AdObservation, AdOutcome, Placed, Plan
from recgym.ads.rollout import AdPolicy
from recgym.replay.playing import Turn
from recgym.replay.steps import Ads, Candidate, Option
from recgym.spaces import ObservationSpec
from recgym.types import Page

NUM_OPTIONS = 3  # of highest score, of which a step tells beside the chosen and the empty one


@dataclass(frozen=True)
class Placing:
    """A policy of ads on a platform."""

    platform: Platform
    policy: AdPolicy

    @property
    def spec(self) -> ObservationSpec:
        """Of the shop."""
        return self.platform.spec

    def begin(self, seed_1: Tensor) -> AdLanes:
        """Before the first page of the lane with this seed."""
        return self.platform.reset(seed_1, torch.zeros_like(seed_1))

    def turn(self, state: AdLanes) -> tuple[AdLanes, Turn]:
        """The state after the next page, and the page."""
        platform = self.platform
        seen = platform.observe(state)
        action = self.policy.act(seen)
        plan = platform.plan(seen, action)
        after, ads = platform.step(state, seen, plan)
        page = ads.outcome.page
        scores = getattr(platform.organic, "scores", None)
        return after, Turn(
            before=state.shop,
            page=page,
            outcome=ads.outcome,
            after=after.shop,
            score_I=None if scores is None else scores(seen.base)[0],
            ads=Ads(
                candidates=self._candidates(state, seen, plan),
                options=self._options(seen, action),
                event=platform.market.event,
                charges=_charges(ads),
                sponsored_sales=float(ads.sponsored_sales),
                tired=_of(state, "tired"),
                added=float(ads.tired),
                trust=_of(state, "trust"),
                load=_load(state, page),
            ),
            campaign_K=tuple(c if c >= 0 else None for c in ads.campaign[0].tolist()),
        )

    def _candidates(self, state: AdLanes, seen: AdObservation, plan: Plan) -> tuple[Candidate, ...]:
        """All of the request; prices are those of the auction that was run."""
        request = seen.request
        placed: Placed = self.platform.market.place(request, plan, state.shop.visit.time_ms)
        slot_of = {c: k for k, c in enumerate(placed.campaign[0].tolist()) if c >= 0}
        found = []
        for column, campaign in enumerate(request.campaign[0].tolist()):
            if campaign < 0:
                continue
            slot = slot_of.get(campaign, -1)
            found.append(
                Candidate(
                    campaign=campaign,
                    item=int(request.item[0, column]),
                    bid=float(request.bid[0, column]),
                    pctr=float(request.pctr[0, column]),
                    score=float(request.score[0, column]),
                    slot=slot,
                    price=float(placed.price[0, slot]) / MICROS if slot >= 0 else 0.0,
                )
            )
        return tuple(found)

    def _options(self, seen: AdObservation, action: Tensor | Plan) -> tuple[Option, ...]:
        """The chosen one, that without ads, and the best of the others that are allowed."""
        options = seen.options
        if options is None or isinstance(action, Plan):
            return ()
        scores: Any = getattr(self.policy, "scores", None)
        score_J = None if scores is None else scores(seen)[0]
        by_J = options.payment[0] if score_J is None else score_J
        chosen, market = int(action[0]), self.platform.market
        feature_JX, found = options.feature[0], []
        for j in _told(by_J.masked_fill(~options.allowed[0], -torch.inf), chosen):
            found.append(
                Option(
                    ads=self._stands(seen, options.place[0, j], j),
                    alpha=float(feature_JX[j, TOTALS.index("alpha")]),
                    # a plan's reserve only raises the market's
                    reserve=max(float(feature_JX[j, TOTALS.index("reserve")]), market.reserve),
                    payment=float(options.payment[0, j]),
                    score=None if score_J is None else float(score_J[j]),
                    chosen=j == chosen,
                )
            )
        return tuple(found)

    def _stands(
        self, seen: AdObservation, place_K: Tensor, option: int
    ) -> tuple[tuple[int, int | None], ...]:
        """Slots of an option's ads, and the campaigns where they are known before the auction."""
        column_JK = self.platform.task.column_JK
        slots = place_K.nonzero().squeeze(-1).tolist()
        if column_JK is None:
            return tuple((slot, None) for slot in slots)
        campaign_K = seen.request.campaign[0, column_JK[option, slots]].tolist()
        return tuple(zip(slots, campaign_K, strict=True))


def _told(score_J: Tensor, chosen: int) -> list[int]:
    """Options to tell of: the chosen one, that without ads, those of highest score."""
    told = [chosen] if chosen == 0 else [chosen, 0]
    best = [j for j in score_J.argsort(descending=True, stable=True).tolist() if j not in told]
    return told + [j for j in best[:NUM_OPTIONS] if score_J[j] > -torch.inf]


def _charges(ads: AdOutcome) -> tuple[tuple[int, float], ...]:
    """Campaigns that pay for the page, and how much."""
    micros = {a: int(m) for a, m in enumerate(ads.order_charge[0].tolist()) if m}
    for campaign, charge in zip(ads.campaign[0].tolist(), ads.charge[0].tolist(), strict=True):
        if campaign >= 0 and charge:
            micros[campaign] = micros.get(campaign, 0) + charge
    return tuple((campaign, paid / MICROS) for campaign, paid in sorted(micros.items()))


def _of(state: AdLanes, name: str) -> float:
    """What the shopper's state holds of ads."""
    user: Any = state.shop.user
    return float(getattr(user, name))


def _load(state: AdLanes, page: Page) -> float:
    """Share of the session's impressions that were ads, with this page."""
    assert page.sponsored is not None
    shown = int(state.market.impressions) + int((page.item >= 0).sum())
    return (int(state.market.ads) + int(page.sponsored.sum())) / max(shown, 1)
