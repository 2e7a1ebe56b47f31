"""Calibration in the large: clicks and sales come out as often as they did in the log.

Drawing predictions to their mean keeps the mean of the logits and lowers that of rare chances,
which are convex in them. Newton's method on the levels brings each rate back to the log's, in three
steps, since states answer to levels (Copas 1983, "Regression, prediction and shrinkage", section 4:
slope and intercept together).
"""

from __future__ import annotations

import torch
from torch import Tensor

from recgym.types import After, Event, Kind
from recgym.users.sequence import SequenceModel
from recgym.users.surprises import Expectation
from recgym.users.switches import clicked_weight

CENTRINGS = 3  # steps of a fit
LEAST_INFORMATION = 10.0  # of some ten events: fewer say nothing of a level


@torch.no_grad()
def centre(
    model: SequenceModel, event: Event, expected: Expectation, weight_nK: Tensor | None = None
) -> None:
    """Move the levels of clicks and of what follows views, in place; rows are steps, [n].

    ``weight_nK`` is `Page.weight` of the steps' pages.
    """
    viewed_n, clicked_n = event.kind == int(Kind.VIEW), event.slot >= 0
    found_3 = _after_levels(event, expected, viewed_n & ~clicked_n)
    clicked_3 = _after_levels(event, expected, viewed_n & clicked_n, weight_nK)
    _, level_7 = model.heads.of("level")
    if weight_nK is None:
        level_7[0] += _newton(clicked_n[viewed_n], expected.slot.sum(-1)[viewed_n])
    else:
        level_7[0] += _against_finds(event, expected, weight_nK)
    level_7[1:4] += found_3
    level_7[4:7] += clicked_3 - found_3


def _against_finds(event: Event, expected: Expectation, weight_nK: Tensor) -> Tensor:
    """Step of the level of clicks where slots are weighed, a scalar.

    Each slot competes with what is found alone, whatever stands beside it: the others please as
    much as the logging policy knew, and a slot's own weight does not undo that (independence from
    irrelevant alternatives; Train 2009, "Discrete choice methods with simulation", section 3.3.2).
    """
    viewed_n1 = (event.kind == int(Kind.VIEW)).unsqueeze(-1)
    slot_K = torch.arange(weight_nK.shape[1], device=weight_nK.device)
    clicked_nK = event.slot.unsqueeze(-1) == slot_K
    found_n1 = (1.0 - expected.slot.sum(-1, keepdim=True)).clamp(min=0.0)
    among_nK = viewed_n1 & (clicked_nK | (event.slot < 0).unsqueeze(-1)) & (expected.slot > 0.0)
    chance_nK = expected.slot / (expected.slot + found_n1)
    return _newton(clicked_nK[among_nK], chance_nK[among_nK], weight_nK[among_nK])


def _after_levels(
    event: Event, expected: Expectation, among_n: Tensor, weight_nK: Tensor | None = None
) -> Tensor:
    """Steps of the levels of buy, cart and favourite, each among what the ones before left, [3]."""
    after_m, chance_m4 = event.after[among_n], expected.after[among_n]
    weight_m = None if weight_nK is None else clicked_weight(weight_nK, event)[among_n]
    steps, left_m = [], torch.ones_like(after_m, dtype=torch.bool)
    rest_m = chance_m4.sum(-1)
    for after in (After.BUY, After.CART, After.FAVOURITE):
        chance_m = chance_m4[:, int(after)]
        happened_m = after_m == int(after)
        weight_l = None if weight_m is None else weight_m[left_m]
        steps.append(_newton(happened_m[left_m], (chance_m / rest_m)[left_m], weight_l))
        rest_m, left_m = rest_m - chance_m, left_m & ~happened_m
    return torch.stack(steps)


def _newton(happened_n: Tensor, chance_n: Tensor, weight_n: Tensor | None = None) -> Tensor:
    """Score ÷ information of a level common to all, a scalar; 0 where there is too little."""
    chance_n = chance_n.double().clamp(0.0, 1.0)
    weight_n = torch.ones_like(chance_n) if weight_n is None else weight_n.double()
    information = (weight_n * chance_n * (1.0 - chance_n)).sum()
    score = (weight_n * (happened_n.double() - chance_n)).sum()
    step = score / information.clamp(min=LEAST_INFORMATION)
    return step * (information >= LEAST_INFORMATION)
