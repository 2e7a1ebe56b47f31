"""agents.scoring: a claim is held against members that did not train it; doubt is said in words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.scoring import cross_scored
from agents.table import verdict_lines
from agents.valuing import Played
from recgym.metrics import lift_over_members
from recgym.types import SessionStats

SESSIONS = 4000
MEMBER_B = torch.arange(SESSIONS) % 2
BASE_B = 2.0 + torch.randn(SESSIONS, generator=torch.Generator().manual_seed(0))


def stats_of(revenue_B: Tensor) -> SessionStats:
    nought_B, who_B = torch.zeros_like(revenue_B), torch.arange(len(revenue_B))
    return SessionStats(who_B, *[nought_B] * 6, revenue_B, revenue_B)


def played(first: float, second: float | None = None, noise: float = 0.2) -> Played:
    """A policy that adds so much to what empty pages bring, in the one member and the other."""
    lift_M = torch.tensor([first, first if second is None else second])
    noise_B = noise * torch.randn(SESSIONS, generator=torch.Generator().manual_seed(1))
    return Played(stats_of(BASE_B + lift_M[MEMBER_B] + noise_B), 0.5, MEMBER_B)


def found(claimed: Played, scored: Played) -> dict[str, object]:
    nothing = played(0.0, noise=0.0)
    shops = ({"nothing": nothing, "dqn": run} for run in (claimed, scored))
    return cross_scored(*shops, agent="dqn", seed=0)


def test_a_claim_that_holds_raises_no_alarm_and_one_that_does_not_does() -> None:
    assert found(played(1.0), played(0.95))["alarm"] is False  # 5 % is what members differ by
    parted = found(played(1.0), played(0.7))
    assert parted["alarm"] is True
    apart = parted["apart"]
    assert isinstance(apart, dict) and apart["mean"] == pytest.approx(0.3)
    assert apart["low"] == pytest.approx(0.3) == apart["high"]  # the same noise on both sides


def test_noise_alone_raises_no_alarm() -> None:
    # Why: an alarm that rings by chance is switched off. Another noise, of the same mean, apart by
    # more than a tenth of a small claim.
    generator = torch.Generator().manual_seed(2)
    noisy = stats_of(BASE_B + 0.03 + 0.7 * torch.randn(SESSIONS, generator=generator))
    result = found(played(0.05, noise=0.7), Played(noisy, 0.5, MEMBER_B))
    apart, claim = result["apart"], result["claim"]
    assert isinstance(apart, dict) and isinstance(claim, dict)
    assert abs(apart["mean"]) > 0.1 * claim["mean"] and result["alarm"] is False


def test_a_lift_is_reliable_where_all_members_give_one() -> None:
    assert found(played(1.0), played(0.9, 1.1))["reliable"] is True
    assert found(played(1.0), played(-0.2, 1.1))["reliable"] is False  # one member gives none
    assert found(played(0.0), played(0.005, noise=0.01))["reliable"] is False  # nor one of 0.25 %


def test_more_sessions_do_not_narrow_what_members_leave_open() -> None:
    # Why: by hand: two members of +0 and +1; a quarter of the resamples hold each of them twice.
    lift = played(0.0, 1.0, noise=0.0)
    nothing = played(0.0, noise=0.0)
    estimate = lift_over_members(lift.stats, nothing.stats, MEMBER_B)
    assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.5, 0.0, 1.0))
    one = lift_over_members(lift.stats, nothing.stats, torch.zeros_like(MEMBER_B))
    assert one.low is not None and one.high is not None
    assert np.isclose(one.mean or 0.0, 0.5) and one.high - one.low < 0.1


def test_the_table_says_it_in_words() -> None:
    result = found(played(1.0), played(-0.2, 1.1))
    summary = {"agent": "dqn", "policies": {"dqn": {}}, "cross_scored": result}
    said = "\n".join(verdict_lines(summary))
    assert "dqn claims +1.0" in said and "ALARM: the claim of dqn does not hold" in said
    assert "no reliable lift: the best policy, dqn, adds +0.4" in said
    result = found(played(1.0), played(1.0))
    said = "\n".join(verdict_lines({**summary, "cross_scored": result}))
    assert "ALARM" not in said and "no reliable lift" not in said
