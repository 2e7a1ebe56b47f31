"""What a foretold week says of those who foretold it, and what a fit says of positions and prices.

Intervals are those of whole shoppers drawn with replacement: two orders of one are not independent.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from recgym import progress
from recgym.logs.coupons import CouponSlates
from recgym.metrics import CONFIDENCE, Estimate
from recgym.users.offers import OfferModel, Spread, fit

Floats = NDArray[np.float64]


def interval(mean: float, found: Floats) -> Estimate:
    """Quantiles of resamples around a value; those where it was undefined are left out."""
    found = found[np.isfinite(found)]
    if not len(found):
        return Estimate(mean, None, None)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(found, [tail, 1.0 - tail])
    return Estimate(mean, float(low), float(high))


def draws(shopper_B: Tensor, count: int, seed: int) -> Tensor:
    """How often each order counts where as many shoppers are drawn with replacement, [R, B]."""
    _, place_B = shopper_B.unique(return_inverse=True)
    num_shoppers = int(place_B.max()) + 1
    rng = torch.Generator().manual_seed(seed)
    drawn_RS = torch.randint(num_shoppers, (count, num_shoppers), generator=rng)
    times_RS = torch.zeros(count, num_shoppers, dtype=torch.int64)
    times_RS.scatter_add_(1, drawn_RS, torch.ones_like(drawn_RS))
    return times_RS[:, place_B]


def auc(used_B: NDArray[np.bool_], score_B: Floats, weight_B: Floats | None = None) -> float:
    """ROC-AUC; not a number where all or none were used."""
    counted = used_B if weight_B is None else used_B[weight_B > 0]
    if not len(counted) or counted.all() or not counted.any():
        return math.nan
    return float(roc_auc_score(used_B, score_B, sample_weight=weight_B))


def rankings(
    slates: CouponSlates, scores: dict[str, Tensor], resamples: int, seed: int
) -> dict[str, Any]:
    """ROC-AUC of each score by slot, their mean, and what the first is above the second."""
    used_BK = slates.used.numpy()
    weight_RB = draws(slates.shopper, resamples, seed).double().numpy()
    values: dict[str, Floats] = {}
    for name, score in scores.items():
        score_BK = score.double().numpy()
        values[name] = np.array(
            [
                [auc(used_BK[:, k], score_BK[:, k], w) for k in range(used_BK.shape[1])]
                for w in (None, *weight_RB)
            ]
        )
    first, second = list(values)[:2]
    values[f"{first} - {second}"] = values[first] - values[second]
    return {
        name: {
            "slots": [interval(float(v[0]), v[1:]).as_dict() for v in value_RK.T],
            "mean": interval(float(value_RK[0].mean()), value_RK[1:].mean(-1)).as_dict(),
        }
        for name, value_RK in values.items()
    }


def effects(
    models: dict[str, OfferModel], slates: CouponSlates, x_BKF: Tensor, spread: Spread,
    refits: int, seed: int,
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Odds ratios of positions and of a doubled price, by refits on resampled shoppers.

    ``models``: fitted to these orders, the one to report positions of first.
    """
    weight_RB = draws(slates.shopper, refits, seed)
    found: dict[str, Estimate] = {}
    for title, model in models.items():
        ratios_RX = [_ratios(model)]
        with progress.stage(f"refits, {title}", refits):
            for weight_B in weight_RB:
                again = copy.deepcopy(model)
                fit(slates, x_BKF, again, spread, weight_B)
                ratios_RX.append(_ratios(again))
                progress.advance(1)
        rows = np.array(ratios_RX)
        for place, name in enumerate([f"slot {k + 1}" for k in range(1, rows.shape[1])]):
            found.setdefault(name, interval(rows[0, place], rows[1:, place]))
        found[f"price doubled, {title}"] = interval(rows[0, -1], rows[1:, -1])
    return {name: estimate.as_dict() for name, estimate in found.items()}


def _ratios(model: OfferModel) -> list[float]:
    """Odds of every slot after the first beside the first, and of a doubled price."""
    logit = torch.cat([model.bias_K[1:] - model.bias_K[0], -math.log(2.0) * model.slope.view(1)])
    return [float(ratio) for ratio in logit.detach().exp()]
