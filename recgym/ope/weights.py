"""Importance weights of sessions: how much likelier the evaluated policy is to show these pages."""

from __future__ import annotations

import torch
from torch import Tensor


def cumulative(log_ratio_BT: Tensor, clip: float | None = None) -> Tensor:
    """Weight of each session up to and with each page, [B, T].

    w_t = product over s <= t of pi(page_s | history_s) / mu(page_s | history_s), with ``clip``
    no larger than it (Ionides 2008, "Truncated importance sampling"): less variance,
    and a bias towards the pages that the log is full of.
    """
    weight_BT = log_ratio_BT.double().cumsum(-1).exp()
    return weight_BT if clip is None else weight_BT.clamp(max=clip)


def before(weight_BT: Tensor) -> Tensor:
    """Weight of each session up to the page before, [B, T]; 1 at the first."""
    return torch.cat([torch.ones_like(weight_BT[:, :1]), weight_BT[:, :-1]], 1)


def effective_sample_size(weight_B: Tensor) -> float:
    """So many sessions of the policy's own say as much: (sum w)^2 / sum w^2.

    Kish 1965, "Survey sampling", his design effect of weights. 0 where no session has any weight.
    """
    square = float(weight_B.double().square().sum())
    return float(weight_B.double().sum()) ** 2 / square if square else 0.0
