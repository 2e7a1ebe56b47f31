"""One shopper at a time, in a shop whose pages mix items and ads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recgym.ads.placement import PlacementRules
from recgym.ads.records import Campaigns
from recgym.ads.rewards import RewardWeights
from recgym.envs.ad_shell import AdShell
from recgym.envs.core import MAX_PAGES
from recgym.envs.single import OneLane
from recgym.settings import Share
from recgym.types import Policy
from recgym.users.ad_law import AdLaw
from recgym.users.base import Shoppers


class AdEnv(OneLane):
    """A platform that decides about ads on one page after another for one shopper.

    On each page an organic ranking fills K slots; the campaigns that may run and score best are
    retrieved (Q candidates); the agent decides; the auction fills the slots of ads, which push the
    organic items down; the shopper answers; campaigns pay.

    **Observation**: Box float32 [O], unbounded: that of `recgym.envs.single.RecEnv`; ads,
    impressions and ad load of the session, pages since an ad, campaigns that paid; then for each
    candidate whether there is one, its estimated chance of a click, its bid and its score.

    **Action**, by id: `RecGym/AdAllocate-v0` MultiBinary int8 [K], 1 where an ad is to stand, taken
    for the nearest legal set of slots from the top; `RecGym/AdInsert-v0` Discrete, 0 for no ad and
    1 + q · K + k for candidate q in slot k, taken for 0 where that may not be; `RecGym/Shop-v0`
    MultiDiscrete int64 [2K], the item of each organic rank and then 1 for each slot of an ad;
    `RecGym/AdPrice-v0` Box float32 [3] in [0, 1], the reserve (1: a whole currency unit), the
    exponent of the estimated chance of a click (1: 2), and the session's ad load not to pass.

    **Reward**: float, the weighted sum of the parts of `recgym.ads.rewards`, currency units.

    **Episode end**, **state**: those of `RecEnv`, and the ledger of the campaigns, which begins
    empty with every episode.

    **Info**: ``action_mask`` int8, 1 where it may be: of each slot (allocate), each option
    (insert), each item and then each slot (joint); none for prices. ``action_masks`` is the bool
    form that MaskablePPO calls. The MultiBinary's own ``sample`` takes ``mask=2 * action_mask``.
    After a reset ``shopper`` and ``session``; after a step ``impressions``, ``clicked``,
    ``carted``, ``orders``, ``revenue``, ``ads``, ``ad_clicked``, ``ad_revenue``,
    ``sponsored_sales`` (money in currency units) of this page, and ``reward_parts`` float64 [W] in
    the order of `recgym.ads.records.PARTS`.

    Args:
        shop: `world:default`, `world:NAME`, `model:DIR` (the folder of a fit), or a shop object.
        task: `allocate`, `insert`, `joint` or `price`; the registered ids set it.
        num_slots, ads, campaigns, rules, market, weights, load_cap, organic, click_rate,
            observation, num_sessions, max_pages, device, encoder: as in
            `recgym.envs.ads.open_ad_core`.
        render_mode: `ansi`, or None.
    """

    shell: AdShell

    def __init__(
        self,
        shop: str | Shoppers = "world:default",
        *,
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
        device: str = "cpu",
        encoder: Shoppers | None = None,
        render_mode: str | None = None,
    ) -> None:
        shell = AdShell(
            shop=shop, task=task, num_slots=num_slots, ads=ads, campaigns=campaigns, rules=rules,
            market=market, weights=weights, load_cap=load_cap, organic=organic,
            click_rate=click_rate, observation=observation, num_sessions=num_sessions,
            max_pages=max_pages, device=device, encoder=encoder, num_envs=1,
        )  # fmt: skip
        super().__init__(shell, render_mode)
