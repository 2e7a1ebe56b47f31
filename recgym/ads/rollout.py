"""Roll a policy of ads out over many shoppers, lanes refilled as episodes end.

As in `recgym.rollout`: each episode is a function of its (seed, session) alone, so the number of
lanes changes nothing, and two policies meet the same shoppers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from recgym.ads.platform import AdLanes, Platform
from recgym.ads.records import AdObservation, AdOutcome, Plan
from recgym.ads.stats import AdStats, Tally
from recgym.refill import MAX_PAGES, refilled

LANES = 2048

OnStep = Callable[[Tensor, AdLanes, AdObservation, AdOutcome], Any]


class AdPolicy(Protocol):
    """Anything that can decide about the ads of a page."""

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor | Plan:
        """Index of the option chosen, [N] int64; or a plan."""
        ...


class NoAds:
    """Pages without ads: what every policy of ads is held against."""

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """The first option of every task, [N]."""
        return torch.zeros_like(observation.market.ads)


def rollout(
    platform: Platform,
    policy: AdPolicy,
    seed_B: Tensor,
    session_B: Tensor,
    *,
    lanes: int = LANES,
    max_pages: int = MAX_PAGES,
    on_step: OnStep | None = None,
    progress: Callable[[int], Any] | None = None,
) -> AdStats:
    """Play every episode (seed_B, session_B) once; row b of the statistics is episode b.

    Args:
        platform: shop, market and task.
        policy: decides about the ads.
        seed_B: shoppers.
        session_B: the session that each episode begins with.
        lanes: episodes played at a time.
        max_pages: pages of a session before the episode is cut off.
        on_step: sees each step: rows [N], lanes before it, what was known, what it brought.
        progress: hears how many episodes have ended since the last call.
    """
    device, count = platform.device, len(seed_B)
    seed_B, session_B = seed_B.to(device), session_B.to(device)
    tally = Tally(platform.market, seed_B, platform.simulator.num_sessions)
    started = min(lanes, count)
    index_N = torch.arange(started, device=device)

    def begin(index_F: Tensor) -> AdLanes:
        return platform.reset(seed_B[index_F], session_B[index_F])

    state = begin(index_N)
    seen = platform.observe(state)
    while len(index_N):
        plan = platform.plan(seen, policy.act(seen))
        after, ads = platform.step(state, seen, plan)
        if on_step is not None:
            on_step(index_N, state, seen, ads)
        cut_N = after.shop.visit.page_number >= max_pages
        tally.add(index_N, seen, plan, ads)
        tally.close(index_N, state.market, ads, after.shop.visit, cut_N)
        ended_N = ads.outcome.gone | cut_N
        if progress is not None:
            progress(int(ended_N.sum()))
        state, index_N, started = refilled(after, index_N, ended_N, started, count, begin)
        if len(index_N):
            seen = platform.observe(state)
    return tally.stats
