"""What a log says of the softened rules against their truth in the same true shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from agents.fixed import fixed_rules
from agents.soft import SoftRanking, softened
from experiments.evaluating.estimates import estimates, overlap_of
from experiments.evaluating.pages import REWARDS, write_pages
from experiments.evaluating.shop import LoggedShop
from recgym import progress
from recgym.logging_policy import EmptyPages, LoggingPolicy
from recgym.rollout import rollout
from recgym.settings import Count, Positive, Share, Within
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Policy
from recgym.worlds.base import TrueShop

LOG_SEEDS, TRUE_SEEDS = 1 << 57, 1 << 58  # of the log's shoppers and of those of the truth
Amount = Annotated[float, Within(0.0)]


@dataclass(frozen=True)
class Setup:
    """A shop, its log and the policies: see conf/off_policy.yaml."""

    num_slots: Count
    filled: list[Share]
    logging_sharpness: Amount
    sharpness: Amount
    kept: Share
    rules: Annotated[int, Within(2)]
    log_sessions: Annotated[int, Within(100)]
    truth_sessions: Annotated[int, Within(100)]
    clip: Positive | None
    threshold: Positive
    draws: Count
    ridge: Amount
    seed: Annotated[int, Within(0)]


def judge(shop: TrueShop, setup: Setup, seconds: dict[str, float]) -> dict[str, Any]:
    """Truth, estimates and overlap of every policy, and the estimators' scores."""
    spec = ObservationSpec(Simulator(shop, num_slots=setup.num_slots), "history")
    fame_I = (0.7 * shop.fame).exp()
    # the default log's affinity, softened: popularity tilted to the last views
    affinity = LoggingPolicy(shop.catalog, fame_I, num_slots=setup.num_slots)
    logging = SoftRanking(affinity.scores, sharpness=setup.logging_sharpness, filled=setup.filled)
    seed_B = LOG_SEEDS + (setup.seed << 32) + torch.arange(setup.log_sessions)
    with progress.stage("log", 1.0, seconds):
        pages = write_pages(spec, logging, seed_B)
    rules = fixed_rules(
        pages.views_I, shop.catalog.feature, num_slots=setup.num_slots, count=setup.rules
    )
    policies = softened(rules, sharpness=setup.sharpness, filled=setup.filled, kept=setup.kept)
    nothing = truth_of(spec, EmptyPages(setup.num_slots), setup)
    unit = float(shop.catalog.price.mean())
    logged = LoggedShop(
        pages, logging, unit=unit, draws=setup.draws, ridge=setup.ridge, seed=setup.seed
    )
    found = {}
    with progress.stage("policies", len(policies), seconds):
        for name, policy in policies.items():
            found[name] = {
                "truth": truth_of(spec, policy, setup),
                **_from_log(logged, policy, setup),
            }
            progress.advance(1.0)
    return {
        "log": {"sessions": setup.log_sessions, "pages": len(pages.session_S)},
        "nothing": nothing,
        "policies": found,
        "scores": {reward: scores(found, nothing, reward) for reward in REWARDS},
    }


def truth_of(spec: ObservationSpec, policy: Policy, setup: Setup) -> dict[str, dict[str, float]]:
    """Mean a session by reward, and the deviation of what one session brings."""
    seed_B = TRUE_SEEDS + (setup.seed << 32) + torch.arange(setup.truth_sessions)
    played = rollout(spec, policy, seed_B, torch.zeros_like(seed_B))
    bought_B = (played.orders > 0).to(played.revenue)

    def of(value_B: Tensor, spread_B: Tensor) -> dict[str, float]:
        return {"mean": float(value_B.double().mean()), "deviation": float(spread_B.double().std())}

    return {
        "clicks": of(played.clicks, played.clicks),
        "conversion": of(bought_B, bought_B),
        # carts credited as they fill: the same mean and less noise
        "revenue": of(played.credited_revenue, played.revenue),
    }


def _from_log(logged: LoggedShop, policy: SoftRanking, setup: Setup) -> dict[str, Any]:
    by_reward = logged.logged(policy)
    found = {
        name: estimates(one, clip=setup.clip, threshold=setup.threshold, seed=setup.seed)
        for name, one in by_reward.items()
    }
    found["clicks"] |= logged.slate_estimates(policy, setup.clip, setup.seed)
    return {
        "overlap": overlap_of(by_reward[REWARDS[0]], setup.clip),
        "estimates": {
            reward: {name: one.as_dict() for name, one in ours.items()}
            for reward, ours in found.items()
        },
    }


def scores(found: Mapping[str, Any], nothing: Mapping[str, Any], reward: str) -> dict[str, Any]:
    """Of each estimator over all policies: error, rank correlation, coverage of intervals.

    The error is the mean absolute one, as a share of the true spread: best policy minus nothing.
    Beside it what policies played for real would leave: the standard error of their mean over as
    many sessions as the log has.
    """
    policies = list(found.values())
    truth_P = np.array([one["truth"][reward]["mean"] for one in policies])
    spread = float(truth_P.max() - nothing[reward]["mean"])
    deviation = float(np.mean([one["truth"][reward]["deviation"] for one in policies]))
    sessions = policies[0]["overlap"]["sessions"]
    rows = {}
    for name in policies[0]["estimates"][reward]:
        ours = [one["estimates"][reward][name] for one in policies]
        value_P, low_P, high_P = (
            np.array([one[key] for one in ours], dtype=float) for key in ("mean", "low", "high")
        )
        rows[name] = {
            "error": float(np.abs(value_P - truth_P).mean() / spread),
            "bias": float((value_P - truth_P).mean() / spread),
            "spearman": float(stats.spearmanr(value_P, truth_P).statistic),
            "kendall": float(stats.kendalltau(value_P, truth_P).statistic),
            "coverage": float(((low_P <= truth_P) & (truth_P <= high_P)).mean()),
            "width": float((high_P - low_P).mean() / spread),
        }
    return {
        "spread": spread,
        "between_policies": float(truth_P.max() - truth_P.min()) / spread,
        "on_policy_error": deviation / sessions**0.5 / spread,
        "estimators": rows,
    }
