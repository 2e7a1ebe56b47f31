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

CENTRINGS = 3  # steps of a fit
LEAST_INFORMATION = 10.0  # of some ten events: fewer say nothing of a level


@torch.no_grad()
def centre(model: SequenceModel, event: Event, expected: Expectation) -> None:
    """Move the levels of clicks and of what follows views, in place; rows are steps, [n]."""
    viewed_n, clicked_n = event.kind == int(Kind.VIEW), event.slot >= 0
    chance_n, happened_n = expected.slot.sum(-1)[viewed_n], clicked_n[viewed_n]
    found_3 = _after_levels(event, expected, viewed_n & ~clicked_n)
    clicked_3 = _after_levels(event, expected, viewed_n & clicked_n)
    _, level_7 = model.heads.of("level")
    level_7[0] += _newton(happened_n, chance_n)
    level_7[1:4] += found_3
    level_7[4:7] += clicked_3 - found_3


def _after_levels(event: Event, expected: Expectation, among_n: Tensor) -> Tensor:
    """Steps of the levels of buy, cart and favourite, each among what the ones before left, [3]."""
    after_m, chance_m4 = event.after[among_n], expected.after[among_n]
    steps, left_m = [], torch.ones_like(after_m, dtype=torch.bool)
    rest_m = chance_m4.sum(-1)
    for after in (After.BUY, After.CART, After.FAVOURITE):
        chance_m = chance_m4[:, int(after)]
        happened_m = after_m == int(after)
        steps.append(_newton(happened_m[left_m], (chance_m / rest_m)[left_m]))
        rest_m, left_m = rest_m - chance_m, left_m & ~happened_m
    return torch.stack(steps)


def _newton(happened_n: Tensor, chance_n: Tensor) -> Tensor:
    """Score ÷ information of a level common to all, a scalar; 0 where there is too little."""
    chance_n = chance_n.double().clamp(0.0, 1.0)
    information = (chance_n * (1.0 - chance_n)).sum()
    step = (happened_n.double() - chance_n).sum() / information.clamp(min=LEAST_INFORMATION)
    return step * (information >= LEAST_INFORMATION)
