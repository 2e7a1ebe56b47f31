"""The response to a placed offer: the probability that a coupon is used, given where it was placed.

A logistic regression with the effects of items, brands, groups, categories and shoppers drawn to 0
by normal priors (a mixed model fitted at its mode: Breslow and Clayton 1993, "Approximate inference
in generalized linear mixed models", section 2; deviation: the variances, which they estimate, are
chosen on held-out weeks):

    logit P(used) = bias[slot] - softplus(s) log(price / mean) + w · x + item + brand + group
                    + mean over categories + shopper

The slope of the price cannot turn: where dearer products are used more, because they are other
products, it ends at 0. ``free_slope`` leaves it its sign, to see whether that is so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from recgym import progress
from recgym.errors import UserError
from recgym.logs.coupons import CouponSlates
from recgym.types import DAY_MS
from recgym.users.offer_features import FEATURES, features

WEIGHT_SD = 1.0  # prior of the weight of a standardised feature
ITERATIONS = 200  # of L-BFGS at most
WEEK_MS = 7 * DAY_MS
START_SLOPE = 0.1


@dataclass(frozen=True)
class Spread:
    """Prior standard deviations of the effects, in nats; 0: none."""

    item: float
    kind: float  # of brands, groups and categories each
    shopper: float

    def of(self, name: str) -> float:
        """That of the effects of one name."""
        return {"item": self.item, "shopper": self.shopper}.get(name, self.kind)


class OfferModel(nn.Module):
    """P(used) of each offer of a slate."""

    mean_F: Tensor
    sd_F: Tensor
    mean_log_price: Tensor

    def __init__(self, sizes: dict[str, int], num_slots: int, free_slope: bool = False) -> None:
        super().__init__()
        self.free_slope = free_slope
        start = torch.tensor(START_SLOPE).double()
        self.bias_K = nn.Parameter(torch.zeros(num_slots).double())
        self.raw_slope = nn.Parameter(start if free_slope else start.expm1().log())
        self.weight_F = nn.Parameter(torch.zeros(len(FEATURES)).double())
        # a row more, the last: -1, none given, must point somewhere
        effects = {name: nn.Parameter(torch.zeros(n + 1).double()) for name, n in sizes.items()}
        self.effects = nn.ParameterDict(effects)
        self.register_buffer("mean_F", torch.zeros(len(FEATURES)).double())
        self.register_buffer("sd_F", torch.ones(len(FEATURES)).double())
        self.register_buffer("mean_log_price", torch.zeros(()).double())

    @property
    def slope(self) -> Tensor:
        """What a unit of log price takes from the logit."""
        return self.raw_slope if self.free_slope else F.softplus(self.raw_slope)

    def settle(self, slates: CouponSlates, x_BKF: Tensor) -> None:
        """Standardise by these orders."""
        flat_NF = x_BKF.flatten(0, 1)
        self.mean_F.copy_(flat_NF.mean(0))
        self.sd_F.copy_(flat_NF.std(0))
        self.sd_F[self.sd_F == 0.0] = 1.0
        self.mean_log_price.copy_(slates.price.double().log().mean())

    def forward(self, slates: CouponSlates, x_BKF: Tensor) -> Tensor:
        """Logits, [B, 3]."""
        log_price_BK = slates.price.double().log() - self.mean_log_price
        features_BK = ((x_BKF - self.mean_F) / self.sd_F) @ self.weight_F
        logit_BK: Tensor = self.bias_K - self.slope * log_price_BK + features_BK
        for name in ("item", "brand", "group"):
            logit_BK = logit_BK + self._effect(name, getattr(slates, name))
        category_BKC = slates.category.double()
        sum_BK = category_BKC @ self.effects["category"][:-1]
        logit_BK = logit_BK + sum_BK / category_BKC.sum(-1).clamp(min=1.0)
        return logit_BK + self._effect("shopper", slates.shopper).unsqueeze(-1)

    def _effect(self, name: str, place: Tensor) -> Tensor:
        effect_J: Tensor = self.effects[name]
        # index_select, as the gradient of plain indexing takes several times as long
        found = effect_J.index_select(0, place.remainder(len(effect_J)).flatten())
        return torch.where(place >= 0, found.view(place.shape), 0.0)

    def prior(self, spread: Spread) -> Tensor:
        """Nats that the effects cost."""
        cost = (self.weight_F / WEIGHT_SD).square().sum()
        for name, effect in self.effects.items():
            sd = spread.of(name)
            cost = cost + ((effect / sd).square().sum() if sd else 0.0)
        return cost / 2.0


def sizes_of(slates: CouponSlates) -> dict[str, int]:
    """Numbers of ids; one never met in the orders of a fit keeps the effect 0."""
    names = ("item", "brand", "group", "shopper")
    sizes = {name: int(getattr(slates, name).max()) + 1 for name in names}
    return sizes | {"category": slates.category.shape[-1]}


def fit(
    slates: CouponSlates,
    x_BKF: Tensor,
    model: OfferModel,
    spread: Spread,
    weight_B: Tensor | None = None,
) -> float:
    """Move the model to the mode of these orders, from where it is.

    Returns the nats an offer there, those that the prior costs included.

    ``weight_B``: how often each order counts.
    """
    if bool((slates.used.flatten() == slates.used[0, 0]).all()):
        raise UserError(
            f"the coupons of the {len(slates.used)} orders to learn from are all used or all "
            "unused: expected some of both."
        )
    used_BK = slates.used.double()
    effects = [effect for name, effect in model.effects.items() if spread.of(name)]
    optimiser = torch.optim.LBFGS(
        [model.bias_K, model.raw_slope, model.weight_F, *effects],
        max_iter=ITERATIONS,
        tolerance_grad=1e-6,
        tolerance_change=1e-7,  # of the nats an offer: some thousandths of a nat in all
        line_search_fn="strong_wolfe",
    )
    weight_BK = torch.ones_like(used_BK)
    weight_BK = weight_BK if weight_B is None else weight_BK * weight_B.double().unsqueeze(-1)
    total = weight_BK.sum()

    def closure() -> Any:
        optimiser.zero_grad()
        nats_BK = F.binary_cross_entropy_with_logits(
            model(slates, x_BKF), used_BK, weight_BK, reduction="sum"
        )
        loss = (nats_BK + model.prior(spread)) / total
        loss.backward()
        return loss.detach()

    optimiser.step(closure)
    return float(closure())


@torch.no_grad()
def loss_of(model: OfferModel, slates: CouponSlates, x_BKF: Tensor) -> float:
    """Nats an offer."""
    logit_BK = model(slates, x_BKF)
    return float(F.binary_cross_entropy_with_logits(logit_BK, slates.used.double()))


@dataclass(frozen=True)
class Fold:
    """Orders to learn from and a week after them, as they stood at its start."""

    before: CouponSlates
    x_before: Tensor  # [B, 3, F]
    week: CouponSlates
    x_week: Tensor  # [C, 3, F]


def folds_of(slates: CouponSlates, num_folds: int) -> Iterator[Fold]:
    """The last weeks of these orders, each after all that lies before it."""
    end = int(slates.time_ms.max()) + 1
    for back in range(num_folds, 0, -1):
        start = end - back * WEEK_MS
        before_B = slates.time_ms < start
        week_B = ~before_B & (slates.time_ms < start + WEEK_MS)
        if not bool(before_B.any()) or not bool(week_B.any()):
            raise UserError(
                f"folds={num_folds}: the orders to learn from span "
                f"{(end - int(slates.time_ms.min())) / WEEK_MS:.1f} weeks: expected fewer folds."
            )
        x_BKF = features(slates, before_B)
        yield Fold(slates.lanes(before_B), x_BKF[before_B], slates.lanes(week_B), x_BKF[week_B])


def choose_spread(
    folds: Sequence[Fold], sizes: dict[str, int], sds: Sequence[float]
) -> tuple[Spread, dict[Spread, float]]:
    """The spread that foretells these weeks best, and the nats an offer of each one."""
    losses: dict[Spread, float] = {}
    count = sum(len(fold.week.used) for fold in folds)
    with progress.stage("prior", len(sds) ** 3):
        for values in itertools.product(sds, repeat=3):
            spread, nats = Spread(*values), 0.0
            for fold in folds:
                model = OfferModel(sizes, fold.before.item.shape[1])
                model.settle(fold.before, fold.x_before)
                fit(fold.before, fold.x_before, model, spread)
                nats += loss_of(model, fold.week, fold.x_week) * len(fold.week.used)
            losses[spread] = nats / count
            progress.advance(1)
    return min(losses, key=lambda spread: losses[spread]), losses
