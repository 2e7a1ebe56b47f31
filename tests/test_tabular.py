"""agents.tabular: values by hand, and the optimum of the tiny shop within one percent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.tabular import TabularQ
from recgym.envs.core import ShopCore, Transition
from recgym.errors import UserError
from recgym.reward import Reward, chosen_revenue
from recgym.simulator import Simulator
from recgym.spaces import ObservationSpec
from recgym.types import Observation, Outcome
from recgym.worlds.exact import ExactShop
from recgym.worlds.tiny import TinyShop

SPEC = ObservationSpec(Simulator(TinyShop(), num_slots=2, expected_revenue=False), "history")


def agent_of(**changed: Any) -> TabularQ:
    settings: dict[str, Any] = {"num_items": 20, "num_slots": 2, "epsilon_steps": 120}
    return TabularQ(**{**settings, **changed})


def first_pages(num: int) -> Observation:
    seed = torch.arange(num)
    return SPEC.observe(SPEC.simulator.reset(seed, torch.zeros_like(seed)))


def test_the_best_slate_by_hand() -> None:
    # Why: with Q0 = 2 and odds times values 1 * 3, 0.5 * 8 and 2 * 2.9, top K by odds times (value
    # - Q0) takes items 1 (3.0) and 2 (1.8): (2 + 4 + 5.8) / 3.5 = 3.371. Items 0 and 1 bring more,
    # (2 + 3 + 4) / 2.5 = 3.6, since a likely click worth 2.9 is a loss against that.
    agent, observation = agent_of(), first_pages(1)
    cell = int(agent.cells(observation))
    agent.value_SJ[cell, :4] = torch.tensor([2.0, 3.0, 8.0, 2.9])
    agent.visits_SJ[cell, 1:4] = torch.tensor([1.0, 0.5, 2.0]) * agent.passed_SI[cell, :3]
    eligible = torch.arange(20).expand(1, -1) < 3
    item_NK, value_N = agent._best(dataclasses.replace(observation, eligible=eligible))
    assert value_N.item() == pytest.approx(3.6, abs=1e-6)
    assert sorted(item_NK[0].tolist()) == [0, 1]


def one_step(agent: TabularQ, seed: int = 0) -> tuple[Observation, Tensor, Transition]:
    core = ShopCore(SPEC, lambda outcome: torch.full_like(outcome.revenue, 4.0), num_envs=256)
    observation = core.reset(seed)
    item_NK = agent.act(observation, explore=True)
    return observation, item_NK, core.step(item_NK)


@pytest.mark.parametrize("terminated", [False, True])
def test_the_target_by_hand(terminated: bool) -> None:
    # Why: with alpha = 1 / n, values of 10 for all that follows and gamma = 0.5, every entry met
    # becomes 4 + 0.5 * 10 = 9, and 4 where the session is over; nothing else moves. A page that was
    # passed by counts against both of its items.
    agent = agent_of(gamma=0.5, rate=1.0)
    observation, item_NK, transition = one_step(agent)
    first = agent.cells(observation).unique()
    following = torch.ones(agent.cells.size, dtype=torch.bool)
    following[first] = False
    agent.value_SJ[following] = 10.0
    ended = torch.full_like(transition.terminated, terminated)
    agent.learn(observation, item_NK, dataclasses.replace(transition, terminated=ended))
    met = agent.visits_SJ > 0
    assert torch.allclose(agent.value_SJ[met], torch.tensor(4.0 if terminated else 9.0))
    assert bool((agent.value_SJ[first][~met[first]] == 0.0).all())
    clicked = transition.outcome.clicked
    assert float(agent.visits_SJ[:, 1:].sum()) == float(clicked.sum()) > 0
    passed = (transition.outcome.page.item[~clicked] >= 0).sum()
    assert float((agent.passed_SI - agent_of().passed_SI).sum()) == float(passed)


def test_a_page_limit_does_not_end_the_value() -> None:
    # Why: `truncated` is the site's limit, not the shopper's; only `terminated` stops the target.
    agent = agent_of(rate=1.0)
    observation, item_NK, transition = one_step(agent)
    agent.value_SJ[:, 0] = 10.0
    never = torch.zeros_like(transition.terminated)
    cut = dataclasses.replace(transition, terminated=never, truncated=~never)
    agent.learn(observation, item_NK, cut)
    assert float(agent.value_SJ[agent.visits_SJ > 0].min()) > 4.0


def trained(reward: Reward, steps: int, agent: TabularQ | None = None) -> TabularQ:
    core, agent = ShopCore(SPEC, reward, num_envs=512), agent or agent_of()
    observation = core.reset(1 << 50)
    for _ in range(steps):
        item_NK = agent.act(observation, explore=True)
        transition = core.step(item_NK)
        agent.learn(observation, item_NK, transition)
        observation = transition.observation
    return agent


def loss_of(agent: TabularQ) -> float:
    """Share of the optimum that the agent forgoes, exactly."""
    world = TinyShop(dtype=torch.float64)
    simulator = Simulator(world, num_slots=2, dtype=torch.float64)
    exact = ExactShop(simulator, *world.everyone(), max_pages=world.num_pages)
    return 1.0 - exact.of(agent).revenue / exact.best().revenue


def test_it_reaches_the_optimum_of_the_tiny_shop_within_a_percent() -> None:
    # Why: the optimum is known exactly, and whoever looks at one page alone loses 6.8 % of it.
    loss = loss_of(trained(chosen_revenue, 200))
    assert 0.0 <= loss < 0.01


def test_rewards_of_other_shoppers_teach_it_nothing() -> None:
    # Why: a test of learning that a learner of noise would pass holds nothing.
    generator = torch.Generator().manual_seed(0)

    def shuffled(outcome: Outcome) -> Tensor:
        reward_N = chosen_revenue(outcome)
        return reward_N[torch.randperm(len(reward_N), generator=generator)]

    assert loss_of(trained(shuffled, 150)) > 0.05


def test_exploration_is_a_function_of_the_lane() -> None:
    # Why: results must not depend on the number of lanes or on what was drawn before.
    agent = agent_of(epsilon=(1.0, 1.0))
    few, many = agent.act(first_pages(8), explore=True), agent.act(first_pages(32), explore=True)
    assert torch.equal(few, many[:8]) and len(many.unique(dim=0)) > 8
    keen = agent_of(epsilon=(0.0, 0.0))
    assert torch.equal(keen.act(first_pages(8), explore=True), keen.act(first_pages(8)))


def test_exploration_falls_as_it_was_told() -> None:
    # Why: by hand, halfway from 0.5 to 0.1 is 0.3.
    agent = agent_of(epsilon=(0.5, 0.1), epsilon_steps=10)
    shares = []
    for agent.steps in (0, 5, 10, 99):
        shares.append(agent._epsilon())
    assert shares == pytest.approx([0.5, 0.3, 0.1, 0.1])


def test_items_that_may_not_be_shown_are_not() -> None:
    # Why: stock and rules hold for a learner too.
    observation = first_pages(4)
    eligible = torch.zeros_like(observation.eligible)
    eligible[:, [7]] = True
    agent = agent_of()
    item_NK, value_N = agent._best(dataclasses.replace(observation, eligible=eligible))
    assert item_NK[0].tolist() == [7, -1] and bool(value_N.isfinite().all())


def test_a_saved_agent_acts_alike(tmp_path: Path) -> None:
    # Why: a checkpoint is what an evaluation opens; it loads without pickled code.
    agent, other = trained(chosen_revenue, 10), agent_of()
    torch.save(agent.state_dict(), tmp_path / "agent.pt")
    observation = first_pages(50)
    assert not torch.equal(agent.act(observation), other.act(observation))
    other.load_state_dict(torch.load(tmp_path / "agent.pt", weights_only=True))
    assert torch.equal(agent.act(observation), other.act(observation)) and other.steps == 10
    with pytest.raises(UserError, match="the saved table"):
        agent_of(num_pages=3).load_state_dict(agent.state_dict())


def test_a_shop_too_large_for_a_table_is_refused_in_a_sentence() -> None:
    # Why: a table of a real catalogue would never fill.
    with pytest.raises(UserError, match="3,000,000 values for 100,000 items in 30 cells"):
        agent_of(num_items=100_000)
