"""Running ad policies on the same shoppers, in the learned shop and in the true one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.ads.base import at, options_of
from agents.ads.hindsight import Bound, bound
from agents.ads.rules import FixedSlots, GreedyAds, NoAds, OneRanking, Threshold
from recgym import progress
from recgym.ads.platform import Platform
from recgym.ads.records import AdObservation
from recgym.ads.rollout import LANES, AdPolicy, OnStep, rollout
from recgym.ads.stats import AdStats
from recgym.envs.ads import AdCore, open_ad_core
from recgym.users.base import Shoppers
from recgym.users.sequence import SequenceModel
from recgym.users.sponsored import AdShoppers

NOTHING, FIXED = "ad_none", "ad_fixed"  # that others are compared with


def core_of(
    shop: Shoppers,
    model: SequenceModel,
    settings: Mapping[str, Any],
    *,
    num_envs: int = 1,
    sales: str = "revenue",
) -> AdCore:
    """Pages with ads of a shop, read by a fitted model, as ``conf/env`` and the main have them."""
    env = settings["env"]
    given = {name: env[name] for name in ("task", "rules", "market", "weights")}
    listed = env["listed"]
    return open_ad_core(
        shop,
        **given,
        campaigns=env["campaigns"] if listed is None else listed,
        load_cap=env["load_cap"],
        sales=sales,
        num_envs=num_envs,
        num_slots=settings["num_slots"],
        num_sessions=env["num_sessions"],
        max_pages=settings["max_pages"],
        encoder=model,
    )


def shops(learned: AdShoppers, world: Any, env: Mapping[str, Any]) -> dict[str, Any]:
    """The shops that policies meet: the learned one, and the true one where it is known."""
    found: dict[str, Any] = {"learned": learned}
    if world is not None:
        # a log without ads is written by shoppers who know none: the law comes on top
        heeding = isinstance(world, AdShoppers)
        found["true"] = world if heeding else AdShoppers(world, env["law"])
    return found


def rules(env: Mapping[str, Any], offered: Mapping[str, Any]) -> dict[str, AdPolicy]:
    """The baselines of every table."""
    return {
        NOTHING: NoAds(),
        FIXED: FixedSlots(env["fixed_slots"]),
        "ad_greedy": GreedyAds(),
        "ad_threshold": Threshold(env["threshold"]),
        "ad_ranking": OneRanking(
            user_model=offered["user_model"],
            cart_paid=offered["cart_paid"],
            take_rate=offered["take_rate"],
        ),
    }


@dataclass(frozen=True)
class Met:
    """What the requests of a policy's pages could have paid, and what it chose of it."""

    chosen: float  # currency units that its options were expected to pay
    num_ads: int
    bound: Bound  # of any choice from these options, with no more ads than ``budget``
    budget: float

    def share(self) -> float | None:
        """Of the bound, what was chosen."""
        return self.chosen / self.bound.payment if self.bound.payment else None


class Recording:
    """A policy whose options and choices are kept.

    Args:
        policy: that chooses.
    """

    def __init__(self, policy: AdPolicy) -> None:
        self.policy = policy
        self.parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []

    def act(self, observation: AdObservation, *, explore: bool = False) -> Tensor:
        """As the policy does."""
        options = options_of(observation)
        index = self.policy.act(observation, explore=explore)
        assert isinstance(index, Tensor)
        self.parts.append((options.payment, options.num_ads, options.allowed, index))
        return index

    def met(self, load: float, impressions: float) -> Met:
        """Against the best choice with at most this ad load."""
        payment, num_ads, allowed, index = (
            torch.cat(part) for part in zip(*self.parts, strict=True)
        )
        budget = load * impressions
        return Met(
            chosen=float(at(payment, index).double().sum()),
            num_ads=int(at(num_ads, index).sum()),
            bound=bound(payment, num_ads, allowed, budget),
            budget=budget,
        )


def play(
    platform: Platform,
    policy: AdPolicy,
    seed_B: Tensor,
    max_pages: int,
    on_step: OnStep | None = None,
) -> AdStats:
    """One episode of each shopper; ``on_step`` as in `recgym.ads.rollout.rollout`."""
    return rollout(
        platform,
        policy,
        seed_B,
        torch.zeros_like(seed_B),
        lanes=LANES,
        max_pages=max_pages,
        on_step=on_step,
        progress=progress.advance,
    )
