"""Every estimator on one policy and one log, with intervals and what the overlap is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from recgym import ope
from recgym.metrics import Estimate

MODELLED = ("dm", "dr", "weighted dr", "switch dr")  # those that lean on a model


@dataclass(frozen=True)
class Logged:
    """What the sessions of a log say of one policy; see `recgym.ope`."""

    log_ratio_BT: Tensor
    reward_BT: Tensor
    q_BT: Tensor
    v_BT: Tensor
    shopper_B: Tensor


def parts_of(logged: Logged, clip: float | None, threshold: float) -> dict[str, ope.Parts]:
    """By the name of each estimator."""
    free_BT = ope.cumulative(logged.log_ratio_BT)
    weight_BT = ope.cumulative(logged.log_ratio_BT, clip)
    reward_BT, q_BT, v_BT = logged.reward_BT, logged.q_BT, logged.v_BT
    return {
        "trajectory ips": ope.trajectory_ips(weight_BT, reward_BT),
        "ips": ope.ips(weight_BT, reward_BT),
        "snips": ope.snips(weight_BT, reward_BT),
        "dm": ope.dm(v_BT),
        "dr": ope.dr(weight_BT, reward_BT, q_BT, v_BT),
        "weighted dr": ope.weighted_dr(weight_BT, reward_BT, q_BT, v_BT),
        "switch dr": ope.switch_dr(free_BT, reward_BT, q_BT, v_BT, threshold),
    }


def estimates(
    logged: Logged, *, clip: float | None, threshold: float, seed: int
) -> dict[str, Estimate]:
    """Values with 95 % intervals over shoppers, by the name of each estimator."""
    parts = parts_of(logged, clip, threshold)
    return {name: ope.estimate(one, logged.shopper_B, seed) for name, one in parts.items()}


def overlap_of(logged: Logged, clip: float | None) -> dict[str, Any]:
    """Of the sessions' whole weights, with a warning where there is little."""
    found = ope.overlap(ope.cumulative(logged.log_ratio_BT, clip)[:, -1], clip)
    return {**found.as_dict(), "warning": found.warning()}
