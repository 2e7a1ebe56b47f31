"""How far a learned shop's claims agree with the truth: pure functions of values a policy.

All are on incremental revenue (above empty pages, on the same shoppers) unless said. The *spread*
is what the best of the fixed policies truly earns above showing nothing: errors are shares of it,
since a learned shop that is right about revenue but not about differences is of no use.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


def spread(true_P: Floats) -> float:
    """Best minus nothing, currency units a session; nothing is worth 0."""
    return float(max(true_P.max(), 0.0))


def value_error(claimed_P: Floats, true_P: Floats) -> float | None:
    """Mean absolute error of the claims, as a share of the spread; None without a spread."""
    return share_of(float(np.abs(claimed_P - true_P).mean()), spread(true_P))


def regret(claimed_P: Floats, true_P: Floats) -> float | None:
    """What the policy that the learned shop picks loses against the best, as a share of the spread.

    Ties of the claims are broken at random, so their mean counts; to show nothing is a pick too.
    """
    claimed, true = np.append(claimed_P, 0.0), np.append(true_P, 0.0)
    picked = true[claimed == claimed.max()].mean()
    return share_of(float(true.max() - picked), spread(true_P))


def pairs_that_differ(true_PJ: Floats) -> Bools:
    """Pairs (a, b), a before b, whose paired 95 % interval (normal) excludes 0, [P, P].

    Args:
        true_PJ: values in blocks of sessions, the same shoppers for all policies.
    """
    apart_PPJ = true_PJ[:, None] - true_PJ[None, :]
    half_PP = 1.96 * apart_PPJ.std(-1, ddof=1) / np.sqrt(true_PJ.shape[1])
    return np.asarray(np.triu(np.abs(apart_PPJ.mean(-1)) > half_PP, 1), dtype=bool)


def kendall_tau(claimed_P: Floats, true_P: Floats, counted_PP: Bools) -> float:
    """Kendall's tau-b over the counted pairs; 0 where the claims tell none of them apart.

    (C - D) / sqrt((C + D + T) (C + D)) with T pairs tied by the claims (Kendall 1945, "The
    treatment of ties in ranking problems"; the counted pairs differ in truth, so none is tied
    there).
    """
    claimed_PP = np.sign(claimed_P[:, None] - claimed_P[None, :])[counted_PP]
    true_PP = np.sign(true_P[:, None] - true_P[None, :])[counted_PP]
    agree, told = float((claimed_PP * true_PP).sum()), float(np.abs(claimed_PP).sum())
    return agree / np.sqrt(told * len(claimed_PP)) if told else 0.0


def gap(claimed: float, true: float) -> float | None:
    """Exploitation gap: claimed ÷ true - 1; None where the policy truly earns nothing."""
    return claimed / true - 1.0 if true > 0 else None


def share_of(value: float, best: float) -> float | None:
    """``value`` as a share of ``best``; None where there is nothing to earn."""
    return value / best if best > 0 else None
