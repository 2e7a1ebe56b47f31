"""The environment of pages with ads as tensors: compare `recgym.envs.core`."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from recgym.ads.platform import AdLanes, Platform
from recgym.ads.records import AdObservation, AdTransition, Plan
from recgym.envs.core import MAX_PAGES, lane_seeds
from recgym.errors import UserError


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
        plan = action if isinstance(action, Plan) else self.platform.plan(seen, action)
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
