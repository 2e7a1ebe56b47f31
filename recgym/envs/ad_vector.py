"""Many shoppers side by side, in a shop whose pages mix items and ads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recgym.ads.placement import PlacementRules
from recgym.ads.records import Campaigns
from recgym.ads.rewards import RewardWeights
from recgym.envs.ad_shell import AdShell
from recgym.envs.core import MAX_PAGES
from recgym.envs.vector import ManyLanes
from recgym.settings import Share
from recgym.types import Policy
from recgym.users.ad_law import AdLaw
from recgym.users.base import Shoppers


class AdVectorEnv(ManyLanes):
    """N shoppers that step together; lane i replays `recgym.envs.ad_single.AdEnv` with seed + i.

    All is as there with a leading axis of N, and as in `recgym.envs.vector.RecVectorEnv`:
    auto-reset in the same step, dense ``final_obs``, infos as arrays with their ``_`` masks;
    ``reward_parts`` is float64 [N, W].

    Args:
        num_envs: N.
        max_episode_steps: what `gymnasium.make_vec` calls the limit; the smaller one of this and
            ``max_pages`` holds.
        shop, task, num_slots, ads, campaigns, rules, market, weights, load_cap, organic,
            click_rate, observation, num_sessions, max_pages, device, encoder, render_mode: as in
            `AdEnv`.
    """

    shell: AdShell

    def __init__(
        self,
        shop: str | Shoppers = "world:default",
        *,
        num_envs: int = 1,
        task: str = "allocate",
        num_slots: int = 10,
        ads: str | Mapping[str, Any] | AdLaw | None = None,
        campaigns: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Campaigns | None = None,
        rules: Mapping[str, Any] | PlacementRules | None = None,
        market: Mapping[str, Any] | None = None,
        weights: Mapping[str, Any] | RewardWeights | None = None,
        load_cap: Share = 0.1,
        organic: Policy | None = None,
        click_rate: Share = 0.02,
        observation: str | None = None,
        num_sessions: int = 1,
        max_pages: int = MAX_PAGES,
        max_episode_steps: int | None = None,
        device: str = "cpu",
        encoder: Shoppers | None = None,
        render_mode: str | None = None,
    ) -> None:
        shell = AdShell(
            shop=shop, task=task, num_slots=num_slots, ads=ads, campaigns=campaigns, rules=rules,
            market=market, weights=weights, load_cap=load_cap, organic=organic,
            click_rate=click_rate, observation=observation, num_sessions=num_sessions,
            max_pages=min(max_pages, max_episode_steps or max_pages), device=device,
            encoder=encoder, num_envs=num_envs,
        )  # fmt: skip
        super().__init__(shell, render_mode)
