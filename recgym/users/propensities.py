"""Weights for a log whose policy saw more than the log holds, from propensities that it wrote down.

A policy that sees hidden taste shows what this shopper likes, and "shown and clicked" then
overstates what showing does. Each slot is weighed by w = g / p: p is the logged chance of its item,
g the chance that one would foresee from the site's records. Among slots so weighed, items meet
hidden tastes as if by chance (Robins, Hernan and Brumback 2000, "Marginal structural models and
causal inference in epidemiology", on stabilised weights; Schnabel et al. 2016, "Recommendations as
treatments", equation 3). Any g of the records alone is right: it decides how far weights vary.
Large weights are cut (Ionides 2008, "Truncated importance sampling").

So chosen, pages also tell of taste, which a fit would else put down to what was clicked on them.
What a slot was likelier than foreseen moves the belief about taste along a log's sessions
(`Page.told`, `tastes.lesson`), and is not there where another policy fills the pages.

A slot's weight scales what it teaches: the gradient by its log-mass and, once it is clicked, that
by what follows. Likelihoods keep their values. Slopes by held-out sessions (`shrinkage`) and the
last search for leaving and paying (`polish`) read all slots alike.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recgym import metrics
from recgym.metrics import Estimate
from recgym.types import Catalog, Sessions
from recgym.users.fit_settings import FitSettings
from recgym.users.sessions import steps_of

FADING = 0.7  # of a viewed item, by each view after it
ASKED = 3000  # sessions that say whether a log needs weights
MOST_SLOTS = 400_000  # that the foreseen chance is learned from
PART = 20_000  # sessions that are weighed at a time
LEAST_SLOPE = 0.1  # of `told_beyond`, from which on slots are weighed
LEAST_RESIDUAL = 1e-3  # nats: what is foreseen as exactly tells nothing
LEAST_WEIGHT = 0.02  # below, a slot tells no more of taste
MOST_RESIDUAL = 2.0  # nats, beyond which a slot's propensity tells no more of clicks


def weighed(
    sessions: Sessions,
    catalog: Catalog,
    propensity_SK: Tensor | None,
    row_B: Tensor,
    settings: FitSettings,
    seed: int,
) -> tuple[Sessions, dict[str, Any] | None]:
    """The sessions as a fit of these rows is to read them, and what is said of their weights.

    The latter is None where there are no propensities or nobody asks for them; else the ``slope``
    of `told_beyond`, whether slots are ``weighed``, and their `effective_share`.
    """
    if propensity_SK is None or settings.propensities == "never":
        return sessions, None
    slope = told_beyond(sessions, catalog, propensity_SK, row_B)
    told = slope.low is not None and slope.low > LEAST_SLOPE
    if not told and settings.propensities == "auto":
        return sessions, {"slope": slope.as_dict(), "weighed": False, "effective_share": 1.0}
    weight_SK = slot_weights(sessions, catalog, propensity_SK, row_B, settings.most_weight, seed)
    shown_SK = sessions.page.item >= 0
    # weights have a mean of 1, so that the chances foreseen are a law's
    told_SK = -weight_SK.clamp(min=LEAST_WEIGHT).log()
    told_SK = told_SK.masked_fill(~(shown_SK & (propensity_SK > 0)), torch.nan)
    page = dataclasses.replace(sessions.page, weight=weight_SK, told=told_SK)
    share = effective_share(weight_SK, shown_SK)
    said = {"slope": slope.as_dict(), "weighed": True, "effective_share": share}
    return dataclasses.replace(sessions, page=page), said


class Slots(NamedTuple):
    """The m slots of some sessions whose propensity is logged."""

    step: Tensor  # [m] int64, row of the log's steps
    slot: Tensor  # [m] int64
    session: Tensor  # [m] int64, row of the session
    item: Tensor  # [m] int64
    log_chance: Tensor  # [m] nats, as logged
    records: Tensor  # [m, X] what the site knew beside the item


class Foreseen:
    """The log propensity that the site's records foresee, by boosted trees.

    They read how likely the item is usually and how often it is shown, its slot, the page's number,
    how far it is like what the session has viewed, prices, the shopper's profile, and whether it is
    an ad.

    Args:
        slots: that it is learned from.
        num_items: I.
        seed: of the trees.
    """

    def __init__(self, slots: Slots, num_items: int, seed: int = 0) -> None:
        # here, since it is half a second of imports, and most commands foresee nothing
        from sklearn.ensemble import HistGradientBoostingRegressor

        shown_I = torch.bincount(slots.item, minlength=num_items)
        total_I = torch.zeros(num_items).index_add(0, slots.item, slots.log_chance)
        mean = slots.log_chance.mean()
        self.item_I2 = torch.stack(
            [torch.where(shown_I > 0, total_I / shown_I.clamp(min=1), mean), shown_I.log1p()], -1
        )
        self.trees = HistGradientBoostingRegressor(
            learning_rate=0.2, max_iter=40, random_state=seed
        )
        self.trees.fit(self._inputs(slots), slots.log_chance.numpy())

    def residual(self, slots: Slots) -> Tensor:
        """The logged less the foreseen log propensity, [m] in nats."""
        foreseen = torch.from_numpy(self.trees.predict(self._inputs(slots)))
        return slots.log_chance - foreseen.to(slots.log_chance.dtype)

    def _inputs(self, slots: Slots) -> Any:
        return torch.cat([self.item_I2[slots.item], slots.records], -1).numpy()


def slots_of(sessions: Sessions, catalog: Catalog, propensity_SK: Tensor, row_B: Tensor) -> Slots:
    """The slots of these sessions, each session named once."""
    step_n, length_B = steps_of(sessions, row_B), sessions.offset.diff()[row_B]
    shown_nK, chance_nK = sessions.page.item[step_n], propensity_SK[step_n]
    row_m, slot_m = ((shown_nK >= 0) & (chance_nK > 0)).nonzero(as_tuple=True)
    step_m, item_m = step_n[row_m], shown_nK[row_m, slot_m]
    session_m = row_B.repeat_interleave(length_B)[row_m]
    viewed_nX, item_IX = _viewed_before(sessions, catalog, row_B, length_B)
    views_n1 = viewed_nX[:, -1:]
    mean_mX, own_mX = (viewed_nX[:, :-1] / views_n1.clamp(min=1e-9))[row_m], item_IX[item_m]
    num_categories = catalog.num_categories
    records = [
        slot_m.unsqueeze(-1),
        (step_m - sessions.offset[session_m]).unsqueeze(-1),
        views_n1[row_m],
        mean_mX[:, :num_categories].gather(-1, catalog.category[item_m].unsqueeze(-1)),
        (mean_mX * own_mX)[:, num_categories:-1].sum(-1, keepdim=True),
        own_mX[:, -1:],
        own_mX[:, -1:] - mean_mX[:, -1:],
        sessions.profile[session_m],
    ]
    if sessions.page.sponsored is not None:
        records.append(sessions.page.sponsored[step_m, slot_m].unsqueeze(-1))
    dtype = item_IX.dtype
    return Slots(
        step=step_m,
        slot=slot_m,
        session=session_m,
        item=item_m,
        log_chance=chance_nK[row_m, slot_m].to(dtype).log(),
        records=torch.cat([part.to(dtype) for part in records], -1),
    )


def _viewed_before(
    sessions: Sessions, catalog: Catalog, row_B: Tensor, length_B: Tensor
) -> tuple[Tensor, Tensor]:
    """Fading sums over the views before each step, and what is summed of each item, [I, X].

    The sums have one column more: that of the views themselves.
    """
    log_price_I1 = catalog.price.clamp(min=1e-6).log().mean(0).unsqueeze(-1)
    kind_IC = F.one_hot(catalog.category, catalog.num_categories)
    item_IX = torch.cat([kind_IC.to(log_price_I1.dtype), catalog.feature, log_price_I1], -1)
    counted_IX = torch.cat([item_IX, torch.ones_like(log_price_I1)], -1)
    order_B = length_B.argsort(descending=True, stable=True)
    start_B = (length_B.cumsum(0) - length_B)[order_B]
    first_B, length_B = sessions.offset[row_B][order_B], length_B[order_B]
    sum_BX = counted_IX.new_zeros(len(row_B), counted_IX.shape[1])
    before_nX = counted_IX.new_zeros(int(length_B.sum()), counted_IX.shape[1])
    for number in range(int(length_B[0]) if len(length_B) else 0):
        active = int((length_B > number).sum())
        before_nX[start_B[:active] + number] = sum_BX[:active]
        item_b = sessions.event.item[first_B[:active] + number]
        faded_bX = FADING * sum_BX[:active] + counted_IX[item_b.clamp(min=0)]
        sum_BX[:active] = torch.where((item_b >= 0).unsqueeze(-1), faded_bX, sum_BX[:active])
    return before_nX, item_IX


def told_beyond(
    sessions: Sessions, catalog: Catalog, propensity_SK: Tensor, row_B: Tensor
) -> Estimate:
    """What propensities tell of clicks beyond the site's records, of these sessions.

    The slope of a slot's log click rate on its log propensity less the one that the other half of
    the sessions foresees, with its 95 % interval; about 0 where the logging policy knew no more
    than the log holds, and undefined where the log holds too little.
    """
    asked_B = row_B.unique()[:ASKED]
    slots = slots_of(sessions, catalog, propensity_SK, asked_B)
    half_m = slots.session % 2 == 0
    if min(int(half_m.sum()), int((~half_m).sum())) < 1:
        return metrics.UNDEFINED
    residual_m = torch.zeros_like(slots.log_chance)
    for learnt_m in (half_m, ~half_m):
        learnt, others = (Slots(*(x[m] for x in slots)) for m in (learnt_m, ~learnt_m))
        residual_m[~learnt_m] = Foreseen(learnt, catalog.num_items).residual(others)
    if float(residual_m.abs().max()) < LEAST_RESIDUAL:
        return Estimate(0.0, 0.0, 0.0)
    residual_m = residual_m.clamp(-MOST_RESIDUAL, MOST_RESIDUAL)
    residual_m = (residual_m - residual_m.mean()).double()
    clicked_m = (sessions.event.slot[slots.step] == slots.slot).double()
    place_m = torch.searchsorted(asked_B, slots.session)
    moved_B, spread_B = (
        torch.zeros(len(asked_B), dtype=torch.float64).index_add(0, place_m, value_m)
        for value_m in (
            residual_m * (clicked_m - clicked_m.mean()),
            residual_m.square() * clicked_m.mean(),
        )
    )
    return metrics.ratio((moved_B, spread_B))


def slot_weights(
    sessions: Sessions,
    catalog: Catalog,
    propensity_SK: Tensor,
    row_B: Tensor,
    most: float,
    seed: int = 0,
) -> Tensor:
    """Of each slot, with a mean of 1 over those with a propensity; 1 for all others, [S, K].

    Args:
        sessions: of the log.
        catalog: of the site.
        propensity_SK: as logged, NaN where it is not known.
        row_B: sessions that the foreseen chance is learned from.
        most: no weight is larger, before they are brought to their mean.
        seed: of those sessions, where they are too many, and of the trees.
    """
    generator = torch.Generator().manual_seed(seed)
    row_B = row_B.unique()
    row_B = row_B[torch.randperm(len(row_B), generator=generator)]
    slots_B = sessions.offset.diff()[row_B] * max(1, propensity_SK.shape[1])
    learnt_B = row_B[slots_B.cumsum(0) <= max(MOST_SLOTS, int(slots_B[:1].sum()))]
    learnt = slots_of(sessions, catalog, propensity_SK, learnt_B)
    weight_SK = torch.ones_like(sessions.page.price)
    if not len(learnt.step):
        return weight_SK
    foreseen = Foreseen(learnt, catalog.num_items, seed)
    total, count = 0.0, 0
    known_SK = torch.zeros_like(weight_SK, dtype=torch.bool)
    for part_B in torch.arange(len(sessions.split)).split(PART):
        slots = slots_of(sessions, catalog, propensity_SK, part_B)
        if not len(slots.step):
            continue
        weight_m = (-foreseen.residual(slots)).exp().clamp(max=most)
        weight_SK[slots.step, slots.slot] = weight_m.to(weight_SK.dtype)
        known_SK[slots.step, slots.slot] = True
        total, count = total + float(weight_m.sum()), count + len(weight_m)
    return torch.where(known_SK, weight_SK * (count / total), weight_SK)


def effective_share(weight_SK: Tensor, shown_SK: Tensor) -> float:
    """(sum w)^2 / (m sum w^2) over what was shown: 1 where all slots weigh alike."""
    weight_m = weight_SK[shown_SK].double()
    return float(weight_m.sum().square() / weight_m.square().sum() / max(1, len(weight_m)))
