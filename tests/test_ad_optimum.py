"""How many ads are best, in a shop small enough to count it, and what agents make of it there."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from ad_shop import HURRIED, IMPATIENT, LOADS, Always, core_of, earned, slots_of, worth
from tiny import agent_settings

from agents.valuing import make_agent
from recgym.users.ad_law import AdLaw

STATIONARY = ([0], [1], [2])  # ads on every page
PLANS = list(itertools.product(range(3), repeat=7))  # those of the first pages; the last goes on


def best_of(law: str) -> tuple[int, ...]:
    """The plan of highest worth, of all 2,187."""
    found = worth(AdLaw.of(law), PLANS)
    return PLANS[max(range(len(found)), key=found.__getitem__)]


def test_what_two_pages_are_worth_by_hand() -> None:
    # Why: all below rests on this sum. Nobody leaves on the first page; without ads it sells for
    # 10 * 0.1 / (1 + e), 0.2689. Two ads are clicked with 2 * 0.5 / 2.5 = 0.4, each paid 2. The
    # second page is met by 1 / (1 + e^-4) = 0.98201 of them.
    none, two = worth(AdLaw(), [[0], [2]], pages=2)
    assert none == pytest.approx(0.268941 * 1.982014, abs=1e-5)
    assert two == pytest.approx((0.268941 + 0.8) * 1.982014, abs=1e-5)
    # with `strong` an ad has e^-0.3 of its mass, and two ads tire by 1: leaving is 0.2 likelier
    strong = worth(AdLaw.of("strong"), [[2]], pages=2)[0]
    click = 2 * 0.370409 / (1.0 + 0.5 + 2 * 0.370409)
    assert strong == pytest.approx((0.268941 + 2 * click) * (1.0 + 0.978119), abs=1e-5)


def test_without_a_cost_to_the_shopper_full_load_is_best() -> None:
    # Why: an ad that tires nobody and stands where any item would is money for nothing.
    none, one, two = worth(AdLaw(), STATIONARY)
    assert none < one < two
    assert best_of("none") == (2,) * 7


def test_where_ads_tire_shoppers_the_best_load_is_inside() -> None:
    # Why: the question that the environment is for. By the sum above, and over all plans.
    none, one, two = worth(AdLaw.of("strong"), STATIONARY)
    assert one > none and one > two
    assert 0.0 < sum(best_of("strong")) / 7 < 2.0


@pytest.mark.parametrize("law", ["none", "strong"])
def test_the_environment_earns_what_the_sum_says(law: str) -> None:
    # Why: an optimum of the sum is one of the environment only if both are one law. Within four
    # standard errors, for each set of slots.
    core = core_of(law, 1500)
    assert slots_of(core.platform.task) == list(LOADS)
    for option, slots in enumerate(LOADS):
        sum_N, ads = earned(core, Always(option), pages=30)
        expected = worth(AdLaw.of(law), [[len(slots)]], pages=30)[0]
        assert abs(float(sum_N.mean()) - expected) < 4.0 * float(sum_N.std()) / len(sum_N) ** 0.5
        assert ads == len(slots)


def agent_of(core: Any, **changed: Any) -> Any:
    """A DQN over options for this core, as quick as a test wants it."""
    quick = {
        "constrained": False, "hidden": 32, "batch_size": 256, "learning_starts": 500,
        "learning_rate": 3e-3, "epsilon_steps": 60, "target_rate": 0.1,
        "averaging": 0.05, "anchor": 0.0,
    }  # fmt: skip
    offered = {
        "num_features": core.platform.num_features,
        "num_option": core.platform.num_option,
        "seed": 0,
        "device": "cpu",
        "load_cap": 1.0,
    }
    return make_agent(agent_settings("ad_dqn") | quick | changed, offered)


@pytest.mark.slow
def test_a_short_sighted_agent_shows_more_ads_and_earns_less_over_thirty_days() -> None:
    # Why: what ads cost comes later: shoppers who leave sooner and do not come back. The same
    # agent, shop and shoppers, but for the discount.
    loads, earnings = {}, {}
    for gamma in (0.0, 0.95):
        core = core_of(IMPATIENT, 128, num_sessions=12, leave=HURRIED, bid=0.6)
        agent, observation = agent_of(core, gamma=gamma), core.reset(1 << 40)
        for _ in range(130):
            action_N = agent.act(observation, explore=True)
            transition = core.step(action_N)
            agent.learn(observation, action_N, transition)
            observation = transition.observation
        judged = core_of(IMPATIENT, 400, num_sessions=12, leave=HURRIED, bid=0.6)
        earnings[gamma], loads[gamma] = earned(judged, agent, days=30.0)
    assert loads[0.0] == pytest.approx(2.0) and loads[0.95] < 1.0
    gain_N = earnings[0.95] - earnings[0.0]  # the same shoppers
    assert float(gain_N.mean()) > 4.0 * float(gain_N.std()) / len(gain_N) ** 0.5
