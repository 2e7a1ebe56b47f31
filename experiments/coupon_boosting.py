"""Gradient boosting on the features of placed offers: the usual way, beside the model of our own.

scikit-learn's histogram trees (Ke et al. 2017, "LightGBM: a highly efficient gradient boosting
decision tree"). It is given the slot, the price, the model's features, and the names of item, brand
and group as categories; of shoppers it knows their histories. Its settings are chosen on the weeks
that the model's spread is chosen on.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss
from torch import Tensor

from recgym.users.offers import Fold

NAMES = ("item", "brand", "group")
MOST_CATEGORIES = 250  # that a column may have; rarer names are one
TREES, LEAVES = (50, 100, 200), (4, 8, 16)  # settings to choose from
LEARNING_RATE = 0.05
Settings = dict[str, Any]


def boosted(fold: Fold, settings: Settings, seed: int) -> Tensor:
    """P(used) of the offers of the fold's week, [C, 3]."""
    before_NX, week_NX = (torch.stack(c, -1).flatten(0, 1).numpy() for c in _columns(fold))
    num_columns = before_NX.shape[-1]
    model = HistGradientBoostingClassifier(
        categorical_features=list(range(num_columns - len(NAMES), num_columns)),
        learning_rate=LEARNING_RATE,
        early_stopping=False,  # it would look at offers drawn at random, not at later ones
        random_state=seed,
        **settings,
    )
    model.fit(before_NX, fold.before.used.flatten().numpy())
    chance_N: NDArray[np.float64] = model.predict_proba(week_NX)[:, 1]
    return torch.from_numpy(chance_N).view(fold.week.used.shape)


def choose_boosting(folds: Sequence[Fold], seed: int) -> Settings:
    """The settings that foretell these weeks best."""
    found = []
    for trees, leaves in itertools.product(TREES, LEAVES):
        settings: Settings = {"max_iter": trees, "max_leaf_nodes": leaves}
        chance_N = torch.cat([boosted(fold, settings, seed).flatten() for fold in folds])
        used_N = torch.cat([fold.week.used.flatten() for fold in folds])
        found.append((float(log_loss(used_N.numpy(), chance_N.numpy())), settings))
    return min(found, key=lambda pair: pair[0])[1]


def _columns(fold: Fold) -> tuple[list[Tensor], list[Tensor]]:
    """Columns of the orders before and of the week, each [B, 3]."""
    before: list[Tensor] = []
    week: list[Tensor] = []
    for slates, x_BKF, columns in (
        (fold.before, fold.x_before, before),
        (fold.week, fold.x_week, week),
    ):
        slot_BK = torch.arange(slates.item.shape[1]).expand(slates.item.shape)
        columns += [slot_BK.double(), slates.price.double().log(), *x_BKF.unbind(-1)]
    for name in NAMES:
        first, second = getattr(fold.before, name), getattr(fold.week, name)
        rank_J = _ranks(first, int(max(first.max(), second.max())))
        before.append(rank_J[first + 1].double())
        week.append(rank_J[second + 1].double())
    return before, week


def _ranks(place_BK: Tensor, most: int) -> Tensor:
    """Place of each id, from -1 on, in the list of the commonest; rare ones share the last."""
    count = torch.bincount(place_BK.flatten() + 1, minlength=most + 2)
    count[0] = 0
    return count.argsort(descending=True, stable=True).argsort().clamp(max=MOST_CATEGORIES)
