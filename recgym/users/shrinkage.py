"""Shrinkage by calibration slopes: how far a fit may tell shoppers apart, by held-out sessions.

A fit takes some of its sessions' noise for taste, so that its predictions lie too far apart, and a
policy that shows each shopper what is predicted to please earns the excess in the learned shop
alone. The slope of what held-out shoppers did on what was predicted says by how much; predictions
are drawn to their mean by it (Copas 1983, "Regression, prediction and shrinkage", section 4; van
Houwelingen and le Cessie 1990, "Predictive value of statistical models", section 3).
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recgym.types import Sessions
from recgym.users import tastes
from recgym.users.likelihood import Steps, cart_counts, gather_steps, walked
from recgym.users.sequence import SequenceModel
from recgym.users.sessions import batches
from recgym.users.states import Reading

SHRUNK = ("clicked", "worth", "level", "slope", "usual_slope")  # heads, each by a slope of its own
BATCH_STEPS = 16_384
MOST_STEPS = 100_000  # some held-out slopes need no more
ITERATIONS = 10
LEAST_SLOPE = 0.1  # below, no taste is left that anything could be like


class _Part(NamedTuple):
    """Some steps, and what the heads say of the shoppers before each."""

    steps: Steps
    reading: Reading


def shrink(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> dict[str, float]:
    """Draw the heads to their means by the slopes of these held-out sessions, in place.

    Returns the slope of each head of `SHRUNK`: 1 for one that was right.
    """
    parts = _collect(model, sessions, row_B)
    if not parts:
        return dict.fromkeys(SHRUNK, 1.0)
    mean_S = torch.cat([part.reading.shared for part in parts]).mean(0)
    names, sizes = list(model.heads.of_segment), list(model.heads.of_segment.values())
    which_S = torch.tensor([_place(name) for name in names], device=mean_S.device)
    which_S = which_S.repeat_interleave(torch.tensor(sizes, device=mean_S.device))
    slope_H = torch.ones(len(SHRUNK), device=mean_S.device, dtype=mean_S.dtype)
    _descend(model, parts, mean_S, which_S, slope_H)
    if not bool(slope_H.isfinite().all()):  # a search that ran away says nothing of the fit
        return dict.fromkeys(SHRUNK, 1.0)
    slope_H.clamp_(0.0, 1.0)  # a fit is not made bolder by a few sessions
    with torch.no_grad():
        slope_S = _slopes(slope_H, which_S)
        loads = model.tastes.of_heads()
        for name in names:
            weight, bias = model.heads.of(name)
            columns = model.heads.columns(name)
            slope_s = slope_S[columns]
            weight.mul_(slope_s.unsqueeze(-1))
            if name in loads:
                loads[name].mul_(slope_s)  # one slope for all of a head, and a row a taste
            bias.mul_(slope_s).add_((1.0 - slope_s) * mean_S[columns])
        # likeness is a product of two loads, each of which has shrunk
        model.heads.draw.div_(slope_H[SHRUNK.index("clicked")].clamp(min=LEAST_SLOPE))
    return dict(zip(SHRUNK, slope_H.tolist(), strict=True))


def _place(name: str) -> int:
    """Of the head's slope in `SHRUNK`; one past the last where the head keeps its own."""
    return SHRUNK.index(name) if name in SHRUNK else len(SHRUNK)


def _slopes(slope_H: Tensor, which_S: Tensor) -> Tensor:
    return torch.cat([slope_H, torch.ones_like(slope_H[:1])])[which_S]


@torch.no_grad()
def _collect(model: SequenceModel, sessions: Sessions, row_B: Tensor) -> list[_Part]:
    cart_S = cart_counts(sessions)
    length_B = (sessions.offset[1:] - sessions.offset[:-1])[row_B]
    enough_B = length_B.cumsum(0) <= MOST_STEPS
    row_B, length_B = row_B[enough_B], length_B[enough_B]
    parts = []
    for part in batches(length_B, BATCH_STEPS, None) if len(row_B) else ():
        steps = gather_steps(sessions, cart_S, row_B[part]).to(model.items.own.device)
        parts.append(_Part(steps, walked(model, steps)[0]))
    return parts


def _descend(
    model: SequenceModel, parts: list[_Part], mean_S: Tensor, which_S: Tensor, slope_H: Tensor
) -> None:
    """Move the slopes to the maximum of the held-out likelihood."""
    count = sum(len(part.steps.step) for part in parts)
    slope_H.requires_grad_()
    optimiser = torch.optim.LBFGS([slope_H], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimiser.zero_grad()
        total = 0.0
        for steps, reading in parts:
            shared = mean_S + _slopes(slope_H, which_S) * (reading.shared - mean_S)
            drawn = dataclasses.replace(reading, shared=shared)
            found = model.prospect(drawn, steps.page, steps.event, steps.visit)
            evidence_nG = tastes.over_nodes(found.evidence())
            loss = -(reading.share + evidence_nG).logsumexp(-1).sum() / count
            loss.backward()
            total += float(loss.detach())
        return total

    with torch.enable_grad():
        optimiser.step(closure)
    slope_H.requires_grad_(False)
