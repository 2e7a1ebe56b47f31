"""recgym.worlds.exact and tree: what a policy is worth, without a single draw."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_shop import EXPECTED_REVENUE, START_MS, ProbeShop, learned_shop

from agents.baselines import Popular
from recgym import choice
from recgym.errors import UserError
from recgym.logging_policy import EmptyPages
from recgym.rollout import rollout
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import After, Arrival, Policy
from recgym.worlds.exact import ExactShop, Planned, slates
from recgym.worlds.tiny import CERTAIN, TinyShop
from recgym.worlds.tree import Tree, alike, options
from recgym.worlds.tree import worth as worth_of
from recgym.worlds.truth import choice_probabilities, page_value

SESSIONS = 200_000


def simulator_of(shop: Any, num_slots: int = 2, **given: Any) -> Simulator:
    return Simulator(shop, num_slots=num_slots, dtype=torch.float64, **given)


def laid_out(world: TinyShop, num_slots: int = 2) -> ExactShop:
    simulator = simulator_of(world, num_slots)
    return ExactShop(simulator, *world.everyone(), max_pages=world.num_pages)


def tree_of(shop: Any, num_slots: int = 2, **given: Any) -> Tree:
    return Tree(ObservationSpec(simulator_of(shop, num_slots), "history"), **given)


@pytest.fixture(scope="module")
def ordinary() -> ExactShop:
    return laid_out(TinyShop(dtype=torch.float64))


def two_items() -> TinyShop:
    """Item 0 sells in 9 of 10 views at 10, item 1 in 4 at 20, what is found alone never.

    A page draws every other view, half of all shoppers stay for a second page, buyers never.
    """
    shop = TinyShop(
        num_items=4, num_pages=3, kind_share=(1.0,), page_weight=0.0, dissimilarity=1.0,
        leave=0.0, satisfied_leave=CERTAIN, price_slope=0.0, dtype=torch.float64,
    )  # fmt: skip
    found_ZI = torch.tensor([[-40.0, -40.0, -40.0, 0.0]], dtype=torch.float64)
    shop._search(found_ZI.log_softmax(-1), shop.catalog.category)
    shop.appeal_ZI = torch.tensor([[0.0, 0.0, -40.0, -40.0]], dtype=torch.float64)
    chance_ZI = torch.tensor([[0.9, 0.4, 0.0, 0.0]], dtype=torch.float64)
    shop.buy_ZI = chance_ZI.logit(eps=1e-15)
    shop.catalog.price[:] = torch.tensor([[10.0, 20.0, 1.0, 1.0]])
    return shop


def test_backward_induction_by_hand() -> None:
    # Why: the last page that counts is worth 0.5 * 0.5 * 0.9 * 10 = 2.25 with item 0 (2 with item
    # 1). Before it, item 0 brings 4.5 + (1 - 0.45) * 2.25 = 5.7375, item 1 4 + 0.8 * 2.25 = 5.8:
    # best is the dear item first, and whoever looks at this page alone shows the cheap one.
    exact = laid_out(two_items(), num_slots=1)
    best, myopic = exact.best(), exact.myopic()
    assert best.revenue == pytest.approx(5.8, abs=1e-9)
    assert best.orders == pytest.approx(0.2 + 0.8 * 0.5 * 0.45, abs=1e-9)
    assert myopic.revenue == pytest.approx(5.7375, abs=1e-9)
    shown = [exact.slate_AK[slate_S[0], 0].item() for slate_S in best.slate[:2]]
    assert shown == [1, 0]


def first_day(lanes: int = 1) -> Arrival:
    zero = torch.zeros(lanes, dtype=torch.int64)
    return Arrival(zero, zero, torch.zeros(lanes, 1, dtype=torch.float64), zero + START_MS)


def test_one_page_is_worth_what_was_computed_by_hand() -> None:
    # Why: see tests/probe_shop.py for the arithmetic.
    shop = ProbeShop(dtype=torch.float64)
    popular = Popular(torch.tensor([0, 0, 0, 1]), num_slots=1)
    tree = tree_of(shop, num_slots=1, max_pages=1)
    worth = tree.worth(popular, first_day(), torch.ones(1, dtype=torch.float64))
    assert worth.revenue == pytest.approx(EXPECTED_REVENUE, abs=1e-6) and worth.open == 1.0


def test_carts_are_paid_in_the_tree() -> None:
    # Why: by hand, on empty pages. The first one sells 6.3 and leaves carts in 0.2201667 of the
    # sessions, worth 4.0983333. On the second, going on has 1 / (1 + e^-0.5) = 0.6224593 without a
    # cart, and with one 1 / (2 + e^-0.5) = 0.3836517, as has paying: 6.3 * (0.6224593 * 0.7798333
    # + 0.3836517 * 0.2201667) + 0.3836517 * 4.0983333 = 5.1625885.
    tree = tree_of(ProbeShop(dtype=torch.float64), num_slots=1, max_pages=2)
    worth = tree.worth(EmptyPages(1), first_day(), torch.ones(1, dtype=torch.float64))
    assert worth.revenue == pytest.approx(11.4625885, abs=1e-5)


def test_the_best_policy_is_far_above_the_myopic_one(ordinary: ExactShop) -> None:
    # Why: else "within 1 % of the optimum" would not test that a learner looks ahead.
    best, myopic, nothing = ordinary.best(), ordinary.myopic(), ordinary.of(EmptyPages(2))
    assert myopic.revenue < 0.95 * best.revenue
    assert nothing.revenue < 0.8 * best.revenue
    assert [len(stage.state.noise) for stage in ordinary.stages] == [3, 6, 6, 6, 6]
    assert bool((ordinary.stages[-1].revenue_SA == 0.0).all())  # on the last page all leave


def test_what_nothing_changes_is_worth_nothing() -> None:
    # Why: in the shop where all would be found anyway, even the best pages bring next to nothing.
    exact = laid_out(TinyShop(redundant=True, dtype=torch.float64))
    best, nothing = exact.best(), exact.of(EmptyPages(2))
    assert 0.0 < best.revenue / nothing.revenue - 1.0 < 2e-3
    assert abs(best.orders / nothing.orders - 1.0) < 2e-3


@pytest.mark.parametrize("redundant", [False, True])
def test_states_and_histories_give_one_value(redundant: bool) -> None:
    # Why: two ways of adding up the same sessions, merged states against all histories.
    world = TinyShop(redundant=redundant, num_items=7, num_pages=4, dtype=torch.float64)
    exact = laid_out(world)
    for policy in (Popular(world.fame, num_slots=2), EmptyPages(2)):
        plan = exact.of(policy)
        worth = tree_of(world, max_pages=4).worth(policy, *world.everyone())
        assert worth.revenue == pytest.approx(plan.revenue, rel=1e-12)
        assert worth.orders == pytest.approx(plan.orders, rel=1e-12)
        assert worth.open == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("page", ["popular", "empty"])
def test_what_is_not_followed_is_stood_for(page: str) -> None:
    # Why: a cut that loses sessions loses more of them where there is more to choose from, and the
    # effect of a page would be that of the cut.
    world = TinyShop(num_items=7, num_pages=4, dtype=torch.float64)
    policy: Policy = Popular(world.fame, num_slots=2) if page == "popular" else EmptyPages(2)
    plan = laid_out(world).of(policy)
    found = tree_of(world, max_pages=4, least=1e-4).worth(policy, *world.everyone())
    assert found.orders != plan.orders
    assert found.orders == pytest.approx(plan.orders, rel=5e-4)
    assert found.open == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("which", ["best", "nothing"])
def test_simulated_sessions_earn_the_exact_value(ordinary: ExactShop, which: str) -> None:
    # Why: the solver and the simulator must be of one shop. Money paid, money with carts credited,
    # which is for less noise, and orders, each within 4 standard errors.
    best = ordinary.best()
    policy: Policy = Planned(ordinary, best) if which == "best" else EmptyPages(2)
    plan = best if which == "best" else ordinary.of(policy)
    seed, shop = torch.arange(SESSIONS), ordinary.simulator.shop
    spec = ObservationSpec(simulator_of(shop, encoder=shop), "history")
    stats = rollout(spec, policy, seed, torch.zeros_like(seed), lanes=20_000)
    found = [(stats.revenue, plan.revenue), (stats.credited_revenue, plan.revenue)]
    for value_B, exact in [*found, (stats.orders, plan.orders)]:
        error = value_B.std() / SESSIONS**0.5
        assert abs(value_B.mean() - exact) < 4 * error, (value_B.mean(), exact, error)
    assert stats.credited_revenue.var() < 0.8 * stats.revenue.var()
    assert int(stats.pages.max()) == 5


def test_a_page_is_the_mean_over_segments() -> None:
    # Why: a learned shopper may belong to any of several segments. In states where they are no
    # longer equally likely, against the truth's own sums; one mean shopper would be another law.
    model = learned_shop(torch.float64)
    simulator, popular = simulator_of(model, encoder=model), Popular(torch.arange(40), num_slots=2)
    spec = ObservationSpec(simulator, "encoder")
    state = simulator.reset(torch.arange(50), torch.zeros(50, dtype=torch.int64))
    for _ in range(3):
        state, _ = simulator.step(state, simulator.page(state, popular.act(spec.observe(state))))
    page = simulator.page(state, popular.act(spec.observe(state)))
    reading, now = model.read(state.user), state.visit
    on_page = options(model, reading, page, now)
    chosen = choice_probabilities(model, state, page)
    viewed_NJ = torch.cat([chosen.organic, chosen.slot], -1)
    assert torch.allclose(on_page.chance.sum(-1), viewed_NJ, atol=1e-12)
    assert torch.allclose(on_page.stays(), 1.0 - chosen.leave, atol=1e-12)
    value = page_value(model, state, page, model.catalog.price_at(now.time_ms))
    carted_N = on_page.chance[..., int(After.CART)].sum(-1)
    assert torch.allclose(worth_of(model, on_page, now)[0], value.revenue, rtol=1e-12)
    assert torch.allclose(carted_N, value.carted, rtol=1e-12)
    one = choice.law(model.respond(model.typical(reading), page, now), now)
    assert not torch.allclose(choice.probabilities(one).leave, chosen.leave, rtol=1e-2)


def test_a_learned_shop_earns_the_exact_value_too() -> None:
    # Why: the effect of recommending in a learned shop is computed here, gaps integrated and not
    # drawn. The untrained model's sessions go on for long, so both are cut after three pages.
    model = learned_shop(torch.float64, num_items=16)
    spec = ObservationSpec(simulator_of(model, 1, encoder=model), "encoder")
    policy = Popular(torch.arange(16), num_slots=1)
    seed = torch.arange(60_000)
    every = model.arrive(seed, seed * 0)
    seed = seed[every.start_ms == every.start_ms[0]]
    alone, weight = every.lanes(slice(0, 1)), torch.ones(1, dtype=torch.float64)
    short = Tree(spec, max_pages=2).worth(policy, alone, weight)
    worth = Tree(spec, max_pages=3, gap_nodes=2).worth(policy, alone, weight)
    assert short.revenue < worth.revenue and short.open > worth.open
    stats = rollout(spec, policy, seed, torch.zeros_like(seed), lanes=20_000, max_pages=3)
    error = stats.credited_revenue.std() / len(seed) ** 0.5
    assert abs(stats.credited_revenue.mean() - worth.revenue) < 4 * error


def test_shoppers_who_begin_alike_are_one() -> None:
    # Why: by hand, two kinds at one hour on three days, shares 2/3 and 1/3.
    profile = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    day = torch.arange(3) * 86_400_000
    arrival, share = alike(Arrival(day * 0, day * 0, profile, START_MS + day))
    assert arrival.profile[:, 0].tolist() == [0.0, 1.0]
    assert share.tolist() == pytest.approx([2 / 3, 1 / 3])


def test_all_slates_are_there_once() -> None:
    # Why: an optimum over some of the pages is none. By hand: 1 + 20 + 20 * 19.
    rows = slates(20, 2)
    assert rows.shape == (401, 2) and len(rows.unique(dim=0)) == 401
    assert rows[0].tolist() == [-1, -1] and rows[5].tolist() == [4, -1]


def test_a_shop_with_too_many_states_is_refused_in_a_sentence() -> None:
    # Why: a learned shop remembers all, and no table holds that.
    model = learned_shop(torch.float64)
    every = model.arrive(torch.arange(1), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(UserError, match="expected at most 1000"):
        ExactShop(simulator_of(model, 1), *alike(every), max_pages=2)
