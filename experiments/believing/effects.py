"""Causal figures: what showing and what a price does, learned against true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from recgym.types import After, Kind, Sessions
from recgym.users.base import Shoppers
from recgym.worlds.truth import RandomPages, elasticity, exposure


@dataclass(frozen=True)
class Effects:
    """Of one shop, on random pages of its own."""

    elasticity: float  # d log P(sold on a page) / d log price
    slot_clicks: float  # probability that a random item in a random slot is clicked
    sold: float  # change of the probability that it is bought or carted by showing it


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

    A logistic regression without items of its own; at rates of a few percent a logit's slope is
    nearly an elasticity.
    """
    viewed_S = (sessions.event.kind == int(Kind.VIEW)) & (sessions.event.price > 0)
    log_price_n1 = sessions.event.price[viewed_S].double().log().unsqueeze(-1).numpy()
    sold_n = (sessions.event.after[viewed_S] >= int(After.CART)).numpy()
    fitted = LogisticRegression(C=np.inf, tol=1e-8).fit(log_price_n1, sold_n)
    return float(fitted.coef_[0, 0] * (1.0 - sold_n.mean()))


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
