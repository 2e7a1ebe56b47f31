"""The environment of pages with ads as tensors: compare `recgym.envs.core`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recgym.ads.estimates import FittedCtr, FlatCtr
from recgym.ads.market import AdMarket
from recgym.ads.placement import PlacementRules
from recgym.ads.platform import AdLanes, Platform
from recgym.ads.ranking import ranking_of
from recgym.ads.records import AdObservation, AdTransition, Campaigns, Plan
from recgym.ads.rewards import AdReward, RewardWeights
from recgym.ads.tasks import task_named
from recgym.envs.ad_settings import campaigns_from, heeding_ads, keywords_for, made
from recgym.envs.core import MAX_PAGES, lane_seeds
from recgym.errors import UserError
from recgym.settings import Count, Share, check
from recgym.shops import open_shop, with_encoder
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Policy
from recgym.users.ad_law import AdLaw
from recgym.users.base import Shoppers
from recgym.users.sequence import SequenceModel
from recgym.users.sponsored import AdShoppers


class AdCore:
    """Shoppers and campaigns of one shop, one episode a lane, auto-reset in the same step.

    Lanes, sessions and episodes are those of `recgym.envs.core.ShopCore`. Each lane has a ledger of
    its own, which begins empty with every episode.

    Args:
        platform: shop, market, task and reward.
        num_envs: N, lanes.
        max_pages: pages of a session before the episode is truncated.
    """

    state: AdLanes
    observation: AdObservation  # of every lane now; what the next page is decided on
    price_of_load: Tensor  # [], currency units that an ad beyond the load cap costs the reward

    def __init__(
        self, platform: Platform, *, num_envs: int = 1, max_pages: int = MAX_PAGES
    ) -> None:
        for name, value in (("num_envs", num_envs), ("max_pages", max_pages)):
            if value < 1:
                raise UserError(f"{name}={value}: expected at least 1.")
        self.platform, self.spec, self.simulator = platform, platform.spec, platform.simulator
        self.num_envs, self.max_pages, self.device = num_envs, max_pages, platform.device
        price = platform.reward.weights.excess_load
        self.price_of_load = torch.tensor(price, dtype=self.simulator.dtype, device=self.device)

    def reset(self, seed: int | Tensor | None = None) -> AdObservation:
        """Begin an episode in every lane; see `recgym.envs.core.ShopCore.reset`."""
        if seed is None:
            arrival = self.state.shop.arrival
            seed_N, session_N = arrival.seed, self.simulator.next_episode(arrival.session)
        else:
            seed_N = lane_seeds(seed, self.num_envs, self.device)
            session_N = torch.zeros_like(seed_N)
        self.state = self.platform.reset(seed_N, session_N)
        self.observation = self.platform.observe(self.state)
        return self.observation

    def state_dict(self) -> dict[str, Any]:
        """All that the running lanes are, as tensors."""
        return {"lanes": self.state.packed(), "price_of_load": self.price_of_load}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the lanes whose state this is, of the same shop and of as many lanes."""
        self.state = self.state.unpacked(state["lanes"])
        self.price_of_load = state["price_of_load"].to(self.price_of_load)
        self.observation = self.platform.observe(self.state)

    def play(self, action: Tensor | Plan) -> AdTransition:
        """Fill a page in every lane, without auto-reset.

        Args:
            action: index of an option of each lane, [N] int64; or a plan.
        """
        seen = self.observation
        plan = self.platform.plan(seen, action)
        self.state, ads = self.platform.step(self.state, seen, plan)
        self.observation = self.platform.observe(self.state)
        gone_N = ads.outcome.gone
        last_N = self.state.shop.visit.page_number >= self.max_pages
        return AdTransition(
            observation=self.observation,
            final_observation=self.observation,
            reward=self.platform.reward.scalar(ads.parts, self.price_of_load),
            terminated=gone_N,
            truncated=last_N & ~gone_N,
            outcome=ads.outcome,
            ads=ads,
        )

    def step(self, action: Tensor | Plan) -> AdTransition:
        """Fill a page in every lane; a lane whose episode ends begins its next one."""
        played = self.play(action)
        ended_N = played.terminated | played.truncated
        self.state = self.platform.renew(self.state, ended_N)
        self.observation = self.platform.observe_again(
            played.final_observation, self.state, ended_N
        )
        return dataclasses.replace(played, observation=self.observation)


def open_ad_core(
    shop: str | Shoppers = "world:default",
    *,
    task: str = "allocate",
    num_envs: int = 1,
    num_slots: Count = 10,
    ads: str | Mapping[str, Any] | AdLaw | None = None,
    campaigns: Mapping[str, Any] | Sequence[Mapping[str, Any]] | Campaigns | None = None,
    rules: Mapping[str, Any] | PlacementRules | None = None,
    market: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | RewardWeights | None = None,
    load_cap: Share = 0.1,
    sales: str = "revenue",
    organic: Policy | None = None,
    click_rate: Share = 0.02,
    observation: str | None = None,
    num_sessions: int = 1,
    max_pages: int = MAX_PAGES,
    device: str = "cpu",
    encoder: Shoppers | None = None,
) -> AdCore:
    """A core over a shop's name, or over a shop itself.

    Args:
        shop: as in `recgym.shops.open_shop`, or an object that obeys `Shoppers`.
        task: a name in `recgym.ads.tasks.TASKS`.
        num_envs: N, lanes.
        num_slots: K, slots of a page.
        ads: what ads do to shoppers, a preset's name or numbers of `recgym.users.ad_law.AdLaw`;
            None: the law fitted beside a model, else `mild`. Not used where the shop is an
            `AdShoppers`, which has a law of its own.
        campaigns: keywords of `recgym.ads.campaigns.draw_campaigns`, or a list of campaigns.
        rules: keywords of `recgym.ads.placement.PlacementRules`.
        market: keywords of `recgym.ads.market.AdMarket`, such as ``pricing`` and ``reserve``.
        weights: keywords of `recgym.ads.rewards.RewardWeights`.
        load_cap: ads an impression that the constraint allows.
        sales: as in `recgym.ads.rewards.AdReward`.
        organic: ranks what stands between the ads; None: by a fitted model's value, else by fame.
        click_rate: estimated chance that any ad in the first slot is clicked, where no model is
            fitted.
        observation: `encoder` or `history`; None takes `encoder` where the shop has one.
        num_sessions: of an episode at most, in a shop whose shoppers come back.
        max_pages: pages of a session before the episode is truncated.
        device: of a shop given by name; an object stays where it is.
        encoder: a fitted user model that reads the observations; None: the shop itself, if it can.
    """
    check("env", {"num_slots": num_slots, "load_cap": load_cap, "click_rate": click_rate},
          open_ad_core)  # fmt: skip
    opened, own = _opened(shop, device)
    encoder = own if encoder is None else encoder
    kind = observation or ("encoder" if encoder is not None else "history")
    simulator = Simulator(
        heeding_ads(shop, opened, ads),
        encoder=encoder if kind == "encoder" else None,
        num_slots=num_slots,
        num_sessions=num_sessions,
        expected_revenue=sales == "expected_revenue",  # it costs a pass over the catalogue
        dtype=opened.catalog.price.dtype,
    )
    reads = simulator.encoder
    place = AdMarket(
        campaigns_from(campaigns, opened.catalog),
        opened.catalog,
        made("rules", rules, PlacementRules),
        num_slots=num_slots,
        dtype=simulator.dtype,
        **keywords_for("market", market or {}, AdMarket),
    )
    platform = Platform(
        ObservationSpec(simulator, kind),
        place,
        task_named(task, place),
        organic=organic or ranking_of(opened, reads, num_slots),
        estimator=FittedCtr(reads) if isinstance(reads, SequenceModel) else FlatCtr(click_rate),
        reward=AdReward(made("weights", weights, RewardWeights), load_cap=load_cap, sales=sales),
    )
    return AdCore(platform, num_envs=num_envs, max_pages=max_pages)


def _opened(shop: str | Shoppers, device: str) -> tuple[Shoppers, Shoppers | None]:
    """The shop, and the fitted model within it that can read a visit."""
    if isinstance(shop, str):
        return open_shop(shop, device)
    if isinstance(shop, AdShoppers):
        return shop, with_encoder(shop.inner)[1]
    return with_encoder(shop)
