"""The A/B test that would be needed: sessions to see a difference at 80 % power and alpha 5 %.

Two-sided, by normal quantiles: n = (z_0.975 + z_0.8)^2 (variance) / difference^2. In a real test
each visitor meets one policy, and what is counted is what was paid: the variance is the sum of both
policies', and n is of each arm. In a shop of simulated shoppers both policies meet the same ones
with the same noise: the variance is that of the difference, and n is of all that is played.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]

POWER, ALPHA = 0.8, 0.05
QUANTILES = float(stats.norm.ppf(1.0 - ALPHA / 2.0) + stats.norm.ppf(POWER))


@dataclass(frozen=True)
class Trial:
    """What a test of one policy against another would take."""

    difference: float  # that is to be seen
    real: float | None  # sessions of each arm of a real test, by what is paid; None: no difference
    conversion: float | None  # likewise, by whether a session converts
    simulated: float | None  # sessions played by both policies in the simulator
    ratio: float | None  # variance of paired over that of unpaired differences, as simulated
    ratio_paid: float | None  # likewise, of what is paid


def needed(variance: float, difference: float) -> float | None:
    """Sessions; None where there is nothing to see."""
    if difference == 0.0:
        return None
    return max(2.0, float(QUANTILES**2 * variance / difference**2))


def variances(first_SB: Floats, second_SB: Floats) -> tuple[float, float]:
    """Of a session's difference between two policies, paired and unpaired; means over seeds.

    Seed s of the first stands beside seed s of the second, or beside its only one.
    """
    first, second = (x.astype(np.float64) for x in (first_SB, second_SB))
    unpaired = float(first.var(1).mean() + second.var(1).mean())
    count = max(len(first), len(second))
    pairs = [(first[s % len(first)], second[s % len(second)]) for s in range(count)]
    return float(np.mean([(a - b).var() for a, b in pairs])), unpaired


def trial(
    gain: float,
    conversion: float,
    counted: tuple[Floats, Floats],
    paid: tuple[Floats, Floats],
    converted: tuple[Floats, Floats],
) -> Trial:
    """What it would take to see a difference.

    Args:
        gain: difference of what is counted, a session.
        conversion: difference of the conversion rates.
        counted: of both policies, what the simulator counts (carts as they fill), [S, B] each.
        paid: likewise, what was paid.
        converted: likewise, whether there was an order.
    """
    (both, apart), (both_paid, apart_paid) = variances(*counted), variances(*paid)
    return Trial(
        difference=gain,
        real=needed(apart_paid, gain),
        conversion=needed(variances(*converted)[1], conversion),
        simulated=needed(both, gain),
        ratio=both / apart if apart else None,
        ratio_paid=both_paid / apart_paid if apart_paid else None,
    )
