"""Causal figures: what showing and what a price does, learned against true."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recgym.types import After, Kind, Sessions
from recgym.users.base import Shoppers
from recgym.worlds.truth import RandomPages, elasticity, exposure

STEPS = 25  # of Newton's method


@dataclass(frozen=True)
class Effects:
    """Of one shop, on random pages of its own."""

    elasticity: float  # d log P(sold on a page) / d log price
    slot_clicks: float  # probability that a random item in a random slot is clicked
    sold: float  # change of the expected number of items bought or carted by showing it


def effects(shop: Shoppers, num_slots: int, num_sessions: int, seed: int) -> Effects:
    """By the same lines for a true shop and for a learned one."""
    shown = exposure(shop, num_slots=num_slots, num_sessions=num_sessions, seed=seed)
    slope = elasticity(
        shop, RandomPages(num_slots), num_slots=num_slots, num_sessions=num_sessions, seed=seed
    )
    assert shown.slot_clicks.mean is not None
    assert shown.sold.mean is not None
    return Effects(slope, shown.slot_clicks.mean, shown.sold.mean)


def naive_elasticity(sessions: Sessions) -> float:
    """What a log says who does not control for quality: slope of selling on log price over views.

    A logistic regression without items of its own, by Newton's method; at rates of a few percent a
    logit's slope is nearly an elasticity.
    """
    viewed_S = (sessions.event.kind == int(Kind.VIEW)) & (sessions.event.price > 0)
    log_price_n = sessions.event.price[viewed_S].double().log()
    sold_n = (sessions.event.after[viewed_S] >= int(After.CART)).double()
    design_n2 = torch.stack([torch.ones_like(log_price_n), log_price_n - log_price_n.mean()], -1)
    slope_2: Tensor = torch.zeros(2, dtype=torch.float64)
    for _ in range(STEPS):
        chance_n = torch.sigmoid(design_n2 @ slope_2)
        weight_n1 = (chance_n * (1.0 - chance_n)).unsqueeze(-1)
        step_2 = torch.linalg.solve(
            (design_n2 * weight_n1).T @ design_n2, design_n2.T @ (sold_n - chance_n)
        )
        slope_2 = slope_2 + step_2
    return float(slope_2[1] * (1.0 - sold_n.mean()))


def errors(learned: Effects, true: Effects) -> dict[str, float]:
    """Absolute error of the elasticity; largest relative error of what exposure does."""
    relative = [
        abs(learned.slot_clicks / true.slot_clicks - 1.0) if true.slot_clicks > 1e-9 else 0.0,
        abs(learned.sold / true.sold - 1.0) if true.sold > 1e-9 else 0.0,
    ]
    return {
        "elasticity_error": abs(learned.elasticity - true.elasticity),
        "exposure_error": max(relative),
    }
