"""experiments.reporting: intervals over seeds and shoppers, pairs, power, fronts and curves."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.reporting.curves import band, curve_of, iqm
from experiments.reporting.figures import fills_a_map, heat
from experiments.reporting.sampling import (
    RESAMPLES,
    all_pairs,
    best_of,
    compare,
    drawn,
    estimated,
    holm,
    shoppers_drawn,
)
from experiments.reporting.trial import QUANTILES, needed, trial, variances

TIMES = shoppers_drawn(400, 0)


def policy(name: str, value_SB: np.ndarray, times_RJ: np.ndarray = TIMES) -> object:
    return drawn(name, value_SB, np.ones_like(value_SB), times_RJ)


def test_holm_by_hand() -> None:
    # Why: 0.01 x 4, then 0.02 x 3, then max(0.06, 0.03 x 2), then max(0.06, 0.5 x 1).
    assert holm([0.02, 0.5, 0.01, 0.03]) == pytest.approx([0.06, 0.5, 0.04, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_policy_beside_itself_differs_by_exactly_0() -> None:
    # Why: anything else is noise of our own making.
    value_SB = np.random.default_rng(0).exponential(3.0, (3, 4000))
    pairs = all_pairs({"dqn": policy("dqn", value_SB), "ppo": policy("ppo", value_SB[:1] + 1.0)})
    own = pairs["dqn", "dqn"]
    assert (own.difference.mean, own.difference.low, own.difference.high) == (0.0, 0.0, 0.0)
    assert own.p == own.holm == 1.0 and own.probability == 0.5


def test_both_ways_say_the_same() -> None:
    # Why: the matrix has two cells for each pair.
    generator = np.random.default_rng(0)
    found = {n: policy(n, generator.exponential(3.0, (2, 4000))) for n in ("a", "b", "c")}
    pairs = all_pairs(found)
    for a, b in (("a", "b"), ("b", "c"), ("a", "c")):
        assert pairs[a, b].probability == pytest.approx(1.0 - pairs[b, a].probability)
        assert pairs[a, b].holm == pairs[b, a].holm >= pairs[a, b].p
    assert sum(best_of(found).values()) == pytest.approx(1.0)


def test_one_seed_has_the_interval_of_its_shoppers() -> None:
    # Why: by hand, the standard error of a mean of 4,000 is s / sqrt(4,000).
    value_SB = np.random.default_rng(1).normal(5.0, 2.0, (1, 4000))
    found = policy("a", value_SB).interval()
    wide = 2 * 1.96 * 2.0 / np.sqrt(4000)
    assert found.mean == pytest.approx(value_SB.mean())
    assert found.high - found.low == pytest.approx(wide, rel=0.12)


def test_seeds_that_part_widen_an_interval_as_they_should() -> None:
    # Why: more shoppers do not narrow what few seeds leave open. By hand: seeds at 0 and 2 have a
    # variance of 2, so that the mean of two has one of 1; plain resampling would say 1 / 2.
    value_SB = np.repeat([[0.0], [2.0]], 400, axis=1)
    assert policy("a", value_SB).total_R.var() == pytest.approx(1.0, rel=0.05)


def test_pairs_on_the_same_shoppers_are_sharper() -> None:
    # Why: what shoppers have in common drops out. By hand, a policy that adds 0.1 to everyone is
    # better for certain, however much shoppers differ; drawn apart it would not be seen.
    value_1B = np.random.default_rng(2).exponential(3.0, (1, 4000))
    better = compare(policy("b", value_1B + 0.1), policy("a", value_1B))
    assert better.probability == 1.0 and better.p < 1e-9
    ends = [better.difference.low, better.difference.high]
    assert ends == pytest.approx([0.1, 0.1])
    apart = compare(policy("b", value_1B + 0.1, shoppers_drawn(400, 1)), policy("a", value_1B))
    assert 0.5 < apart.probability < 0.99


def test_two_seeds_leave_little_to_a_t_test() -> None:
    # Why: by hand, seeds at 0.5 and 1.5 against 0: t = 1 / 0.5 = 2 at one degree of freedom, so
    # p = 0.295, where a normal test would say 0.046.
    two, zero = np.repeat([[0.5], [1.5]], 400, axis=1), np.zeros((1, 400))
    assert compare(policy("a", two), policy("b", zero)).p == pytest.approx(0.2952, abs=1e-3)


def test_runs_without_shoppers_are_compared_by_their_errors() -> None:
    # Why: 1 apart with errors of 0.3 and 0.4, that is 0.5 together: Phi(2) = 0.977.
    a, b = (
        estimated(n, np.array([m]), np.array([e])) for n, m, e in (("a", 3, 0.3), ("b", 2, 0.4))
    )
    assert compare(a, b).probability == pytest.approx(0.977, abs=0.01)
    assert len(a.total_R) == RESAMPLES


def test_sessions_that_a_test_needs_by_hand() -> None:
    # Why: Cohen's table: for half a standard deviation at 80 % power, 63 in each arm (64 by t).
    assert pytest.approx(1.959964 + 0.841621) == QUANTILES
    assert needed(2.0 * 1.0, 0.5) == pytest.approx(62.79, abs=0.01)
    assert needed(2.0, 0.0) is None


def test_a_rate_is_planned_as_textbooks_do() -> None:
    # Why: 5 % against 6 %: (z)^2 (0.05 x 0.95 + 0.06 x 0.94) / 0.01^2 = 8,155 in each arm.
    first, second = (np.repeat([1.0, 0.0], [n, 1000 - n])[None] for n in (60, 50))
    plan = trial(0.01, 0.01, (first, second), (first, second), (first, second))
    assert plan.real == plan.conversion == pytest.approx(8155, abs=1)
    # the first converts whom the second does, and ten more: 0.01 x 0.99 of variance in pairs
    assert plan.simulated == pytest.approx(QUANTILES**2 * 0.01 * 0.99 / 0.01**2)
    assert plan.ratio == pytest.approx(0.0099 / 0.1039)


def test_variances_pair_seed_with_seed() -> None:
    # Why: by hand: each of two seeds is paired with the one run of a baseline.
    two = np.array([[0.0, 2.0], [0.0, 4.0]])
    assert variances(two, np.array([[0.0, 2.0]])) == (0.5 * (0.0 + 1.0), 0.5 * (1 + 4) + 1.0)


def test_the_interquartile_mean_by_hand() -> None:
    # Why: of 8 seeds the two least and the two greatest are left out.
    value_SP = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [700.0]])
    assert iqm(value_SP).tolist() == [3.5]
    low, high = band(value_SP)
    assert low[0] < 3.5 < high[0]


def test_a_curve_stands_on_common_steps() -> None:
    # Why: by hand: both seeds reach 300, so that the later part of one is left out.
    step = np.arange(0.0, 601.0, 100.0)
    curve = curve_of([(step, step), (step[:4], step[:4] + 2.0)])
    assert curve.num_seeds == 2 and len(curve.step) == 4
    assert curve.step[0] == 37.5 and curve.step[-1] == 262.5
    assert (curve.low <= curve.middle).all() and (curve.middle <= curve.high).all()
    assert curve.middle[0] == pytest.approx(1.0)  # 0 and 2
    assert stats.trim_mean([0, 2], 0.25) == 1.0


def test_a_map_puts_numbers_in_order_and_needs_enough_pairs() -> None:
    # Why: a search tries each pair once, and a map of holes says nothing.
    cells = {("10", "a"): 1.0, ("2", "a"): 0.5, ("2", "b"): 0.0, ("10", "b"): 0.25}
    assert fills_a_map(cells)
    text = heat(cells, ("slots", "agent"), "lift").svg
    assert text.index(">2<") < text.index(">10<") and text.count("<rect") == 4
    assert not fills_a_map({(str(n), str(n)): 0.0 for n in range(3)})
    assert not fills_a_map({(str(n), "a"): 0.0 for n in range(13)})
