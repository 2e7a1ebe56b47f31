"""agents.sarsa: the target of the page that is shown next by hand, and the tiny shop's optimum."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from test_tabular import first_pages, loss_of, one_step, trained
from torch import Tensor

from agents.sarsa import Sarsa
from agents.tabular import TabularQ
from recgym.reward import chosen_revenue
from recgym.types import Observation


def agent_of(**changed: Any) -> Sarsa:
    settings: dict[str, Any] = {"num_items": 20, "num_slots": 2, "epsilon_steps": 120}
    return Sarsa(**{**settings, **changed})


def knowing(agent: TabularQ, cell: Tensor) -> None:
    """Q0 = 2 in these cells, and odds times values 1 * 3, 0.5 * 8 and 2 * 2.9 of three items."""
    agent.value_SJ[cell, :4] = torch.tensor([2.0, 3.0, 8.0, 2.9])
    agent.visits_SJ[cell, 1:4] = torch.tensor([1.0, 0.5, 2.0]) * agent.passed_SI[cell, :3]


def showing(agent: TabularQ, *page: int) -> None:
    """Make the exploring policy show this page to all."""

    def act(observation: Observation, *, explore: bool = False) -> Tensor:
        assert explore
        return torch.tensor([page]).expand(len(observation.feature), -1)

    agent.act = act  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("page", "value"),
    [
        ((1, 2), 11.8 / 3.5),
        ((0, 1), 3.6),
        ((1, 1), 4.0),
        ((1, -1), 4.0),
        ((1, 3), 4.0),
        ((3, 3), 2),
    ],
)
def test_the_value_of_the_page_that_is_shown_by_hand(page: tuple[int, int], value: float) -> None:
    # Why: (2 + 4 + 5.8) / 3.5 for items 1 and 2 though (2 + 3 + 4) / 2.5 is to be had; item 1 alone
    # has (2 + 4) / 1.5, and so it has where the shop shows it once, or nothing beside it. Item 3
    # may not be shown.
    agent, observation = agent_of(), first_pages(1)
    knowing(agent, agent.cells(observation))
    agent.visits_SJ[:, 4], agent.value_SJ[:, 4] = 50.0, 9.0
    showing(agent, *page)
    eligible = torch.arange(20).expand(1, -1) < 3
    observation = dataclasses.replace(observation, eligible=eligible)
    assert agent._next_value(observation).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("kind", "target"), [(Sarsa, 5.6857143), (TabularQ, 5.8)])
def test_the_target_by_hand(kind: type[TabularQ], target: float) -> None:
    # Why: equation 6.7 against equation 6.8: 4 + 0.5 * 11.8 / 3.5 for the page that comes next, and
    # 4 + 0.5 * 3.6 for the best one that could. Only items 0 to 2 may be shown.
    agent = kind(num_items=20, num_slots=2, gamma=0.5, rate=1.0)
    observation, item_NK, transition = one_step(agent)
    first = agent.cells(observation).unique()
    following = torch.ones(agent.cells.size, dtype=torch.bool)
    following[first] = False
    knowing(agent, following.nonzero().squeeze(-1))
    showing(agent, 1, 2)
    few = (torch.arange(20) < 3).expand(256, -1)
    after = dataclasses.replace(transition.final_observation, eligible=few)
    never = torch.zeros_like(transition.terminated)
    agent.learn(
        observation,
        item_NK,
        dataclasses.replace(transition, terminated=never, final_observation=after),
    )
    met = agent.visits_SJ[first] > 0
    assert bool(met.any())
    assert torch.allclose(agent.value_SJ[first][met], torch.tensor(target), atol=1e-5)


def test_it_learns_what_its_own_exploration_costs() -> None:
    # Why: with every slot random the values are those of random pages, and where nothing is random
    # those of the best known ones.
    agent, observation = agent_of(epsilon=(0.0, 0.0)), first_pages(200)
    knowing(agent, agent.cells(observation).unique())
    eligible = torch.arange(20).expand(200, -1) < 3
    observation = dataclasses.replace(observation, eligible=eligible)
    assert torch.allclose(agent._next_value(observation), torch.tensor(3.6))
    agent.epsilon = (1.0, 1.0)
    # by hand over 400 pages: both slots empty (17/20)^2; one item alone 2 * 3/20 * 17/20, with
    # values 2.5, 4 and 7.8/3; the same item twice 3/400; pairs 2/400 each: 3.6, 10.8/4, 11.8/3.5
    alone, pairs = 2.5 + 4.0 + 2.6, 3.6 + 2.7 + 11.8 / 3.5
    expected = 2 * 0.7225 + alone * (2 * 17 + 1) / 400 + pairs * 2 / 400
    many = first_pages(40_000)
    many = dataclasses.replace(many, eligible=torch.arange(20).expand(40_000, -1) < 3)
    knowing(agent, agent.cells(many).unique())
    assert float(agent._next_value(many).mean()) == pytest.approx(expected, abs=0.02)


def test_it_reaches_the_optimum_of_the_tiny_shop_within_a_percent() -> None:
    # Why: the optimum is known exactly, and whoever looks at one page alone loses 6.8 % of it.
    assert 0.0 <= loss_of(trained(chosen_revenue, 200, agent_of())) < 0.01
