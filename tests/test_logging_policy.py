"""recgym.logging_policy: what it draws is what its propensities say."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from probe_shop import ProbeShop, found_alone
from scipy import stats

from recgym import rng
from recgym.logging_policy import LoggingPolicy, draw_without_replacement
from recgym.rng import Purpose
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation
from recgym.worlds.taste import TasteShop

POPULAR = torch.tensor([16.0, 4.0, 1.0])
SHARE = (0.5, 0.25, 0.2, 0.05)


def first_pages(num: int, num_slots: int) -> tuple[LoggingPolicy, Observation]:
    """A catalogue of three items, before the first page: affinity is then popularity ** 0.5."""
    shop = ProbeShop()
    shop.catalog = type(shop.catalog)(
        shop.catalog.price[:, :3], torch.zeros(3, dtype=torch.int64), torch.eye(3), 0, 1
    )
    shop.found = found_alone((0.4, 0.3, 0.3), shop.catalog.category, torch.float32)
    spec = ObservationSpec(Simulator(shop, num_slots=num_slots), "history")
    seed = torch.arange(num)
    observation = spec.observe(spec.simulator.reset(seed, torch.zeros_like(seed)))
    return LoggingPolicy(shop.catalog, POPULAR, num_slots=num_slots, share=SHARE), observation


def test_propensities_of_the_mixture_by_hand() -> None:
    # Why: the fit and every off-policy estimate divide by them. Affinity is (4, 2, 1) / 7,
    # popularity (16, 4, 1) / 21, uniform 1/3; item 0 then item 1:
    #   first  0.5 * 4/7 + 0.25 * 16/21 + 0.2 / 3                          = 0.5428571
    #   second (0.2857143 * 2/3 + 0.1904762 * 4/5 + 0.0666667 * 1/2) / 0.5428571 = 0.6929825
    policy, observation = first_pages(2000, 2)
    item_NK, propensity_NK = policy.act_with_propensity(observation)
    chosen = (item_NK == torch.tensor([0, 1])).all(-1)
    assert chosen.sum() > 100
    expected = torch.tensor([0.5428571, 0.6929825]).expand(int(chosen.sum()), 2)
    torch.testing.assert_close(propensity_NK[chosen], expected, rtol=1e-5, atol=1e-6)
    empty = (item_NK == -1).all(-1)
    assert 50 < empty.sum() < 150 and propensity_NK[empty].unique().item() == pytest.approx(0.05)


def test_slates_come_as_often_as_their_propensities_say() -> None:
    # Why: the product of a slate's propensities is the chance of the slate.
    policy, observation = first_pages(40_000, 2)
    item_NK, propensity_NK = policy.act_with_propensity(observation)
    count, expected = [], []
    for slate in permutations(range(3), 2):
        same = (item_NK == torch.tensor(slate)).all(-1)
        count.append(int(same.sum()))
        expected.append(float(propensity_NK[same][0].double().prod()))
    assert sum(expected) == pytest.approx(0.95, abs=1e-6)  # the rest are empty pages
    count.append(len(item_NK) - sum(count))
    expected.append(1 - sum(expected))
    assert stats.chisquare(count, [p * len(item_NK) for p in expected]).pvalue > 1e-3


def test_draws_without_replacement_follow_plackett_luce() -> None:
    # Why: by hand, P(a, b, c) = p_a * p_b / (1 - p_a) for weights 0.5, 0.3, 0.2.
    n, p = 60_000, (0.5, 0.3, 0.2)
    key = rng.key(torch.arange(n), torch.zeros(n, dtype=torch.int64), 0, Purpose.POLICY)
    drawn = draw_without_replacement(torch.tensor([p]).repeat(n, 1), rng.uniform(key, 3))
    orders = list(permutations(range(3)))
    count = [int((drawn == torch.tensor(o)).all(-1).sum()) for o in orders]
    law = [p[a] * p[b] / (1 - p[a]) for a, b, _ in orders]
    assert sum(count) == n
    assert stats.chisquare(count, [n * x for x in law]).pvalue > 1e-3


def test_a_slate_never_holds_an_item_twice() -> None:
    # Why: rounding may land a draw on the edge of a taken item, most of all when weights are odd.
    weight = torch.rand(5000, 30, generator=torch.Generator().manual_seed(0)).pow(12)
    key = rng.key(torch.arange(5000), torch.zeros(5000, dtype=torch.int64), 0, Purpose.POLICY)
    drawn = draw_without_replacement(weight, rng.uniform(key, 20)).sort(-1).values
    assert bool((drawn.diff(dim=-1) > 0).all())
    assert drawn.min() >= 0 and drawn.max() < 30


def test_its_slates_do_not_depend_on_the_number_of_lanes() -> None:
    # Why: a log is a function of its seeds.
    shop = TasteShop(num_items=40, dtype=torch.float64)
    simulator = Simulator(shop, num_slots=5, dtype=torch.float64)
    policy = LoggingPolicy(shop.catalog, shop.fame.exp(), num_slots=5)
    spec = ObservationSpec(simulator, "history")
    slates = []
    for n in (8, 64):
        state = simulator.reset(torch.arange(n), torch.zeros(n, dtype=torch.int64))
        for _ in range(3):
            item_NK = policy.act(spec.observe(state))
            state, _ = simulator.step(state, simulator.page(state, item_NK))
        slates.append(policy.act(spec.observe(state))[:8])
    assert torch.equal(*slates)


def test_shares_that_do_not_add_up_are_refused() -> None:
    # Why: propensities of such a mixture would be wrong throughout.
    with pytest.raises(ValueError, match="adds up to"):
        LoggingPolicy(ProbeShop().catalog, torch.ones(4), share=(0.5, 0.5, 0.5, 0.0))
