"""recgym.compiling: what is compiled is taken whole, gives the same, and heeds its lanes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from probe_model import made
from probe_shop import learned_shop
from torch import Tensor

from recgym import compiling
from recgym.envs.core import ShopCore, open_core
from recgym.types import Observation

SLOTS, LANES = 4, 16
COMPILING = ("dqn", "ppo")


def training(name: str) -> tuple[Any, ShopCore]:
    core = open_core(learned_shop(), num_envs=LANES, num_slots=SLOTS, reward="chosen_revenue")
    return made(name, core.simulator.shop, core.spec), core


def pages(agent: Any, core: ShopCore, steps: int = 4) -> list[Tensor]:
    observation, found = core.reset(3), []
    for _ in range(steps):
        found.append(agent.act(observation, explore=True))
        transition = core.step(found[-1])
        agent.learn(observation, found[-1], transition)
        observation = transition.observation
    return found


@pytest.mark.parametrize("name", COMPILING)
def test_a_compiled_agent_shows_the_same_pages(name: str, traced: list[str]) -> None:
    # Why: fullgraph refuses whatever would break the program into parts that wait for each other.
    plain, core = training(name)
    wanted = pages(plain, core)
    agent, core = training(name)
    agent.compile()
    assert traced
    for ours, theirs in zip(pages(agent, core), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_other_lanes_run_as_they_are() -> None:
    # Why: evaluation steps other numbers of lanes, and compiling for each would take minutes.
    calls: list[str] = []
    found = compiling._Compiled.__new__(compiling._Compiled)
    found.plain = lambda x: calls.append("plain") or x + 1
    found.fast = lambda x: calls.append("whole") or x + 1
    found.lanes, found.gradients = None, False
    assert [int(found(torch.zeros(count))[0]) for count in (3, 5, 3)] == [1, 1, 1]
    assert calls == ["whole", "plain", "whole"]


def test_records_are_walked_to_the_tensors_of_the_lanes() -> None:
    # Why: a graph reads its inputs where they lay when it was captured, so each call copies them;
    # a catalogue is none of them.
    core = open_core(learned_shop(), num_envs=2, num_slots=SLOTS)
    observation = core.reset(0)
    assert isinstance(observation, Observation)
    found = {x.data_ptr() for x in compiling._lane_tensors((observation, {"more": torch.ones(2)}))}
    assert observation.feature.data_ptr() in found
    assert observation.visit.gap.data_ptr() in found
    assert observation.catalog.price.data_ptr() not in found
